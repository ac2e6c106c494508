"""What can be known of the stop rule before anything is spent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from isheep.errors import UserError
from isheep.recipe import Recipe, locate
from isheep.recipe.plugged import used
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
    if settings.metric is not None:
        if not benchmarks:
            what = f"{settings.metric} is not measured: evaluate.benchmarks is empty."
            raise UserError("stop.metric", what, "Name its benchmark in evaluate.benchmarks, or take stop.metric out.")
        known, complete = _known(recipe, benchmarks)
        benchmark = settings.metric.rpartition("/")[0]
        of_a_known_task = not benchmark or any(name.startswith(f"{benchmark}/") for name in known)
        # What only the code of a benchmark knows is found when iteration 0 is measured.
        if settings.metric not in known and (complete or of_a_known_task):
            raise unknown_metric(settings.metric, list(known))
        _refuse_falling(settings.metric, known)
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


def refuse_first_metric(recipe: Recipe) -> None:
    """Raises UserError where the loop goes by the first metric of all, and of that a lower value is better.

    Asks lm-eval for its task, which takes seconds: after what is cheap to know.
    """
    benchmarks = recipe.evaluate.benchmarks
    if recipe.stop.metric is None and benchmarks:
        known, _ = _known(recipe, benchmarks[:1])
        first = next((name for name in known if name.startswith(f"{benchmarks[0]}/")), None)
        if first is not None:
            _refuse_falling(first, known)


def _refuse_falling(metric: str, known: Mapping[str, bool]) -> None:
    if not known.get(metric, True):
        what = f"of {metric} a lower value is better, and the loop takes the highest for the best."
        raise UserError("stop.metric", what, "Name another metric, of a benchmark of evaluate.benchmarks.")


def _known(recipe: Recipe, benchmarks: Sequence[str]) -> tuple[dict[str, bool], bool]:
    """Metric of these benchmarks -> whether higher is better, and whether these are all that there are."""
    from isheep.evaluation.registry import METRICS_OF_OURS
    from isheep.evaluation.tasks import known_metrics  # starts numpy, and lm-eval when it is called

    tasks = recipe.evaluate.tasks
    # What a plug-in measures is told by its figures alone.
    plugins = used(recipe)["benchmarks"]
    of_lm_eval = [name for name in benchmarks if name not in METRICS_OF_OURS and name not in plugins]
    known, complete = known_metrics(of_lm_eval, locate(tasks) if tasks else None)
    complete &= not plugins
    for name in benchmarks:
        known |= {f"{name}/{one}": higher for one, higher in METRICS_OF_OURS.get(name, {}).items()}
    return known, complete
