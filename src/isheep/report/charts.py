"""The charts of scores: what each model reaches on the benchmarks, and what the assessor gave."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, PercentFormatter

from isheep.report.drawing import COLOURS, Chart, slug
from isheep.report.grid import bounds, decimal, iteration_name
from isheep.store.joined import Joined
from isheep.store.status import watched

BIN = 0.5
"""Width of a histogram's bins in points; a bin holds its upper edge, so that a threshold parts what it parts."""

Bins = Counter[int]
"""Counts by bin: number k holds what is greater than (k - 1) BIN and at most k BIN."""
Point = tuple[float, float | None, float | None]
"""A value with the ends of its interval."""


def score_charts(status: Mapping[str, Any]) -> list[Chart]:
    """A chart for each metric that has a value, the watched one first; `status` is `isheep.store.status.status`'s."""
    rows: Sequence[dict[str, Any]] = status["iterations"]
    names = dict.fromkeys(
        (benchmark, metric) for row in rows for benchmark, metrics in row["scores"].items() for metric in metrics
    )
    first = watched(status)
    charts = []
    for place, (benchmark, metric) in enumerate(sorted(names, key=lambda name: name != first), 1):
        measured = {row["iteration"]: row["scores"].get(benchmark, {}).get(metric, {}) for row in rows}
        told = {number: one for number, one in measured.items() if one.get("value") is not None}
        if told:
            values = (
                f"{iteration_name(number)}: {decimal(one['value'])} {bounds(one)}" for number, one in told.items()
            )
            points = {number: (one["value"], one.get("low"), one.get("high")) for number, one in told.items()}
            charts.append(
                over_iterations(
                    f"score-{place}-{slug(f'{benchmark}-{metric}')}",
                    f"{benchmark} {metric}",
                    points,
                    note="watched" if (benchmark, metric) == first else "",
                    description=f"Value and 95% interval. {'; '.join(value.rstrip() for value in values)}.",
                    best=status["best_iteration"],
                )
            )
    return charts


def over_iterations(
    name: str,
    title: str,
    points: Mapping[int, Point],
    *,
    note: str = "",
    description: str = "",
    best: int | None = None,
    shares: bool = False,
) -> Chart:
    """A value for each iteration that has one, with its interval; the base's interval goes through as a band.

    Args:
        name: of the chart.
        title: above it.
        points: iteration -> value and interval.
        note: small, behind the title.
        description: what it shows; the values themselves where it is empty.
        best: whose mark is filled.
        shares: the values are shares, written as per cent.
    """
    told = "; ".join(
        f"{iteration_name(number)}: {f'{point[0]:.1%}' if shares else f'{point[0]:.4g}'}"
        for number, point in points.items()
    )

    def draw(axes: Axes) -> None:
        numbers = list(points)
        values = [point[0] for point in points.values()]
        if 0 in points and (ends := points[0])[1] is not None and ends[2] is not None:
            axes.axhspan(ends[1], ends[2], color=COLOURS["band"], linewidth=0)
        axes.grid(axis="y")
        axes.plot(numbers, values, color=COLOURS["line"])
        for number, (value, low, high) in points.items():
            if low is not None and high is not None:
                ends_of = [[max(0.0, value - low)], [max(0.0, high - value)]]
                axes.errorbar([number], [value], yerr=ends_of, color=COLOURS["main"], capsize=3, linewidth=1.3)
            inside = COLOURS["main"] if number == best else COLOURS["paper"]
            axes.plot([number], [value], "o", ms=6, mec=COLOURS["main"], mew=1.5, mfc=inside, clip_on=False, zorder=3)
        iteration_axis(axes, numbers)
        if shares:
            low, high = axes.get_ylim()
            axes.set_ylim(max(low, 0.0), max(min(high, 1.02), 0.05))
            axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))

    return Chart(name, title, note, description or f"By iteration. {told}.", draw)


def iteration_axis(axes: Axes, numbers: Sequence[int]) -> None:
    """Iterations from left to right, the base first where it is among them, no more labels than have room."""
    first, last = min(numbers), max(numbers)
    axes.set_xlim(first - 0.5, last + 0.5)
    step = (last - first) // 10 + 1
    shown = [number for number in range(first, last + 1) if (last - number) % step == 0 or number == 0]
    axes.set_xticks(shown, ["base" if number == 0 else str(number) for number in shown])
    axes.set_xlabel("iteration")
    axes.yaxis.set_major_locator(MaxNLocator(5))


