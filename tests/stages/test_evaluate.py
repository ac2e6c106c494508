"""Measuring through lm-eval, from task files of one's own to scores.json."""

from __future__ import annotations

import json
import math
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isheep.errors import UserError
from isheep.evaluation.base import Items, Scores
from isheep.intervals import mean_interval, wilson
from isheep.models import Model, Models
from isheep.recipe import Recipe, load_recipe, parse_recipe
from isheep.recipe.settings import EvaluateSettings
from isheep.seeding import derive_seed
from isheep.stages.evaluate import evaluate
from isheep.store.run import Run
from tests.evaluation.measured import measure_all

CHOICES = [
    {"question": f"Which of them is thing {number}?", "options": ["he", "all of it", "none"], "right": number % 3}
    for number in range(7)
]
ASKED = [{"text": f"Name {word}.", "held": held, "told": told} for word, held, told in [
    ("a bird", [True, False], 0.5), ("one ant", [True], None), ("two owls", [False, False, True], 0.25),
]]  # fmt: skip


def measure(model: Model, names: list[str], folder: Path, limit: int | None, seed: int) -> tuple[Scores, Items]:
    """The figures and items of these tasks out of a folder."""
    evaluation = {"benchmarks": names, "tasks": str(folder), "trust_tasks": True, "limit": limit}
    recipe = load_recipe("lamb").model_copy(update={"seed": seed})
    settings = EvaluateSettings.model_validate(evaluation)
    measured = measure_all(names, recipe.model_copy(update={"evaluate": settings}), model)
    return measured.scores, measured.items


