"""Benchmarks: every iteration's model, the untouched base included, is measured by the same path."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from isheep.evaluation.base import Row, Scores
from isheep.evaluation.rooms import open_benchmark
from isheep.files import storable, write_atomic
from isheep.models import Model
from isheep.recipe import Recipe
from isheep.run import Iteration

SCORES, FOLDER = "scores.json", "evaluation"


def evaluate(iteration: Iteration, recipe: Recipe, model: Model) -> None:
    """Measures the recipe's benchmarks: scores.json, written last, and each task's items in `evaluation/TASK.jsonl`.

    A resumed command repeats only the benchmark that was under way.

    Raises:
        UserError: something that a benchmark needs is missing (said before the first is measured).
    """
    if iteration.read_json(SCORES) is not None:
        return
    files = {name: f"{FOLDER}/{_file_name(name)}.scores.json" for name in recipe.evaluate.benchmarks}
    missing = [name for name, file in files.items() if iteration.read_json(file) is None]
    benchmarks = {name: open_benchmark(name, recipe) for name in missing}
    for benchmark in benchmarks.values():
        benchmark.prepare()
    for name, benchmark in benchmarks.items():
        measured = benchmark.measure(model, recipe.seed)
        for task, rows in measured.items.items():
            write_atomic(_items_file(iteration, task), _json_lines(rows))
        iteration.write_json(files[name], measured.scores)
    scores: Scores = {}
    for file in files.values():
        scores |= iteration.read_json(file) or {}
    iteration.write_json(SCORES, scores)


def read_items(iteration: Iteration, task: str) -> list[Row]:
    """Item by item what a task of an iteration's evaluation asked, was answered and counted; empty if not written."""
    file = _items_file(iteration, task)
    lines = file.read_text(encoding="utf-8").split("\n")[:-1] if file.is_file() else []
    return [json.loads(line) for line in lines]


def _items_file(iteration: Iteration, task: str) -> Path:
    return iteration.path / FOLDER / f"{_file_name(task)}.jsonl"


def _json_lines(rows: Sequence[Mapping[str, Any]]) -> bytes:
    lines = (storable(json.dumps(row, ensure_ascii=False, default=str)) + "\n" for row in rows)
    return "".join(lines).encode()


def _file_name(name: str) -> str:
    return re.sub(r"[^\w.-]", "_", name)
