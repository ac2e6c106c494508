"""Benchmarks: every iteration's model, the untouched base included, is measured by the same path through lm-eval."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from isheep.files import storable, write_atomic
from isheep.models import Model
from isheep.recipe import Recipe, locate
from isheep.run import Iteration
from isheep.seeding import derive_seed
from isheep.stages.benchmarks import Benchmarks, check_benchmarks, quiet
from isheep.statistics import Interval, mean_interval

Figure = dict[str, float | int | None]
"""`value`, `low`, `high`, `n`; null where there was nothing to measure."""

Scores = dict[str, dict[str, Figure]]
"""Benchmark -> metric -> figure."""

Items = dict[str, list[dict[str, Any]]]
"""Task -> what was asked, answered and counted, item by item."""

SCORES, FOLDER = "scores.json", "evaluation"


def evaluate(iteration: Iteration, recipe: Recipe, model: Model) -> None:
    """Measures the recipe's benchmarks: scores.json, written last, and each task's items in `evaluation/TASK.jsonl`.

    A resumed command repeats only the benchmark that was under way.

    Raises:
        UserError: an unknown benchmark (before the first is measured), or one that cannot be loaded.
    """
    if iteration.read_json(SCORES) is not None:
        return
    settings = recipe.evaluate
    folder = locate(settings.tasks) if settings.tasks else None
    files = {benchmark: f"{FOLDER}/{_file_name(benchmark)}.scores.json" for benchmark in settings.benchmarks}
    missing = [benchmark for benchmark, file in files.items() if iteration.read_json(file) is None]
    check_benchmarks(missing, folder)
    for benchmark in missing:
        measured, items = measure(model, [benchmark], folder, settings.limit, recipe.seed)
        for task, rows in items.items():
            write_atomic(_items_file(iteration, task), _json_lines(rows))
        iteration.write_json(files[benchmark], measured)
    scores: Scores = {}
    for file in files.values():
        scores |= iteration.read_json(file) or {}
    iteration.write_json(SCORES, scores)


def measure(
    model: Model, benchmarks: Sequence[str], tasks_folder: Path | None, limit: int | None, seed: int
) -> tuple[Scores, Items]:
    """The figures of some benchmarks with their 95% intervals, and the items that they come from.

    A group that lm-eval aggregates has one entry, else each of its tasks has one. Metrics are named as lm-eval names
    them, with `,filter` behind where the task has filters of its own. An interval is over items, or over instructions
    where a metric is a list per item; a metric that is no mean (perplexity) has none.

    Args:
        model: whose answers.
        benchmarks: lm-eval tasks, groups or tags.
        tasks_folder: further task files.
        limit: at most this many items of each task, its first ones.
        seed: decides the bootstrap, and the answers of tasks that sample.

    Raises:
        UserError: an unknown benchmark, or one that cannot be loaded.
    """
    found = Benchmarks(benchmarks, tasks_folder)
    from lm_eval.evaluator import evaluate as run_tasks

    from isheep.stages.harness import Harness

    with quiet():
        # Not simple_evaluate: it runs pip and git to describe the machine, which takes longer than measuring lamb.
        results = run_tasks(
            lm=Harness(model, found.tasks, seed),
            task_dict=found.loaded,
            limit=limit,
            bootstrap_iters=0,
            log_samples=True,
        )
    samples: dict[str, list[dict[str, Any]]] = results["samples"]
    scores: Scores = {}
    for benchmark in benchmarks:
        for name, tasks in found.parts(benchmark).items():
            pooled = [sample for task in tasks for sample in samples[task]]
            scores[name] = _figures(pooled, results["results"][name], derive_seed(seed, "evaluate", name))
    return scores, {task: [_row(sample) for sample in rows] for task, rows in samples.items()}


def read_items(iteration: Iteration, task: str) -> list[dict[str, Any]]:
    """Item by item what a task of an iteration's evaluation asked, was answered and counted; empty if not written."""
    file = _items_file(iteration, task)
    lines = file.read_text(encoding="utf-8").split("\n")[:-1] if file.is_file() else []
    return [json.loads(line) for line in lines]


def _items_file(iteration: Iteration, task: str) -> Path:
    return iteration.path / FOLDER / f"{_file_name(task)}.jsonl"


def metric_name(metric: str, filter_: str) -> str:
    """What scores.json calls a metric of a task's filter."""
    return metric if filter_ == "none" else f"{metric},{filter_}"


def _figures(samples: Sequence[Mapping[str, Any]], reported: Mapping[str, Any], seed: int) -> dict[str, Figure]:
    values: dict[tuple[str, str], list[Any]] = {}
    for sample in samples:
        for metric in sample["metrics"]:
            values.setdefault((metric, sample["filter"]), []).append(sample[metric])
    return {
        metric_name(metric, filter_): _figure(items, reported.get(f"{metric},{filter_}"), seed)
        for (metric, filter_), items in values.items()
    }


def _figure(items: Sequence[Any], reported: Any, seed: int) -> Figure:
    """The mean with its interval where lm-eval, too, reports the mean; else what it reports."""
    aggregate = float(reported) if _is_number(reported) else None
    flat = [value for item in items for value in (item if isinstance(item, list) else [item])]
    numbers = [float(value) for value in flat if _is_number(value)]
    figure = mean_interval(numbers, seed)
    mean = figure.value
    if aggregate is not None and (mean is None or not math.isclose(mean, aggregate, rel_tol=1e-6, abs_tol=1e-9)):
        figure = Interval(aggregate, None, None, len(items))
    return asdict(figure)


def _is_number(value: Any) -> bool:
    """Whether it can be counted: NaN and None say that nothing could be told."""
    return isinstance(value, int | float | np.number | np.bool_) and math.isfinite(value)


def _row(sample: Mapping[str, Any]) -> dict[str, Any]:
    responses = [response for repeats in sample["resps"] for response in repeats]
    row = {
        "doc_id": sample["doc_id"],
        "filter": sample["filter"],
        "prompt": sample["arguments"][0][0],
        "responses": responses,
        "target": sample["target"],
        "metrics": {metric: _plain(sample[metric]) for metric in sample["metrics"]},
        "doc": sample["doc"],
    }
    cuts = [response.cut for response in responses if hasattr(response, "cut")]
    return {**row, "cut": cuts} if cuts else row


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _json_lines(rows: Sequence[Mapping[str, Any]]) -> bytes:
    lines = (storable(json.dumps(row, ensure_ascii=False, default=str)) + "\n" for row in rows)
    return "".join(lines).encode()


def _file_name(name: str) -> str:
    return re.sub(r"[^\w.-]", "_", name)
