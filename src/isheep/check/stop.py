"""What can be known of the stop rule before anything is spent."""

from __future__ import annotations

from isheep.errors import UserError
from isheep.recipe import Recipe, locate
from isheep.stop import unknown_metric


def stop_rule(recipe: Recipe) -> str | None:
    """What the loop stops by, in words; None where nothing is measured and no alarm stops it.

    Raises:
        UserError: a minimal gain that nothing waits for, or a metric that the benchmarks do not have or whose lower
            values are better.
    """
    settings, benchmarks = recipe.stop, recipe.evaluate.benchmarks
    if settings.min_gain is not None and settings.patience is None:
        what = f"{settings.min_gain:g} says what a gain is, but stop.patience null waits for none."
        raise UserError("stop.min_gain", what, "Give stop.patience a number, or take stop.min_gain out.")
    if benchmarks:
        _refuse_metric(recipe, settings.metric)
    elif settings.metric is not None:
        what = f"{settings.metric} is not measured: evaluate.benchmarks is empty."
        raise UserError("stop.metric", what, "Name its benchmark in evaluate.benchmarks, or take stop.metric out.")
    rules = []
    if settings.patience is not None and benchmarks:
        rules.append(f"after {settings.patience} iteration{'s' * (settings.patience > 1)} without a gain")
    if settings.on_alarms:
        alarms = "any alarm" if isinstance(settings.on_alarms, bool) else " or ".join(settings.on_alarms)
        rules.append(f"on {alarms}")
    if not benchmarks:
        return f"ends early {rules[0]}" if rules else None
    by = settings.metric or f"the first metric of {benchmarks[0]}"
    return f"goes by {by}; ends early {' or '.join(rules) or 'never'}"


def _refuse_metric(recipe: Recipe, metric: str | None) -> None:
    """What only the code of a benchmark knows is found when iteration 0 is measured."""
    known, complete = _known(recipe)
    if metric is None:
        first = recipe.evaluate.benchmarks[0]
        watched = next((name for name in known if name.startswith(f"{first}/")), None)
    else:
        benchmark, watched = metric.rpartition("/")[0], metric
        of_a_known_task = not benchmark or any(name.startswith(f"{benchmark}/") for name in known)
        if metric not in known and (complete or of_a_known_task):
            raise unknown_metric(metric, list(known))
    if watched is not None and not known.get(watched, True):
        what = f"of {watched} a lower value is better, and the loop takes the highest for the best."
        raise UserError("stop.metric", what, "Name another metric, of a benchmark of evaluate.benchmarks.")


def _known(recipe: Recipe) -> tuple[dict[str, bool], bool]:
    """Metric of the recipe's benchmarks -> whether higher is better, and whether these are all that there are."""
    from isheep.evaluation.registry import METRICS_OF_OURS
    from isheep.evaluation.tasks import known_metrics  # starts numpy, and lm-eval when it is called

    settings = recipe.evaluate
    of_lm_eval = [name for name in settings.benchmarks if name not in METRICS_OF_OURS]
    known, complete = known_metrics(of_lm_eval, locate(settings.tasks) if settings.tasks else None)
    for name in settings.benchmarks:
        known |= {f"{name}/{one}": higher for one, higher in METRICS_OF_OURS.get(name, {}).items()}
    return known, complete
