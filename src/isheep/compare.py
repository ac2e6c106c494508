"""`isheep compare`: runs and iterations side by side, and which differences between their scores are beyond noise."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

from isheep.errors import UserError
from isheep.evaluation.lm_eval_task import metric_name
from isheep.intervals import Interval, mean_over_runs, paired_bootstrap, score
from isheep.recipe import settings_of
from isheep.seeding import derive_seed
from isheep.stages.evaluate import read_items
from isheep.stages.once import SWEEP, read_sweep
from isheep.store.run import RECIPE, Iteration, Run
from isheep.store.status import status

Items = dict[str, list[float]]
"""An item of a benchmark, named by what it asks, and its value (some metrics have several an item)."""

Metric = tuple[str, str]
"""A benchmark and one of its metrics."""

LEAST_DIFFERING = 6
"""Of fewer values that differ a coin would send all the same way more often than once in 20 times, which a bootstrap
of so few does not see."""


@dataclass(frozen=True, slots=True)
class Variant:
    """Runs that differ in nothing but their seed, in the order of the seeds."""

    name: str
    runs: Sequence[Run]
    statuses: Sequence[Mapping[str, Any]]
    known: dict[tuple[int, int, Metric], Items | None] = field(default_factory=dict)
    """Items that were read already."""

    def items(self, place: int, number: int, metric: Metric) -> Items | None:
        """Item by item what the run at a place got; None where its figure is no mean of items that are written."""
        if (place, number, metric) not in self.known:
            figure = self.statuses[place]["iterations"][number]["scores"].get(metric[0], {}).get(metric[1], {})
            items = _items(self.runs[place].iteration(number), metric)
            values = [value for one in items.values() for value in one]
            is_mean = figure.get("low") is not None and values and math.isclose(fmean(values), figure["value"])
            self.known[place, number, metric] = items if is_mean else None
        return self.known[place, number, metric]

    def iterations(self) -> list[int]:
        """Those that all its runs have begun."""
        return list(range(min(len(document["iterations"]) for document in self.statuses)))

    def figures(self, number: int, metric: Metric) -> list[Mapping[str, Any]]:
        """What scores.json of each run says; empty where one of them has no value."""
        rows = [document["iterations"][number]["scores"] for document in self.statuses]
        found = [scores.get(metric[0], {}).get(metric[1], {}) for scores in rows]
        return found if all(figure.get("value") is not None for figure in found) else []


def compare(directories: Sequence[Path]) -> dict[str, Any]:
    """Runs, or the runs of sweeps, side by side.

    Returns:
        `settings` (those in which they differ), `runs` (a row for each recipe; its seeds together: what was made and
        kept by each, scores over all of them), and `differences`: of each two rows, in each iteration that both have,
        of each benchmark's main metric, with its 95% interval, whether it is beyond noise (null: could not tell), a
        note where so few values differ that the interval says little, and a sentence. `progress` is the same of each
        row's iterations against the base and against the one before, item by item.

    Raises:
        UserError: a directory that is neither a run nor a sweep.
    """
    variants = _variants([Run.read(directory) for directory in _expanded(directories)])
    settings = _differing([variant.runs[0] for variant in variants])
    metrics = _main_metrics(variants)
    return {
        "settings": settings,
        "metrics": [f"{benchmark}/{metric}" for benchmark, metric in metrics],
        "runs": [_row(variant, settings) for variant in variants],
        "differences": list(_differences(variants, metrics)),
        "progress": list(_progress(variants, metrics)),
    }


def between(one: tuple[Run, int], other: tuple[Run, int]) -> list[dict[str, Any]]:
    """Two iterations, of one run or of two, metric by metric: `scores` of both, and `difference`, as in `compare`.

    `difference` is None where one of the two was not measured; it says what the second has more than the first.
    """
    same = one[0].directory == other[0].directory
    names = [_place(number) if same else f"{run.directory.name}, {_place(number)}" for run, number in (one, other)]
    variants = [Variant(name, [run], [status(run)]) for name, (run, _) in zip(names, (one, other), strict=True)]
    numbers = one[1], other[1]
    rows = [
        variant.statuses[0]["iterations"][number]["scores"] if number in variant.iterations() else {}
        for variant, number in zip(variants, numbers, strict=True)
    ]
    metrics = [(benchmark, metric) for scores in rows for benchmark, found in scores.items() for metric in found]
    table = []
    for metric in dict.fromkeys(metrics):
        scores = [row.get(metric[0], {}).get(metric[1]) for row in rows]
        told = None
        if None not in scores:
            first, second = zip(variants, numbers, strict=True)
            told = _difference(first, second, metric, (names[0], names[1]))
        table.append({"benchmark": metric[0], "metric": metric[1], "scores": scores, "difference": told})
    return table


def difference(before: Sequence[Items], after: Sequence[Items]) -> Interval:
    """The mean of after - before over the items that all have, run by run, with its 95% interval.

    Of two runs the bootstrap over items; of more the interval is over runs, too.
    """
    common = [name for name in before[0] if all(name in items for items in (*before, *after))]
    flat = [
        ([value for name in common for value in one[name]], [value for name in common for value in other[name]])
        for one, other in zip(before, after, strict=True)
    ]
    if len(flat) == 1:
        return paired_bootstrap(*flat[0], seed=derive_seed("compare"))
    return mean_over_runs([[y - x for x, y in zip(*pair, strict=True)] for pair in flat])


def _expanded(directories: Sequence[Path]) -> list[Path]:
    found: dict[Path, Path] = {}
    for directory in directories:
        inside = [directory]
        if (directory / SWEEP).is_file():
            names = read_sweep(directory)["runs"]
            inside = [directory / name for name in names if (directory / name / RECIPE).is_file()]
            if not inside:
                raise UserError(str(directory), "is a sweep of which no run is there.", "Start its command again.")
        elif not (directory / RECIPE).is_file():
            raise UserError(str(directory), "is neither a run nor a sweep.", "Give the --dir of one of them.")
        found |= {path.resolve(): path for path in inside}
    return list(found.values())


def _variants(runs: Sequence[Run]) -> list[Variant]:
    """Runs of one recipe but for the seed together; a seed that comes twice begins another variant."""
    groups: dict[tuple[str, int], dict[int, Run]] = {}
    for run in runs:
        recipe = json.dumps({key: value for key, value in settings_of(run.recipe).items() if key != "seed"})
        again = next(n for n in itertools.count() if run.recipe.seed not in groups.get((recipe, n), {}))
        groups.setdefault((recipe, again), {})[run.recipe.seed] = run
    members = [[group[seed] for seed in sorted(group)] for group in groups.values()]
    names = _called([group[0] for group in members])
    return [Variant(name, group, [status(run) for run in group]) for name, group in zip(names, members, strict=True)]


def _differing(runs: Sequence[Run]) -> dict[str, list[Any]]:
    """Setting -> its value in each run, of those in which they differ; the seed aside."""
    tables = [settings_of(run.recipe) for run in runs]
    keys = [key for key in tables[0] if key != "seed" and any(table[key] != tables[0][key] for table in tables)]
    return {key: [table[key] for table in tables] for key in keys}


def _called(runs: Sequence[Run]) -> list[str]:
    """What each is called: the settings in which it differs from others, and its directory where that is not enough."""
    differing = _differing(runs)
    last = [key.rpartition(".")[2] for key in differing]
    keys = {key: end if last.count(end) == 1 else key for key, end in zip(differing, last, strict=True)}
    names = [
        ", ".join(f"{keys[key]}={_short(values[place])}" for key, values in differing.items())
        for place in range(len(runs))
    ]
    return [
        name if name and names.count(name) == 1 else f"{name} ({run.directory})" if name else str(run.directory)
        for name, run in zip(names, runs, strict=True)
    ]


def _short(value: Any) -> str:
    """As people write it: `8`, `null`, `[threshold, cap]`."""
    if isinstance(value, list):
        return f"[{', '.join(map(_short, value))}]"
    whole = isinstance(value, float) and value.is_integer()
    return value if isinstance(value, str) else json.dumps(int(value) if whole else value)


def _main_metrics(variants: Sequence[Variant]) -> list[Metric]:
    """Of each benchmark that was measured the one that the stop rule watches, or else the first."""
    found: dict[str, str] = {}
    for document in (document for variant in variants for document in variant.statuses):
        for row in document["iterations"]:
            for benchmark, metrics in row["scores"].items():
                found.setdefault(benchmark, next(iter(metrics), ""))
    for variant in variants:
        benchmark, _, metric = (variant.runs[0].recipe.stop.metric or "").rpartition("/")
        if benchmark in found:
            found[benchmark] = metric
    return [(benchmark, metric) for benchmark, metric in found.items() if metric]


def _row(variant: Variant, settings: Mapping[str, Any]) -> dict[str, Any]:
    recipe = settings_of(variant.runs[0].recipe)
    return {
        "name": variant.name,
        "directories": [str(run.directory) for run in variant.runs],
        "seeds": [run.recipe.seed for run in variant.runs],
        "states": [document["state"] for document in variant.statuses],
        "settings": {key: recipe[key] for key in settings},
        "best_iterations": [document["best_iteration"] for document in variant.statuses],
        "iterations": [_iteration(variant, number) for number in variant.iterations()],
    }


def _iteration(variant: Variant, number: int) -> dict[str, Any]:
    rows = [document["iterations"][number] for document in variant.statuses]
    return {
        "iteration": number,
        "made": [row["instructions"]["made"] for row in rows],
        "kept": [row["kept"] for row in rows],
        "scores": {
            benchmark: {metric: _score(variant, number, (benchmark, metric)) for metric in metrics}
            for benchmark, metrics in rows[0]["scores"].items()
        },
    }


def _score(variant: Variant, number: int, metric: Metric) -> dict[str, Any]:
    """The figure of the one run, or the mean over the runs with an interval over runs and items."""
    figures = variant.figures(number, metric)
    if not figures:
        return asdict(Interval(None, None, None, 0))
    if len(figures) == 1:
        return dict(figures[0])
    items = [variant.items(place, number, metric) for place in range(len(figures))]
    told = [one for one in items if one is not None]
    if len(told) == len(items) and all(one.keys() == told[0].keys() for one in told):
        return asdict(mean_over_runs([[value for name in told[0] for value in one[name]] for one in told]))
    return asdict(Interval(fmean(figure["value"] for figure in figures), None, None, len(figures)))


def _differences(variants: Sequence[Variant], metrics: Sequence[Metric]) -> Iterator[dict[str, Any]]:
    numbers = sorted({number for variant in variants for number in variant.iterations() if number})
    for metric, number in itertools.product(metrics, numbers):
        for one, other in itertools.combinations(variants, 2):
            if number in one.iterations() and number in other.iterations():
                found = _difference((one, number), (other, number), metric, (one.name, other.name))
                if found is not None:
                    yield {"iteration": number, "runs": [one.name, other.name]} | found


def _progress(variants: Sequence[Variant], metrics: Sequence[Metric]) -> Iterator[dict[str, Any]]:
    for variant, metric in itertools.product(variants, metrics):
        for number in variant.iterations()[1:]:
            for past in dict.fromkeys((0, number - 1)):
                found = _difference((variant, past), (variant, number), metric, (_place(past), _place(number)))
                if found is not None:
                    yield {"run": variant.name, "iterations": [past, number]} | found


def _place(number: int) -> str:
    return f"iteration {number}" if number else "the base"


def _difference(
    one: tuple[Variant, int], other: tuple[Variant, int], metric: Metric, names: tuple[str, str]
) -> dict[str, Any] | None:
    """What the second has more than the first, each an iteration of runs; None where one of them was not measured."""
    before, after = one[0].figures(one[1], metric), other[0].figures(other[1], metric)
    if not before or not after:
        return None
    pairs = _pairs(one[0], other[0])
    items = [(one[0].items(first, one[1], metric), other[0].items(second, other[1], metric)) for first, second in pairs]
    told = [(x, y) for x, y in items if x is not None and y is not None and x.keys() & y.keys()]
    found = Interval(_mean(after) - _mean(before), None, None, 0)
    beyond: bool | None = None
    differing: int | None = None
    if len(told) == len(pairs):
        found = difference([x for x, _ in told], [y for _, y in told])
        if found.low is not None and found.high is not None:
            differing = sum(x[name] != y[name] for x, y in told for name in x.keys() & y.keys())
            beyond = (found.low > 0 or found.high < 0) and differing >= LEAST_DIFFERING
    elif len(before) == len(after) == 1:
        beyond = _apart(before[0], after[0])
    note = _note(differing)
    return {
        "benchmark": metric[0],
        "metric": metric[1],
        **asdict(found),
        "seeds": len(pairs),
        "note": note,
        "beyond_noise": beyond,
        "words": _words(*names, found, beyond, note),
    }


def _pairs(one: Variant, other: Variant) -> list[tuple[int, int]]:
    """Places of runs of the same seed; where there are none, the runs in their order."""
    seeds = {run.recipe.seed: place for place, run in enumerate(other.runs)}
    same = [(place, seeds[run.recipe.seed]) for place, run in enumerate(one.runs) if run.recipe.seed in seeds]
    return same or [(place, place) for place in range(min(len(one.runs), len(other.runs)))]


def _apart(before: Mapping[str, Any], after: Mapping[str, Any]) -> bool | None:
    """Whether two intervals do not overlap: all that can be said where the items are not the same."""
    if None in (before.get("low"), before.get("high"), after.get("low"), after.get("high")):
        return None
    return bool(before["high"] < after["low"] or after["high"] < before["low"])


def _words(one: str, other: str, found: Interval, beyond: bool | None, note: str) -> str:
    value = found.value or 0.0
    higher, lower = (other, one) if value > 0 else (one, other)
    turned = Interval(abs(value), found.low, found.high, found.n)
    if value < 0 and found.low is not None and found.high is not None:
        turned = Interval(-value, -found.high, -found.low, found.n)
    by = score(asdict(turned))
    if beyond is None:
        return f"{higher} against {lower}: {by} more, and nothing to tell noise by"
    if beyond:
        return f"{higher} is above {lower} by {by}, beyond noise"
    return f"{higher} and {lower} cannot be told apart ({by}{note})"


def _note(differing: int | None) -> str:
    """Stands behind an interval that may lie off zero and is within noise all the same."""
    few = differing is not None and 0 < differing < LEAST_DIFFERING
    return f"; {differing} {'value differs' if differing == 1 else 'values differ'}" if few else ""


def _mean(figures: Sequence[Mapping[str, Any]]) -> float:
    return fmean(figure["value"] for figure in figures)


def _items(iteration: Iteration, metric: Metric) -> Items:
    values: Items = {}
    for row in read_items(iteration, metric[0]):
        for name, value in row["metrics"].items():
            found = value if isinstance(value, list) else [value]
            if metric_name(name, row["filter"]) == metric[1] and None not in found:
                asked = hashlib.blake2b(json.dumps(row["doc"], sort_keys=True).encode(), digest_size=8).hexdigest()
                values[f"{row['doc_id']} {asked}"] = [float(one) for one in found]
    return values