TASK_FILES = {
    "choose.yaml": """
task: choose
tag: mixed
dataset_path: json
dataset_kwargs: {data_files: {test: DATA/choose.jsonl}}
test_split: test
output_type: multiple_choice
doc_to_text: question
doc_to_choice: options
doc_to_target: right
""",
    "ask.yaml": """
task: ask
tag: mixed
dataset_path: json
dataset_kwargs: {data_files: {test: DATA/ask.jsonl}}
test_split: test
output_type: generate_until
doc_to_text: text
doc_to_target: text
generation_kwargs: {until: [], max_gen_toks: 4}
process_results: !function own.process_results
metric_list:
  - {metric: inst_level_acc, aggregation: !function own.over_instructions, higher_is_better: true}
  - {metric: told, aggregation: nanmean, higher_is_better: true}
  - {metric: never, aggregation: nanmean, higher_is_better: true}
""",
    "read.yaml": """
task: read
dataset_path: json
dataset_kwargs: {data_files: {test: DATA/ask.jsonl}}
test_split: test
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: text
metric_list:
  - {metric: byte_perplexity, aggregation: weighted_perplexity, higher_is_better: false}
""",
    "own.py": """
def process_results(doc, results):
    told = float("nan") if doc["told"] is None else doc["told"]
    return {"inst_level_acc": doc["held"], "told": told, "never": float("nan")}

def over_instructions(items):
    flat = [held for item in items for held in item]
    return sum(flat) / len(flat)
""",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tasks")
    for name, text in TASK_FILES.items():
        (folder / name).write_text(text.replace("DATA", str(folder)))
    for name, rows in (("choose", CHOICES), ("ask", ASKED)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture(scope="module")
def recipe(tiny_model: Path, folder: Path) -> Recipe:
    model = {"path": str(tiny_model), "dtype": "float32"}
    settings = {"tasks": str(folder), "trust_tasks": True, "benchmarks": ["choose", "ask"], "limit": 5}
    return parse_recipe({"model": model, "engine": {"device": "cpu"}, "evaluate": settings, "seed": 7}, "test")


@pytest.fixture(scope="module")
def models(recipe: Recipe) -> Iterator[Models]:
    with Models(recipe) as opened:
        yield opened


@pytest.fixture(scope="module")
def measured(models: Models, folder: Path) -> tuple[Scores, Items, str]:
    """All of it once, with no network to be had; and what came out on stdout."""
    import contextlib
    import io

    def refuse(*arguments: Any, **settings: Any) -> None:
        raise AssertionError("measuring local tasks opened a connection")

    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()) as output:
        for name in ("connect", "connect_ex"):
            patch.setattr(socket.socket, name, refuse)
        patch.setattr(socket, "getaddrinfo", refuse)
        scores, items = measure(models.base, ["mixed", "read"], folder, None, 7)
    return scores, items, output.getvalue()


def test_measuring_writes_nothing_to_stdout(measured: tuple[Scores, Items, str]) -> None:
    assert measured[2] == ""


def test_multiple_choice_takes_the_likeliest_and_counts_with_wilsons_interval(
    measured: tuple[Scores, Items, str], models: Models
) -> None:
    scores, items, _ = measured
    plain = models.encoder.plain
    expected = []
    for doc in CHOICES:
        before = plain(str(doc["question"]))
        options = [plain(f" {option}") for option in doc["options"]]  # type: ignore[attr-defined]
        rows = models.base.engine.score_sequences([before + option for option in options])
        sums = [sum(row[-len(option) :]) for row, option in zip(rows, options, strict=True)]
        expected.append(float(int(np.argmax(sums)) == doc["right"]))
    assert [item["metrics"]["acc"] for item in items["choose"]] == expected
    share = wilson(int(sum(expected)), 7)
    assert scores["choose"]["acc"] == {"value": share.value, "low": share.low, "high": share.high, "n": 7}
    assert set(scores["choose"]) == {"acc", "acc_norm", "acc_ppl"}


def test_a_list_per_item_is_counted_over_instructions(measured: tuple[Scores, Items, str]) -> None:
    share = wilson(3, 6)
    assert measured[0]["ask"]["inst_level_acc"] == {"value": 0.5, "low": share.low, "high": share.high, "n": 6}
    assert [item["metrics"]["inst_level_acc"] for item in measured[1]["ask"]] == [doc["held"] for doc in ASKED]


def test_what_could_not_be_told_is_left_out_and_nothing_told_is_null(measured: tuple[Scores, Items, str]) -> None:
    scores, items, _ = measured
    interval = mean_interval([0.5, 0.25], derive_seed(7, "evaluate", "ask"))
    assert scores["ask"]["told"] == {"value": 0.375, "low": interval.low, "high": interval.high, "n": 2}
    assert scores["ask"]["never"] == {"value": None, "low": None, "high": None, "n": 0}
    assert [item["metrics"]["told"] for item in items["ask"]] == [0.5, None, 0.25]


def test_a_metric_that_is_no_mean_keeps_lm_evals_value_and_has_no_interval(
    measured: tuple[Scores, Items, str], models: Models
) -> None:
    sequences = [(0, *models.encoder.plain(str(doc["text"]))) for doc in ASKED]
    total = sum(map(sum, models.base.engine.score_sequences(sequences)))
    figure = measured[0]["read"]["byte_perplexity"]
    assert figure["value"] == pytest.approx(math.exp(-total / sum(len(str(doc["text"])) for doc in ASKED)), rel=1e-4)
    assert (figure["low"], figure["high"], figure["n"]) == (None, None, 3)


def test_items_hold_what_was_asked_and_answered(measured: tuple[Scores, Items, str], models: Models) -> None:
    item = measured[1]["ask"][0]
    assert (item["doc_id"], item["filter"], item["prompt"], item["doc"]) == (0, "none", "Name a bird.", ASKED[0])
    assert item["responses"] == ["g\ufffd\x1b\ufffd"]
    assert item["cut"] == [True]


def test_the_limit_takes_the_first_items_and_a_tag_each_of_its_tasks(models: Models, folder: Path) -> None:
    scores, items = measure(models.base, ["mixed"], folder, 2, 7)
    assert {task: [item["doc_id"] for item in rows] for task, rows in items.items()} == {
        "choose": [0, 1],
        "ask": [0, 1],
    }
    assert scores["choose"]["acc"]["n"] == 2


def test_an_unknown_benchmark_is_named_with_the_nearest(models: Models, folder: Path) -> None:
    with pytest.raises(UserError, match=r"there is no benchmark `choos`\. Did you mean `choose`\?"):
        measure(models.base, ["choose", "choos"], folder, None, 0)


def test_a_folder_that_is_not_there_is_named(models: Models, folder: Path) -> None:
    with pytest.raises(UserError, match=r"evaluate\.tasks: there is no folder .*nowhere"):
        measure(models.base, ["choose"], folder / "nowhere", None, 0)


def test_data_that_does_not_load_is_the_users_to_mend(models: Models, tmp_path: Path) -> None:
    (tmp_path / "torn.yaml").write_text(TASK_FILES["choose.yaml"].replace("choose", "torn").replace("DATA", "nowhere"))
    with pytest.raises(UserError, match=r"evaluate\.benchmarks: torn cannot be loaded"):
        measure(models.base, ["torn"], tmp_path, None, 0)


def test_evaluate_writes_each_tasks_items_and_the_scores_last(tmp_path: Path, recipe: Recipe, models: Models) -> None:
    with Run.create_or_resume(tmp_path / "run", recipe) as run:
        iteration = run.iteration(0)
        evaluate(iteration, recipe, models.base)
        scores = iteration.read_json("scores.json")
        lines = (iteration.path / "evaluation" / "choose.jsonl").read_text(encoding="utf-8").splitlines()
        written = {path.name: path.stat().st_mtime_ns for path in iteration.path.rglob("*.json*")}
    assert scores == measure(models.base, ["choose", "ask"], Path(str(recipe.evaluate.tasks)), 5, 7)[0]
    assert [json.loads(line)["doc"] for line in lines] == CHOICES[:5]
    assert max(written, key=lambda name: written[name]) == "scores.json"
    assert {"ask.jsonl", "choose.jsonl"} < set(written)


def test_evaluate_resumes_at_the_benchmark_and_ends_at_once_when_all_is_there(
    tmp_path: Path, recipe: Recipe, models: Models
) -> None:
    earlier = {"choose": {"acc": {"value": 0.125, "low": 0.0, "high": 1.0, "n": 8}}}
    with Run.create_or_resume(tmp_path / "run", recipe) as run:
        iteration = run.iteration(1)
        iteration.write_json("evaluation/choose.scores.json", earlier)
        evaluate(iteration, recipe, models.base)
        scores: Any = iteration.read_json("scores.json")
        assert list(scores) == ["choose", "ask"]
        assert scores["choose"] == earlier["choose"]
        assert not (iteration.path / "evaluation" / "choose.jsonl").exists()
        iteration.write_json("scores.json", {"kept": {}})
        with Models(recipe) as untouched:
            evaluate(iteration, recipe, untouched.base)
            assert untouched._engine is None
        assert iteration.read_json("scores.json") == {"kept": {}}


def test_no_benchmarks_are_no_scores(tmp_path: Path, recipe: Recipe, models: Models) -> None:
    none = parse_recipe({**recipe.model_dump(), "evaluate": {}}, "test")
    with Run.create_or_resume(tmp_path / "run", none) as run:
        evaluate(run.iteration(0), none, models.base)
        assert run.iteration(0).read_json("scores.json") == {}


def test_lm_eval_is_imported_only_to_measure() -> None:
    code = (
        "import sys, isheep.stages.evaluate; print([name for name in ('lm_eval', 'datasets') if name in sys.modules])"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout == "[]\n"
