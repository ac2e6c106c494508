from __future__ import annotations

from pathlib import Path

import pytest

from isheep.errors import UserError
from isheep.estimate.probe import FREE, Probe, probed, small
from isheep.estimate.workload import Work
from isheep.recipe import Recipe, difference, load_recipe, overridden
from isheep.store.costs import costs
from isheep.store.run import Run


def test_a_probe_is_the_same_recipe_but_small(recipe: Recipe) -> None:
    made = small(recipe)
    assert (made.size, made.iterations, made.evaluate.limit) == (50, 2, 50)
    assert all(line.startswith(FREE) for line in difference(made, recipe))
    tiny = small(overridden(recipe, ["size=20", "iterations=1", "evaluate.limit=5"]))
    assert (tiny.size, tiny.iterations, tiny.evaluate.limit) == (20, 1, 5)
    assert small(load_recipe("lamb", ["size=100000", "select.density.clusters=80000"])).select.density.clusters == 40


def test_a_finished_run_is_taken_as_it_is(recipe: Recipe, probe: Probe) -> None:
    before = (probe.run.directory / "manifest.json").read_bytes()
    again = probed(overridden(recipe, ["size=9999", "iterations=9", "evaluate.limit=80"]), probe.run.directory)
    assert (probe.run.directory / "manifest.json").read_bytes() == before
    assert again.costs == probe.costs
    assert again.habits(2) == probe.habits(2)


def test_another_recipes_run_is_no_probe(recipe: Recipe, probe: Probe) -> None:
    with pytest.raises(UserError, match=r"is a run of another recipe \(synthesize.shots: 3 -> 2\)"):
        probed(overridden(recipe, ["synthesize.shots=2"]), probe.run.directory)


def test_of_a_run_itself_its_own_figures_come_back(recipe: Recipe, real: Run) -> None:
    mirror = probed(recipe, real.directory)
    assert (mirror.last, mirror.evaluated, mirror.items) == (2, 1.0, 80)
    for one in costs(real):
        tokens = one["tokens"]
        work = Work(one["stage"], one["iteration"], 1, tokens["read"], tokens["written"])
        told = mirror.seconds(work)
        assert told == pytest.approx(one["seconds"])
    assert mirror.around() >= 0
    habits = mirror.habits(2)
    assert habits.response.written * recipe.size == pytest.approx(
        sum(real.iteration(2).table("responses").columns("tokens")["tokens"])
    )
    assert mirror.habits(7) == mirror.habits(2)


def test_the_evaluation_grows_with_the_items(recipe: Recipe, probe: Probe) -> None:
    assert probe.items == 80
    assert probe.evaluated == pytest.approx(80 / 50)
    whole = probed(overridden(recipe, ["evaluate.limit=null"]), probe.run.directory)
    assert whole.evaluated == pytest.approx(2000 / 50)


def test_a_run_that_began_is_not_gone_on_with_under_another_recipe(recipe: Recipe, tmp_path: Path) -> None:
    with Run.create_or_resume(tmp_path / "run", overridden(small(recipe), ["size=7"])):
        pass
    with pytest.raises(UserError, match="size"):
        probed(recipe, tmp_path / "run")


def test_a_probe_that_keeps_nothing_asks_for_a_larger_one(recipe: Recipe, tmp_path: Path) -> None:
    unmeasured = ["evaluate.benchmarks=[]", "evaluate.tasks=null"]
    strict = overridden(recipe, ["size=8", "engine.batch_size=8", "select.threshold=9.99", *unmeasured])
    with pytest.raises(UserError, match=r"a probe of 8 records is too small: iteration 1 kept nothing.*Make a larger"):
        probed(strict, tmp_path / "probe")
