"""What `isheep compare` shows on a terminal, from the document that `--json` prints."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table as Grid
from rich.text import Text

from isheep.cli.tables import METRICS_PER_TABLE
from isheep.intervals import UNKNOWN, score
from isheep.terminal import printable


def comparison(document: Mapping[str, Any]) -> RenderableType:
    """The settings in which the runs differ, their iterations beside each other, and the differences in words.

    `document` is what `isheep.compare.compare` returns.
    """
    several = len(document["runs"]) > 1
    parts: list[RenderableType] = [_settings(document)] if several else []
    parts += [*_iterations(document), _progress(document["progress"], several), Text()]
    return Group(*parts, *([_differences(document["differences"])] if several else []))


def _settings(document: Mapping[str, Any]) -> Text:
    keys = list(document["settings"])
    text = Text("The runs differ in ")
    text.append(printable(", ".join(keys)) if keys else "no setting", style="bold")
    seeds = {len(row["seeds"]) for row in document["runs"]}
    if max(seeds) > 1:
        text.append("; those that differ only in the seed stand in one row")
    return text.append(".\n")


def _iterations(document: Mapping[str, Any]) -> Iterator[Grid]:
    metrics = document["metrics"]
    for start in range(0, max(1, len(metrics)), METRICS_PER_TABLE):
        yield _grid(document["runs"], metrics[start : start + METRICS_PER_TABLE])


def _grid(rows: Sequence[Mapping[str, Any]], metrics: Sequence[str]) -> Grid:
    grid = Grid(box=box.SIMPLE_HEAD, pad_edge=False)
    grid.add_column("run", overflow="fold")
    for name in ("iteration", "made", "kept"):
        grid.add_column(name, justify="right")
    for metric in metrics:
        grid.add_column(Text(printable(metric).replace("/", "\n").replace("_", " ")), max_width=24, min_width=17)
    for row in rows:
        for place, iteration in enumerate(row["iterations"]):
            split = [metric.rpartition("/") for metric in metrics]
            cells = [score(iteration["scores"].get(benchmark, {}).get(name)) for benchmark, _, name in split]
            grid.add_row(
                Text(_name(row) if place == 0 else ""),
                str(iteration["iteration"]),
                _count(iteration["made"]),
                _count(iteration["kept"]),
                *map(Text, cells),
                end_section=place == len(row["iterations"]) - 1,
            )
    return grid


def _name(row: Mapping[str, Any]) -> str:
    seeds = f" ({len(row['seeds'])} seeds)" if len(row["seeds"]) > 1 else ""
    unfinished = [state for state in row["states"] if state != "finished"]
    return printable(row["name"]) + seeds + (f" ({', '.join(sorted(set(unfinished)))})" if unfinished else "")


def _count(counts: Sequence[int]) -> str:
    """The number, or of several runs the mean with its range."""
    if not any(counts):
        return UNKNOWN
    low, high = min(counts), max(counts)
    return str(low) if low == high else f"{fmean(counts):.0f} ({low}-{high})"


def _differences(differences: Sequence[Mapping[str, Any]]) -> RenderableType:
    """For each benchmark and iteration what is beyond noise, a line each, and then what is not."""
    grid = Grid.grid(padding=(0, 2))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    places = dict.fromkeys((one["benchmark"], one["iteration"]) for one in differences)
    for benchmark, number in places:
        found = [one for one in differences if (one["benchmark"], one["iteration"]) == (benchmark, number)]
        lines = [one["words"] for one in found if one["beyond_noise"]]
        lines += [one["words"] for one in found if one["beyond_noise"] is None]
        alike = [f"{' and '.join(one['runs'])} ({_signed(one)})" for one in found if one["beyond_noise"] is False]
        if alike:
            lines.append(f"cannot be told apart: {'; '.join(alike)}")
        grid.add_row(printable(f"{benchmark}, iteration {number}"), Text("\n".join(map(printable, lines))))
    told = sum(one["beyond_noise"] is not None for one in differences)
    chance = f"Intervals are of 95%: of equals one comparison in 20 looks beyond noise, and {told} were made."
    return Group(grid, Text(f"\n{chance}" if told > 1 else "", style="dim"))


def _progress(found: Sequence[Mapping[str, Any]], several: bool) -> RenderableType:
    """Each iteration against the base and against the one before, a line each."""
    grid = Grid.grid(padding=(0, 2))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    last = ""
    for one in found:
        name = f"{one['benchmark']}, {one['run']}" if several else str(one["benchmark"])
        grid.add_row(Text(printable("" if name == last else name)), Text(printable(one["words"])))
        last = name
    return grid


def _signed(one: Mapping[str, Any]) -> str:
    sign = "+" if one["value"] > 0 else ""
    return f"{sign}{score(one)}{one['note']}"
