"""A preference set: of one instruction the best response and the worst, by the scores of the run's own assessor.

It takes a run that drew several responses to its kept instructions (`respond.draws`). The form is TRL's conversational
one with an explicit prompt, which its DPOTrainer and RewardTrainer read.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from isheep.errors import UserError
from isheep.export import Wanted
from isheep.export.datasets import asked, refuse_dropped, said
from isheep.export.tables import refuse_file
from isheep.recipe.settings import Question
from isheep.records import Alternative, Assessment
from isheep.store.files import write_json_lines
from isheep.store.joined import Joined, kept_with_alternatives, with_records
from isheep.store.run import RECIPE, Run


def export_preference(run: Run, to: Path, wanted: Wanted) -> str:
    """JSON lines of `prompt`, `chosen` and `rejected`, each a list of messages, with both scores and the record's id.

    Raises:
        UserError: no such iteration, one response was drawn to each instruction, or no instruction has two that the
            scores tell apart.
    """
    refuse_file(to, ".jsonl")
    refuse_dropped(wanted)
    chosen = with_records(run, wanted.iteration)
    records = [found for iteration in chosen for found in kept_with_alternatives(iteration)]
    if not any(alternatives for _, alternatives in records):
        what = "has no instruction with several responses, of which one could be preferred."
        place = shlex.quote(str(run.directory))
        again = f"isheep run {shlex.quote(str(run.directory / RECIPE))} respond.draws=4 --dir {place} --accept-changes"
        raise UserError(str(run.directory), what, f"Draw them: {again}")
    questions = run.recipe.assess.questions
    pairs = [pair for record, alternatives in records for pair in preferred(record, alternatives, questions)]
    if not pairs:
        what = f"has no instruction, of {len(records)}, with two responses that the scores tell apart."
        raise UserError(str(run.directory), what, "Raise respond.draws, or set assess.read to distribution.")
    write_json_lines(to, pairs)
    return f"{len(pairs)} preference pairs of {len(records)} kept instructions"


def preferred(
    record: Joined, alternatives: Sequence[Alternative], questions: Sequence[Question]
) -> Iterator[dict[str, Any]]:
    """The best of an instruction's responses with the worst, if there are two of different score and text.

    A response whose scores could not all be told, or that a rule dropped, is none of them; of equals the first counts.

    Args:
        record: a kept one.
        alternatives: further responses to its instruction.
        questions: the scores that were asked for; what counts is their mean.
    """
    responses = [(record.response, record.assessment), *((one, one) for one in alternatives)]
    told = [
        (score, one.response)
        for one, assessed in responses
        if one is not None and one.dropped_by is None and (score := _mean(assessed, questions)) is not None
    ]
    if not told:
        return
    (high, best), (low, worst) = max(told, key=lambda one: one[0]), min(told, key=lambda one: one[0])
    if high > low and best != worst:
        yield {
            "prompt": [asked(record.instruction.instruction, record.instruction.input)],
            "chosen": [said(best)],
            "rejected": [said(worst)],
            "score_chosen": high,
            "score_rejected": low,
            "id": record.instruction.id,
        }


def _mean(assessed: Assessment | Alternative | None, questions: Sequence[Question]) -> float | None:
    scores = [getattr(assessed, question, None) for question in questions]
    told = [score for score in scores if score is not None]
    return fmean(told) if told and len(told) == len(scores) else None
