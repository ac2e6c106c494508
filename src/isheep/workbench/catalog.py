"""The records of a run to look through: its tables joined in Arrow, kept in memory for as long as nobody wrote there.

Texts stay where they were read; what is joined, filtered and sorted are the short columns beside them.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from isheep.records import SCHEMAS, TABLES, Alternative
from isheep.store.joined import Joined
from isheep.store.marks import Mark
from isheep.store.plan import TABLES_OF_PAIRS
from isheep.store.run import Iteration, Run
from isheep.terminal import storable

PAGE = 50
"""Rows that are shown at once."""

STAGES = ("instruction", "response", "assessment", "selection")
"""How far a record has come, in the order of the tables."""

SORTS = {
    "as made": "place",
    "iteration": "iteration",
    "stage reached": "stage",
    "dropped by": "dropped_by",
    "quality": "quality",
    "following": "following",
    "lower score": "lowest",
    "ROUGE-L of the nearest": "rouge_max",
    "tokens": "tokens",
}
"""What rows may be sorted by -> the column."""

Outcome = Literal["kept", "dropped", "open"]
Marked = Literal["good", "bad", "note", "any", "none"]
Range = tuple[float | None, float | None]


@dataclass(frozen=True, slots=True)
class Query:
    """Which records, and in which order; what is not said (None, an empty text) filters nothing."""

    iteration: int | None = None
    stage: str | None = None
    """One of `STAGES`: no further than this."""
    outcome: Outcome | None = None
    rule: str | None = None
    """The rule that dropped it."""
    quality: Range = (None, None)
    """Least and most, both included."""
    following: Range = (None, None)
    mark: Marked | None = None
    text: str = ""
    """Stands in the instruction, the input or the response, letter by letter but for small and capital ones."""
    sort: str = "place"
    """A column of `SORTS`."""
    descending: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """A record as a list shows it."""

    id: str
    iteration: int
    instruction: str
    input: str
    response: str | None
    stage: str
    kept: bool | None
    """None while that is open."""
    dropped_by: str | None
    quality: float | None
    following: float | None
    rouge_max: float | None
    tokens: int | None


@dataclass(frozen=True, slots=True)
class Page:
    """Some of the records that were found."""

    rows: Sequence[Row]
    found: int
    """How many there are on all pages."""
    of: int
    """How many there are without any filter."""


@dataclass(frozen=True, slots=True)
class _Loaded:
    """An iteration: the short columns of each instruction, the texts, and which response is whose."""

    short: pa.Table
    instruction: pa.ChunkedArray
    input: pa.ChunkedArray
    response: pa.ChunkedArray
    answers: pa.Array
    """Of each instruction the place of its response, or null."""


Stamp = tuple[tuple[tuple[str, int, int], ...], ...]


class Catalog:
    """The records of one run; may be asked from several threads, and follows a run that is being written."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._lock = threading.Lock()
        self._known: dict[int, tuple[Stamp, _Loaded]] = {}
        self._whole: tuple[list[_Loaded], pa.Table] | None = None

    def page(self, query: Query, marks: Mapping[str, Mark], number: int = 0) -> Page:
        """Page `number` (the first is 0) of the records that the query finds.

        Raises:
            StageError: a part does not read any more.
            OSError: the run's directory is gone.
        """
        loaded, whole = self._load()
        mask = _mask(whole, loaded, query, marks)
        places = np.arange(len(whole)) if mask is None else np.flatnonzero(mask.to_numpy(zero_copy_only=False))
        if (query.sort, query.descending) != ("place", False):
            order = [(query.sort, "descending" if query.descending else "ascending"), ("place", "ascending")]
            keys = whole.select(dict.fromkeys((query.sort, "place"))).take(pa.array(places))
            order = order[: len(keys.column_names)]
            places = places[pc.sort_indices(keys, sort_keys=order).to_numpy()]
        shown = places[number * PAGE : (number + 1) * PAGE]
        return Page(_rows(loaded, whole, shown), len(places), len(whole))

    def rules(self) -> list[str]:
        """The rules that dropped something, the most frequent first."""
        _, whole = self._load()
        counted = pc.value_counts(whole["dropped_by"].drop_null()).to_pylist()
        return [one["values"] for one in sorted(counted, key=lambda one: (-one["counts"], one["values"]))]

    def iterations(self) -> list[int]:
        """Those that have records, or folders for them."""
        return [one.number for one in self._run.iterations() if one.number]

    def of_ids(self, ids: Sequence[str]) -> dict[str, Row]:
        """The records of these ids, those that there are."""
        loaded, whole = self._load()
        places = np.flatnonzero(pc.is_in(whole["id"], pa.array(ids, pa.string())).to_numpy())
        return {row.id: row for row in _rows(loaded, whole, places)}

    def lowest(self, ids: Sequence[str]) -> dict[str, tuple[float | None, bool | None]]:
        """Id -> lower score and whether it was kept, of the records of these ids."""
        _, whole = self._load()
        found = whole.filter(pc.is_in(whole["id"], pa.array(ids, pa.string()))).select(["id", "lowest", "kept"])
        return {row["id"]: (row["lowest"], row["kept"]) for row in found.to_pylist()}

    def joined(self, id: str) -> Joined | None:
        """All that the tables hold of a record; None where there is none of this id."""
        row = self.of_ids([id]).get(id)
        if row is None:
            return None
        iteration, found = self._run.iteration(row.iteration), []
        for name in TABLES_OF_PAIRS:
            table, record = iteration.table(name), TABLES[name]
            whole = table.arrow(*SCHEMAS[record].names)
            place = pc.index(whole["id"], id).as_py()
            found.append(record(**whole.slice(place, 1).to_pylist()[0]) if place >= 0 else None)
        instruction, *others = found
        return None if instruction is None else Joined(instruction, *others)

    def alternatives(self, record: Joined) -> list[Alternative]:
        """The further responses to its instruction, in the order in which they were drawn."""
        table = self._run.iteration(record.instruction.iteration).table("alternatives")
        whole = table.arrow(*SCHEMAS[Alternative].names)
        return [Alternative(**row) for row in whole.filter(pc.equal(whole["id"], record.instruction.id)).to_pylist()]

    def _load(self) -> tuple[list[_Loaded], pa.Table]:
        """The iterations in their order, and their short columns as one table with the place of each row in it."""
        with self._lock:
            loaded = [self._iteration(one) for one in self._run.iterations() if one.number]
            if self._whole is None or [id(one) for one in self._whole[0]] != [id(one) for one in loaded]:
                whole = pa.concat_tables([_empty(), *(one.short for one in loaded)])
                self._whole = loaded, whole.append_column("place", pa.array(np.arange(len(whole))))
            return self._whole

    def _iteration(self, iteration: Iteration) -> _Loaded:
        stamp = tuple(iteration.table(name).stamp() for name in TABLES_OF_PAIRS)
        known = self._known.get(iteration.number)
        if known is None or known[0] != stamp:
            known = stamp, _read(iteration, self._run.recipe.assess.questions)
            self._known[iteration.number] = known
        return known[1]


