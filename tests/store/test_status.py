"""The status document: exact counts at every stage, zeros and nulls before a stage, the best iteration."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from isheep.progress import Progress
from isheep.recipe import Recipe, parse_recipe
from isheep.records import Assessment, Instruction, Response, Selection
from isheep.store.run import Run
from isheep.store.status import best_iteration, status, stopped, watched, watched_metric
from isheep.store.under_way import note_progress


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    return parse_recipe({"model": {"path": str(tmp_path / "model")}, "evaluate": {"benchmarks": ["b", "a"]}}, "test")


def instruction(index: int, dropped_by: str | None = None) -> Instruction:
    return Instruction(f"i{index}", 1, index, f"Do {index}.", "", [], 0, "p", dropped_by, dropped_by and "why")


def response(index: int, dropped_by: str | None = None) -> Response:
    return Response(f"i{index}", "Done.", "stop", 2, dropped_by, dropped_by and "why")


def measured(value: float | None) -> dict[str, Any]:
    return {"value": value, "low": value, "high": value, "n": 400}


def fill(run: Run) -> None:
    run.iteration(0).write_json(
        "scores.json", {"a": {"x": measured(0.9)}, "b": {"y": measured(0.4), "z": measured(0.9)}}
    )
    one = run.iteration(1)
    one.table("instructions").append([instruction(0), instruction(1, "short"), instruction(2, "novelty")])
    one.table("instructions").append([instruction(3, "short"), instruction(4), instruction(5), instruction(6)])
    one.table("responses").append([response(0), response(4), response(5), response(6, "echo")])
    one.table("assessments").append(
        [
            Assessment("i0", 9.0, 9.5, "9", "9.5", "current"),
            Assessment("i4", None, 9.0, "high", "9", "current"),
            Assessment("i5", 3.0, 9.0, "3", "9", "current"),
        ]
    )
    one.table("selection").append(
        [
            Selection("i0", True),
            Selection("i4", False, "unparsed", "no score"),
            Selection("i5", False, "threshold", "quality 3 <= 8"),
        ]
    )
    one.write_json("health.json", {"keep_share": 1 / 3, "histogram": [1, 2]})
    one.write_json("train.json", {"examples": 1, "steps": 2, "loss": 0.5, "seconds": 9.0})
    one.write_json("scores.json", {"b": {"y": measured(0.6), "z": measured(0.1)}})
    run.iteration(2).table("instructions").append([instruction(0)])


EMPTY_TRAIN = {"examples": None, "steps": None, "loss": None}


def test_status_is_the_contracted_document(tmp_path: Path, recipe: Recipe) -> None:
    with Run.create_or_resume(tmp_path / "run", recipe) as run:
        fill(run)
        note_progress(run.directory, Progress("Respond 2", 0, 1, None))
        now = status(run)
    assert now["state"] == "running"
    assert now["progress"].pop("at")
    assert now["progress"] == {"what": "Respond 2", "done": 0, "total": 1, "rate": None}
    document = status(Run.read(tmp_path / "run"))
    assert list(document) == ["recipe", "state", "best_iteration", "stopped", "progress", "iterations"]
    assert document["progress"] is None, "nobody is at it"
    assert document["stopped"] is None
    assert document["recipe"] == recipe.model_dump(mode="json")
    assert document["state"] == "interrupted"
    assert document["best_iteration"] == 1
    zero, one, two = document["iterations"]
    assert one == {
        "iteration": 1,
        "instructions": {"made": 7, "dropped": {"short": 2, "novelty": 1}},
        "responses": {"made": 4, "dropped": {"echo": 1}},
        "assessed": 3,
        "unparsed": 1,
        "kept": 1,
        "selection": {"dropped": {"threshold": 1, "unparsed": 1}},
        "health": {"keep_share": 1 / 3, "histogram": [1, 2]},
        "train": {"examples": 1, "steps": 2, "loss": 0.5},
        "scores": {"b": {"y": measured(0.6), "z": measured(0.1)}},
        "cost": {},
    }
    assert zero == {
        "iteration": 0,
        "instructions": {"made": 0, "dropped": {}},
        "responses": {"made": 0, "dropped": {}},
        "assessed": 0,
        "unparsed": 0,
        "kept": 0,
        "selection": {"dropped": {}},
        "health": {},
        "train": EMPTY_TRAIN,
        "scores": {"a": {"x": measured(0.9)}, "b": {"y": measured(0.4), "z": measured(0.9)}},
        "cost": {},
    }
    assert (two["instructions"], two["responses"]) == ({"made": 1, "dropped": {}}, {"made": 0, "dropped": {}})
    assert (two["train"], two["scores"]) == (EMPTY_TRAIN, {})
    assert json.loads(json.dumps(document)) == document


def test_a_score_that_was_not_asked_for_is_not_unparsed(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"model": {"path": str(tmp_path / "model")}}
    for level, unparsed in (("quality", 1), ("both", 1), ("following", 0), ("none", 0)):
        settings["assess"] = {"level": level}
        settings["select"] = {"filters": ["cap"]} if level == "none" else {}
        with Run.create_or_resume(tmp_path / level, parse_recipe(settings, "test")) as run:
            fill(run)
            row = status(run)["iterations"][1]
        assert (row["assessed"], row["unparsed"]) == (3, unparsed)


def test_where_a_run_stopped_is_told_once_it_has_ended(tmp_path: Path, recipe: Recipe) -> None:
    with Run.create_or_resume(tmp_path / "run", recipe) as run:
        fill(run)
        run.finish({"best_iteration": 1, "stopped": {"iteration": 1, "why": "b y gained nothing."}})
        assert status(run)["stopped"] is None  # it goes on
    document = status(Run.read(tmp_path / "run"))
    assert document["stopped"] == {"iteration": 1, "why": "b y gained nothing."}
    assert stopped(document) == "The loop stopped after iteration 1 of 3: b y gained nothing."
    assert stopped(document | {"stopped": None}) is None


def test_the_best_iteration_goes_by_the_recipes_metric(tmp_path: Path) -> None:
    settings = {"model": {"path": "m"}, "evaluate": {"benchmarks": ["b", "a"]}, "stop": {"metric": "b/z"}}
    with Run.create_or_resume(tmp_path / "run", parse_recipe(settings, "test")) as run:
        fill(run)
    document = status(Run.read(tmp_path / "run"))
    assert document["best_iteration"] == 0
    assert watched(document) == ("b", "z")
    assert watched({"recipe": {}, "iterations": document["iterations"]}) == ("a", "x")


def test_made_is_dropped_and_kept_at_every_stage(tmp_path: Path, recipe: Recipe) -> None:
    with Run.create_or_resume(tmp_path / "run", recipe) as run:
        fill(run)
        row = status(run)["iterations"][1]
    assert row["instructions"]["made"] == sum(row["instructions"]["dropped"].values()) + row["responses"]["made"]
    assert row["responses"]["made"] == sum(row["responses"]["dropped"].values()) + row["assessed"]
    assert row["assessed"] == sum(row["selection"]["dropped"].values()) + row["kept"]


def test_a_run_that_has_only_begun_shows_iteration_0(tmp_path: Path, recipe: Recipe) -> None:
    Run.create_or_resume(tmp_path / "run", recipe).release()
    document = status(Run.read(tmp_path / "run"))
    assert [row["iteration"] for row in document["iterations"]] == [0]
    assert document["best_iteration"] is None


def rows(*scores: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"iteration": number, "scores": each} for number, each in enumerate(scores)]


def test_a_metric_is_watched_where_anything_has_it() -> None:
    scores = {"a/b": {"x,strict": measured(0.5), "y": measured(0.1)}}
    assert watched_metric(rows({}, scores), ["other"], "a/b/y") == ("a/b", "y")
    assert watched_metric(rows(scores), [], "a/b/x,strict") == ("a/b", "x,strict")
    assert watched_metric(rows(scores), [], "a/b/z") is None
    assert best_iteration(rows(scores), [], "a/b/z") is None


@pytest.mark.parametrize(
    ("scores", "benchmarks", "by", "best"),
    [
        ([], [], None, None),
        ([{}, {}], ["a"], None, None),
        ([{"a": {"x": measured(None)}}], [], ("a", "x"), None),
        ([{"a": {"x": measured(0.5)}}, {"a": {"x": measured(0.5)}}], [], ("a", "x"), 0),
        ([{"a": {"x": measured(0.5)}}, {}, {"a": {"x": measured(0.7)}}], [], ("a", "x"), 2),
        ([{"a": {"x": measured(0.0)}}, {"a": {"x": measured(None)}}], [], ("a", "x"), 0),
        ([{"a": {"x": measured(0.9)}, "b": {"y": measured(0.1)}}, {"b": {"y": measured(0.2)}}], ["b"], ("b", "y"), 1),
        ([{"a": {"x": measured(0.9)}}, {"a": {"x": measured(0.2)}}], ["gone", "a"], ("a", "x"), 0),
        ([{"a": {"y": measured(0.1), "x": measured(0.9)}}, {"a": {"y": measured(0.2)}}], [], ("a", "y"), 1),
    ],
)
def test_best_iteration(
    scores: list[dict[str, Any]], benchmarks: list[str], by: tuple[str, str] | None, best: int | None
) -> None:
    assert watched_metric(rows(*scores), benchmarks) == by
    assert best_iteration(rows(*scores), benchmarks) == best
