"""ROUGE-L as rouge_score computes it: its tokens, and its F-measure operation by operation.

Equal to `RougeScorer(["rougeL"], use_stemmer=False)` bit for bit, so that a strict comparison with a limit decides
alike: of the length pairs at which F is 0.7 by arithmetic, its formula puts nearly half just above 0.7.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeVar

import numpy as np
import regex
from numpy.typing import NDArray

Tokenizer = Literal["rouge", "words"]

SLACK = 1 - 1e-9
"""Covers the rounding of any formula of an F-measure, and is far below the gap between two of them."""

_KEPT = b"abcdefghijklmnopqrstuvwxyz0123456789"
_ROUGE = bytes(byte if byte in _KEPT else ord(" ") for byte in range(256))
"""What becomes of each byte of a text in ASCII: the reference's tokens are what then stands between spaces."""
_UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
"""Scripts that put no space between words: each of their letters is a token."""
_WORDS = regex.compile(rf"(?V1)[{_UNSPACED}]\p{{M}}*|[[\p{{L}}\p{{N}}\p{{M}}]--[{_UNSPACED}]]+")

Floats = NDArray[np.float64]
Number = TypeVar("Number", float, Floats)


def rouge_tokens(text: str) -> list[str]:
    """The tokens of rouge_score without a stemmer: lower case, runs of [a-z0-9]. Other scripts give none."""
    return text.lower().encode("ascii", "replace").translate(_ROUGE).decode("ascii").split()


def word_tokens(text: str) -> list[str]:
    """Words of any script, lower case; single letters of scripts that put no space between words."""
    found: list[str] = _WORDS.findall(text.lower())
    return found


TOKENIZERS: dict[Tokenizer, Callable[[str], list[str]]] = {"rouge": rouge_tokens, "words": word_tokens}


def f_measure(common: Number, length: float, other: Number) -> Number:
    """rouge_score's formula, operation by operation, for texts with `common` > 0 tokens in the same order."""
    precision, recall = common / length, common / other
    return 2 * precision * recall / (precision + recall)