def histograms(made: Mapping[int, Sequence[Joined]], threshold: float | None) -> list[Chart]:
    """The scores that each iteration asked for, all to one scale."""
    found: list[tuple[int, str, Bins, int]] = []
    for number, records in made.items():
        assessed = [record.assessment for record in records if record.assessment is not None]
        for name in sorted({name for one in assessed for name in one.asked}, reverse=True):
            scores = [getattr(one, name) for one in assessed]
            found.append((number, name, binned([score for score in scores if score is not None]), len(scores)))
    highest = max((max(bins.values()) / bins.total() for _, _, bins, _ in found if bins), default=1.0)
    return [_histogram(number, name, bins, n, highest, threshold) for number, name, bins, n in found]


def binned(scores: Sequence[float]) -> Bins:
    """How many scores each bin holds; what lies below 1 or above 10 counts as that."""
    return Counter(math.ceil(min(max(score, 1.0), 10.0) / BIN - 1e-9) for score in scores)


def is_over(number: int, threshold: float | None) -> bool:
    """Whether all that a bin holds is greater than the threshold."""
    return threshold is not None and (number - 1) * BIN >= threshold


def _histogram(number: int, name: str, bins: Bins, n: int, highest: float, threshold: float | None) -> Chart:
    told = bins.total()
    counts = "; ".join(f"up to {place * BIN:g}: {count}" for place, count in sorted(bins.items())) or "none"
    limit = "" if threshold is None else f" The threshold is {threshold:g}."

    def draw(axes: Axes) -> None:
        axes.grid(axis="y")
        for place, count in sorted(bins.items()):
            colour = COLOURS["main"] if is_over(place, threshold) else COLOURS["grey"]
            axes.bar((place - 0.5) * BIN, count / told, width=BIN * 0.92, color=colour, linewidth=0)
        if threshold is not None:
            axes.axvline(max(threshold, 0.5), color=COLOURS["warm"], dashes=(4, 2.5))
        axes.set_xlim(0.4, 10.1)
        axes.set_ylim(0, highest * 1.05)
        axes.set_xticks(range(1, 11))
        axes.yaxis.set_major_locator(MaxNLocator(3))
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))

    return Chart(
        f"scores-{number}-{slug(name)}",
        f"Iteration {number}: {name}",
        f"n = {told:,}" + (f", could not tell {n - told:,}" if n > told else ""),
        f"Number of scores in bins of half a point. {counts}.{limit}",
        draw,
        height=1.6,
    )


def quality_against_following(made: Mapping[int, Sequence[Joined]], threshold: float | None) -> list[Chart]:
    """Of each iteration that asked for both: how many pairs got which quality and which following."""
    charts = []
    for number, records in made.items():
        pairs = [
            (one.following, one.quality)
            for one in (record.assessment for record in records)
            if one is not None and one.following is not None and one.quality is not None
        ]
        if pairs:
            charts.append(_square(number, pairs, threshold))
    return charts


def _square(number: int, pairs: Sequence[tuple[float, float]], threshold: float | None) -> Chart:
    counts = Counter((math.floor(x + 0.5), math.floor(y + 0.5)) for x, y in pairs)
    most = max(counts.values())
    over = None if threshold is None else sum(min(pair) > threshold for pair in pairs)

    def draw(axes: Axes) -> None:
        if threshold is not None:
            for line in (axes.axvline, axes.axhline):
                line(threshold, color=COLOURS["warm"], linewidth=1, dashes=(4, 2.5))
        for (x, y), count in sorted(counts.items()):
            axes.scatter([x], [y], s=6 + 190 * count / most, color=COLOURS["main"], alpha=0.55, linewidth=0)
        for limits, ticks in ((axes.set_xlim, axes.set_xticks), (axes.set_ylim, axes.set_yticks)):
            limits(0.3, 10.9)
            ticks(range(1, 11, 3))
        axes.set_xlabel("following")
        axes.set_ylabel("quality")
        axes.set_aspect("equal")

    upper = sum(x > y for x, y in pairs), sum(y > x for x, y in pairs)
    limit = "" if over is None else f" {over} have both over the threshold of {threshold:g}."
    return Chart(
        f"square-{number}",
        f"Iteration {number}: quality against following",
        f"n = {len(pairs):,}",
        f"Pairs by both scores, rounded; the area is the number. Following is higher in {upper[0]}, quality in "
        f"{upper[1]} of {len(pairs)}.{limit}",
        draw,
        height=2.6,
    )
