"""Where a run stands, from its directory alone: the document that `isheep status --json` prints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from isheep.run import Iteration, Run
from isheep.table import tally


def status(run: Run) -> dict[str, Any]:
    """Recipe, state, best iteration, and for every iteration that has begun (0 always) what each stage did.

    Counts of a stage that has not begun are 0, its unknown figures None. Of a stage that has ended:
    instructions made = dropped + responses made; responses made = dropped + assessed; assessed = dropped by the
    selection + kept.
    """
    last = max((iteration.number for iteration in run.iterations()), default=0)
    iterations = [_iteration(run.iteration(number)) for number in range(last + 1)]
    return {
        "recipe": run.recipe.model_dump(mode="json"),
        "state": run.state(),
        "best_iteration": best_iteration(iterations, run.recipe.evaluate.benchmarks),
        "iterations": iterations,
    }


def best_iteration(iterations: Sequence[dict[str, Any]], benchmarks: Sequence[str] = ()) -> int | None:
    """The iteration with the highest value of the first benchmark's first metric, the earlier of two equals.

    `benchmarks` is the recipe's order; a benchmark that nobody measured is passed over. None without any value.
    """
    watched = watched_metric(iterations, benchmarks)
    if watched is None:
        return None
    best: tuple[float, int] | None = None
    for row in iterations:
        value = row["scores"].get(watched[0], {}).get(watched[1], {}).get("value")
        if value is not None and (best is None or value > best[0]):
            best = (value, row["iteration"])
    return None if best is None else best[1]


def watched_metric(iterations: Sequence[dict[str, Any]], benchmarks: Sequence[str] = ()) -> tuple[str, str] | None:
    """(benchmark, metric) by which iterations are compared, None where nothing was measured."""
    measured = [row["scores"] for row in iterations if row["scores"]]
    names = [name for name in benchmarks if any(scores.get(name) for scores in measured)]
    for scores in measured:
        for name in names[:1] or list(scores):
            if scores.get(name):
                return name, next(iter(scores[name]))
    return None


def _iteration(iteration: Iteration) -> dict[str, Any]:
    scores = iteration.table("assessments").columns("quality", "following")
    unparsed = [None in pair for pair in zip(scores["quality"], scores["following"], strict=True)]
    selection = iteration.table("selection").columns("kept", "dropped_by")
    train = iteration.read_json("train.json") or {}
    return {
        "iteration": iteration.number,
        "instructions": _made(iteration, "instructions"),
        "responses": _made(iteration, "responses"),
        "assessed": len(unparsed),
        "unparsed": sum(unparsed),
        "kept": sum(selection["kept"]),
        "selection": {"dropped": tally(selection["dropped_by"])},
        "health": iteration.read_json("health.json") or {},
        "train": {key: train.get(key) for key in ("examples", "steps", "loss")},
        "scores": iteration.read_json("scores.json") or {},
    }


def _made(iteration: Iteration, table: str) -> dict[str, Any]:
    counts = iteration.table(table).counts()
    return {"made": counts["rows"], "dropped": counts["dropped"]}
