"""Which pairs are kept, and the reasons of the others."""

from __future__ import annotations

from collections import Counter

import pytest

from isheep.recipe import Recipe, parse_recipe
from isheep.records import Assessment
from isheep.stages.select import choose


def recipe(**select: object) -> Recipe:
    return parse_recipe({"model": {"path": "package:lamb/model"}, "select": select}, "test")


def assessed(*scores: tuple[float | None, float | None]) -> list[Assessment]:
    return [Assessment(f"r{place}", *pair, None, None, "base") for place, pair in enumerate(scores)]


def test_both_scores_must_be_greater_than_the_threshold() -> None:
    rows = choose(assessed((8.1, 8.1), (8.0, 9.0), (9.0, 2.0)), 1, recipe(threshold=8))
    assert [row.kept for row in rows] == [True, False, False]
    assert [row.dropped_by for row in rows] == [None, "threshold", "threshold"]
    assert rows[2].reason == "following 2.00, not over 8"


def test_a_score_that_could_not_be_told_drops_by_its_own_name() -> None:
    (row,) = choose(assessed((None, 9.0)), 1, recipe(threshold=8))
    assert (row.kept, row.dropped_by, row.reason) == (False, "unparsed", "no score for quality")


def test_without_a_threshold_everything_is_kept_even_the_unparsed() -> None:
    assert all(row.kept for row in choose(assessed((None, None), (1.0, 1.0)), 1, recipe(threshold=None)))


@pytest.mark.parametrize(("iteration", "kept"), [(1, 3), (2, 7), (3, 7)])
def test_the_random_control_keeps_its_number_for_the_iteration(iteration: int, kept: int) -> None:
    rows = choose(assessed(*[(9.0, 9.0)] * 20), iteration, recipe(threshold=None, random=[3, 7]))
    assert Counter(row.dropped_by for row in rows) == {None: kept, "random": 20 - kept}


def test_the_cap_draws_from_what_the_threshold_left() -> None:
    rows = choose(assessed(*[(9.0, 9.0)] * 10, *[(1.0, 1.0)] * 10), 1, recipe(cap=4))
    assert Counter(row.dropped_by for row in rows) == {None: 4, "cap": 6, "threshold": 10}


def test_another_run_seed_draws_others() -> None:
    rows = assessed(*[(9.0, 9.0)] * 30)
    one, two = (
        {row.id for row in choose(rows, 1, recipe(cap=5).model_copy(update={"seed": seed})) if row.kept}
        for seed in (0, 1)
    )
    assert one != two
