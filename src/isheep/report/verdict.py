"""The verdict: one sentence on whether the loop made the model better, and what limits it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from isheep.report.grid import bounds, decimal
from isheep.store.status import watched


@dataclass(frozen=True, slots=True)
class Verdict:
    """`word` is `Better`, `Worse` or `Cannot tell`; `sentence` says of what, by how much."""

    word: str
    sentence: str
    notes: Sequence[str] = ()


def verdict(status: Mapping[str, Any]) -> Verdict:
    """The best iteration against the base on the watched metric; overlapping 95% intervals decide nothing.

    `status` is the document of `isheep.store.status.status`. A higher value counts as better.
    """
    rows: Sequence[Mapping[str, Any]] = status["iterations"]
    chosen_by = watched(status)
    if chosen_by is None:
        return Verdict("Cannot tell", "no model of this run has been measured.")
    benchmark, metric = chosen_by
    measured = {row["iteration"]: row["scores"].get(benchmark, {}).get(metric, {}) for row in rows}
    values = {number: one["value"] for number, one in measured.items() if one.get("value") is not None}
    name = f"{benchmark} {metric}"
    later = [number for number in values if number != 0]
    if not later:
        base = f"only the base is: {name} {_score(measured[0])}" if 0 in values else "its value could not be told"
        return Verdict("Cannot tell", f"no iteration has been measured on {name}; {base}.")
    chosen = status["best_iteration"] or max(later, key=lambda number: (values[number], -number))
    reached = f"iteration {chosen} reaches {_score(measured[chosen])} on {name}"
    if 0 not in values:
        return Verdict("Cannot tell", f"{reached}, but the base has no value to compare it with.")
    return _compared(reached, measured[chosen], measured[0], _notes(measured[chosen], later, status))


def _compared(reached: str, one: Mapping[str, Any], base: Mapping[str, Any], notes: Sequence[str]) -> Verdict:
    against = f"{reached}, the untouched base {_score(base)}"
    if None in (one.get("low"), one.get("high"), base.get("low"), base.get("high")):
        return Verdict("Cannot tell", f"{against}, and not both have an interval.", notes)
    if one["low"] > base["high"]:
        return Verdict("Better", f"{against}; the 95% intervals do not overlap.", notes)
    if one["high"] < base["low"]:
        return Verdict("Worse", f"the best of the iterations is below the base: {against}.", notes)
    return Verdict("Cannot tell", f"{against}, and these 95% intervals overlap.", notes)


def _notes(one: Mapping[str, Any], later: Sequence[int], status: Mapping[str, Any]) -> list[str]:
    notes = []
    if len(later) > 1:
        items = f" on the same {one['n']:,} items" if one.get("n") else ""
        notes.append(f"It is the best of {len(later)} iterations measured{items}, which favours it a little.")
    if status["state"] != "finished":
        notes.append(f"The run is {status['state']}; this is where it stands.")
    return notes


def _score(measured: Mapping[str, Any]) -> str:
    return f"{decimal(measured['value'])} {bounds(measured)}".rstrip()
