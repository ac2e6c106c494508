"""How a score is had: out of what was written, or out of the probabilities of the ten."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isheep.models import Model, Models
from isheep.recipe import parse_recipe
from isheep.stages.scores import LEAST_MASS, SCORES, TOO_LONG, Reading, _expected, parse_score, read_distributions

ON_CPU = {"device": "cpu", "threads": 1}


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


LIKE_A_SCORE = st.lists(st.sampled_from([*"0123456789.-|%/ \n*<>", "||", "Score:", "٣"]) | st.text(max_size=2)).map(
    "".join
)


@given(LIKE_A_SCORE)
def test_parsing_is_total_and_never_leaves_the_scale(text: str) -> None:
    score = parse_score(text)
    assert score is None or score in SCORES


@given(st.floats(0, 12).map(lambda value: round(value, 3)), st.text())
def test_a_number_before_the_bars_is_the_score_with_halves_going_up(value: float, why: str) -> None:
    whole = math.floor(value + 0.5)
    expected = whole if 1 <= whole <= 10 else None
    assert parse_score(f"{value}||{why}") == expected
    assert parse_score(f"The score is {value} || {why}") == expected


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


@pytest.mark.parametrize(("each", "told"), [(LEAST_MASS / 10 * 1.001, True), (LEAST_MASS / 10 * 0.999, False)])
def test_the_ten_have_to_be_likely_enough_together(each: float, told: bool) -> None:
    reading = _expected([math.log(each)] * 10, SINGLE)
    assert (reading.score is not None) == told
    assert json.loads(reading.raw or "") == {str(score): pytest.approx(each, abs=1e-6) for score in SCORES}


def test_a_probability_for_each_candidate_is_wanted() -> None:
    with pytest.raises(ValueError, match="zip"):
        _expected([0.0] * 9, SINGLE)


def test_probabilities_are_kept_to_a_millionth() -> None:
    assert json.loads(_expected([math.log(0.0123456789)] * 10, SINGLE).raw or "")["1"] == 0.012346


@pytest.fixture(scope="module")
def base() -> Iterator[Model]:
    recipe = parse_recipe({"model": {"path": "package:lamb/model", "dtype": "float32"}, "engine": ON_CPU}, "test")
    with Models(recipe) as models:
        yield models.base


def test_a_distribution_is_what_the_model_gives_the_ten_scores(base: Model) -> None:
    texts = [f"Instruction: Name {name} birds.\nScore:" for name in ("two", "three", "no")]
    encode = base.encoder.plain
    readings = read_distributions(texts, base)
    for text, reading in zip(texts, readings, strict=True):
        written = {score: encode(f"{text} {score}") for score in SCORES}
        lead = next(place for place, tokens in enumerate(zip(*written.values(), strict=False)) if len(set(tokens)) > 1)
        rows = {score: base.engine.score_sequences([ids])[0] for score, ids in written.items()}
        found = {score: math.exp(sum(row[lead - 1 :])) for score, row in rows.items()}
        raw = json.loads(reading.raw or "")
        assert raw["7"] == pytest.approx(found[7], abs=2e-5)
        assert raw["1"] == pytest.approx(max(0.0, found[1] - found[10]) if begins(encode) else found[1], abs=2e-5)
        mass = sum(raw.values())
        told = sum(int(score) * p for score, p in raw.items()) / mass if mass >= LEAST_MASS else None
        assert reading.score == (None if told is None else pytest.approx(told, abs=1e-3))


def begins(encode: Callable[[str], tuple[int, ...]]) -> bool:
    """Whether the tokens of `1` are the first of those of `10`."""
    one, ten = encode("Score: 1"), encode("Score: 10")
    return len(one) < len(ten) and ten[: len(one)] == one


def test_a_text_that_leaves_no_room_for_a_score_could_not_be_told(base: Model) -> None:
    positions = base.engine.positions
    assert positions is not None
    room = positions - len(base.encoder.plain("Score: 10")) + len(base.encoder.plain("Score:"))
    fits = next(text for n in range(positions, 0, -1) if len(base.encoder.plain(text := "a " * n + "Score:")) <= room)
    readings = read_distributions([fits, f"a a a {fits}", fits], base)
    assert [reading == Reading(None, TOO_LONG) for reading in readings] == [False, True, False]
    assert readings[0] == readings[2]