_SHORT = pa.schema(
    [
        ("id", pa.string()),
        ("iteration", pa.int32()),
        ("stage", pa.int8()),
        ("kept", pa.bool_()),
        ("dropped_by", pa.string()),
        ("quality", pa.float64()),
        ("following", pa.float64()),
        ("lowest", pa.float64()),
        ("rouge_max", pa.float64()),
        ("tokens", pa.int32()),
    ]
)


def _empty() -> pa.Table:
    return _SHORT.empty_table()


def _read(iteration: Iteration, questions: Sequence[str]) -> _Loaded:
    """Later tables hold fewer rows in the same order; where each has gone is found by its id."""
    made = iteration.table("instructions").arrow("id", "iteration", "instruction", "input", "dropped_by", "rouge_max")
    answered = iteration.table("responses").arrow("id", "response", "tokens", "dropped_by")
    assessed = iteration.table("assessments").arrow("id", "quality", "following")
    chosen = iteration.table("selection").arrow("id", "kept", "dropped_by")
    answers, scores, choices = (_places(made["id"], other["id"]) for other in (answered, assessed, chosen))
    dropped = pc.coalesce(made["dropped_by"], answered["dropped_by"].take(answers), chosen["dropped_by"].take(choices))
    kept = pc.if_else(pc.is_valid(dropped), pa.scalar(False), chosen["kept"].take(choices))
    stage = sum(place.is_valid().to_numpy(zero_copy_only=False).astype(np.int8) for place in (answers, scores, choices))
    found = {question: assessed[question].take(scores) for question in ("quality", "following")}
    asked = [found[question] for question in questions]
    none = pa.nulls(len(made), pa.float64())
    columns = {
        "id": made["id"],
        "iteration": made["iteration"],
        "stage": pa.array(np.broadcast_to(stage, len(made)), pa.int8()),
        "kept": kept,
        "dropped_by": dropped,
        **found,
        "lowest": pc.min_element_wise(*asked, skip_nulls=False) if asked else none,
        "rouge_max": made["rouge_max"],
        "tokens": answered["tokens"].take(answers),
    }
    short = pa.table(columns).select(_SHORT.names).cast(_SHORT).combine_chunks()
    return _Loaded(short, made["instruction"], made["input"], answered["response"], answers)


