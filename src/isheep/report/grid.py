"""What every table of the report is made of, and how its figures are written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

UNKNOWN = "\N{EN DASH}"
"""What is not measured, not reached, or could not be told."""


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell's text, what is written small beneath it, a bar of that share (0..1), and the file that it is from."""

    text: str
    note: str = ""
    share: float | None = None
    link: str = ""
    """A path in the run directory, beside which the page lies; none where it is empty."""


@dataclass(frozen=True, slots=True)
class Row:
    """A row with its header; `kind` is how it looks: `drop`, `total`, `best` or nothing."""

    label: str
    cells: Sequence[Cell]
    kind: str = ""


@dataclass(frozen=True, slots=True)
class Grid:
    """A table: `corner` heads the row headers, `columns` the cells; `words` where cells hold text, not figures.

    `stacked` puts the notes of cells below their figures.
    """

    caption: str
    corner: str
    columns: Sequence[str]
    rows: Sequence[Row]
    words: bool = False
    stacked: bool = False


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


def duration(seconds: float | None) -> str:
    """`3 h 5 min`, `4 min 12 s`, `0.8 s`; a dash where nobody knows."""
    if seconds is None:
        return UNKNOWN
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"


def iteration_name(number: int) -> str:
    """How a table or chart calls an iteration."""
    return "base (0)" if number == 0 else str(number)
