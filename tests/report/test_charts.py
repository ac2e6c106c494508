"""What the figures of scores show: values with intervals, thresholds on the edges of bins, pairs by both scores."""

from __future__ import annotations

from typing import Any

import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from isheep.records import Assessment, Instruction
from isheep.report.charts import binned, histograms, is_over, quality_against_following, score_charts
from isheep.report.drawing import COLOURS, Chart
from isheep.store.joined import Joined


def document(*rows: dict[str, Any]) -> dict[str, Any]:
    iterations = [{"iteration": number, "scores": scores} for number, scores in enumerate(rows)]
    return {"recipe": {"evaluate": {"benchmarks": ["b"]}}, "best_iteration": 2, "iterations": iterations}


def measured(value: float | None, low: float | None = None, high: float | None = None) -> dict[str, Any]:
    return {"value": value, "low": low, "high": high, "n": 9}


def drawn(chart: Chart) -> Axes:
    axes = Figure().subplots()
    chart.draw(axes)
    return axes


def test_a_score_chart_holds_every_value_its_interval_and_the_band_of_the_base() -> None:
    (chart,) = score_charts(
        document({"b": {"m": measured(0.2, 0.1, 0.3)}}, {"b": {"m": measured(None)}}, {"b": {"m": measured(0.6)}})
    )
    assert chart.description == "Value and 95% interval. base (0): 0.200 [0.100, 0.300]; 2: 0.600."
    axes = drawn(chart)
    marks = [line for line in axes.lines if line.get_marker() == "o"]
    assert [(line.get_xdata()[0], line.get_ydata()[0]) for line in marks] == [(0, 0.2), (2, 0.6)]  # type: ignore[index]
    assert [line.get_markerfacecolor() for line in marks] == [COLOURS["paper"], COLOURS["main"]]
    (bar,) = axes.containers
    assert [segment[:, 1].tolist() for segment in bar.lines[2][0].get_segments()] == [  # type: ignore[attr-defined]
        pytest.approx([0.1, 0.3])
    ]
    (band,) = axes.patches
    assert [band.get_y(), band.get_height()] == pytest.approx([0.1, 0.2])  # type: ignore[attr-defined]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["base", "1", "2"]


def test_the_watched_metric_comes_first_and_what_nobody_measured_has_no_chart() -> None:
    one = {"a": {"x": measured(0.5), "y": measured(None)}, "b": {"m": measured(0.5), "k": measured(0.5)}}
    charts = score_charts(document(one))
    assert [(chart.title, chart.note) for chart in charts] == [("b m", "watched"), ("a x", ""), ("b k", "")]
    assert len({chart.name for chart in charts}) == 3


def assessed(*scores: tuple[float | None, float | None]) -> list[Joined]:
    return [
        Joined(
            Instruction(str(index), 1, index, "Do it.", "", [], 0, "p"),
            assessment=Assessment(str(index), quality, following, "raw", "raw", "current"),
        )
        for index, (quality, following) in enumerate(scores)
    ]


def bars(chart: Chart) -> list[tuple[float, float, bool]]:
    """(left edge of the bin, share, whether it is over the threshold) of each bar, from left to right."""
    found = []
    for bar in drawn(chart).patches:
        middle = bar.get_x() + bar.get_width() / 2  # type: ignore[attr-defined]
        over = bar.get_facecolor()[:3] == pytest.approx([29 / 255, 95 / 255, 150 / 255])
        found.append((round(middle - 0.25, 6), bar.get_height(), over))  # type: ignore[attr-defined]
    return sorted(found)


def test_a_score_on_the_threshold_is_left_of_the_line_and_one_over_it_right() -> None:
    quality, following = histograms({1: assessed((8.0, 8.01), (8.0, 9.0), (None, 10.0), (1.0, 1.0))}, 8)
    assert (quality.title, quality.note) == ("Iteration 1: quality", "n = 3, could not tell 1")
    assert quality.description == (
        "Number of scores in bins of half a point. up to 1: 1; up to 8: 2. The threshold is 8."
    )
    assert bars(quality) == [(0.5, 1 / 3, False), (7.5, 2 / 3, False)]
    assert bars(following) == [(0.5, 1 / 4, False), (8.0, 1 / 4, True), (8.5, 1 / 4, True), (9.5, 1 / 4, True)]


@pytest.mark.parametrize(("score", "over"), [(6.4, True), (6.5, True), (6.01, True), (6.0, False), (0.2, False)])
def test_a_bin_is_over_a_threshold_when_all_that_it_holds_is(score: float, over: bool) -> None:
    (number,) = binned([score])
    assert is_over(number, 6.0) == over
    assert not is_over(number, None)


def test_what_was_not_asked_for_has_no_histogram() -> None:
    records = {
        number: [Joined(Instruction("a", number, 0, "Do it.", "", [], 0, "p"), assessment=assessment)]
        for number, assessment in enumerate(
            [
                Assessment("a", 5.0, None, "5", None, "base"),
                Assessment("a", None, None, None, "odd", "base"),
                Assessment("a", None, None, None, None, "none"),
            ],
            start=1,
        )
    }
    assert [chart.title for chart in histograms(records, None)] == ["Iteration 1: quality", "Iteration 2: following"]
    assert quality_against_following(records, None) == []


def test_histograms_share_one_scale_and_leave_out_what_was_not_assessed() -> None:
    found = histograms({1: assessed((5.0, 5.0)), 2: assessed((5.0, None), (6.0, None)), 3: []}, None)
    assert [chart.title for chart in found] == [
        f"Iteration {n}: {kind}" for n in (1, 2) for kind in ("quality", "following")
    ]
    whole, _, half, nothing = found
    assert {drawn(chart).get_ylim() for chart in found} == {(0.0, 1.05)}
    assert bars(whole) == [(4.5, 1.0, False)]
    assert bars(half) == [(4.5, 0.5, False), (5.5, 0.5, False)]
    assert (bars(nothing), nothing.note) == ([], "n = 0, could not tell 2")


def test_pairs_stand_where_both_of_their_scores_are() -> None:
    (chart,) = quality_against_following({1: assessed((8.0, 9.0), (8.2, 9.1), (2.0, 7.0), (None, 3.0))}, 7)
    assert chart.note == "n = 3"
    assert "Following is higher in 3, quality in 0 of 3. 2 have both over the threshold of 7." in chart.description
    axes = drawn(chart)
    collections: list[Any] = list(axes.collections)
    points = {tuple(one.get_offsets()[0]): one.get_sizes()[0] for one in collections}
    assert set(points) == {(9.0, 8.0), (7.0, 2.0)}
    assert points[9.0, 8.0] > points[7.0, 2.0]
