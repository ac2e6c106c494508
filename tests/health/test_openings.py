"""How an instruction opens: courtesies are passed over, function words and signs bound the phrase behind."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import yaml

from isheep.filters.rules import read_language
from isheep.health.openings import Openings, expected_distinct
from isheep.recipe import locate

ENGLISH = locate("package:filters/english.yaml")
OPENINGS = Openings(read_language(ENGLISH))


@pytest.mark.parametrize(
    ("text", "opening"),
    [
        ("Write a short story about the sea.", ("write", "story")),
        ("Please name three large rivers of Asia.", ("name", "rivers")),
        ("Rewrite the following sentence in the passive voice.", ("rewrite", "sentence")),
        ("Come up with a title for a blog post.", ("come", "title")),
        ('Generate a random 10-digit phone number: "x"', ("generate", "number")),
        ("Given a list of numbers, find the largest.", ("given", "list")),
        ("What is the value of 3 + 4?", ("what", "value")),
        ("What\u2019s the area of a circle?", ("what\u2019s", "area")),
        ("In this task, you will be given a sentence.", ("in", "task")),
        ("Can you explain why it rains?", ("can", "explain")),
        ("TRANSLATE it", ("translate", None)),
        ("- Écris une phrase sur Paris", ("écris", "paris")),
        ("please", None),
        ("?! ...", None),
        ("", None),
    ],
)
def test_opening(text: str, opening: tuple[str, str | None] | None) -> None:
    assert OPENINGS.opening(text) == opening


def test_another_language_brings_its_own_words(tmp_path: Path) -> None:
    data = yaml.safe_load(ENGLISH.read_text(encoding="utf-8"))
    file = tmp_path / "german.yaml"
    file.write_text(yaml.safe_dump(data | {"courtesies": ["bitte"], "function_words": ["eine", "über", "das"]}))
    german = Openings(read_language(file))
    assert german.opening("Bitte schreibe eine kurze Geschichte über das Meer.") == ("schreibe", "geschichte")
    assert OPENINGS.opening("Bitte schreibe eine kurze Geschichte über das Meer.") == ("bitte", "meer")


def test_expected_distinct_is_the_mean_over_samples() -> None:
    bag = [("a", None)] * 5 + [("b", None)] * 2 + [("c", "x"), ("c", "y")]
    draw = random.Random(0)
    mean = sum(len(set(draw.sample(bag, 4))) for _ in range(20_000)) / 20_000
    assert expected_distinct(bag, 4) == pytest.approx(mean, abs=0.02)
    assert expected_distinct(bag, 9) == pytest.approx(4)
    assert expected_distinct(bag, 1) == pytest.approx(1)
    assert expected_distinct(bag, 10) is None
    assert expected_distinct([*bag, None], 10) is None


def test_a_large_set_is_no_trouble() -> None:
    assert expected_distinct([("write", str(number % 50)) for number in range(100_000)]) == pytest.approx(43.4, abs=0.1)
