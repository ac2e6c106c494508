"""A benchmark that lm-eval knows, on our engine. Importing this module does not import lm-eval."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

from isheep.evaluation.base import Figure, Measured, Row, Scores, as_figure, figure, is_number
from isheep.evaluation.tasks import Benchmarks, check_benchmarks, quiet
from isheep.models import Model
from isheep.recipe import EvaluateSettings, locate
from isheep.seeding import derive_seed
from isheep.statistics import Interval


class LmEvalTask:
    """A task, group or tag of lm-eval's, or of the recipe's own task files.

    A group that lm-eval aggregates has one entry in the scores, else each of its tasks has one. Metrics are named as
    lm-eval names them, with `,filter` behind where the task has filters of its own. An interval is over items, or over
    instructions where a metric is a list per item; a metric that is no mean (perplexity) has none.
    """

    def __init__(self, name: str, settings: EvaluateSettings) -> None:
        self._name, self._settings = name, settings
        self._folder = locate(settings.tasks) if settings.tasks else None
        self._loaded: Benchmarks | None = None

    def prepare(self) -> None:
        """Raises UserError: no such name, or its data does not load."""
        check_benchmarks([self._name], self._folder)

    def protocol(self) -> dict[str, Any]:
        """By task: its version, shots, output and settings of generation."""
        keys = ("num_fewshot", "output_type", "generation_kwargs", "repeats", "test_split", "dataset_path")
        tasks = {
            name: {"version": task.VERSION, **{key: task.get_config(key) for key in keys}}
            for name, task in self._benchmarks().tasks.items()
        }
        return {"library": "lm_eval", "version": version("lm_eval"), "tasks": tasks}

    def texts(self) -> list[str]:
        """The questions as they are asked, without shots."""
        tasks = self._benchmarks().tasks.values()
        return [str(task.doc_to_text(doc)) for task in tasks for doc in task.eval_docs]

    def measure(self, model: Model, seed: int) -> Measured:
        """See `Benchmark.measure`; answers of tasks that sample follow from the seed, too."""
        from lm_eval.evaluator import evaluate as run_tasks

        from isheep.evaluation.harness import Harness

        found = self._benchmarks()
        with quiet():
            # Not simple_evaluate: it runs pip and git to describe the machine, which takes longer than measuring lamb.
            results = run_tasks(
                lm=Harness(model, found.tasks, seed),
                task_dict=found.loaded,
                limit=self._settings.limit,
                bootstrap_iters=0,
                log_samples=True,
            )
        samples: dict[str, list[dict[str, Any]]] = results["samples"]
        scores: Scores = {}
        for name, tasks in found.parts(self._name).items():
            pooled = [sample for task in tasks for sample in samples[task]]
            scores[name] = _figures(pooled, results["results"][name], derive_seed(seed, "evaluate", name))
        return Measured(scores, {task: [_row(sample) for sample in rows] for task, rows in samples.items()})

    def _benchmarks(self) -> Benchmarks:
        if self._loaded is None:
            self._loaded = Benchmarks([self._name], self._folder)
        return self._loaded


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
    aggregate = float(reported) if is_number(reported) else None
    found = figure(items, seed)
    mean = found["value"]
    if aggregate is not None and (mean is None or not math.isclose(mean, aggregate, rel_tol=1e-6, abs_tol=1e-9)):
        return as_figure(Interval(aggregate, None, None, len(items)))
    return found


def _row(sample: Mapping[str, Any]) -> Row:
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
