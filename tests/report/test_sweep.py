"""The page of a sweep: curves over what its runs differ in, and the differences that are beyond noise."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from isheep.errors import UserError
from isheep.report.sweep import ablations, is_sweep, write_sweep_report
from isheep.stages.once import SWEEP
from tests.report.test_report import Page
from tests.test_compare import BASE, HIGH, LOW, MakeRun, make_run, recipe

__all__ = ["make_run", "recipe"]


def swept(tmp_path: Path, *names: str) -> Path:
    (tmp_path / SWEEP).write_text(json.dumps({"runs": list(names)}))
    return tmp_path


def row(value: Any, score: float, **others: Any) -> dict[str, Any]:
    scores = {"b": {"m": {"value": score, "low": score - 0.1, "high": score + 0.1}}}
    return {"settings": {"x": value, **others}, "iterations": [{"iteration": 1, "scores": scores}]}


def test_a_sweep_has_its_curves_its_runs_and_what_is_beyond_noise(tmp_path: Path, make_run: MakeRun) -> None:
    make_run("low", [BASE, LOW], "select.threshold=7")
    make_run("high", [BASE, HIGH], "select.threshold=5")
    (tmp_path / "high" / "report.html").write_text("its page")
    directory = swept(tmp_path, "low", "high")
    assert is_sweep(directory)
    written, figures = write_sweep_report(directory)
    page = Page(written.read_text(encoding="utf-8"))
    assert "1 of 1 differences between runs are beyond noise" in page.text
    high, low = sum(HIGH) / len(HIGH), sum(LOW) / len(LOW)
    assert f"1: 5 {high:.3f}, 7 {low:.3f}." in page.text
    assert "bench, iteration 1: threshold=5 is above threshold=7 by" in page.text
    assert [path.name for path in figures] == [f"bench-acc-over-select-threshold.{suffix}" for suffix in ("svg", "png")]
    hrefs = {value for _, pairs in page.elements for name, value in pairs if name == "href"}
    assert "high/report.html" in hrefs
    assert "low/report.html" not in hrefs


def test_of_several_settings_each_has_a_chart_for_every_combination_of_the_others() -> None:
    rows = [row(x, 0.1 * x + 0.01 * y, y=y) for y in (1, 2) for x in (3, 2)]
    charts = list(ablations({"runs": rows, "metrics": ["b/m"], "settings": ["x", "y"]}))
    assert [(chart.title, chart.note) for chart in charts] == [
        ("b m over x", "y = 1"),
        ("b m over x", "y = 2"),
        ("b m over y", "x = 3"),
        ("b m over y", "x = 2"),
    ]
    assert "1: 2 0.210, 3 0.310." in charts[0].description
    assert len({chart.name for chart in charts}) == 4


def test_values_that_are_no_numbers_stand_beside_each_other() -> None:
    rows = [row("one_base", 0.2), row("one_last", 0.3)]
    (chart,) = ablations({"runs": rows, "metrics": ["b/m"], "settings": ["x"]})
    assert "one_base 0.200, one_last 0.300" in chart.description
    assert chart.inline.count("one_base") >= 2


def test_one_value_has_no_curve() -> None:
    assert list(ablations({"runs": [row(1, 0.5)], "metrics": ["b/m"], "settings": ["x"]})) == []


def test_a_sweep_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is a sweep of which no run is there"):
        write_sweep_report(swept(tmp_path, "nothing"))
