"""How a score is had: out of what was written, or out of the probabilities of the ten."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isheep.stages.scores import SCORES, _expected, parse_score


@pytest.mark.parametrize(
    ("text", "score"),
    [
        ("8||clear and right", 8),
        (" 10 || flawless", 10),
        ("\n\n7", 7),
        ("**9**||good", 9),
        ("<8>||the rest", 8),
        ("8.5||between", 9),
        ("7.4", 7),
        ("8/10", 8),
        ("Score: 6||fine", 6),
        ("I would say 4||because", 4),
        ("1", 1),
    ],
)
def test_a_score_is_read(text: str, score: float) -> None:
    assert parse_score(text) == score


@pytest.mark.parametrize(
    "text", ["", "high", "0||nothing", "11||too good", "100", "-3||bad", "60%", "no score||8", "||", "10000000000000||"]
)
def test_what_is_no_score_is_none(text: str) -> None:
    assert parse_score(text) is None


@given(st.text())
def test_parsing_is_total_and_never_leaves_the_scale(text: str) -> None:
    score = parse_score(text)
    assert score is None or score in SCORES


SINGLE = [(score,) for score in SCORES]


def test_the_expected_score_weighs_the_ten_by_their_probability() -> None:
    likely = [0.0] * 10
    likely[1], likely[8] = 0.2, 0.6
    reading = _expected([math.log(p) if p else -math.inf for p in likely], SINGLE)
    assert reading.score == pytest.approx((2 * 0.2 + 9 * 0.6) / 0.8)
    assert json.loads(reading.raw or "")["9"] == 0.6


def test_one_is_not_counted_where_it_begins_ten() -> None:
    candidates = [(score,) for score in range(1, 10)] + [(1, 0)]
    likely = [0.9] + [1e-9] * 8 + [0.8]
    reading = _expected([math.log(p) for p in likely], candidates)
    assert reading.score == pytest.approx((1 * 0.1 + 10 * 0.8) / 0.9, abs=1e-6)


def test_a_model_that_means_to_write_something_else_gives_no_score() -> None:
    assert _expected([math.log(1e-4)] * 10, SINGLE).score is None
