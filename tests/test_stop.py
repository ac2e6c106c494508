"""The stop rule by hand: what counts as a gain, how long it is waited for, which alarms end the loop."""

from __future__ import annotations

from typing import Any

import pytest

from isheep.errors import UserError
from isheep.recipe import Recipe, load_recipe, parse_recipe
from isheep.stop import Stop, refuse_unmeasured, stop_after, summary

Value = float | tuple[float, float | None] | None
"""A value, a value and the upper end of its interval, or what could not be told."""


def recipe(iterations: int = 9, benchmarks: tuple[str, ...] = ("b",), **stop: Any) -> Recipe:
    return parse_recipe(
        {"model": {"path": "m"}, "iterations": iterations, "evaluate": {"benchmarks": list(benchmarks)}, "stop": stop},
        "test",
    )


def figure(value: Value) -> dict[str, Any]:
    told, high = value if isinstance(value, tuple) else (value, value)
    return {"value": told, "low": None if high is None or told is None else 2 * told - high, "high": high, "n": 100}


def rows(*values: Value, **alarms: str) -> list[dict[str, Any]]:
    found = [{"iteration": n, "scores": {"b": {"m": figure(v)}}, "health": {}} for n, v in enumerate(values)]
    if alarms:
        found[-1]["health"] = {"alarms": alarms}
    return found


def stops(*values: Value, **stop: Any) -> list[int]:
    """The iterations after which the rule ends the loop, were it asked after each."""
    asked = (stop_after(rows(*values[: end + 1]), recipe(**stop)) for end in range(len(values)))
    return [found.iteration for found in asked if found is not None]


@pytest.mark.parametrize(
    ("values", "patience", "expected"),
    [
        ((0.1, 0.2, 0.3, 0.4, 0.5), 1, []),  # gains
        ((0.1, 0.5, 0.4, 0.3, 0.2), 1, [2, 3, 4]),  # falls
        ((0.1, 0.5, 0.4, 0.3, 0.2), 2, [3, 4]),
        ((0.1, 0.5, 0.4, 0.3, 0.2), 3, [4]),
        ((0.1, 0.5, 0.4, 0.3, 0.2), None, []),
        ((0.1, 0.5, 0.5, 0.5), 2, [3]),  # stagnates
        ((0.1, 0.5, 0.4, 0.6, 0.5, 0.5), 2, [5]),  # a gain begins the count anew
        ((0.5, 0.2, 0.3), 2, [2]),  # the untouched base is the one to beat
        ((None, 0.5, None, 0.4, None, 0.3), 2, [5]),  # what could not be told neither gains nor counts
        ((None, None, None), 1, []),
    ],
)
def test_patience(values: tuple[Value, ...], patience: int | None, expected: list[int]) -> None:
    assert stops(*values, patience=patience) == expected


def test_the_default_patience_is_two() -> None:
    assert stops(0.1, 0.5, 0.4, 0.4) == [3]


def test_a_gain_lies_above_the_interval_of_the_best() -> None:
    assert stops((0.5, 0.53), (0.53, 0.56), (0.54, 0.57), patience=1) == [1]
    assert stops((0.5, 0.53), (0.531, 0.56), patience=1) == []
    # Two small steps make one that counts: the value to beat stays that of the last gain.
    assert stops((0.5, 0.53), (0.52, 0.55), (0.54, 0.57), (0.55, 0.58), (0.56, 0.59), patience=2) == [4]
    assert stops((0.5, None), (0.51, None), patience=1) == []


def test_a_minimal_gain_takes_the_place_of_the_interval() -> None:
    assert stops((0.5, 0.9), (0.52, 0.9), patience=1, min_gain=0.0) == []
    assert stops((0.5, 0.9), (0.5, 0.9), patience=1, min_gain=0) == [1]
    assert stops(0.5, 0.52, 0.54, patience=1, min_gain=0.03) == [1]
    assert stops(0.5, 0.54, 0.58, patience=1, min_gain=0.03) == []


