"""Some benchmarks measured one after the other, without a run around them."""

from __future__ import annotations

from collections.abc import Sequence

from isheep.evaluation.base import Items, Measured, Scores
from isheep.evaluation.registry import prepared
from isheep.models import Model
from isheep.recipe import Recipe


def measure_all(names: Sequence[str], recipe: Recipe, model: Model) -> Measured:
    """All scores and all items; what one of them needs and is missing is said before the first is measured."""
    scores: Scores = {}
    items: Items = {}
    for benchmark in prepared(names, recipe).values():
        measured = benchmark.measure(model, recipe.seed)
        scores |= measured.scores
        items |= measured.items
    return Measured(scores, items)
