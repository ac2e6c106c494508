"""The density filter: pairs that lie close together, and one of each such cluster (paper section 3.3)."""

from __future__ import annotations

import random
import warnings
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from isheep.filters import Drop
from isheep.filters.quota import K

Vectors = npt.NDArray[np.float32]

MANY = 100
"""From so many clusters on, well-chosen starting centres cost more than they bring (600 clusters of 2,000 vectors: 7 s
instead of 0.2 s, and 2% less spread)."""


def clusters(vectors: Vectors, count: int, seed: int) -> list[int]:
    """The number of the cluster of each row, by k-means; fewer clusters than `count` where fewer rows differ.

    Args:
        vectors: [rows, width], finite.
        count: clusters wanted.
        seed: of the starting centres. On one thread, since sums in another order would be other clusters.
    """
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_limits

    count = min(count, len({row.tobytes() for row in vectors}))
    if count == 0:
        return []
    how = {"init": "k-means++", "n_init": 4} if count < MANY else {"init": "random", "n_init": 1}
    means = KMeans(count, random_state=seed % 2**32, **how)
    with threadpool_limits(limits=1), warnings.catch_warnings():
        # Rows that differ in their last digits alone may be one to it.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return [int(label) for label in means.fit_predict(vectors)]


def one_of_each(cluster_of: Mapping[K, int], rng: random.Random) -> dict[K, Drop]:
    """Drops for all but one of each cluster, drawn at random; id -> cluster goes in, id -> drop comes out."""
    drops: dict[K, Drop] = {}
    for number, members in _members(cluster_of).items():
        spared = rng.choice(members)
        drops |= {
            id_: Drop("density", f"not the one drawn of the {len(members)} in cluster {number}")
            for id_ in members
            if id_ != spared
        }
    return drops


def likeliest_of_each(cluster_of: Mapping[K, int], perplexity_of: Mapping[K, float]) -> dict[K, Drop]:
    """Drops for all but the one of the lowest perplexity of each cluster, the earlier of two equals."""
    drops: dict[K, Drop] = {}
    for number, members in _members(cluster_of).items():
        spared = min(members, key=perplexity_of.__getitem__)
        drops |= {
            id_: Drop("density", f"perplexity {perplexity_of[id_]:.4g} is not the lowest of cluster {number}")
            for id_ in members
            if id_ != spared
        }
    return drops


def _members(cluster_of: Mapping[K, int]) -> dict[int, list[K]]:
    """Cluster -> its ids, in their order."""
    members: dict[int, list[K]] = {}
    for id_, number in cluster_of.items():
        members.setdefault(number, []).append(id_)
    return members
