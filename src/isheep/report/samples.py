"""A few records of each iteration to read, drawn by a seed that the page states."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from isheep.records import Assessment
from isheep.seeding import derive_seed
from isheep.store.joined import Joined

SAMPLED = 20
"""Kept records per iteration, and as many dropped ones."""


@dataclass(frozen=True, slots=True)
class Shown:
    """One record, as the page writes it."""

    id: str
    instruction: str
    input: str
    response: str | None
    cut: str
    scores: Sequence[str]
    outcome: str
    reason: str


@dataclass(frozen=True, slots=True)
class Drawn:
    """A simple random sample, in the order in which the records were made, of how many, by which seed."""

    title: str
    records: Sequence[Shown]
    of: int
    seed: int


@dataclass(frozen=True, slots=True)
class Sample:
    """What is shown of one iteration; no parts where nothing has been decided yet."""

    iteration: int
    parts: Sequence[Drawn]


def sample(run_seed: int, iteration: int, records: Sequence[Joined]) -> Sample:
    """Twenty kept and twenty dropped records, or all where there are fewer; those not decided yet are left out."""
    kept = [record for record in records if record.kept is True]
    dropped = [record for record in records if record.kept is False]
    groups = {"Kept": kept, "Dropped": dropped} if kept or dropped else {}
    return Sample(iteration, [_draw(title, group, run_seed, iteration) for title, group in groups.items()])


def _draw(title: str, records: Sequence[Joined], run_seed: int, iteration: int) -> Drawn:
    seed = derive_seed(run_seed, iteration, "report", title.lower())
    # S311: it has to repeat, no secret.
    chosen = sorted(random.Random(seed).sample(range(len(records)), min(SAMPLED, len(records))))  # noqa: S311
    return Drawn(title, [_shown(records[index]) for index in chosen], len(records), seed)


def _shown(record: Joined) -> Shown:
    instruction, response = record.instruction, record.response
    return Shown(
        id=instruction.id,
        instruction=instruction.instruction,
        input=instruction.input,
        response=None if response is None else response.response,
        cut="" if response is None or response.finish_reason == "stop" else response.finish_reason,
        scores=[*_scores(record.assessment), *(record.selection.figures if record.selection else [])],
        outcome="kept" if record.kept else f"dropped by {record.dropped_by or 'the selection'}",
        reason=record.reason or "",
    )


def _scores(assessment: Assessment | None) -> list[str]:
    if assessment is None:
        return []
    scores = []
    for name in assessment.asked:
        value, raw = getattr(assessment, name), getattr(assessment, f"{name}_raw")
        told = f"could not tell ({raw!r})" if raw else "could not tell (no answer)"
        scores.append(f"{name} {told if value is None else format(value, '.3g')}")
    return scores
