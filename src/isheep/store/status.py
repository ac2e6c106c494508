"""Where a run stands, from its directory alone: the document that `isheep status --json` prints."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from isheep.recipe.settings import Question
from isheep.store.costs import costs_of
from isheep.store.run import Iteration, Run
from isheep.store.table import DONE, tally
from isheep.store.under_way import progress_of


def status(run: Run) -> dict[str, Any]:
    """Recipe, state, best iteration, and for every iteration that has begun (0 always) what each stage did.

    `stopped` is where and why the loop ended before its last iteration, None while it goes on or when it ran them all.
    `progress` is what the run's process is at, None where none is.
    Counts of a stage that has not begun are 0, its unknown figures None. Of a stage that has ended:
    instructions made = dropped + responses made; responses made = dropped + assessed; assessed = dropped by the
    selection + kept.
    """
    last = max((iteration.number for iteration in run.iterations()), default=0)
    iterations = [_iteration(run.iteration(number), run.recipe.assess.questions) for number in range(last + 1)]
    state = run.state()
    return {
        "recipe": run.recipe.model_dump(mode="json"),
        "state": state,
        "best_iteration": best_iteration(iterations, run.recipe.evaluate.benchmarks, run.recipe.stop.metric),
        "stopped": (run.read_json(DONE) or {}).get("stopped") if state == "finished" else None,
        "progress": progress_of(run),
        "iterations": iterations,
    }


def best_iteration(
    iterations: Sequence[Mapping[str, Any]], benchmarks: Sequence[str] = (), metric: str | None = None
) -> int | None:
    """The iteration with the highest value of the watched metric, the earlier of two equals; None without any value."""
    watched = watched_metric(iterations, benchmarks, metric)
    if watched is None:
        return None
    best: tuple[float, int] | None = None
    for row in iterations:
        value = row["scores"].get(watched[0], {}).get(watched[1], {}).get("value")
        if value is not None and (best is None or value > best[0]):
            best = (value, row["iteration"])
    return None if best is None else best[1]


def watched_metric(
    iterations: Sequence[Mapping[str, Any]], benchmarks: Sequence[str] = (), metric: str | None = None
) -> tuple[str, str] | None:
    """(benchmark, metric) by which iterations are compared, None where it was not measured.

    Args:
        iterations: rows of the status document.
        benchmarks: the recipe's, in its order; one that nobody measured is passed over.
        metric: `BENCHMARK/METRIC`; None for the first metric of the first benchmark.
    """
    measured = [row["scores"] for row in iterations if row["scores"]]
    if metric is not None:
        benchmark, _, name = metric.rpartition("/")
        return (benchmark, name) if any(name in scores.get(benchmark, {}) for scores in measured) else None
    names = [name for name in benchmarks if any(scores.get(name) for scores in measured)]
    for scores in measured:
        for name in names[:1] or list(scores):
            if scores.get(name):
                return name, next(iter(scores[name]))
    return None


def watched(document: Mapping[str, Any]) -> tuple[str, str] | None:
    """`watched_metric` of a whole status document."""
    recipe = document["recipe"]
    benchmarks, metric = recipe.get("evaluate", {}).get("benchmarks", ()), recipe.get("stop", {}).get("metric")
    return watched_metric(document["iterations"], benchmarks, metric)


def stopped(document: Mapping[str, Any]) -> str | None:
    """One sentence on where and why the loop of a status document stopped early; None if it did not."""
    found = document.get("stopped")
    if found is None:
        return None
    of = document["recipe"]["iterations"]
    return f"The loop stopped after iteration {found['iteration']} of {of}: {found['why']}"


def _iteration(iteration: Iteration, questions: Sequence[Question]) -> dict[str, Any]:
    unparsed = Counter(None in asked for asked in iteration.table("assessments").values("id", *questions))
    verdicts = Counter(iteration.table("selection").values("kept", "dropped_by"))
    train = iteration.read_json("train.json") or {}
    return {
        "iteration": iteration.number,
        "instructions": _made(iteration, "instructions"),
        "responses": _made(iteration, "responses"),
        "assessed": unparsed.total(),
        "unparsed": unparsed[True],
        "kept": sum(count for (kept, _), count in verdicts.items() if kept),
        "selection": {"dropped": tally(rule for _, rule in verdicts.elements())},
        "health": iteration.read_json("health.json") or {},
        "train": {key: train.get(key) for key in ("examples", "steps", "loss")},
        "scores": iteration.read_json("scores.json") or {},
        "cost": costs_of(iteration),
    }


def _made(iteration: Iteration, table: str) -> dict[str, Any]:
    counts = iteration.table(table).counts()
    return {"made": counts["rows"], "dropped": counts["dropped"]}