def _places(ids: pa.ChunkedArray, among: pa.ChunkedArray) -> pa.Array:
    found = pc.index_in(ids, value_set=among.combine_chunks())
    return found.combine_chunks() if isinstance(found, pa.ChunkedArray) else found


def _mask(whole: pa.Table, loaded: Sequence[_Loaded], query: Query, marks: Mapping[str, Mark]) -> Any:
    """Which rows the query finds, as one boolean array without nulls; None: all."""
    masks: list[Any] = []
    if query.iteration is not None:
        masks.append(pc.equal(whole["iteration"], query.iteration))
    if query.stage is not None:
        masks.append(pc.equal(whole["stage"], STAGES.index(query.stage)))
    if query.outcome is not None:
        kept = whole["kept"]
        masks.append(pc.is_null(kept) if query.outcome == "open" else pc.equal(kept, query.outcome == "kept"))
    if query.rule is not None:
        masks.append(pc.equal(whole["dropped_by"], query.rule))
    for name, (least, most) in (("quality", query.quality), ("following", query.following)):
        masks += [pc.greater_equal(whole[name], least)] if least is not None else []
        masks += [pc.less_equal(whole[name], most)] if most is not None else []
    if query.mark is not None:
        ids = [id for id, mark in marks.items() if query.mark in ("any", "none", mark.kind)]
        marked = pc.is_in(whole["id"], pa.array(ids, pa.string()))
        masks.append(pc.invert(marked) if query.mark == "none" else marked)
    combined = None
    for mask in masks:
        sure = pc.fill_null(mask, False)
        combined = sure if combined is None else pc.and_(combined, sure)
    if query.text:
        # Where it costs the most it comes last, and is not asked for rows that are out already.
        combined = _search(loaded, query.text, combined)
    if combined is None:
        return None
    return combined.combine_chunks() if isinstance(combined, pa.ChunkedArray) else combined


def _search(loaded: Sequence[_Loaded], text: str, before: Any) -> Any:
    """The rows in whose texts it stands, of those that `before` leaves."""
    parts, start = [], 0
    for one in loaded:
        length = len(one.short)
        left = None if before is None else before.slice(start, length)
        start += length
        if left is not None and not pc.any(left).as_py():
            parts.append(pa.array(np.zeros(length, dtype=bool)))
            continue
        holds = pc.or_(_holds(one.instruction, text), _holds(one.input, text))
        answer = pc.fill_null(_holds(one.response, text).take(one.answers), False)
        either = pc.or_(holds, answer)
        either = either if left is None else pc.and_(either, left)
        parts.append(either.combine_chunks() if isinstance(either, pa.ChunkedArray) else either)
    return pa.chunked_array(parts, pa.bool_())


def _holds(texts: pa.ChunkedArray, text: str) -> Any:
    return pc.match_substring(texts, storable(text), ignore_case=True)


def _rows(loaded: Sequence[_Loaded], whole: pa.Table, places: Any) -> list[Row]:
    starts = np.cumsum([0, *(len(one.short) for one in loaded)])
    rows = []
    for place, short in zip(places.tolist(), whole.take(pa.array(places)).to_pylist(), strict=True):
        number = int(np.searchsorted(starts, place, side="right")) - 1
        one, inside = loaded[number], place - int(starts[number])
        answer = one.answers[inside].as_py()
        rows.append(
            Row(
                id=short["id"],
                iteration=short["iteration"],
                instruction=one.instruction[inside].as_py(),
                input=one.input[inside].as_py(),
                response=None if answer is None else one.response[answer].as_py(),
                stage=STAGES[short["stage"]],
                kept=short["kept"],
                dropped_by=short["dropped_by"],
                quality=short["quality"],
                following=short["following"],
                rouge_max=short["rouge_max"],
                tokens=short["tokens"],
            )
        )
    return rows
