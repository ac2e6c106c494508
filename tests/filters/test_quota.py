"""So many at random, or the highest."""

from __future__ import annotations

import random

from isheep.filters import Drop
from isheep.filters.quota import draw, top

IDS = [f"r{place}" for place in range(10)]


def test_a_draw_spares_its_number_whichever() -> None:
    drops = draw(IDS, 4, "cap", random.Random(0))
    assert len(drops) == 6
    assert set(drops.values()) == {Drop("cap", "not among the 4 drawn of 10")}
    assert set(draw(IDS, 4, "cap", random.Random(1))) != set(drops)
    assert draw(IDS, 10, "cap", random.Random(0)) == draw(IDS, 11, "cap", random.Random(0)) == {}


def test_the_highest_stay() -> None:
    drops = top({"a": 3.0, "b": 9.5, "c": 7.0, "d": 8.0}, 2, random.Random(0))
    assert drops == {
        "a": Drop("top", "score 3.00 is not among the 2 highest of 4"),
        "c": Drop("top", "score 7.00 is not among the 2 highest of 4"),
    }
    assert top({"a": 3.0}, 2, random.Random(0)) == {}


def test_which_of_equals_stay_is_drawn() -> None:
    scores = dict.fromkeys(IDS, 7.0) | {"high": 9.0, "low": 1.0}
    stayed = [set(scores) - set(top(scores, 3, random.Random(seed))) for seed in range(60)]
    assert all(len(ids) == 3 and "high" in ids and "low" not in ids for ids in stayed)
    assert set().union(*stayed) == {*IDS, "high"}
