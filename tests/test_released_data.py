"""What the measures find in the authors' released data, which is not part of the project; skipped where it is not.

Their model collapsed: the fourth set repeats itself and answers in a few words, the first does neither.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from isheep.health import twins_within_share
from isheep.health.alarms import alarms
from tests.data import SHARED

ROOT = Path(__file__).parents[1]
DATA = SHARED / "isheep_72b"

pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="the authors' released data is not here")


@pytest.fixture(scope="module")
def script() -> ModuleType:
    """benchmarks/released_data.py."""
    spec = importlib.util.spec_from_file_location("released_data", ROOT / "benchmarks" / "released_data.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look themselves up there
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def sets(script: ModuleType) -> dict[int, Any]:
    return {number: script.read(DATA, number) for number in (1, 4)}


@pytest.fixture(scope="module")
def figures(script: ModuleType, sets: dict[int, Any]) -> dict[int, dict[str, Any]]:
    return {number: script.measure(kept) for number, kept in sets.items()}


def test_the_fourth_set_repeats_itself_and_the_first_does_not(figures: dict[int, dict[str, Any]]) -> None:
    share = {number: found["with a near-twin among the others (share)"] for number, found in figures.items()}
    assert share[1] == 8 / 2038
    assert 0.30 < share[4] < 0.45
    assert figures[4]["different openings of 100"] < figures[1]["different openings of 100"] - 5


def test_responses_shrink_from_57_words_to_15(figures: dict[int, dict[str, Any]]) -> None:
    assert {number: found["words of a response, median"] for number, found in figures.items()} == {1: 57, 4: 15}


def test_novelty_drops_the_twins(script: ModuleType, sets: dict[int, Any], figures: dict[int, dict[str, Any]]) -> None:
    for number, kept in sets.items():
        texts = [record.instruction for record in kept.instructions]
        novel = script.novel_texts(texts)
        assert twins_within_share(novel) == 0.0
        # One of each pair stays: no more is dropped than has a twin.
        with_twin = figures[number]["with a near-twin among the others (share)"]
        assert 0 < figures[number]["dropped by novelty (share)"] < with_twin
    assert figures[4]["dropped by novelty (share)"] > 0.2
    assert figures[1]["dropped by novelty (share)"] < 0.01


def test_the_alarms_tell_the_two_apart(script: ModuleType, sets: dict[int, Any]) -> None:
    first, fourth = (script.run_health(sets[number]) for number in (1, 4))
    assert not {"near_twins", "twins_within", "short_responses"} & {*alarms([first])}
    assert {"near_twins", "twins_within", "short_responses"} <= {*alarms([first, fourth])}


def test_rules_drop_hardly_anything_that_passed_the_authors_own(script: ModuleType, sets: dict[int, Any]) -> None:
    dropped = {number: script.dropped_by_rules(kept) for number, kept in sets.items()}
    assert {number: len(found) / len(sets[number].instructions) < 0.01 for number, found in dropped.items()} == {
        1: True,
        4: True,
    }
    # Read and judged in docs/lab-log.md: right drops, and the three false alarms that were mended.
    assert {384, 594, 1295, 1344, 1361} <= {*dropped[1]}
    assert not {514, 1263} & {*dropped[1]}
    assert 3250 not in dropped[4]
