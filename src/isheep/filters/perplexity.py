"""The perplexity filter: pairs that the model itself finds unlikely are dropped (paper section 3.3)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from isheep.filters import Drop

NAMES = {"ppl_response": "the response", "ppl_pair": "the pair"}
"""Field of a selection record -> what its perplexity is of."""
FIELDS = {"response": ("ppl_response",), "pair": ("ppl_pair",), "both": ("ppl_response", "ppl_pair")}
"""`select.perplexity.of` -> the fields that it asks for."""

Perplexities = Mapping[str, float | None]
"""Field -> perplexity, of one pair; None: could not tell."""


def perplexity(log_probabilities: Sequence[float] | npt.NDArray[np.float32]) -> float | None:
    """Exp of the mean negative log-probability of a text's tokens; None where there are none, or it is no number."""
    if not len(log_probabilities):
        return None
    value = math.exp(min(-math.fsum(log_probabilities) / len(log_probabilities), 700.0))
    return value if math.isfinite(value) else None


def unlikely(found: Perplexities, limit: float) -> Drop | None:
    """A drop if one of the perplexities is greater than `limit`, or could not be told; None: keep."""
    high = [f"{value:.4g} of {NAMES[name]}" for name, value in found.items() if value is not None and value > limit]
    unknown = untold(found)
    if not high:
        return unknown
    also = f"; {unknown.reason}" if unknown else ""
    return Drop("perplexity", f"perplexity {' and '.join(high)}, over {limit:g}{also}")


def untold(found: Perplexities) -> Drop | None:
    """A drop where one of the perplexities could not be told."""
    names = [NAMES[name] for name, value in found.items() if value is None]
    return Drop("no_perplexity", f"could not tell the perplexity of {' and '.join(names)}") if names else None


def greatest(found: Perplexities) -> float:
    """The greatest of the perplexities; raises ValueError where none could be told."""
    return max(value for value in found.values() if value is not None)
