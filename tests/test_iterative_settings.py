"""The loop hands every setting on: two iterations of lamb, small and measured by nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from isheep.loop import run
from isheep.models import Models
from isheep.recipe import Recipe, load_recipe, locate
from isheep.seeds import load_seeds
from isheep.stages.synthesize import synthesize
from isheep.store.run import Iteration, Run

SMALL = [
    "iterations=2", "size=24", "assess.level=none", "select.threshold=0", "select.cap=16",
    "train.steps=2", "train.warmup_steps=0", "evaluate.benchmarks=[]", "evaluate.tasks=null",
]  # fmt: skip
SEEDS = {seed.id for seed in load_seeds(locate("package:lamb/seeds.jsonl"))}


def small(*overrides: str) -> Recipe:
    return load_recipe("lamb", [*SMALL, *overrides])


TOTAL = small(
    "setting=total_base", "synthesize.shots_from=mixed", "synthesize.shots_drawn=inverse_perplexity",
    "engine.batch_size=4",
)  # fmt: skip


@pytest.fixture(scope="module")
def total(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("total") / "run"
    run(TOTAL, directory)
    return directory


def trained_on(iteration: Iteration) -> list[str]:
    return [json.loads(line)["id"] for line in iteration.training_set_path.read_text(encoding="utf-8").splitlines()]


def shown(iteration: Iteration) -> list[list[str]]:
    return [record.shot_ids for record in iteration.table("instructions").rows()]


def shots_document(iteration: Iteration) -> Any:
    return iteration.read_json("shots.json")


def test_total_base_trains_on_everything_kept_so_far(total: Path) -> None:
    one, two = (Run.read(total).iteration(number) for number in (1, 2))
    kept = [[row.id for row in iteration.table("selection").rows() if row.kept] for iteration in (one, two)]
    assert [len(ids) for ids in kept] == [16, 16]
    assert trained_on(one) == kept[0]
    assert trained_on(two) == kept[0] + kept[1]
    assert len(set(trained_on(two))) == 32
    figures = [iteration.read_json("train.json") or {} for iteration in (one, two)]
    assert [(row["examples"], row["start"]) for row in figures] == [(16, "base"), (32, "base")]


def test_mixed_shows_what_was_kept_before_and_each_model_scores_for_itself(total: Path) -> None:
    one, two = (Run.read(total).iteration(number) for number in (1, 2))
    pools = [{row["id"] for row in shots_document(iteration)["pool"]} for iteration in (one, two)]
    assert pools[0] == SEEDS
    assert pools[1] > SEEDS
    assert pools[1] - SEEDS <= set(trained_on(one))
    assert {id_ for ids in shown(one) for id_ in ids} <= SEEDS
    assert {id_ for ids in shown(two) for id_ in ids} & set(trained_on(one))
    assert [shots_document(iteration)["model"] for iteration in (one, two)] == ["base", "iteration-1"]
    assert all(row["perplexity"] > 1 for iteration in (one, two) for row in shots_document(iteration)["pool"])


@pytest.mark.parametrize("figures_too", [False, True])
def test_a_synthesis_that_was_cut_draws_the_same_shots(total: Path, figures_too: bool) -> None:
    with Run.create_or_resume(total, TOTAL) as owned:
        before = owned.iteration(2).table("instructions").rows()
        document = shots_document(owned.iteration(2))
    folder = total / "iteration-02"
    (folder / "instructions" / "done.json").unlink()
    parts = sorted((folder / "instructions").glob("part-*.parquet"))
    assert len(parts) > 1
    for part in parts[1:]:
        part.unlink()
    if figures_too:
        (folder / "shots.json").unlink()
    with Run.create_or_resume(total, TOTAL) as owned, Models(TOTAL) as models:
        one, two = owned.iteration(1), owned.iteration(2)
        synthesize(two, [one], load_seeds(locate(TOTAL.seeds.path)), TOTAL, models.out_of(one))
        assert two.table("instructions").rows() == before
        assert shots_document(two) == document


def test_one_last_trains_on_and_clusters_give_a_shot_each(tmp_path: Path) -> None:
    recipe = small("setting=one_last", "synthesize.shots_drawn=clusters")
    run(recipe, tmp_path / "run")
    one, two = (Run.read(tmp_path / "run").iteration(number) for number in (1, 2))
    assert [(iteration.read_json("train.json") or {})["start"] for iteration in (one, two)] == ["base", "iteration-1"]
    assert not set(trained_on(one)) & set(trained_on(two))
    for iteration in (one, two):
        cluster = {row["id"]: row["cluster"] for row in shots_document(iteration)["pool"]}
        assert set(cluster) == SEEDS
        assert all(len({cluster[id_] for id_ in ids}) == recipe.synthesize.shots for ids in shown(iteration))


def test_direct_is_one_iteration_of_the_base(tmp_path: Path) -> None:
    run(small("setting=direct", "iterations=1", "size=40"), tmp_path / "run")
    (_, one) = Run.read(tmp_path / "run").iterations()
    assert sum(record.dropped_by is None for record in one.table("instructions").rows()) == 40
    assert {record.source for record in one.table("instructions").rows()} == {0}
    assert shots_document(one) is None
    assert (one.read_json("train.json") or {})["start"] == "base"


def test_full_fine_tuning_goes_through_the_loop(tmp_path: Path) -> None:
    recipe = small("train.method=full", "setting=one_last", "size=16", "select.cap=8")
    ended = run(recipe, tmp_path / "run")
    one, two = (ended.iteration(number) for number in (1, 2))
    assert [iteration.weights_path.name for iteration in (one, two)] == ["model", "model"]
    assert [(iteration.read_json("train.json") or {})["start"] for iteration in (one, two)] == ["base", "iteration-1"]
    made = {name: json.loads((two.path / "stages.json").read_text())[name]["inputs"] for name in ("respond", "train")}
    assert all(inputs["iteration-01/model"] and not inputs["iteration-01/adapter"] for inputs in made.values())
