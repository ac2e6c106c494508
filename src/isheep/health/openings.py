"""How instructions open: the first word of each and the head of the phrase behind it, by a rule and not by a parser.

For an imperative this is mostly its verb and its direct object, the pair that Self-Instruct takes from a parser ("Write
a short story about the sea": write, story). It is not called verb and noun because nothing here knows parts of speech:
a question opens with its question word, and "In this task, you will be given ..." with (in, task).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from math import exp, lgamma

from isheep.filters.rules import Language

SAMPLE = 100
"""Openings are counted over so many instructions, so that sets of unlike size compare."""

_TOKEN = re.compile(r"[^\W_]+(?:['\u2019-][^\W_]+)*|[^\w\s]")

Opening = tuple[str, str | None]


class Openings:
    """Reads the opening of an instruction with the word lists of a language."""

    def __init__(self, language: Language) -> None:
        self._courtesies = frozenset(language.courtesies)
        self._function_words = frozenset(language.function_words)

    def opening(self, instruction: str) -> Opening | None:
        """(first word, head of the phrase behind it or None), in lower case; None of a text without a word."""
        tokens = iter(_TOKEN.findall(instruction.lower()))
        first = next((token for token in tokens if token[0].isalnum() and token not in self._courtesies), None)
        if first is None:
            return None
        head = None
        for token in tokens:
            inside = token[0].isalnum() and token not in self._function_words
            if head is not None and not inside:
                break
            if inside:
                head = token
        return first, head


def expected_distinct(openings: Iterable[Opening | None], sample: int = SAMPLE) -> float | None:
    """How many different openings a random `sample` of these has on average; None where there are fewer."""
    counts = Counter(opening for opening in openings if opening is not None)
    total = counts.total()
    if total < sample:
        return None
    return sum(1 - _missed(total, count, sample) for count in counts.values())


def _missed(total: int, count: int, sample: int) -> float:
    """The probability that a sample without replacement holds none of `count` items of the `total`."""
    if total - count < sample:
        return 0.0
    return exp(
        lgamma(total - count + 1) - lgamma(total - count - sample + 1) - lgamma(total + 1) + lgamma(total - sample + 1)
    )
