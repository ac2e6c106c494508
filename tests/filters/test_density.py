"""Clusters of vectors, and which member of each stays."""

from __future__ import annotations

import random
import warnings

import numpy as np
import pytest

from isheep.filters import Drop
from isheep.filters.density import MANY, Vectors, clusters, likeliest_of_each, one_of_each

CLUSTERS = {"a": 0, "b": 1, "c": 0, "d": 1, "e": 0, "f": 2}


def groups(count: int, size: int) -> Vectors:
    """Rows in `count` groups of `size`, one group after the other, far apart."""
    rng = np.random.default_rng(0)
    centres = rng.normal(scale=100, size=(count, 16)).repeat(size, axis=0)
    return np.asarray(centres + rng.normal(scale=0.1, size=centres.shape), dtype=np.float32)


def test_few_clusters_are_the_groups() -> None:
    labels = np.array(clusters(groups(5, 20), 5, seed=2**62)).reshape(5, 20)
    assert all(len(set(row)) == 1 for row in labels.tolist())
    assert len(set(labels.flatten().tolist())) == 5


@pytest.mark.parametrize("count", [2, MANY, 300])
def test_every_cluster_has_a_member_and_the_seed_decides(count: int) -> None:
    vectors = np.random.default_rng(1).normal(size=(300, 8)).astype(np.float32)
    labels = clusters(vectors, count, seed=7)
    assert set(labels) == set(range(count))
    assert clusters(vectors, count, seed=7) == labels
    assert clusters(vectors, count, seed=8) != labels


@pytest.mark.parametrize("wanted", [4, MANY])
def test_there_are_no_more_clusters_than_rows_that_differ(wanted: int) -> None:
    vectors = np.eye(3, dtype=np.float32)[[0, 1, 2, 0, 1, 1]]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        labels = clusters(vectors, wanted, seed=0)
    assert len(set(labels)) == 3
    assert (labels[0], labels[1], labels[1]) == (labels[3], labels[4], labels[5])
    assert clusters(np.empty((0, 3), dtype=np.float32), wanted, seed=0) == []


def test_one_of_each_cluster_stays_drawn_at_random() -> None:
    drops = one_of_each(CLUSTERS, random.Random(0))
    left = [id_ for id_ in CLUSTERS if id_ not in drops]
    assert sorted(CLUSTERS[id_] for id_ in left) == [0, 1, 2]
    assert {drop.rule for drop in drops.values()} == {"density"}
    stayed = [set(CLUSTERS) - set(one_of_each(CLUSTERS, random.Random(seed))) for seed in range(40)]
    assert set().union(*stayed) == set(CLUSTERS)
    assert one_of_each({"a": 4, "b": 4}, random.Random(0)) in (
        {"a": Drop("density", "not the one drawn of the 2 in cluster 4")},
        {"b": Drop("density", "not the one drawn of the 2 in cluster 4")},
    )


def test_the_likeliest_of_each_cluster_stays() -> None:
    told = {"a": 9.0, "b": 2.0, "c": 3.25, "d": 2.0, "e": 4.0, "f": 99.0}
    assert likeliest_of_each(CLUSTERS, told) == {
        "a": Drop("density", "perplexity 9 is not the lowest of cluster 0"),
        "e": Drop("density", "perplexity 4 is not the lowest of cluster 0"),
        "d": Drop("density", "perplexity 2 is not the lowest of cluster 1"),
    }
