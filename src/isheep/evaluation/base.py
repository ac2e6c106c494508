"""What every benchmark is to the rest of isheep: something that can be prepared, described and measured."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np

from isheep.intervals import Interval, mean_interval
from isheep.models import Model
from isheep.terminal import printable

Figure = dict[str, float | int | None]
"""`value`, `low`, `high`, `n`; null where there was nothing to measure."""

Scores = dict[str, dict[str, Figure]]
"""Benchmark -> metric -> figure."""

Row = dict[str, Any]
"""An item: `doc_id`, `filter` ("none" unless an answer is read in several ways), `prompt`, `responses`, `target`,
`metrics` (metric -> number, list of numbers, or None: could not tell) and `doc`, by which the item is known again in
another model's evaluation; what else was found of the answer stands in `judged`."""

Items = dict[str, list[Row]]
"""Task -> what was asked, answered and counted, item by item."""


@dataclass(frozen=True, slots=True)
class Measured:
    """Of one model."""

    scores: Scores
    """What stands in scores.json."""
    items: Items
    """What the scores come from."""


class Benchmark(Protocol):
    """One name of `evaluate.benchmarks`."""

    @property
    def formulaic(self) -> bool:
        """Whether its questions are put together from so few phrases that only a whole one shows that it was seen."""

    def prepare(self) -> None:
        """Sees that everything it needs is there (data, metrics, a grader, a judge), before anything is generated.

        Raises:
            UserError: something is missing.
        """

    def protocol(self) -> dict[str, Any]:
        """What decides its figures beside the model, as JSON: shots, generation, judge, data.

        Among it `library`, `version`, `items` (how many will be asked) and, where a score needs a word, `notes`.
        """

    def texts(self) -> list[str]:
        """What it asks, item by item: no training pair may hold it."""

    def measure(self, model: Model, seed: int) -> Measured:
        """The figures, and the items that they come from; the scores' first key is the benchmark's own name.

        Args:
            model: whose answers.
            seed: decides bootstraps, and answers that are sampled.
        """


def figure(values: Sequence[Any], seed: int) -> Figure:
    """The mean of those of the values that are numbers, with its 95% interval; lists count value by value."""
    flat = [value for one in values for value in (one if isinstance(one, list) else [one])]
    return as_figure(mean_interval([float(value) for value in flat if is_number(value)], seed))


def as_figure(interval: Interval) -> Figure:
    """As it stands in scores.json."""
    return asdict(interval)


def is_number(value: Any) -> bool:
    """Whether it can be counted: NaN and None say that nothing could be told."""
    return isinstance(value, int | float | np.number | np.bool_) and math.isfinite(value)


def in_words(protocol: Mapping[str, Any]) -> str:
    """By what a benchmark was measured, on a line: library, version, items, judge and notes."""
    told = [f"{protocol['library']} {protocol['version']}, {protocol['items']} items", *judge_and_notes(protocol)]
    return printable("; ".join(told))


def judge_and_notes(protocol: Mapping[str, Any]) -> list[str]:
    """Who judged with which prompts and settings (hashes by their beginnings), and what a score needs to be said."""
    told = []
    if judge := protocol.get("judge"):
        settings = {name: value for name, value in judge.items() if name != "id"}
        prompts = {f"prompt {name}": digest for name, digest in protocol["judge_prompts"].items()}
        words = [f"{name} {_short(value)}" for name, value in (settings | prompts).items()]
        told.append(f"judged by {judge['id']} ({', '.join(words)})")
    return [*told, *map(str, protocol.get("notes") or ())]


def _short(value: Any) -> str:
    """The beginning of a hash; everything else as it is."""
    text = str(value)
    return text[:8] if re.fullmatch(r"[0-9a-f]{32,}", text) else text
