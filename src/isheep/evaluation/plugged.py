"""A benchmark that a plug-in brings: opened when it is needed, and what it gives back is looked at."""

from __future__ import annotations

import json
from functools import cached_property
from typing import Any

from isheep.evaluation.base import Benchmark, Measured, is_number
from isheep.models import Model
from isheep.plugins import Plugin
from isheep.recipe import Recipe
from isheep.recipe.plugged import opened

FIGURE = {"value", "low", "high", "n"}


class PluggedBenchmark:
    """The plug-in's benchmark, made of the recipe's `evaluate`.

    What it raises becomes a StageError that names it. Its protocol is told with its distribution as `library`, and
    with that one's version.
    """

    def __init__(self, name: str, recipe: Recipe) -> None:
        """Imports nothing yet."""
        self._name, self._recipe = name, recipe

    @cached_property
    def _opened(self) -> tuple[Plugin, Benchmark]:
        return opened("benchmarks", self._name, self._recipe, self._recipe.evaluate)

    @property
    def formulaic(self) -> bool:
        """As the plug-in says; no, where it says nothing."""
        return bool(getattr(self._opened[1], "formulaic", False))

    def prepare(self) -> None:
        """See `Benchmark.prepare`.

        Raises:
            UserError: it does not import, its settings are wrong, or something that it needs is missing.
            StageError: it fails.
        """
        plugin, benchmark = self._opened
        with plugin.blamed():
            benchmark.prepare()

    def protocol(self) -> dict[str, Any]:
        """See `Benchmark.protocol`; raises StageError where it does not say how many items it asks, or is no JSON."""
        plugin, benchmark = self._opened
        with plugin.blamed():
            told = json.loads(json.dumps(dict(benchmark.protocol()), allow_nan=False))
        if not isinstance(told.get("items"), int):
            raise plugin.wrong("does not say in its protocol how many `items` it asks.")
        library, _, version = plugin.origin.rpartition(" ")
        return {**told, "library": library, "version": version, "settings": self._recipe.plugins.get(self._name, {})}

    def texts(self) -> list[str]:
        """See `Benchmark.texts`."""
        plugin, benchmark = self._opened
        with plugin.blamed():
            texts = list(benchmark.texts())
        if not all(isinstance(text, str) for text in texts):
            raise plugin.wrong("asks something that is no text.")
        return texts

    def measure(self, model: Model, seed: int) -> Measured:
        """See `Benchmark.measure`; raises StageError for what are no figures of the benchmark's own name."""
        plugin, benchmark = self._opened
        with plugin.blamed():
            measured = benchmark.measure(model, seed)
        if not isinstance(measured, Measured) or next(iter(measured.scores), None) != self._name:
            raise plugin.wrong(f"measured nothing under its own name `{self._name}`.")
        for metric, figure in ((one, found) for table in measured.scores.values() for one, found in table.items()):
            if set(figure) != FIGURE or not all(value is None or is_number(value) for value in figure.values()):
                raise plugin.wrong(f"gave no figure with {', '.join(sorted(FIGURE))} for {metric}.")
        return measured
