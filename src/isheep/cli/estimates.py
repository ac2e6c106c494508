"""What `isheep estimate` shows on a terminal."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table as Grid
from rich.text import Text

from isheep.check.findings import in_bytes
from isheep.estimate import Estimate, StageEstimate, known_sum
from isheep.intervals import UNKNOWN
from isheep.store.plan import STAGES
from isheep.terminal import printable


def estimate_tables(found: Estimate) -> RenderableType:
    """The stages over all iterations, the iterations, memory and disk, and every guess."""
    order = list(STAGES)
    stages = sorted(found.stages, key=lambda one: order.index(one.stage))
    places = Grid.grid(padding=(0, 2))
    places.add_column(style="dim", no_wrap=True)
    places.add_column()
    where = "each of the GPUs" if found.devices else "no GPU, so of the machine's memory"
    places.add_row("engine", f"{in_bytes(found.engine_memory)} ({where})")
    places.add_row("training", f"{in_bytes(found.training_memory)} (the same)")
    places.add_row("machine", in_bytes(found.host_memory))
    places.add_row("disk", f"at most {in_bytes(found.disk)}")
    said = Grid.grid(padding=(0, 1))
    for mark, lines in (("!", found.warnings), ("-", found.assumptions)):
        for line in lines:
            said.add_row(mark, Text(printable(line)))
    return Group(
        _grid("stage", stages, lambda one: one.stage, found),
        _grid("iteration", found.stages, lambda one: one.iteration, None),
        places,
        Text("\nThis stands on:"),
        said,
    )


def _grid(
    heading: str,
    stages: Sequence[StageEstimate],
    by: Callable[[StageEstimate], Hashable],
    whole: Estimate | None,
) -> Grid:
    """A row for each value of `by`, and one of the whole run where that is given."""
    grid = Grid(box=box.SIMPLE_HEAD, pad_edge=False)
    grid.add_column(heading)
    for name in ("tokens read", "written", "time", "GPU-hours"):
        grid.add_column(name, justify="right", no_wrap=True)
    values = list(dict.fromkeys(map(by, stages)))
    for place, value in enumerate(values):
        own = [one for one in stages if by(one) == value]
        seconds, hours = known_sum([one.seconds for one in own]), known_sum([one.device_hours for one in own])
        cells = _cells(sum(one.read for one in own), sum(one.written for one in own), seconds, hours)
        grid.add_row(str(value), *cells, end_section=place == len(values) - 1)
    if whole is not None:
        grid.add_row("all", *_cells(whole.read, whole.written, whole.seconds, whole.device_hours), style="bold")
    return grid


def _cells(read: int, written: int, seconds: float | None, hours: float | None) -> list[str]:
    return [
        _count(read),
        _count(written),
        in_time(seconds),
        UNKNOWN if hours is None else f"{hours:,.1f}" if hours >= 1 else f"{hours:.2g}",
    ]


def in_time(seconds: float | None) -> str:
    """`12 s`, `3 min`, `1.5 h` or `2.3 days`."""
    if seconds is None:
        return UNKNOWN
    for unit, size in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 1.5 * size:
            return f"{seconds / size:,.1f} {unit}"
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"


def _count(tokens: int) -> str:
    for unit, size in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if tokens >= 10 * size or (tokens >= size and unit != "k"):
            return f"{tokens / size:,.1f} {unit}"
    return str(tokens)
