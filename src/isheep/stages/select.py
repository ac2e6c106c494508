"""Selection: which assessed pairs are trained on, and for the others why not (paper section 3.3)."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence

from isheep.errors import StageError
from isheep.filters import Drop
from isheep.filters.threshold import threshold
from isheep.recipe import Recipe
from isheep.records import Assessment, Selection
from isheep.run import Iteration
from isheep.seeding import derive_seed


def select(iteration: Iteration, recipe: Recipe) -> None:
    """Fills the iteration's selection, one row for each assessed pair.

    Raises:
        StageError: nothing was kept; the reasons are counted.
    """
    table = iteration.table("selection")
    if not table.is_done:
        if table.parts() == 0:
            table.append(choose(iteration.table("assessments").rows(), iteration.number, recipe))
        table.close()
    rows = table.rows()
    if not any(row.kept for row in rows):
        reasons = Counter(row.dropped_by for row in rows)
        counted = ", ".join(f"{rule} {count}" for rule, count in reasons.most_common()) or "there were no pairs"
        raise StageError(
            f"iteration {iteration.number} kept nothing to train on ({counted}). Choose `select.threshold` between "
            "the modes of the scores (`isheep status` shows them) and start the run again in another directory."
        )


def choose(assessments: Sequence[Assessment], iteration: int, recipe: Recipe) -> list[Selection]:
    """The verdict on each assessed pair, in their order: the threshold, then the random control, then the cap."""
    settings = recipe.select
    drops: dict[str, Drop] = {}
    if settings.threshold is not None:
        for row in assessments:
            if drop := threshold(row, settings.threshold):
                drops[row.id] = drop
    wanted = (
        settings.random[min(iteration, len(settings.random)) - 1]
        if isinstance(settings.random, list)
        else settings.random
    )
    limits = {"random": wanted, "cap": settings.cap}
    for rule, most in limits.items():
        left = [row.id for row in assessments if row.id not in drops]
        if most is not None and len(left) > most:
            rng = random.Random(derive_seed(recipe.seed, iteration, rule))
            spared = set(rng.sample(left, most))
            drops |= {
                id_: Drop(rule, f"not among the {most} drawn of {len(left)}") for id_ in left if id_ not in spared
            }
    return [
        Selection(row.id, False, drops[row.id].rule, drops[row.id].reason)
        if row.id in drops
        else Selection(row.id, True)
        for row in assessments
    ]
