"""What every table of the report is made of, and how its figures are written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

UNKNOWN = "\N{EN DASH}"
"""What is not measured, not reached, or could not be told."""


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell's text, what is written small beneath it, and a bar of that share (0..1) of the cell's width."""

    text: str
    note: str = ""
    share: float | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """A row with its header; `kind` is how it looks: `drop`, `total`, `best` or nothing."""

    label: str
    cells: Sequence[Cell]
    kind: str = ""


@dataclass(frozen=True, slots=True)
class Grid:
    """A table: `corner` heads the row headers, `columns` the cells; `words` where cells hold text, not figures."""

    caption: str
    corner: str
    columns: Sequence[str]
    rows: Sequence[Row]
    words: bool = False


def figure(value: Any, name: str = "") -> str:
    """A value of a JSON document: a share as per cent, counts with separators, other numbers to three digits."""
    if value is None:
        return UNKNOWN
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float) and name.endswith("share"):
        return f"{value:.1%}"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return str(value)


def decimal(value: float) -> str:
    """A score: three decimals."""
    return f"{value:.3f}"


def bounds(measured: Mapping[str, Any]) -> str:
    """`[0.769, 0.830]`, or nothing where there is no interval."""
    low, high = measured.get("low"), measured.get("high")
    return "" if low is None or high is None else f"[{decimal(low)}, {decimal(high)}]"


def iteration_name(number: int) -> str:
    """How a table or chart calls an iteration."""
    return "base (0)" if number == 0 else str(number)
