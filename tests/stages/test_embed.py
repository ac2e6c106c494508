"""Vectors of seeds and kept pairs: the base's, of a sample that repeats, and none where nobody asked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from isheep.models import Model, Models
from isheep.recipe import Recipe, parse_recipe
from isheep.records import Instruction, Pair, Response, SeedTask, Selection
from isheep.stages.embed import UNASKED, VECTORS, embed, wanted
from isheep.stages.figures import vectors
from isheep.store.run import Iteration, Run

SEEDS = [SeedTask(f"s{n}", f"Name bird {n}.", "", "Owl.", False) for n in range(5)]


def recipe(**settings: Any) -> Recipe:
    base = {"model": {"path": "package:lamb/model", "dtype": "float32"}, "engine": {"device": "cpu", "threads": 1}}
    return parse_recipe({**base, **settings}, "test")


@pytest.fixture(scope="module")
def lamb() -> Iterator[Model]:
    with Models(recipe()) as models:
        yield models.base


@pytest.fixture
def iteration(tmp_path: Path) -> Iterator[Callable[[int], Iteration]]:
    with Run.create_or_resume(tmp_path / "run", recipe()) as run:

        def filled(number: int) -> Iteration:
            one = run.iteration(number)
            if number:
                one.table("instructions").append(
                    [Instruction(f"i{n}", number, n, f"Say {n}.", "", [], 0, "p") for n in range(12)]
                )
                one.table("responses").append([Response(f"i{n}", f"It is {n}.", "stop", 3) for n in range(12)])
                one.table("selection").append([Selection(f"i{n}", n % 3 > 0) for n in range(12)])
            return one

        yield filled


def ids(one: Iteration) -> list[str]:
    return [str(name) for name in pq.read_table(one.path / VECTORS)["id"].to_pylist()]


def test_the_kept_pairs_get_the_bases_vectors(iteration: Callable[[int], Iteration], lamb: Model) -> None:
    one = iteration(1)
    embed(one, SEEDS, recipe(), lamb)
    kept = [n for n in range(12) if n % 3]
    assert ids(one) == [f"i{n}" for n in kept]
    expected = vectors([Pair(f"i{n}", f"Say {n}.", "", f"It is {n}.") for n in kept], 1, lamb)
    np.testing.assert_array_equal(one.read_vectors(VECTORS), np.stack(expected))
    before = (one.path / VECTORS).stat()
    embed(one, SEEDS, recipe(), lamb)
    assert (one.path / VECTORS).stat() == before


def test_in_iteration_0_they_are_of_the_seed_tasks(iteration: Callable[[int], Iteration], lamb: Model) -> None:
    base = iteration(0)
    embed(base, SEEDS, recipe(), lamb)
    assert ids(base) == [seed.id for seed in SEEDS]


def test_of_many_a_sample_is_drawn_that_repeats(iteration: Callable[[int], Iteration], lamb: Model) -> None:
    one = iteration(1)
    embed(one, SEEDS, recipe(health={"vectors": 3}), lamb)
    drawn = ids(one)
    assert len(drawn) == 3 == len(one.read_vectors(VECTORS))
    (one.path / VECTORS).unlink()
    embed(one, SEEDS, recipe(health={"vectors": 3}), lamb)
    assert ids(one) == drawn == sorted(drawn, key=lambda name: int(name[1:]))


def test_where_none_are_wanted_there_are_none(iteration: Callable[[int], Iteration], lamb: Model) -> None:
    one = iteration(1)
    assert len(one.read_vectors(VECTORS)) == 0
    embed(one, SEEDS, recipe(health={"vectors": 0}), lamb)
    assert (one.path / VECTORS).is_file()
    assert len(one.read_vectors(VECTORS)) == 0


@pytest.mark.parametrize(
    ("engine", "asked", "number"),
    [("transformers", None, UNASKED), ("vllm", None, 0), ("openai", None, 0), ("vllm", 9, 9), ("transformers", 0, 0)],
)
def test_an_engine_that_would_start_anew_for_it_does_so_when_asked(engine: str, asked: int | None, number: int) -> None:
    assert wanted(recipe(engine={"name": engine}, health={"vectors": asked})) == number
