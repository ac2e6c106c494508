"""The verdict: better and worse only where the intervals lie apart, otherwise that it cannot be told, and why."""

from __future__ import annotations

from typing import Any

import pytest

from isheep.report.verdict import Verdict, verdict
from isheep.store.status import best_iteration

Value = tuple[float, float | None, float | None] | None


def document(*values: Value, state: str = "finished") -> dict[str, Any]:
    iterations = [
        {
            "iteration": number,
            "scores": {} if one is None else {"b": {"m": {"value": one[0], "low": one[1], "high": one[2], "n": 400}}},
        }
        for number, one in enumerate(values)
    ]
    return {
        "recipe": {"evaluate": {"benchmarks": ["b"]}},
        "state": state,
        "best_iteration": best_iteration(iterations, ["b"]),
        "iterations": iterations,
    }


FAVOURED = "It is the best of 2 iterations measured on the same 400 items, which favours it a little."


def test_better_where_the_intervals_lie_apart() -> None:
    assert verdict(document((0.3, 0.2, 0.4), (0.35, 0.3, 0.45), (0.6, 0.5, 0.7))) == Verdict(
        "Better",
        "iteration 2 reaches 0.600 [0.500, 0.700] on b m, the untouched base 0.300 [0.200, 0.400]; "
        "the 95% intervals do not overlap.",
        [FAVOURED],
    )


@pytest.mark.parametrize("low", [0.3, 0.4])
def test_overlapping_or_touching_intervals_decide_nothing(low: float) -> None:
    assert verdict(document((0.3, 0.2, 0.4), (0.45, low, 0.6))) == Verdict(
        "Cannot tell",
        f"iteration 1 reaches 0.450 [{low:.3f}, 0.600] on b m, the untouched base 0.300 [0.200, 0.400], "
        "and these 95% intervals overlap.",
        [],
    )


def test_where_the_base_is_best_the_best_of_the_others_is_held_against_it() -> None:
    assert verdict(document((0.8, 0.7, 0.9), (0.3, 0.2, 0.4), (0.3, 0.2, 0.4))) == Verdict(
        "Worse",
        "the best of the iterations is below the base: iteration 1 reaches 0.300 [0.200, 0.400] on b m, "
        "the untouched base 0.800 [0.700, 0.900].",
        [FAVOURED],
    )


def test_what_is_missing_is_named() -> None:
    assert verdict(document(None)).sentence == "no model of this run has been measured."
    assert verdict(document((0.3, 0.2, 0.4), None)).sentence == (
        "no iteration has been measured on b m; only the base is: b m 0.300 [0.200, 0.400]."
    )
    assert verdict(document(None, (0.3, 0.2, 0.4))).sentence == (
        "iteration 1 reaches 0.300 [0.200, 0.400] on b m, but the base has no value to compare it with."
    )
    assert verdict(document((0.1, None, None), (0.9, 0.8, 1.0))).sentence == (
        "iteration 1 reaches 0.900 [0.800, 1.000] on b m, the untouched base 0.100, and not both have an interval."
    )
    for one in (document(None), document((0.3, 0.2, 0.4)), document((0.1, None, None), (0.9, 0.8, 1.0))):
        assert verdict(one).word == "Cannot tell"


def test_a_run_that_is_not_finished_is_said_to_be_so() -> None:
    notes = verdict(document((0.3, 0.2, 0.4), (0.6, 0.5, 0.7), state="interrupted")).notes
    assert notes == ["The run is interrupted; this is where it stands."]
