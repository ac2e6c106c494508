"""A benchmark that lm-eval knows, on our engine. Importing this module does not import lm-eval."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from isheep.evaluation.base import Figure, Measured, Row, Scores, as_figure, figure, is_number
from isheep.evaluation.tasks import Benchmarks, quiet
from isheep.intervals import Interval
from isheep.models import Model
from isheep.recipe.settings import EvaluateSettings
from isheep.seeding import derive_seed

if TYPE_CHECKING:
    from isheep.evaluation.harness import Harness, Written


class LmEvalTask:
    """A task, group or tag of lm-eval's, or of the recipe's own task files.

    A group that lm-eval aggregates has one entry in the scores, else each of its tasks has one. Metrics are named as
    lm-eval names them, with `,filter` behind where the task has filters of its own. An interval is over items, or over
    instructions where a metric is a list per item; a metric that is no mean (perplexity) has none.
    """

    def __init__(self, name: str, settings: EvaluateSettings) -> None:
        self._name, self._settings = name, settings
        self._loaded: Benchmarks | None = None

    @cached_property
    def formulaic(self) -> bool:
        """Task files say so in their `metadata`."""
        return all((task.get_config("metadata") or {}).get("formulaic") for task in self._benchmarks().tasks.values())

    def prepare(self) -> None:
        """Raises UserError: no such name, or its data does not load."""
        self._benchmarks()

    def protocol(self) -> dict[str, Any]:
        """By task: its version, shots, output and generation, and which items there are."""
        keys = ("num_fewshot", "output_type", "generation_kwargs", "repeats", "dataset_path", "dataset_name")
        tasks = {
            name: {"version": task.VERSION, **{key: task.get_config(key) for key in keys}, "data": self._data(task)}
            for name, task in self._benchmarks().tasks.items()
        }
        return {
            "library": "lm_eval",
            "version": version("lm_eval"),
            "items": sum(len(self._docs(task)) for task in self._benchmarks().tasks.values()),
            "prompts": self._settings.prompts,
            "ppl": self._settings.ppl,
            "tasks": tasks,
        }

    def texts(self) -> list[str]:
        """The questions as they are asked, without shots; those behind the limit, too."""
        tasks = self._benchmarks().tasks.values()
        return [text for task in tasks for doc in task.eval_docs for text in _asked(task, doc)]

    def measure(self, model: Model, seed: int) -> Measured:
        """See `Benchmark.measure`; answers of tasks that sample follow from the seed, too."""
        from isheep.evaluation.harness import Harness

        tasks = self._benchmarks().tasks
        return self._run(Harness(model, tasks, seed, self._settings.prompts == "as_written"), seed)

    def grade(self, answers: Mapping[str, str], seed: int) -> Measured:
        """The figures of answers that are written already, by prompt.

        Raises:
            UserError: one is missing, or the benchmark wants likelihoods.
        """
        from isheep.evaluation.harness import Written

        return self._run(Written(answers), seed)

    def _run(self, lm: Harness | Written, seed: int) -> Measured:
        from lm_eval.evaluator import evaluate as run_tasks

        found = self._benchmarks()
        with quiet():
            # Not simple_evaluate: it runs pip and git to describe the machine, which takes longer than measuring lamb.
            results = run_tasks(
                lm=lm, task_dict=found.loaded, limit=self._settings.limit, bootstrap_iters=0, log_samples=True
            )
        samples: dict[str, list[dict[str, Any]]] = results["samples"]
        if self._settings.ppl:
            for name, task in found.tasks.items():
                if task.OUTPUT_TYPE == "multiple_choice":
                    read_by_ppl(task, samples[name], lm)
        scores: Scores = {}
        for name, tasks in found.parts(self._name).items():
            pooled = [sample for task in tasks for sample in samples[task]]
            scores[name] = _figures(pooled, results["results"][name], derive_seed(seed, "evaluate", name))
        return Measured(scores, {task: [_row(sample) for sample in rows] for task, rows in samples.items()})

    def _docs(self, task: Any) -> Sequence[Mapping[str, Any]]:
        return list(itertools.islice(task.eval_docs, self._settings.limit))

    def _data(self, task: Any) -> str:
        """A hash of the items."""
        digest = hashlib.sha256()
        for doc in self._docs(task):
            digest.update(json.dumps(doc, sort_keys=True, default=str).encode())
        return digest.hexdigest()[:16]

    def _benchmarks(self) -> Benchmarks:
        if self._loaded is None:
            self._loaded = Benchmarks([self._name], self._settings)
        return self._loaded


def _asked(task: Any, doc: Mapping[str, Any]) -> list[str]:
    """An item's question; where its choices stand in the question, one text for each."""
    return list(task.doc_to_choice(doc)) if task.multiple_input else [str(task.doc_to_text(doc))]


def read_by_ppl(task: Any, samples: Sequence[dict[str, Any]], harness: Any) -> None:
    """Adds the metric `acc_ppl` to the items of a multiple-choice task (paper section 4.2, after OpenCompass).

    The choice is the one whose whole filled prompt, question and all, has the lowest mean loss of a token. None where
    the right choice cannot be told, or where a text has no token to be read.
    """
    texts = ["".join(arguments[:2]) for sample in samples for arguments in sample["arguments"]]
    losses = iter(harness.mean_losses(texts))
    for sample in samples:
        own = [next(losses) for _ in sample["arguments"]]
        choices = task.doc_to_choice(sample["doc"])
        right = right_choices(task, sample["doc"], choices)
        told = [loss for loss in own[: len(choices)] if loss is not None]
        readable = bool(right) and len(told) == len(choices)
        sample["acc_ppl"] = float(told.index(min(told)) in right) if readable else None
        sample["metrics"] = [*sample["metrics"], "acc_ppl"]


def right_choices(task: Any, doc: Mapping[str, Any], choices: Sequence[str]) -> set[int]:
    """The places of the right choices; empty where the task does not tell them."""
    target = task.doc_to_text(doc) if task.multiple_input else task.doc_to_target(doc)
    places = [
        choices.index(one) if one in choices else one for one in (target if isinstance(target, list) else [target])
    ]
    return {int(one) for one in places if isinstance(one, int) and 0 <= one < len(choices)}


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
