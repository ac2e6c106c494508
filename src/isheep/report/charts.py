"""Where the marks of the report's charts lie; the template draws them as inline SVG."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from isheep.report.grid import bounds, decimal, iteration_name
from isheep.store.joined import Joined
from isheep.store.status import watched

WIDTH = 300.0
LEFT, RIGHT = 42.0, 290.0
BIN = 0.5
"""Width of a histogram's bins in points; a bin holds its upper edge, so that a threshold parts what it parts."""


@dataclass(frozen=True, slots=True)
class Tick:
    """A label at a coordinate."""

    at: float
    label: str


@dataclass(frozen=True, slots=True)
class Mark:
    """A measured value with the ends of its interval (equal to it where there is none), in SVG coordinates."""

    x: float
    y: float
    low: float
    high: float
    best: bool


@dataclass(frozen=True, slots=True)
class ScoreChart:
    """One metric over the iterations; `band` is the base's interval (top, height), `line` joins the values."""

    title: str
    note: str
    description: str
    height: float
    bottom: float
    y_ticks: Sequence[Tick]
    x_ticks: Sequence[Tick]
    marks: Sequence[Mark]
    band: tuple[float, float] | None
    line: str


@dataclass(frozen=True, slots=True)
class Bar:
    """A histogram's bar; `over` when all that it holds is greater than the threshold."""

    x: float
    y: float
    height: float
    over: bool


@dataclass(frozen=True, slots=True)
class Histogram:
    """The scores of one kind in one iteration, as shares of those that could be told."""

    title: str
    description: str
    note: str
    height: float
    bottom: float
    bar_width: float
    bars: Sequence[Bar]
    x_ticks: Sequence[Tick]
    y_ticks: Sequence[Tick]
    threshold: float | None


def score_charts(status: Mapping[str, Any]) -> list[ScoreChart]:
    """A chart for each metric that has a value, the watched one first; `status` is `isheep.store.status.status`'s."""
    rows: Sequence[dict[str, Any]] = status["iterations"]
    names = dict.fromkeys(
        (benchmark, metric) for row in rows for benchmark, metrics in row["scores"].items() for metric in metrics
    )
    first = watched(status)
    charts = []
    for benchmark, metric in sorted(names, key=lambda name: name != first):
        measured = {row["iteration"]: row["scores"].get(benchmark, {}).get(metric, {}) for row in rows}
        told = {number: one for number, one in measured.items() if one.get("value") is not None}
        if told:
            note = "watched" if (benchmark, metric) == first else ""
            charts.append(_score_chart(f"{benchmark} {metric}", note, told, status["best_iteration"]))
    return charts


def histograms(made: Mapping[int, Sequence[Joined]], threshold: float | None) -> list[Histogram]:
    """The scores that each iteration asked for, all to one scale."""
    found = []
    for number, records in made.items():
        assessed = [record.assessment for record in records if record.assessment is not None]
        for name in sorted({name for one in assessed for name in one.asked}, reverse=True):
            scores = [getattr(one, name) for one in assessed]
            told = [score for score in scores if score is not None]
            found.append((f"Iteration {number}: {name}", _binned(told), len(told), len(scores) - len(told)))
    highest = max((max(bins.values()) / n for _, bins, n, _ in found if n), default=1.0)
    return [_histogram(*one, highest, threshold) for one in found]


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers from low to high (both within), `about` as many steps of 1, 2 or 5 times a power of ten."""
    if high <= low:
        return [low]
    rough = (high - low) / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(index * step, 12) for index in range(first, math.floor(high / step + 1e-9) + 1)]


def _score_chart(title: str, note: str, told: Mapping[int, Mapping[str, Any]], best: int | None) -> ScoreChart:
    height, top, bottom = 190.0, 12.0, 152.0
    ends = {number: _ends(one) for number, one in told.items()}
    low, high = min(low for low, _ in ends.values()), max(high for _, high in ends.values())
    margin = (high - low) * 0.08 or abs(high) * 0.1 or 0.1
    low, high = low - margin, high + margin

    def y(value: float) -> float:
        return round(bottom - (value - low) / (high - low) * (bottom - top), 1)

    step = (RIGHT - LEFT) / (max(told) + 1)
    x = {number: round(LEFT + step * (number + 0.5), 1) for number in range(max(told) + 1)}
    marks = [
        Mark(x[number], y(one["value"]), y(ends[number][0]), y(ends[number][1]), number == best)
        for number, one in told.items()
    ]
    band = (y(ends[0][1]), round(y(ends[0][0]) - y(ends[0][1]), 1)) if 0 in ends and bounds(told[0]) else None
    values = (f"{iteration_name(number)}: {decimal(one['value'])} {bounds(one)}" for number, one in told.items())
    return ScoreChart(
        title=title,
        note=note,
        description=f"Value and 95% interval by iteration. {'; '.join(value.rstrip() for value in values)}.",
        height=height,
        bottom=bottom,
        y_ticks=[Tick(y(value), f"{value:g}") for value in ticks(low, high)],
        x_ticks=[Tick(x[number], "base" if number == 0 else str(number)) for number in _labelled(max(told))],
        marks=marks,
        band=band,
        line=" ".join(f"{mark.x},{mark.y}" for mark in marks),
    )


def _ends(measured: Mapping[str, Any]) -> tuple[float, float]:
    value, low, high = measured["value"], measured.get("low"), measured.get("high")
    return (value, value) if low is None or high is None else (min(low, value), max(high, value))


def _labelled(last: int) -> Iterator[int]:
    """Iterations whose label has room, the base and the last among them."""
    step = last // 10 + 1
    return (number for number in range(last + 1) if (last - number) % step == 0 or number == 0)


def _binned(scores: Sequence[float]) -> Counter[int]:
    """Counts by bin: number k holds what is greater than (k - 1) BIN and at most k BIN."""
    return Counter(math.ceil(min(max(score, 1.0), 10.0) / BIN - 1e-9) for score in scores)


def _histogram(
    title: str, bins: Counter[int], n: int, unread: int, highest: float, threshold: float | None
) -> Histogram:
    height, top, bottom = 150.0, 12.0, 116.0
    scale = (RIGHT - LEFT) / 9.5

    def x(score: float) -> float:
        return round(LEFT + (score - 0.5) * scale, 1)

    def y(share: float) -> float:
        return round(bottom - share / highest * (bottom - top), 1)

    bars = [
        Bar(
            x((number - 1) * BIN),
            y(count / n),
            round(bottom - y(count / n), 1),
            threshold is not None and (number - 1) * BIN >= threshold,
        )
        for number, count in sorted(bins.items())
    ]
    counts = "; ".join(f"up to {number * BIN:g}: {count}" for number, count in sorted(bins.items())) or "none"
    limit = "" if threshold is None else f" The threshold is {threshold:g}."
    return Histogram(
        title=title,
        description=f"Number of scores in bins of half a point. {counts}.{limit}",
        note=f"n = {n:,}" + (f", could not tell {unread:,}" if unread else ""),
        height=height,
        bottom=bottom,
        bar_width=round(BIN * scale - 1, 1),
        bars=bars,
        x_ticks=[Tick(x(score), str(score)) for score in range(1, 11)],
        y_ticks=[Tick(y(share), f"{share:.0%}") for share in ticks(0, highest, 2)],
        threshold=None if threshold is None else x(max(threshold, 0.5)),
    )
