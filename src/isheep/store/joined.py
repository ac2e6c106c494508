"""The tables of an iteration joined on `id`: pairs, those that were kept, and all that is known of an instruction."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from operator import attrgetter, itemgetter
from typing import Any, Generic, TypeVar

import pyarrow as pa
import pyarrow.compute as pc

from isheep.errors import StageError, UserError
from isheep.records import SCHEMAS, TABLES, Alternative, Assessment, Instruction, Pair, Response, Selection
from isheep.store.run import Iteration, Run

T = TypeVar("T")
R = TypeVar("R", Pair, Instruction)

CONTAMINATION = "contamination.json"
"""In an iteration's folder: of each benchmark, which pairs hold a question."""
JOINED = ("instructions", "responses", "assessments", "selection")
"""The tables of an instruction and of what became of it."""
DROPPING = ("instructions", "responses", "selection")
"""The tables whose records can be dropped."""


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


class Anew(Generic[T]):
    """What can be gone through many times, made anew each time instead of kept."""

    def __init__(self, make: Callable[[], Iterator[T]]) -> None:
        self._make = make

    def __iter__(self) -> Iterator[T]:
        return self._make()


class _Later(Generic[T]):
    """The rows of a later table, which has some ids of an earlier one in the same order: no table is held in memory."""

    def __init__(self, rows: Iterable[T], id_of: Callable[[T], str]) -> None:
        self._rows, self._id_of = iter(rows), id_of
        self._next = next(self._rows, None)

    @property
    def next_id(self) -> str | None:
        """Of the first row that nobody asked for; None behind the last one."""
        return None if self._next is None else self._id_of(self._next)

    def of(self, id_: str) -> T | None:
        """The row of this id, None where there is none; asked for in the order of the earlier table."""
        found = self._next
        if self.next_id != id_:
            return None
        self._next = next(self._rows, None)
        return found


def join(iteration: Iteration) -> Iterator[Joined]:
    """Every instruction of the iteration, in the order in which they were made."""
    responses = _Later(iteration.table("responses"), attrgetter("id"))
    assessments = _Later(iteration.table("assessments"), attrgetter("id"))
    selection = _Later(iteration.table("selection"), attrgetter("id"))
    for row in iteration.table("instructions"):
        yield Joined(row, responses.of(row.id), assessments.of(row.id), selection.of(row.id))


def kept_with_alternatives(iteration: Iteration) -> Iterator[tuple[Joined, list[Alternative]]]:
    """Every kept record, in the order in which they were made, with the further responses to its instruction."""
    drawn = itertools.groupby(iteration.table("alternatives"), attrgetter("id"))
    alternatives = _Later(((id_, list(rows)) for id_, rows in drawn), itemgetter(0))
    for record in join(iteration):
        if record.kept:
            _, found = alternatives.of(record.instruction.id) or ("", [])
            yield record, found


def as_arrow(iteration: Iteration | None) -> pa.Table:
    """The same as one Arrow table: the fields of every table, with `kept`, `dropped_by` and `reason` of the whole.

    Texts are not made into Python's. Null: not reached, or could not tell. Of no iteration the columns without a row.
    """
    fields: dict[str, pa.ChunkedArray] = {}
    dropped_by, reasons, kept = [], [], None
    for name in JOINED:
        schema = SCHEMAS[TABLES[name]]
        table = schema.empty_table() if iteration is None else iteration.table(name).arrow(*schema.names)
        # In the order of the instructions; where there is no place, a null is taken.
        places = pc.index_in(fields.get("id", table["id"]), table["id"].combine_chunks())
        found = {column: table[column].take(places) for column in table.column_names}
        if name in DROPPING:
            dropped_by.append(found.pop("dropped_by"))
            reasons.append(found.pop("reason"))
        kept = found.pop("kept", None)
        fields |= {column: values for column, values in found.items() if column not in fields}
    out = pc.coalesce(*dropped_by)
    whole = {"kept": pc.if_else(pc.is_valid(out), False, kept), "dropped_by": out, "reason": pc.coalesce(*reasons)}
    return pa.table({**fields, **whole})


def answered_pairs(iteration: Iteration) -> Iterator[Pair]:
    """Instructions with the responses that passed the rules, in the order in which they were made."""
    answers = _Later(iteration.table("responses").values("id", "response", "dropped_by"), itemgetter(0))
    for id_, instruction, input_ in iteration.table("instructions").values("id", "instruction", "input"):
        answer = answers.of(id_)
        if answer is not None and answer[2] is None:
            yield Pair(id_, instruction, input_, answer[1])
    if (left := answers.next_id) is not None:
        raise StageError(f"{iteration.table('responses').path}: {left} is no instruction's, or not in their order.")


def kept_pairs(iteration: Iteration) -> Iterator[Pair]:
    """The pairs that the iteration's selection kept, in the order in which they were made."""
    return _kept(iteration, answered_pairs(iteration))


def kept_instructions(iteration: Iteration) -> Iterator[Instruction]:
    """The instructions of these pairs."""
    return _kept(iteration, iteration.table("instructions"))


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
    chosen = with_records(run, iteration)
    if reason is not None:
        rules = sorted({rule for one in chosen for name in DROPPING for rule in one.table(name).counts()["dropped"]})
        if reason not in rules:
            raise UserError(
                "--reason", f"no rule {reason!r} dropped anything here.", f"These did: {', '.join(rules) or 'none'}."
            )
    wanted = (
        record
        for one in chosen
        for record in join(one)
        if (kept is None or record.kept is kept) and (reason is None or record.dropped_by == reason)
    )
    return list(itertools.islice(wanted, limit))


def with_records(run: Run, iteration: int | None = None) -> list[Iteration]:
    """The iterations that have records, or the one of this number; raises UserError where the run has no such."""
    begun = [one for one in run.iterations() if one.number]
    chosen = [one for one in begun if iteration in (None, one.number)]
    if iteration is not None and not chosen:
        have = ", ".join(str(one.number) for one in begun) or "none yet"
        raise UserError("--iteration", f"{run.directory} has no records of iteration {iteration}.", f"It has: {have}.")
    return chosen


def _kept(iteration: Iteration, records: Iterable[R]) -> Iterator[R]:
    """Those of the records that the selection kept."""
    chosen = _Later(iteration.table("selection").values("id", "kept"), itemgetter(0))
    return (record for record in records if (verdict := chosen.of(record.id)) is not None and verdict[1])
