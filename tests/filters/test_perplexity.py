"""Perplexity from log-probabilities, and what is dropped by it."""

from __future__ import annotations

import math

import numpy as np
import pytest

from isheep.filters import Drop
from isheep.filters.perplexity import greatest, perplexity, unlikely, untold


def test_perplexity_is_the_inverse_geometric_mean_of_the_probabilities() -> None:
    assert perplexity([math.log(0.5), math.log(0.125)]) == pytest.approx(4)
    assert perplexity(np.log(np.array([0.5, 0.125], dtype=np.float32))) == pytest.approx(4)
    assert perplexity([0.0]) == 1


@pytest.mark.parametrize("scores", [[], [math.nan], [-1.0, math.nan]])
def test_a_perplexity_of_nothing_cannot_be_told(scores: list[float]) -> None:
    assert perplexity(scores) is None


def test_what_is_impossible_to_the_model_has_a_finite_perplexity() -> None:
    value = perplexity([-1.0, -math.inf])
    assert value is not None
    assert 1e300 < value < math.inf


@pytest.mark.parametrize(
    ("response", "pair", "drop"),
    [
        (50.0, 50.0, None),
        (50.01, 3.0, Drop("perplexity", "perplexity 50.01 of the response, over 50")),
        (3.0, 61.0, Drop("perplexity", "perplexity 61 of the pair, over 50")),
        (51.5, 61.0, Drop("perplexity", "perplexity 51.5 of the response and 61 of the pair, over 50")),
        (None, 3.0, Drop("no_perplexity", "could not tell the perplexity of the response")),
        (None, None, Drop("no_perplexity", "could not tell the perplexity of the response and the pair")),
        (
            None,
            61.0,
            Drop("perplexity", "perplexity 61 of the pair, over 50; could not tell the perplexity of the response"),
        ),
    ],
)
def test_either_perplexity_drops_and_so_does_one_that_could_not_be_told(
    response: float | None, pair: float | None, drop: Drop | None
) -> None:
    assert unlikely({"ppl_response": response, "ppl_pair": pair}, 50) == drop


def test_only_what_was_asked_for_is_looked_at() -> None:
    assert unlikely({"ppl_pair": 3.0}, 50) is None
    assert untold({"ppl_pair": 3.0}) is None
    assert untold({"ppl_pair": None}) == Drop("no_perplexity", "could not tell the perplexity of the pair")
    assert greatest({"ppl_response": 7.0, "ppl_pair": 3.0}) == 7
