"""The tables of an iteration joined on `id`: pairs, those that were kept, and all that is known of an instruction."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from isheep.errors import UserError
from isheep.records import Assessment, Instruction, Pair, Response, Selection
from isheep.store.run import Iteration, Run

CONTAMINATION = "contamination.json"
"""In an iteration's folder: of each benchmark, which pairs hold a question."""


@dataclass(frozen=True, slots=True)
class Joined:
    """One generated instruction and what became of it; None for a stage that it has not reached."""

    instruction: Instruction
    response: Response | None = None
    assessment: Assessment | None = None
    selection: Selection | None = None

    @property
    def kept(self) -> bool | None:
        """Whether it is trained on; None while that is open."""
        if self.dropped_by is not None:
            return False
        return None if self.selection is None else self.selection.kept

    @property
    def dropped_by(self) -> str | None:
        """The rule that dropped it, at whichever stage."""
        return next((step.dropped_by for step in self._steps() if step.dropped_by is not None), None)

    @property
    def reason(self) -> str | None:
        """Why that rule dropped it."""
        return next((step.reason for step in self._steps() if step.dropped_by is not None), None)

    def as_dict(self) -> dict[str, Any]:
        """Every field of every table in one flat mapping, with `kept`, `dropped_by` and `reason` of the whole."""
        fields: dict[str, Any] = {}
        for step in (self.instruction, self.response, self.assessment, self.selection):
            if step is not None:
                fields |= dataclasses.asdict(step)
        return fields | {"kept": self.kept, "dropped_by": self.dropped_by, "reason": self.reason}

    def _steps(self) -> list[Instruction | Response | Selection]:
        return [step for step in (self.instruction, self.response, self.selection) if step is not None]


def join(iteration: Iteration) -> list[Joined]:
    """Every instruction of the iteration, in the order in which they were made."""
    responses = {row.id: row for row in iteration.table("responses").rows()}
    assessments = {row.id: row for row in iteration.table("assessments").rows()}
    selection = {row.id: row for row in iteration.table("selection").rows()}
    return [
        Joined(row, responses.get(row.id), assessments.get(row.id), selection.get(row.id))
        for row in iteration.table("instructions").rows()
    ]


def answered_pairs(iteration: Iteration) -> Iterator[Pair]:
    """Instructions with the responses that passed the rules, in the order in which they were made."""
    asked = {record.id: record for record in iteration.table("instructions").rows()}
    for answer in iteration.table("responses").rows():
        if answer.dropped_by is None:
            task = asked[answer.id]
            yield Pair(answer.id, task.instruction, task.input, answer.response)


def kept_pairs(iteration: Iteration) -> Iterator[Pair]:
    """The pairs that the iteration's selection kept, in the order in which they were made."""
    kept = _kept(iteration)
    return (pair for pair in answered_pairs(iteration) if pair.id in kept)


def kept_instructions(iteration: Iteration) -> list[Instruction]:
    """The instructions of these pairs."""
    kept = _kept(iteration)
    return [record for record in iteration.table("instructions").rows() if record.id in kept]


def contaminated(iteration: Iteration) -> dict[str, str]:
    """Id of a pair -> the benchmarks whose questions it holds, as a reason."""
    found: dict[str, list[str]] = {}
    for name, held in (iteration.read_json(CONTAMINATION) or {}).items():
        for hit in held["hits"]:
            found.setdefault(hit["id"], []).append(name)
    return {id_: f"holds a question of {', '.join(names)}" for id_, names in found.items()}


def find(
    run: Run,
    iteration: int | None = None,
    kept: bool | None = None,
    reason: str | None = None,
    limit: int | None = None,
) -> list[Joined]:
    """Records of a run in the order in which they were made.

    Args:
        run: whose.
        iteration: only this one's.
        kept: only those that are trained on (True), or only those that were dropped (False).
        reason: only those that the rule of this name dropped.
        limit: at most this many.

    Raises:
        UserError: the run has no such iteration, or no rule of that name dropped anything.
    """
    begun = [one for one in run.iterations() if one.number]
    chosen = [one for one in begun if iteration in (None, one.number)]
    if iteration is not None and not chosen:
        have = ", ".join(str(one.number) for one in begun) or "none yet"
        raise UserError("--iteration", f"{run.directory} has no records of iteration {iteration}.", f"It has: {have}.")
    records = [record for one in chosen for record in join(one)]
    rules = sorted({record.dropped_by for record in records if record.dropped_by})
    if reason is not None and reason not in rules:
        raise UserError(
            "--reason", f"no rule {reason!r} dropped anything here.", f"These did: {', '.join(rules) or 'none'}."
        )
    wanted = (
        record
        for record in records
        if (kept is None or record.kept is kept) and (reason is None or record.dropped_by == reason)
    )
    return list(itertools.islice(wanted, limit))


def _kept(iteration: Iteration) -> set[str]:
    return {row.id for row in iteration.table("selection").rows() if row.kept}