def test_the_last_iteration_is_no_early_end() -> None:
    assert stops(0.5, 0.4, 0.3, patience=2, iterations=2) == []
    assert stops(0.5, 0.4, 0.3, patience=2, iterations=3) == [2]


def test_the_base_alone_is_no_reason() -> None:
    assert stop_after(rows(0.5, near_twins="37%")[:1], recipe(on_alarms=True)) is None


def test_the_reason_names_metric_values_and_setting() -> None:
    found = stop_after(rows((0.1, 0.12), (0.72, 0.74), (0.7, 0.72), (0.71, 0.73)), recipe())
    assert found == Stop(
        3,
        "b m gained nothing over iteration 1's .720 [.700, .740]: iteration 2 has .700 [.680, .720], "
        "iteration 3 has .710 [.690, .730] (stop.patience 2).",
    )


def test_the_metric_is_the_recipes() -> None:
    falling, rising = [figure(v) for v in (0.5, 0.4, 0.3)], [figure(v) for v in (0.1, 0.2, 0.3)]
    found = [
        {"iteration": n, "scores": {"a": {"x": falling[n], "y": rising[n]}, "b": {"z": falling[n]}}, "health": {}}
        for n in range(3)
    ]
    assert stop_after(found, recipe(benchmarks=("a", "b"))) is not None
    assert stop_after(found, recipe(benchmarks=("a", "b"), metric="a/y")) is None
    assert stop_after(found, recipe(benchmarks=("a", "b"), metric="b/z")) is not None
    assert summary(found, recipe(benchmarks=("a", "b")), None) == {"best_iteration": 0, "stopped": None}
    assert summary(found, recipe(benchmarks=("a", "b"), metric="a/y"), Stop(2, "why"))["best_iteration"] == 2
    assert summary(found, recipe(), Stop(2, "why"))["stopped"] == {"iteration": 2, "why": "why"}


@pytest.mark.parametrize(
    ("on_alarms", "why"),
    [
        (False, None),
        ([], None),
        (["unparsed"], None),
        (["near_twins", "unparsed"], "alarm near_twins: 37% are."),
        (True, "alarm near_twins: 37% are. alarm short_responses: 15 words."),
    ],
)
def test_alarms(on_alarms: bool | list[str], why: str | None) -> None:
    raised = rows(0.1, 0.2, near_twins="37% are.", short_responses="15 words.")
    found = stop_after(raised, recipe(on_alarms=on_alarms))
    assert (found.why if found else None) == why
    assert stop_after([*raised, rows(0.1, 0.2, 0.3)[-1]], recipe(on_alarms=True)) is None  # of the last one only


def test_alarms_end_a_loop_that_is_not_measured() -> None:
    unmeasured = [{**row, "scores": {}} for row in rows(0.1, 0.2, near_twins="37% are.")]
    assert stop_after(unmeasured, recipe(benchmarks=(), on_alarms=True)) == Stop(1, "alarm near_twins: 37% are.")
    assert stop_after(unmeasured, recipe(benchmarks=(), patience=1)) is None


def test_a_metric_that_the_base_does_not_have_is_refused() -> None:
    refuse_unmeasured(rows(0.5), recipe())
    refuse_unmeasured(rows(0.5), recipe(metric="b/m"))
    refuse_unmeasured(rows(None), recipe(metric="b/m"))
    with pytest.raises(UserError, match=r"^stop\.metric: no benchmark .* has `b/mm`\. Did you mean `b/m`\?"):
        refuse_unmeasured(rows(0.5), recipe(metric="b/mm"))
    with pytest.raises(UserError, match=r"has `zzzzz/y`\. There are: b/m\."):
        refuse_unmeasured(rows(0.5), recipe(metric="zzzzz/y"))


def test_lamb_shows_all_its_iterations() -> None:
    lamb = load_recipe("lamb")
    assert lamb.iterations == 4
    assert (lamb.stop.patience, lamb.stop.on_alarms) == (None, False)
