"""The filters that keep a number of pairs: at random, those of the highest scores, or at most so many."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import TypeVar

from isheep.filters import Drop

K = TypeVar("K", str, int)
"""By what a pair is known: its id, or its place."""


def of_iteration(wanted: int | list[int] | None, iteration: int) -> int | None:
    """A number for each iteration, of which the last one goes on, or the same for all."""
    return wanted[min(iteration, len(wanted)) - 1] if isinstance(wanted, list) else wanted


def draw(ids: Sequence[K], most: int, rule: str, rng: random.Random) -> dict[K, Drop]:
    """Drops of `rule` for all but `most` of the ids, drawn at random."""
    if len(ids) <= most:
        return {}
    spared = set(rng.sample(ids, most))
    return dict.fromkeys(
        (id_ for id_ in ids if id_ not in spared), Drop(rule, f"not among the {most} drawn of {len(ids)}")
    )


def top(scores: Mapping[K, float], most: int, rng: random.Random) -> dict[K, Drop]:
    """Drops for all but the `most` ids of the highest scores; which of equals stay is drawn."""
    shuffled = rng.sample(list(scores), len(scores))
    lost = sorted(shuffled, key=lambda id_: -scores[id_])[most:]
    return {
        id_: Drop("top", f"score {scores[id_]:.2f} is not among the {most} highest of {len(scores)}") for id_ in lost
    }
