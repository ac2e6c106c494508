"""Exact novelty: the highest ROUGE-L F-measure of a text against a growing pool (paper section 3.1).

Every figure equals rouge_score's `RougeScorer(["rougeL"], use_stemmer=False)` bit for bit, so that the strict
comparison with a limit decides alike: of the length pairs at which F is 0.7 by arithmetic, its formula puts nearly
half just above 0.7.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from rapidfuzz.distance import LCSseq
from rapidfuzz.process import cdist

from isheep.filters import Drop

_TOKEN = re.compile(r"[a-z0-9]+")
_UNKNOWN = 0
"""Code of a token that no text of the pool holds; it matches nothing."""
_CODE_POINTS = 0x110000
_SINGLY = 8
"""So many candidates are compared one by one, which mostly settles it; the rest in batches, cheaper for each."""
_BATCH = 256
_HALF_LESS_SLACK = (1 - 1e-9) / 2
"""F is 2 common / (m + n); the slack, far below the gap between two F-measures, covers the rounding of any formula."""

Floats = NDArray[np.float64]
Number = TypeVar("Number", float, Floats)


@dataclass(frozen=True, slots=True)
class Match:
    """The nearest text of the pool: its F-measure in 0..1 and its id (the earliest of equals)."""

    f: float
    id: str


def tokenize(text: str) -> list[str]:
    """The tokens of rouge_score without a stemmer: lower case, runs of [a-z0-9]. Other scripts give none."""
    return _TOKEN.findall(text.lower())


def f_measure(common: Number, length: float, other: Number) -> Number:
    """rouge_score's formula, operation by operation, for texts with `common` > 0 tokens in the same order."""
    precision, recall = common / length, common / other
    return 2 * precision * recall / (precision + recall)


class Novelty:
    """A pool of texts that finds the nearest to another, exactly, without comparing with most of them.

    Not covered: text in other scripts than Latin letters and digits, which the reference does not see at all. Time
    and memory of `nearest` grow linearly with the pool.
    """

    def __init__(self, limit: float) -> None:
        """A text whose F-measure with any of the pool is greater than `limit` is not novel."""
        self.limit = limit
        self._ids: list[str] = []
        self._codes: dict[str, int] = {}
        self._sequences: list[str | list[int]] = []
        self._lengths: Floats = np.empty(1024)
        self._postings: dict[Hashable, array[int]] = {}

    def __len__(self) -> int:
        return len(self._ids)

    def add(self, id: str, text: str) -> None:
        """Puts a text into the pool; one that tokenizes to nothing is left out, since nothing can be near to it."""
        tokens = tokenize(text)
        if not tokens:
            return
        place = len(self._ids)
        if place == len(self._lengths):
            self._lengths = np.concatenate([self._lengths, np.empty_like(self._lengths)])
        self._lengths[place] = len(tokens)
        self._ids.append(id)
        self._sequences.append(_sequence([self._codes.setdefault(token, len(self._codes) + 1) for token in tokens]))
        for occurrence in _occurrences(tokens):
            self._postings.setdefault(occurrence, array("q")).append(place)

    def nearest(self, text: str) -> Match | None:
        """The best match over the whole pool; None if the text or every text of the pool tokenizes to nothing."""
        tokens = tokenize(text)
        if not tokens or not self._ids:
            return None
        sequence = _sequence([self._codes.get(token, _UNKNOWN) for token in tokens])
        bounds = self._bounds(tokens)
        if not bounds.any():
            return Match(0.0, self._ids[0])
        best = self._best(sequence, [int(bounds.argmax())])
        rest = np.flatnonzero(bounds >= best[0] * _HALF_LESS_SLACK)
        for batch in _batches(rest[np.argsort(-bounds[rest])].tolist()):
            if bounds[batch[0]] < best[0] * _HALF_LESS_SLACK:
                break
            best = max(best, self._best(sequence, batch))
        return Match(best[0], self._ids[-best[1]])

    def verdict(self, match: Match | None) -> Drop | None:
        """A drop if the match (of `nearest`) is nearer than the limit; None: keep."""
        if match is None or not match.f > self.limit:
            return None
        return Drop("not_novel", f"ROUGE-L {match.f:.3f} with {match.id}, more than {self.limit:g}")

    def _best(self, sequence: str | list[int], places: list[int]) -> tuple[float, int]:
        """Highest F-measure among these places of the pool, and the earliest such place, negated: greater is better."""
        if len(places) == 1:
            other = self._sequences[places[0]]
            return f_measure(float(LCSseq.similarity(sequence, other)), len(sequence), float(len(other))), -places[0]
        others = [self._sequences[place] for place in places]
        common = cdist([sequence], others, scorer=LCSseq.similarity, dtype=np.float64)[0]
        figures = f_measure(common, len(sequence), self._lengths[places])
        return float(figures.max()), -min(places[i] for i in np.flatnonzero(figures == figures.max()))

    def _bounds(self, tokens: Sequence[str]) -> Floats:
        """For each text of the pool, half of what its F-measure cannot exceed: as if what is common stood in order."""
        found = [
            np.frombuffer(posting, dtype=np.int64)
            for occurrence in _occurrences(tokens)
            if (posting := self._postings.get(occurrence)) is not None
        ]
        if not found:
            return np.zeros(len(self._ids))
        common = np.bincount(np.concatenate(found), minlength=len(self._ids))
        bounds: Floats = common / (self._lengths[: len(self._ids)] + len(tokens))
        return bounds


def _occurrences(tokens: Sequence[str]) -> list[Hashable]:
    """Each token, and its second, third ... occurrence as others, so that common ones count as often as in both."""
    seen: dict[str, int] = {}
    occurrences: list[Hashable] = []
    for token in tokens:
        count = seen.get(token, 0)
        occurrences.append((token, count) if count else token)
        seen[token] = count + 1
    return occurrences


def _sequence(codes: list[int]) -> str | list[int]:
    """Codes as rapidfuzz compares them fastest: the characters of a string, as long as there are enough of them."""
    return "".join(map(chr, codes)) if max(codes) < _CODE_POINTS else codes


def _batches(places: list[int]) -> Iterator[list[int]]:
    for place in places[:_SINGLY]:
        yield [place]
    for start in range(_SINGLY, len(places), _BATCH):
        yield places[start : start + _BATCH]
