"""The page of a sweep: what its settings changed (the paper's ablation curves), and which differences are real."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from isheep.compare import compare
from isheep.report import FIGURES, REPORT, TEMPLATES, write_page
from isheep.report.drawing import COLOURS, SERIES, Chart, label, slug
from isheep.report.grid import UNKNOWN, Cell, Grid, Row, bounds, decimal, figure, iteration_name
from isheep.stages.once import SWEEP

Point = tuple[Any, Mapping[str, Any]]
"""A value of a setting, and what was measured there."""
Curves = Mapping[int, Sequence[Point]]
"""Iteration -> its curve."""

CURVES = 24
"""Charts of a page at most: a grid of many settings has one for each combination of the others."""


def is_sweep(directory: Path) -> bool:
    """Whether runs of a sweep lie there."""
    return (directory / SWEEP).is_file()


def write_sweep_report(directory: Path) -> tuple[Path, list[Path]]:
    """Writes DIR/report.html, and its figures as SVG and PNG into DIR/figures; returns the paths.

    Raises:
        UserError: the sweep has no run yet.
        StageError: a file cannot be written.
    """
    document = compare([directory])
    charts = list(ablations(document))[:CURVES]
    text = TEMPLATES.get_template("sweep.html.jinja").render(_content(directory, document, charts))
    written = write_page(directory, text)
    return written, [path for chart in charts for path in chart.save(directory / FIGURES)]


def ablations(document: Mapping[str, Any]) -> Iterator[Chart]:
    """A chart for each metric and each setting that the runs differ in: the metric over it, a curve an iteration.

    Where they differ in several, there is one for every combination of the others. `document` is `compare`'s.
    """
    rows: Sequence[Mapping[str, Any]] = document["runs"]
    for metric in document["metrics"]:
        benchmark, _, name = metric.rpartition("/")
        for setting in document["settings"]:
            for others, group in _groups(rows, setting).items():
                curves = _curves(group, setting, benchmark, name)
                if len(group) > 1 and curves:
                    note = "; ".join(f"{key} = {_said(value)}" for key, value in json.loads(others).items())
                    yield _chart(f"{benchmark} {name} over {setting}", note, curves)


def _groups(rows: Sequence[Mapping[str, Any]], setting: str) -> dict[str, list[Mapping[str, Any]]]:
    """Rows that differ in nothing but this setting, in the order of its values."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        others = {key: value for key, value in row["settings"].items() if key != setting}
        found.setdefault(json.dumps(others), []).append(row)
    return {key: _ordered(group, setting) for key, group in found.items()}


def _ordered(group: list[Mapping[str, Any]], setting: str) -> list[Mapping[str, Any]]:
    if _are_numbers([row["settings"][setting] for row in group]):
        return sorted(group, key=lambda row: row["settings"][setting])
    return group


def _are_numbers(values: Sequence[Any]) -> bool:
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)


def _curves(group: Sequence[Mapping[str, Any]], setting: str, benchmark: str, metric: str) -> Curves:
    curves: dict[int, list[Point]] = {}
    for row in group:
        for one in row["iterations"]:
            measured = one["scores"].get(benchmark, {}).get(metric, {})
            if measured.get("value") is not None:
                curves.setdefault(one["iteration"], []).append((row["settings"][setting], measured))
    return curves


def _chart(title: str, note: str, curves: Curves) -> Chart:
    values = list(dict.fromkeys(json.dumps(value) for points in curves.values() for value, _ in points))
    numbers = _are_numbers([json.loads(value) for value in values])

    def place(value: Any) -> float:
        return float(value) if numbers else float(values.index(json.dumps(value)))

    def draw(axes: Axes) -> None:
        axes.grid(axis="y")
        for number, points in curves.items():
            colour = COLOURS["grey"] if number == 0 else SERIES[(number - 1) % len(SERIES)]
            x, y = [place(value) for value, _ in points], [one["value"] for _, one in points]
            low, high = ([one.get(end) for _, one in points] for end in ("low", "high"))
            axes.plot(x, y, "o-", ms=4, color=colour, label=iteration_name(number))
            if None not in (*low, *high):
                axes.fill_between(x, np.array(low, float), np.array(high, float), color=colour, alpha=0.15, linewidth=0)
        axes.set_xlabel(label(title.rpartition(" over ")[2], 40))
        axes.yaxis.set_major_locator(MaxNLocator(5))
        shown = [json.loads(value) for value in values]
        axes.set_xticks([place(value) for value in shown], [label(_said(value), 14) for value in shown])
        axes.figure.legend(title="iteration", loc="outside right center")

    told = "; ".join(
        f"{iteration_name(number)}: " + ", ".join(f"{_said(value)} {decimal(one['value'])}" for value, one in points)
        for number, points in curves.items()
    )
    name = slug(f"{title} {note}")
    return Chart(name, title, note, f"Value and 95% interval, a curve an iteration. {told}.", draw, height=2.3)


def _said(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    return value if isinstance(value, str) else json.dumps(value)


def _content(directory: Path, document: Mapping[str, Any], charts: Sequence[Chart]) -> dict[str, Any]:
    return {
        "name": directory.resolve().name,
        "written": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "runs": len(document["runs"]),
        "settings": list(document["settings"]),
        "charts": charts,
        "grid": _grid(directory, document),
        "differences": [one for one in document["differences"] if one["beyond_noise"]],
        "alike": sum(one["beyond_noise"] is False for one in document["differences"]),
        "untold": sum(one["beyond_noise"] is None for one in document["differences"]),
    }


def _grid(directory: Path, document: Mapping[str, Any]) -> Grid:
    """A row for each recipe and iteration: what was kept, and each benchmark's main metric."""
    metrics = [metric.rpartition("/") for metric in document["metrics"]]
    lines = []
    for row in document["runs"]:
        link = _report_of(directory, row["directories"])
        for one in row["iterations"]:
            scores = [one["scores"].get(benchmark, {}).get(metric, {}) for benchmark, _, metric in metrics]
            kept = "-".join(dict.fromkeys(figure(count) for count in (min(one["kept"]), max(one["kept"]))))
            cells = [Cell(iteration_name(one["iteration"])), Cell(kept if any(one["made"]) else UNKNOWN)]
            cells += [_scored(measured) for measured in scores]
            cells[0] = Cell(cells[0].text, link=link)
            lines.append(Row(row["name"], cells, "best" if one["iteration"] in row["best_iterations"] else ""))
    columns = ["iteration", "kept", *(f"{benchmark} {metric}" for benchmark, _, metric in metrics)]
    return Grid("All of them", "run", columns, lines, stacked=True)


def _scored(measured: Mapping[str, Any]) -> Cell:
    if measured.get("value") is None:
        return Cell(UNKNOWN)
    return Cell(decimal(measured["value"]), bounds(measured))


def _report_of(directory: Path, runs: Sequence[str]) -> str:
    """The page of the first of some runs, from the sweep's own; nothing where it has none or a name of another kind."""
    try:
        inside = (Path(runs[0]) / REPORT).resolve().relative_to(directory.resolve())
    except ValueError:
        return ""
    return inside.as_posix() if (directory / inside).is_file() and ":" not in str(inside) else ""


__all__ = ["ablations", "is_sweep", "write_sweep_report"]
