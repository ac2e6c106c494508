"""What the figures of the data show: health, lengths, openings and the plane of the vectors."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.figure import Figure

from isheep.filters.rules import read_language
from isheep.health.openings import Openings
from isheep.recipe import load_recipe, locate
from isheep.records import Instruction, Response, Selection
from isheep.report.data_charts import (
    Vectors,
    health_charts,
    high_share_chart,
    length_charts,
    plane,
    plane_chart,
    sunbursts,
)
from isheep.report.drawing import Chart
from isheep.store.joined import Joined


def row(number: int, **health: float | None) -> dict[str, object]:
    return {"iteration": number, "health": health}


def record(index: int, instruction: str, response: str, kept: bool = True) -> Joined:
    made = Instruction(f"i{index}", 1, index, instruction, "", [], 0, "p")
    return Joined(made, Response(made.id, response, "stop", 3), None, Selection(made.id, kept))


def test_health_is_drawn_of_figures_that_two_iterations_can_tell() -> None:
    rows = [row(0), row(1, keep_share=0.5, stop_share=None), row(2, keep_share=0.25, stop_share=0.1)]
    (chart,) = health_charts(rows)
    assert (chart.title, chart.description) == ("Kept, of all made", "By iteration. 1: 50.0%; 2: 25.0%.")


def test_the_share_over_the_threshold_has_its_interval() -> None:
    chart = high_share_chart([row(1, over_threshold=30, assessed=40), row(2, over_threshold=None, assessed=9), row(3)])
    assert chart is not None
    assert chart.description == "By iteration. 1: 75.0%."
    axes = Figure().subplots()
    chart.draw(axes)
    (bar,) = axes.containers
    low, high = bar.lines[2][0].get_segments()[0][:, 1]  # type: ignore[attr-defined]
    assert 0.58 < low < 0.62 < 0.85 < high < 0.87
    assert high_share_chart([row(1, over_threshold=None, assessed=0)]) is None


def test_lengths_are_those_of_the_kept_ones() -> None:
    records = [record(n, "one two", "w " * n) for n in range(1, 6)] + [record(9, "x " * 90, "y " * 90, kept=False)]
    instruction, response = length_charts({1: records, 2: []})
    assert "1: 2 (2 to 2)" in instruction.description
    assert "1: 3 (1.2 to 4.8)" in response.description


def openings() -> Openings:
    return Openings(read_language(locate(load_recipe("lamb").rules.language)))


def test_a_sunburst_counts_how_kept_instructions_open() -> None:
    texts = ["Write a short story.", "Write a poem.", "Name a bird.", "Write a story about it."]
    records = [record(n, text, "It.") for n, text in enumerate(texts)] + [record(9, "Sing a song.", "La.", kept=False)]
    (chart,) = sunbursts({1: records, 2: []}, openings())
    assert chart.note == "3 different openings of 4"
    assert "write 3 (story 2, poem 1); name 1 (bird 1)." in chart.description


def test_hostile_words_open_a_sunburst_as_words() -> None:
    (chart,) = sunbursts({1: [record(n, "$\\frac{1}{0}$ <b>bold</b> \u202e x", "It.") for n in range(3)]}, openings())
    assert "\u202e" not in chart.inline
    assert "<b>" not in chart.inline


def vectors(seed: int, n: int) -> Vectors:
    return np.random.default_rng(seed).normal(size=(n, 5)).astype(np.float32)


def test_the_plane_holds_seeds_and_iterations_by_their_main_components() -> None:
    rows = {0: vectors(0, 9), 1: vectors(1, 20) + np.array([9, 0, 0, 0, 0], np.float32)}
    rows[1][3] = np.nan
    found = plane(rows)
    assert found is not None
    assert {number: len(points) for number, points in found.points.items()} == {0: 9, 1: 19}
    assert found.explained[0] > 0.6 > found.explained[1]
    apart = found.points[1][:, 0].mean() - found.points[0][:, 0].mean()
    assert abs(apart) == pytest.approx(9, abs=1)
    chart = plane_chart(found)
    assert "seed tasks (" in chart.description
    assert "iteration 1 (" in chart.description
    assert isinstance(chart, Chart)
    assert chart.inline.startswith("<svg")


def test_too_few_vectors_have_no_plane() -> None:
    assert plane({}) is None
    assert plane({0: vectors(0, 2)}) is None
    assert plane({0: np.zeros((4, 3), np.float32)}) is None
