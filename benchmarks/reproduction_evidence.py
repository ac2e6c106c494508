"""What the runs of `reproduction.py` say: figures of a row and differences of two, over seeds and prompts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from isheep.compare import Items, Metric, Variant, difference
from isheep.intervals import Interval, mean_interval, mean_over_runs, paired_bootstrap, student
from isheep.store.plan import NOTES
from isheep.store.run import MANIFEST

BENCHMARK = "lamb"
METRICS = {
    "P-S": "prompt_level_strict_acc",
    "I-S": "inst_level_strict_acc",
    "P-L": "prompt_level_loose_acc",
    "I-L": "inst_level_loose_acc",
}
"""IFEval's four (prompt or instruction level, strict or loose), as the paper's tables head them -> as lamb has them."""
MAIN: Metric = (BENCHMARK, METRICS["P-S"])

OURS = "ours"

Place = tuple[str, int]
"""A row's name and an iteration."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the tables: settings over the recipe of all."""

    name: str
    """Of its runs' directories, with the seed behind it."""
    label: str
    settings: tuple[str, ...]
    at: float = 0
    """Where it lies on the axis of its figure, if it is part of one."""


class Evidence:
    """All rows with their runs, one for each seed, all of them ended.

    Args:
        rows: name -> row.
        variants: name -> its runs in the order of the seeds, which are the same for all.
        settings: of every run.
    """

    def __init__(self, rows: Mapping[str, Row], variants: Mapping[str, Variant], settings: Sequence[str]) -> None:
        self.rows, self.variants, self.settings = rows, variants, settings

    @property
    def seeds(self) -> list[int]:
        """Of each row."""
        return [run.recipe.seed for run in next(iter(self.variants.values())).runs]

    def iterations(self, name: str) -> int:
        """How many the row's recipe asks for; 0 for a row that was not run."""
        return self.variants[name].runs[0].recipe.iterations if name in self.variants else 0

    def items(self, place: Place, metric: Metric = MAIN) -> list[Items] | None:
        """Seed by seed, item by item what a row's iteration got; None where not every seed has been measured there."""
        name, number = place
        if name not in self.variants or number not in self.variants[name].iterations():
            return None
        variant = self.variants[name]
        items = [variant.items(seed, number, metric) for seed in range(len(variant.runs))]
        told = [one for one in items if one is not None]
        return told if len(told) == len(items) else None

    def score(self, place: Place, metric: Metric = MAIN) -> Interval | None:
        """The mean over seeds and items; None as in `items`."""
        found = self.items(place, metric)
        if found is None:
            return None
        return over_seeds([[value for one in items.values() for value in one] for items in found])

    def difference(self, more: Place, less: Place) -> Interval | None:
        """What the first has more than the second, item by item in runs of the same seed; None as in `items`."""
        after, before = self.items(more), self.items(less)
        return None if after is None or before is None else difference(before, after)

    def why_not(self, place: Place) -> str:
        """Why there is no figure of a row's iteration; empty where its recipe has no such iteration."""
        name, number = place
        if name not in self.variants:
            return "not run"
        if number > self.iterations(name):
            return ""
        by_iteration: dict[int, list[str]] = {}
        for seed, document in zip(self.seeds, self.variants[name].statuses, strict=True):
            last = document["iterations"][-1]
            if last["iteration"] <= number and not last["scores"]:
                by_iteration.setdefault(last["iteration"], []).append(str(seed))
        stopped = sorted(by_iteration.items())
        return "; ".join(f"nothing kept in iteration {last} (seed {', '.join(seeds)})" for last, seeds in stopped)

    def kept(self, name: str) -> list[float]:
        """Iteration by iteration, from 1 on, how many pairs were trained on, the mean over the seeds."""
        statuses = self.variants[name].statuses
        longest = max(len(document["iterations"]) for document in statuses)
        counts = [[row["kept"] for row in document["iterations"][1:]] for document in statuses]
        return [fmean((seed[place] if place < len(seed) else 0) for seed in counts) for place in range(longest - 1)]

    def shares(self, name: str, number: int) -> list[float] | None:
        """Seed by seed the share of pairs whose scores are all over the threshold; None where one of them has none."""
        statuses = self.variants[name].statuses if name in self.variants else []
        found = [
            document["iterations"][number]["health"].get("over_threshold_share")
            for document in statuses
            if number < len(document["iterations"])
        ]
        told = [float(share) for share in found if share is not None]
        return told if told and len(told) == len(statuses) else None

    def stages(self) -> tuple[int, int]:
        """How many stages the runs have, and how many of them were made (the others were linked)."""
        made = Counter(
            note["from"] is None
            for variant in self.variants.values()
            for run in variant.runs
            for iteration in run.iterations()
            for note in (iteration.read_json(NOTES) or {}).values()
        )
        return made.total(), made[True]

    def weights(self) -> str:
        """The beginning of the hash of lamb's weights, by which one can tell which lamb was run."""
        manifest = next(iter(self.variants.values())).runs[0].read_json(MANIFEST) or {}
        return str(manifest.get("model", {}).get("model.safetensors", "unknown"))[:12]


def over_seeds(values: Sequence[Sequence[float]]) -> Interval:
    """The mean of [seeds, items] with its interval over both; over the items alone where there is but one seed."""
    return mean_over_runs(values) if len(values) > 1 else mean_interval(values[0], seed=0)


def slope(points: Sequence[tuple[float, Sequence[Items]]]) -> Interval:
    """By how much the score grows for each unit along an axis: least squares, its interval over seeds and items.

    Args:
        points: the place on the axis, and seed by seed what was got there.
    """
    middle = fmean(at for at, _ in points)
    spread = sum((at - middle) ** 2 for at, _ in points)
    slopes = []
    for seed in range(len(points[0][1])):
        common = [name for name in points[0][1][seed] if all(name in runs[seed] for _, runs in points)]
        columns = [[value for name in common for value in runs[seed][name]] for _, runs in points]
        weights = [(at - middle) / spread for at, _ in points]
        slopes.append([sum(w * x for w, x in zip(weights, row, strict=True)) for row in zip(*columns, strict=True)])
    # One run's slopes over its items are differences from nothing.
    return mean_over_runs(slopes) if len(slopes) > 1 else paired_bootstrap([0.0] * len(slopes[0]), slopes[0], seed=0)


def growth(first: Sequence[float], last: Sequence[float]) -> Interval:
    """How much a figure of each seed has grown, with its interval over seeds."""
    return student([after - before for before, after in zip(first, last, strict=True)])
