"""Scores by an assessor that a plug-in brings, and what is refused of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from isheep.recipe import Recipe
from isheep.recipe.plugged import opened
from isheep.recipe.settings import Question
from isheep.records import Pair
from isheep.stages.scores import SCORES, Reading


def plugged_assessor(recipe: Recipe) -> Callable[[Sequence[Pair], Question], list[Reading]] | None:
    """What reads scores of pairs by the plug-in of `assess.assessor`; None where a model or chance judges.

    What is returned raises StageError where the plug-in fails, or gives something else than a score from 1 to 10, or
    None, for each pair.

    Raises:
        UserError: it is not installed, does not import, or its settings are wrong.
        StageError: it fails.
    """
    name, raw = recipe.assess.plugin, recipe.assess.assessor
    if name is None:
        return None
    plugin, assessor = opened("assessors", name, recipe)

    def read(pairs: Sequence[Pair], question: Question) -> list[Reading]:
        with plugin.blamed():
            scores = list(assessor.scores(pairs, question))
        if len(scores) != len(pairs):
            raise plugin.wrong(f"gave {len(scores)} scores of {question} for {len(pairs)} pairs.")
        for pair, score in zip(pairs, scores, strict=True):
            number = isinstance(score, int | float) and not isinstance(score, bool)
            if score is not None and not (number and SCORES[0] <= score <= SCORES[-1]):
                raise plugin.wrong(f"gave no score from 1 to 10, nor None, for the {question} of {pair.id}.")
        return [Reading(None if score is None else float(score), raw) for score in scores]

    return read
