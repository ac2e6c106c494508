"""Where the seed tasks and what each iteration kept lie: vectors of the base model, for the report's figure."""

from __future__ import annotations

import random
from collections.abc import Sequence

from isheep.models import Model
from isheep.recipe import Recipe
from isheep.records import Pair, SeedTask
from isheep.seeding import derive_seed
from isheep.stages.figures import vectors
from isheep.store.joined import Anew, kept_pairs
from isheep.store.run import Iteration

VECTORS = "vectors.parquet"
UNASKED = 200
"""Pairs of each iteration where `health.vectors` is null and vectors cost little: on the embedded engine."""


def wanted(recipe: Recipe) -> int:
    """How many pairs of each iteration get a vector.

    Other engines would have to be started anew for it, or cannot; there the recipe has to ask.
    """
    asked = recipe.health.vectors
    return asked if asked is not None else UNASKED if recipe.engine.name == "transformers" else 0


def embed(iteration: Iteration, seeds: Sequence[SeedTask], recipe: Recipe, base: Model) -> None:
    """Writes vectors.parquet, unless it is there: of the seed tasks (iteration 0), or of a sample of the kept pairs.

    All are the base model's, so that what iterations kept compares.
    """
    if (iteration.path / VECTORS).is_file():
        return
    pairs = Anew(lambda: iter(_seed_pairs(seeds)) if iteration.number == 0 else kept_pairs(iteration))
    count = sum(1 for _ in pairs)
    # S311: it has to repeat, no secret.
    draw = random.Random(derive_seed(recipe.seed, iteration.number, "embed"))  # noqa: S311
    chosen = set(draw.sample(range(count), min(wanted(recipe), count)))
    drawn = [pair for place, pair in enumerate(pairs) if place in chosen]
    found = vectors(drawn, iteration.number, base)
    iteration.write_vectors(VECTORS, [pair.id for pair in drawn], found)


def _seed_pairs(seeds: Sequence[SeedTask]) -> list[Pair]:
    return [Pair(seed.id, seed.instruction, seed.input, seed.output) for seed in seeds]
