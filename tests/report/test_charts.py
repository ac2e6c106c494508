"""Where the marks lie: intervals around values, the base's band, and thresholds on the edges of bins."""

from __future__ import annotations

from typing import Any

import pytest

from isheep.records import Assessment, Instruction
from isheep.report.charts import histograms, score_charts, ticks
from isheep.store.joined import Joined


def document(*rows: dict[str, Any]) -> dict[str, Any]:
    iterations = [{"iteration": number, "scores": scores} for number, scores in enumerate(rows)]
    return {"recipe": {"evaluate": {"benchmarks": ["b"]}}, "best_iteration": 2, "iterations": iterations}


def measured(value: float | None, low: float | None = None, high: float | None = None) -> dict[str, Any]:
    return {"value": value, "low": low, "high": high, "n": 9}


def test_a_score_chart_holds_every_value_its_interval_and_the_band_of_the_base() -> None:
    (chart,) = score_charts(
        document({"b": {"m": measured(0.2, 0.1, 0.3)}}, {"b": {"m": measured(None)}}, {"b": {"m": measured(0.6)}})
    )
    base, last = chart.marks
    assert (base.best, last.best) == (False, True)
    assert 0 < last.y < base.high < base.y < base.low < chart.bottom
    assert (last.high, last.low) == (last.y, last.y)
    assert chart.band is not None
    assert list(chart.band) == pytest.approx([base.high, base.low - base.high])
    assert [tick.label for tick in chart.x_ticks] == ["base", "1", "2"]
    assert (base.x, last.x) == (chart.x_ticks[0].at, chart.x_ticks[2].at)
    assert chart.description == "Value and 95% interval by iteration. base (0): 0.200 [0.100, 0.300]; 2: 0.600."


def test_the_watched_metric_comes_first_and_what_nobody_measured_has_no_chart() -> None:
    one = {"a": {"x": measured(0.5), "y": measured(None)}, "b": {"m": measured(0.5), "k": measured(0.5)}}
    charts = score_charts(document(one))
    assert [(chart.title, chart.note) for chart in charts] == [("b m", "watched"), ("a x", ""), ("b k", "")]


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.0, 1.0, [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (0.33, 0.58, [0.35, 0.4, 0.45, 0.5, 0.55]),
        (-3.0, 12.0, [0.0, 5.0, 10.0]),
        (2.0, 2.0, [2.0]),
    ],
)
def test_ticks_are_round_and_within(low: float, high: float, expected: list[float]) -> None:
    assert ticks(low, high) == expected


def assessed(*scores: tuple[float | None, float | None]) -> list[Joined]:
    return [
        Joined(
            Instruction(str(index), 1, index, "Do it.", "", [], 0, "p"),
            assessment=Assessment(str(index), quality, following, "raw", "raw", "current"),
        )
        for index, (quality, following) in enumerate(scores)
    ]


def test_a_score_on_the_threshold_is_left_of_the_line_and_one_over_it_right() -> None:
    quality, following = histograms({1: assessed((8.0, 8.01), (8.0, 9.0), (None, 10.0), (1.0, 1.0))}, 8)
    assert quality.title == "Iteration 1: quality"
    assert quality.note == "n = 3, could not tell 1"
    assert quality.description == (
        "Number of scores in bins of half a point. up to 1: 1; up to 8: 2. The threshold is 8."
    )
    assert [bar.over for bar in quality.bars] == [False, False]
    assert following.description.startswith(
        "Number of scores in bins of half a point. up to 1: 1; up to 8.5: 1; up to 9: 1; up to 10: 1."
    )
    assert [bar.over for bar in following.bars] == [False, True, True, True]
    assert following.threshold == following.bars[1].x == quality.x_ticks[7].at
    assert quality.bars[1].x + quality.bar_width < following.bars[1].x


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


def test_histograms_share_one_scale_and_leave_out_what_was_not_assessed() -> None:
    found = histograms({1: assessed((5.0, 5.0)), 2: assessed((5.0, None), (6.0, None)), 3: []}, None)
    assert [chart.title for chart in found] == [
        f"Iteration {n}: {kind}" for n in (1, 2) for kind in ("quality", "following")
    ]
    whole, _, half, nothing = found
    assert [bar.height for bar in half.bars] == [whole.bars[0].height / 2] * 2
    assert (nothing.bars, nothing.note) == ([], "n = 0, could not tell 2")
    assert whole.threshold is None
    assert not whole.bars[0].over
