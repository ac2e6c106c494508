"""The charts of the data that each iteration made: what is kept of it, how it opens, how long it is, where it lies."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.patches import Patch
from matplotlib.projections.polar import PolarAxes

from isheep.health.openings import Openings
from isheep.intervals import wilson
from isheep.report.charts import Point, iteration_axis, over_iterations
from isheep.report.drawing import COLOURS, SERIES, Chart, label
from isheep.store.joined import Joined

FOLLOWED = {
    "keep_share": ("Kept, of all made", True),
    "near_twin_share": ("Near-twins of earlier kept ones", True),
    "openings_of_100": ("Different openings of 100 kept", False),
    "response_words_median": ("Words in a kept response, median", False),
    "unparsed_share": ("Assessments without a score", True),
    "stop_share": ("Responses that stop by themselves", True),
}
"""Health figures that are drawn over the iterations -> what they are called, whether they are shares."""
FIRST_WORDS, HEADS = 8, 4
"""In the sunburst: the commonest first words, and of each the commonest heads of what follows."""
PLOTTED = 300
"""Points of each iteration in the plane of vectors at most."""

Vectors = npt.NDArray[np.float32]
"""[pairs, width]"""


@dataclass(frozen=True, slots=True)
class Plane:
    """Principal components of vectors: of the seeds (0) and of what each iteration kept, [points, 2] each."""

    points: Mapping[int, npt.NDArray[np.float64]]
    explained: Sequence[float]
    """Share of the variance that each of the two components holds."""


def health_charts(rows: Sequence[Mapping[str, Any]]) -> list[Chart]:
    """Health over the iterations, a chart for each figure that two iterations or more can tell."""
    charts = []
    for name, (title, shares) in FOLLOWED.items():
        figures = {row["iteration"]: row["health"].get(name) for row in rows if row["health"]}
        points: dict[int, Point] = {number: (one, None, None) for number, one in figures.items() if one is not None}
        if len(points) > 1:
            charts.append(over_iterations(f"health-{name.replace('_', '-')}", title, points, shares=shares))
    return charts


def high_share_chart(rows: Sequence[Mapping[str, Any]]) -> Chart | None:
    """The share of assessed pairs whose scores are over the threshold (the paper's figure 3); None without one."""
    points: dict[int, Point] = {}
    for row in rows:
        over, assessed = row["health"].get("over_threshold"), row["health"].get("assessed")
        if over is not None and assessed:
            found = wilson(over, assessed)
            points[row["iteration"]] = (over / assessed, found.low, found.high)
    if not points:
        return None
    return over_iterations("high-share", "Pairs whose scores are over the threshold", points, shares=True)


def length_charts(made: Mapping[int, Sequence[Joined]]) -> list[Chart]:
    """Words of the kept instructions and of the kept responses, by iteration."""

    def words(text: Callable[[Joined], str | None]) -> dict[int, list[int]]:
        found = {
            number: [len(one.split()) for record in records if record.kept and (one := text(record)) is not None]
            for number, records in made.items()
        }
        return {number: counts for number, counts in found.items() if counts}

    kinds: dict[str, Callable[[Joined], str | None]] = {
        "instruction": lambda record: f"{record.instruction.instruction} {record.instruction.input}",
        "response": lambda record: record.response.response if record.response else None,
    }
    lengths = {name: words(text) for name, text in kinds.items()}
    return [_boxes(f"length-{name}", f"Words in a kept {name}", found) for name, found in lengths.items() if found]


def _boxes(name: str, title: str, found: Mapping[int, Sequence[int]]) -> Chart:
    quantiles = {number: np.percentile(counts, (5, 25, 50, 75, 95)) for number, counts in found.items()}

    def draw(axes: Axes) -> None:
        axes.grid(axis="y")
        for number, (low, first, middle, third, high) in quantiles.items():
            axes.vlines(number, low, high, color=COLOURS["main"], linewidth=1.2)
            axes.bar(number, third - first, bottom=first, width=0.45, color=COLOURS["line"], linewidth=0)
            axes.hlines(middle, number - 0.225, number + 0.225, color=COLOURS["main"], linewidth=2)
        iteration_axis(axes, list(quantiles))
        axes.set_ylim(bottom=0)

    told = "; ".join(f"{number}: {q[2]:g} ({q[0]:g} to {q[4]:g})" for number, q in quantiles.items())
    description = f"Median (5th to 95th percentile) by iteration. {told}. The box holds the middle half."
    return Chart(name, title, "median, middle half, 5% to 95%", description, draw)


def sunbursts(made: Mapping[int, Sequence[Joined]], openings: Openings) -> list[Chart]:
    """How each iteration's kept instructions open: the commonest first words, and the heads of what follows them."""
    charts = []
    for number, records in made.items():
        found = [openings.opening(record.instruction.instruction) for record in records if record.kept]
        told = Counter(one for one in found if one is not None)
        if told:
            charts.append(_sunburst(number, told))
    return charts


def _sunburst(number: int, found: Counter[tuple[str, str | None]]) -> Chart:
    firsts: Counter[str] = Counter()
    for (first, _), count in found.items():
        firsts[first] += count
    total = firsts.total()
    shown = firsts.most_common(FIRST_WORDS)
    rest = total - sum(count for _, count in shown)
    heads = {
        first: Counter({head: count for (one, head), count in found.items() if one == first and head}).most_common(
            HEADS
        )
        for first, _ in shown
    }

    def draw(axes: Axes) -> None:
        axes = cast("PolarAxes", axes)
        axes.set_axis_off()
        axes.set_ylim(0, 2.05)
        axes.set_theta_zero_location("N")
        axes.set_theta_direction(-1)
        start = 0.0
        for place, (first, count) in enumerate(shown):
            colour = SERIES[place % len(SERIES)]
            _ring(axes, start, count / total, 0.35, 0.85, colour, 0.85, first)
            inner = start
            for head, of in heads[first]:
                _ring(axes, inner, of / total, 1.22, 0.75, colour, 0.45, str(head))
                inner += of / total
            start += count / total
        if rest:
            _ring(axes, start, rest / total, 0.35, 0.85, COLOURS["rule"], 1, "others")

    behind = {first: ", ".join(f"{label(str(head))} {of}" for head, of in heads[first]) for first, _ in shown}
    told = "; ".join(f"{label(first)} {count} ({behind[first] or 'nothing more'})" for first, count in shown)
    return Chart(
        f"openings-{number}",
        f"Iteration {number}",
        f"{len(found):,} different openings of {total:,}",
        f"First words of kept instructions, and the heads of what follows. {told}."
        + (f" {rest} open otherwise." if rest else ""),
        draw,
        height=3.3,
        polar=True,
    )


def _ring(
    axes: Axes, start: float, share: float, bottom: float, height: float, colour: str, alpha: float, text: str
) -> None:
    """A piece of a ring from a share of the circle on, with its word where it has room."""
    middle, width = 2 * np.pi * (start + share / 2), 2 * np.pi * share
    axes.bar(middle, height, width=width, bottom=bottom, color=colour, alpha=alpha, edgecolor=COLOURS["paper"], lw=0.8)
    if share > 0.02:
        # Clockwise from the top: a word reads along its radius, never upside down.
        turn = 90 - np.degrees(middle)
        turn = turn + 180 if turn < -90 else turn
        axes.text(
            middle, bottom + height / 2, label(text, 11), rotation=turn, ha="center", va="center", color=COLOURS["ink"]
        )


def plane(vectors: Mapping[int, Vectors]) -> Plane | None:
    """Seeds and kept pairs by their first two principal components; None of fewer than three vectors, or equal ones."""
    told = {number: rows[np.isfinite(rows).all(axis=1)] for number, rows in vectors.items() if len(rows)}
    told = {number: rows for number, rows in told.items() if len(rows)}
    if sum(map(len, told.values())) < 3:
        return None
    from sklearn.decomposition import PCA

    every = np.concatenate([np.asarray(rows, dtype=np.float64) for rows in told.values()])
    if not np.ptp(every, axis=0).any():
        return None
    fitted = PCA(n_components=2, svd_solver="full").fit(every)
    points = {number: fitted.transform(np.asarray(rows, dtype=np.float64)) for number, rows in told.items()}
    return Plane(points, [float(share) for share in fitted.explained_variance_ratio_])


def plane_chart(found: Plane) -> Chart:
    """Where the seeds lie and where what each iteration kept lies (the paper's PCA figure)."""
    names = {number: "seed tasks" if number == 0 else f"iteration {number}" for number in found.points}

    def draw(axes: Axes) -> None:
        for place, (number, points) in enumerate(found.points.items()):
            few = points[:PLOTTED]
            colour = COLOURS["ink"] if number == 0 else SERIES[(place - 1) % len(SERIES)]
            axes.scatter(
                few[:, 0],
                few[:, 1],
                s=16 if number == 0 else 7,
                color=colour,
                alpha=0.6,
                lw=0,
                zorder=2 + (number == 0),
            )
        axes.set_xlabel(f"first component ({found.explained[0]:.0%} of the variance)")
        axes.set_ylabel(f"second ({found.explained[1]:.0%})")
        axes.set_xticks([])
        axes.set_yticks([])
        colours = [COLOURS["ink"] if number == 0 else SERIES[(i - 1) % len(SERIES)] for i, number in enumerate(names)]
        patches = [Patch(color=colour, label=name) for colour, name in zip(colours, names.values(), strict=True)]
        axes.figure.legend(handles=patches, loc="outside upper center", ncols=3, handlelength=0.8)

    centres = "; ".join(
        f"{names[number]} ({points[:, 0].mean():.3g}, {points[:, 1].mean():.3g}), {len(points)} pairs"
        for number, points in found.points.items()
    )
    return Chart(
        "plane",
        "Seeds and kept pairs in the plane of their vectors",
        "",
        f"Centres by the first two principal components: {centres}.",
        draw,
        height=3.3,
    )
