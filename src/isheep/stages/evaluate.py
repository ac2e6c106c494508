"""Benchmarks: every iteration's model, the untouched base included, is measured by the same path."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from isheep.errors import UserError
from isheep.evaluation.base import Row, Scores
from isheep.evaluation.registry import open_benchmark
from isheep.models import Model
from isheep.recipe import Recipe
from isheep.store.files import read_json_lines, write_json_lines
from isheep.store.plan import folder_of
from isheep.store.run import Iteration
from isheep.terminal import printable

SCORES, FOLDER = "scores.json", "evaluation"
PROTOCOL = f"{FOLDER}/protocol.json"
"""Benchmark -> everything that decides its figures beside the model."""


def evaluate(iteration: Iteration, recipe: Recipe, model: Model) -> None:
    """Measures the recipe's benchmarks: scores.json, written last, and each task's items in `evaluation/TASK.jsonl`.

    How iteration 0 was measured (`evaluation/protocol.json`) is how every later one is. A resumed command repeats only
    the benchmark that was under way.

    Raises:
        UserError: something that a benchmark needs is missing, or it would measure otherwise than it measured the base
            (both said before the first is measured).
    """
    if iteration.read_json(SCORES) is not None:
        return
    files = {name: f"{FOLDER}/{_file_name(name)}.scores.json" for name in recipe.evaluate.benchmarks}
    missing = [name for name, file in files.items() if iteration.read_json(file) is None]
    benchmarks = {name: open_benchmark(name, recipe) for name in missing}
    protocol = iteration.read_json(PROTOCOL) or {}
    for name, benchmark in benchmarks.items():
        benchmark.prepare()
        protocol[name] = json.loads(json.dumps(benchmark.protocol(), default=str))
    refuse_another_protocol(protocol, base_protocol(iteration))
    if missing:
        iteration.write_json(PROTOCOL, protocol)
    for name, benchmark in benchmarks.items():
        measured = benchmark.measure(model, recipe.seed)
        for task, rows in measured.items.items():
            write_json_lines(_items_file(iteration, task), rows)
        iteration.write_json(files[name], measured.scores)
    scores: Scores = {}
    for file in files.values():
        scores |= iteration.read_json(file) or {}
    iteration.write_json(SCORES, scores)


def base_protocol(iteration: Iteration) -> dict[str, Any]:
    """How the run's base was measured; empty while nothing has been."""
    file = iteration.path.parent / folder_of(0) / PROTOCOL
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}


def refuse_another_protocol(now: Mapping[str, Any], before: Mapping[str, Any]) -> None:
    """Raises UserError where a benchmark would be measured otherwise than before; the first difference is named."""
    for name in now.keys() & before.keys():
        if difference := next(_differences(before[name], now[name]), None):
            what = f"{name} was measured otherwise in iteration 0: {difference}."
            mend = "Go on with what it was measured with; or measure all iterations anew with `isheep eval`."
            raise UserError("evaluate.benchmarks", what, mend)


def _differences(before: Any, now: Any, where: str = "") -> Iterator[str]:
    if isinstance(before, dict) and isinstance(now, dict):
        for key in [*before, *(key for key in now if key not in before)]:
            yield from _differences(before.get(key), now.get(key), f"{where} {key}".strip())
    elif before != now:
        yield f"{where} {printable(str(before))} -> {printable(str(now))}"


def read_items(iteration: Iteration, task: str) -> list[Row]:
    """Item by item what a task of an iteration's evaluation asked, was answered and counted; empty if not written."""
    file = _items_file(iteration, task)
    return list(read_json_lines(file)) if file.is_file() else []


def _items_file(iteration: Iteration, task: str) -> Path:
    return iteration.path / FOLDER / f"{_file_name(task)}.jsonl"


def _file_name(name: str) -> str:
    return re.sub(r"[^\w.-]", "_", name)
