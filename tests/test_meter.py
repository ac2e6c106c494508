"""What work costs: amounts that add up, and those that nobody can tell."""

from __future__ import annotations

import time

import pytest

from isheep import meter
from isheep.meter import NOTHING, Cost, Meter


def test_what_is_spent_is_what_was_told_since_it_was_entered(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    meter.read(1000)
    with Meter() as one:
        now[0] += 2.5
        meter.read(7)
        meter.wrote(3)
        with Meter() as inner:
            meter.wrote(2)
            assert (inner.spent().read, inner.spent().written) == (0, 2)
        spent = one.spent()
    assert (spent.seconds, spent.read, spent.written) == (2.5, 7, 5)


def test_costs_add_up_and_what_one_cannot_tell_nobody_can() -> None:
    assert Cost(1.5, 2, 3, 4.0) + Cost(1.0, 1, 1, 1.0) == Cost(2.5, 3, 4, 5.0)
    assert NOTHING + Cost(1.0, 1, 1, None) == Cost(1.0, 1, 1, None)
    assert Cost.of({}) + Cost(1.0, 1, 1, 1.0) == Cost(None, None, None, None)


def test_a_cost_that_was_noted_reads_as_itself() -> None:
    for cost in (Cost(1.5, 2, 3, 4.0), Cost(1.5, 2, 3, None), NOTHING):
        assert Cost.of(cost.noted()) == cost
    assert Cost(None, None, None, None).noted() == {
        "seconds": None,
        "tokens": {"read": None, "written": None},
        "joules": None,
    }


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"seconds": "1", "tokens": 3, "joules": True},
        {"seconds": -1, "tokens": {"read": 1.5, "written": "x"}, "joules": float("nan")},
        {"seconds": float("inf"), "tokens": {"read": -1, "written": True}, "joules": [1]},
    ],
)
def test_what_is_no_amount_is_unknown(document: dict[str, object]) -> None:
    assert Cost.of(document) == Cost(None, None, None, None)
