"""What a program or a notebook has: a recipe, a run of it, and the run looked at."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from datasets import load_dataset

from isheep import Recipe, Run, run
from isheep.errors import UserError
from isheep.recipe import load_recipe
from isheep.records import SCHEMAS, TABLES
from isheep.store.joined import JOINED, find
from isheep.store.run import Run as Stored
from isheep.store.status import status

SMALL = {"size": 40, "train": {"steps": 4, "warmup_steps": 1}, "evaluate": {"limit": 20}}


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, list[str]]:
    """A run of two iterations, made by the function itself, and what was told as it went on."""
    told: list[str] = []
    recipe = Recipe.load("lamb", "iterations=2", **SMALL)
    directory = str(tmp_path_factory.mktemp("runs") / "lamb")
    return run(recipe, directory, after_iteration=lambda one: told.append(one.status()["state"])), told


@pytest.fixture
def finished(ended: tuple[Run, list[str]]) -> Run:
    return ended[0]


def test_a_recipe_is_what_the_same_words_mean_on_the_command_line() -> None:
    assert Recipe.load() == load_recipe("lamb")
    assert Recipe.load("qwen1.5-7b", "ablations/threshold-4", "size=9") == load_recipe(
        ["qwen1.5-7b", "ablations/threshold-4"], ["size=9"]
    )


def test_keyword_arguments_go_over_recipes_and_words(tmp_path: Path) -> None:
    file = tmp_path / "my.yaml"
    file.write_text("extends: lamb\ntrain: {epochs: 3}\nsize: 7\n")
    found = Recipe.load(file, "size=8", size=9, train={"steps": 5, "lora": {"rank": 2}}, engine="vllm")
    words = ["size=9", "train.steps=5", "train.lora.rank=2", "engine.name=vllm"]
    assert found == load_recipe(str(file), words)
    assert (found.train.epochs, found.train.lora.alpha) == (3, load_recipe("lamb").train.lora.alpha)
    assert Recipe.load(evaluate="paper") == load_recipe("lamb", ["evaluate=paper"])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sise": 3}, "recipe lamb, sise: unknown setting. Did you mean `size`?"),
        ({"size": "3"}, "recipe lamb, size: cannot be '3', which is text. Give a whole number of at least 1, without"),
        ({"train": {"stesp": 3}}, "recipe lamb, train.stesp: unknown setting. Did you mean `train.steps`?"),
        ({"train": 3}, "recipe lamb, train: is a group of settings, so it cannot be 3."),
    ],
)
def test_a_wrong_argument_is_told_as_a_wrong_setting_is(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        Recipe.load("lamb", **settings)
    assert str(caught.value).startswith(message)


def test_what_was_told_on_the_way(ended: tuple[Run, list[str]]) -> None:
    assert ended[1] == ["running"] * 3 + ["finished"]


def test_of_a_run_that_has_ended_only_that_is_told(finished: Run) -> None:
    told: list[str] = []
    run(finished.recipe, finished.directory, after_iteration=lambda one: told.append(one.state()))
    assert told == ["finished"]


def test_a_run_is_read_by_its_directory(finished: Run) -> None:
    again = Run.read(str(finished.directory))
    assert (again.directory, again.recipe, again.state()) == (finished.directory, finished.recipe, "finished")
    assert repr(again) == f"Run({str(again.directory)!r}, finished, best iteration {again.best_iteration})"
    assert again.status() == status(Stored.read(finished.directory))
    assert again.best_iteration == again.status()["best_iteration"]


def test_the_same_call_goes_on_with_a_run_that_has_ended(finished: Run) -> None:
    before = (finished.directory / "iteration-02" / "stages.json").read_bytes()
    assert run(finished.recipe, finished.directory).state() == "finished"
    assert (finished.directory / "iteration-02" / "stages.json").read_bytes() == before


def test_scores_are_rows_of_a_data_frame(finished: Run) -> None:
    scores = pd.DataFrame(finished.scores())
    assert list(scores.columns) == ["iteration", "benchmark", "metric", "value", "low", "high", "n"]
    assert sorted(set(scores["iteration"])) == [0, 1, 2]
    for row in finished.scores():
        document = json.loads((finished.directory / f"iteration-{row['iteration']:02d}" / "scores.json").read_text())
        assert document[row["benchmark"]][row["metric"]] == {name: row[name] for name in ("value", "low", "high", "n")}


def test_records_are_every_record_of_the_run_with_what_became_of_it(finished: Run) -> None:
    table = finished.records()
    fields = [name for one in JOINED for name in SCHEMAS[TABLES[one]].names]
    assert set(table.column_names) == set(fields)
    assert len(table.column_names) == len(set(fields))
    told = [record.as_dict() for record in find(Stored.read(finished.directory))]
    assert table.to_pylist() == [{name: one.get(name) for name in table.column_names} for one in told]
    assert {one["kept"] for one in told} == {True, False}
    assert finished.records(iteration=2).to_pylist() == [
        {name: one.get(name) for name in table.column_names} for one in told if one["iteration"] == 2
    ]


def test_what_could_not_be_told_is_no_number_in_pandas(finished: Run) -> None:
    frame = finished.records().to_pandas()
    unasked = frame["quality"].isna()
    assert 0 < unasked.sum() < len(frame)
    assert all(math.isnan(value) for value in frame.loc[unasked, "quality"])
    assert frame.loc[frame["response"].isna(), "dropped_by"].notna().all()


def test_records_of_what_is_under_way_are_those_that_there_are(finished: Run, tmp_path: Path) -> None:
    with Stored.create_or_resume(tmp_path / "run", finished.recipe) as owned:
        seen = Run.read(tmp_path / "run")
        assert seen.records().num_rows == 0
        assert seen.records().schema == finished.records().schema
        assert seen.best_iteration is None
        rows = list(Stored.read(finished.directory).iteration(1).table("instructions"))[:5]
        owned.iteration(1).table("instructions").append(rows)
        found = seen.records().to_pylist()
    assert [row["id"] for row in found] == [row.id for row in rows]
    assert {row["kept"] for row in found} <= {None, False}
    assert {row["response"] for row in found} == {None}


def test_the_training_set_is_the_kept_pairs(finished: Run) -> None:
    rows = finished.training_set(iteration=2)
    kept = [row for row in finished.records(2).to_pylist() if row["kept"]]
    assert [row["id"] for row in rows] == [row["id"] for row in kept]
    assert [row["messages"][1]["content"] for row in rows] == [row["response"] for row in kept]
    file = finished.directory / "iteration-02" / "training-set.jsonl"
    assert load_dataset("json", data_files=str(file), split="train").num_rows == len(rows)


def test_the_weights_are_the_folder_that_peft_loads(finished: Run) -> None:
    assert finished.weights(1) == finished.directory / "iteration-01" / "adapter"
    assert (finished.weights(2) / "adapter_config.json").is_file()


def test_what_is_not_there_is_told_with_what_is(finished: Run, tmp_path: Path) -> None:
    asked: list[tuple[Callable[[], object], str]] = [
        (lambda: finished.records(7), "has no records of iteration 7. There are those of: 1, 2."),
        (lambda: finished.training_set(0), "has no training set of iteration 0 (the base). There are those of: 1, 2."),
        (lambda: finished.weights(0), "has no weights of iteration 0 (the base). There are those of: 1, 2."),
    ]
    for ask, what in asked:
        with pytest.raises(UserError) as caught:
            ask()
        assert str(caught.value) == f"{finished.directory}: {what}"
    with pytest.raises(UserError, match="is not a run"):
        Run.read(tmp_path)
    with Stored.create_or_resume(tmp_path / "run", finished.recipe), pytest.raises(UserError, match="measured nothing"):
        Run.read(tmp_path / "run").weights()


def test_a_url_is_no_folder(finished: Run) -> None:
    url = "s3://bucket/run"
    asks: list[Callable[[], Run]] = [lambda: Run.read(url), lambda: run(finished.recipe, url)]
    for ask in asks:
        with pytest.raises(UserError, match="is a URL, and has to be a path on this machine"):
            ask()
