"""The stop rule: whether the loop goes on after an iteration (paper: stop when the benchmark stagnates or falls).

Every question is answered from what is written of the iterations so far, so a run that is resumed stops where it did.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from isheep.errors import UserError
from isheep.intervals import score
from isheep.recipe import Recipe
from isheep.recipe.refusals import nearest
from isheep.recipe.settings import StopSettings
from isheep.store.status import best_iteration, watched_metric


@dataclass(frozen=True, slots=True)
class Stop:
    """The iteration after which the loop ends early, and why."""

    iteration: int
    why: str


def stop_after(iterations: Sequence[Mapping[str, Any]], recipe: Recipe) -> Stop | None:
    """Whether the loop ends with the last of these, before its recipe's last iteration; None: it goes on.

    Args:
        iterations: rows of the status document, iteration 0 first, all of them ended.
        recipe: its stop settings, benchmarks and number of iterations.
    """
    last = iterations[-1]
    if not 0 < last["iteration"] < recipe.iterations:
        return None
    why = _alarmed(last, recipe.stop) or _stagnated(iterations, recipe)
    return None if why is None else Stop(last["iteration"], why)


def summary(iterations: Sequence[Mapping[str, Any]], recipe: Recipe, stop: Stop | None) -> dict[str, Any]:
    """What done.json of the run says: its best iteration, and where and why it stopped early (None: it did not)."""
    best = best_iteration(iterations, recipe.evaluate.benchmarks, recipe.stop.metric)
    return {"best_iteration": best, "stopped": None if stop is None else asdict(stop)}


def refuse_unmeasured(iterations: Sequence[Mapping[str, Any]], recipe: Recipe) -> None:
    """Raises UserError if `stop.metric` is not among what was measured of the first of these (iteration 0).

    `check` finds this before anything is spent, except in benchmarks whose metrics only their code knows.
    """
    wanted = recipe.stop.metric
    if wanted is None or watched_metric(iterations[:1], (), wanted) is not None:
        return
    known = [f"{name}/{metric}" for name, metrics in iterations[0]["scores"].items() for metric in metrics]
    raise unknown_metric(wanted, known)


def unknown_metric(wanted: str, known: Sequence[str]) -> UserError:
    """The refusal of a `stop.metric` that is not among the known, with the nearest of these or all of them."""
    what = f"no benchmark of evaluate.benchmarks has `{wanted}`."
    offer = nearest(wanted, known) or f"There are: {', '.join(known) or 'none'}."
    return UserError("stop.metric", what, f"{offer} Write it as BENCHMARK/METRIC.")


def _alarmed(last: Mapping[str, Any], settings: StopSettings) -> str | None:
    raised: Mapping[str, str] = last["health"].get("alarms", {})
    watched = raised if isinstance(settings.on_alarms, bool) else settings.on_alarms
    found = [f"alarm {name}: {text}" for name, text in raised.items() if settings.on_alarms and name in watched]
    return " ".join(found) or None


def _stagnated(iterations: Sequence[Mapping[str, Any]], recipe: Recipe) -> str | None:
    """Whether the last `patience` measured iterations gained nothing over the best before them.

    The value to beat is that of the last gain, not the highest so far: small steps up that are no gain each add up to
    one. An iteration whose value could not be told is passed over.
    """
    settings = recipe.stop
    by = watched_metric(iterations, recipe.evaluate.benchmarks, settings.metric)
    if settings.patience is None or by is None:
        return None
    benchmark, metric = by
    measured = [(row["iteration"], row["scores"].get(benchmark, {}).get(metric, {})) for row in iterations]
    told = [(number, figure) for number, figure in measured if figure.get("value") is not None]
    best, since = told[:1], list[tuple[int, Mapping[str, Any]]]()
    for number, figure in told[1:]:
        if figure["value"] > _to_beat(best[0][1], settings.min_gain):
            best, since = [(number, figure)], []
        else:
            since.append((number, figure))
    if len(since) < settings.patience:
        return None
    after = ", ".join(f"iteration {number} has {score(figure)}" for number, figure in since)
    return (
        f"{benchmark} {metric} gained nothing over iteration {best[0][0]}'s {score(best[0][1])}: {after} "
        f"(stop.patience {settings.patience})."
    )


def _to_beat(best: Mapping[str, Any], min_gain: float | None) -> float:
    """A gain is a value greater than this.

    Without a `min_gain` it is the upper end of the best one's 95% interval. Two models that answer the same items err
    on many of the same; where their errors correlate at one half, the difference of their values varies as much as
    one value does, so a gain within that interval may be noise. Where there is no interval, any higher value is a gain.
    """
    value: float = best["value"]
    if min_gain is not None:
        return value + min_gain
    high: float | None = best.get("high")
    return value if high is None else high
