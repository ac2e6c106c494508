"""Exact novelty: the highest ROUGE-L F-measure of a text against a growing pool (paper section 3.1).

What is compared and by which formula is in `filters.rouge`; here is the search.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Protocol

import numpy as np
from rapidfuzz.distance import LCSseq
from rapidfuzz.process import cdist

from isheep.filters import Drop
from isheep.filters.rouge import SLACK, TOKENIZERS, Floats, Tokenizer, f_measure

_CODE_POINTS = 0x110000
_SINGLY = 8
"""So many candidates are compared one by one, which mostly settles it; the rest in batches, cheaper for each."""
_BATCH = 256
Coded = tuple[list[int], list[int]]
"""The tokens of a text in order, and their occurrences, every one different."""


@dataclass(frozen=True, slots=True)
class Match:
    """The nearest text of the pool: its F-measure in 0..1 and its id (the earliest of equals)."""

    f: float
    id: str


class Pool(Protocol):
    """Texts as codes of their tokens (0, 1, 2 ... without a gap), numbered from 0 in the order in which they came."""

    def __len__(self) -> int: ...

    def add(self, tokens: list[int], occurrences: list[int]) -> None:
        """Puts in a text: the codes of its tokens in order, and those of their occurrences, every one different."""
        ...

    def nearest(self, tokens: list[int], occurrences: list[int], over: float) -> tuple[float, int]:
        """F-measure and number of the nearest text (the earliest of equals); (`over`, -1) where none is over that."""
        ...


def new_pool() -> Pool:
    """The compiled pool where numba is installed (`pip install isheep[fast]`), else the plain one: same answers."""
    if find_spec("numba") is None:
        return PlainPool()
    from isheep.filters.compiled import CompiledPool

    return CompiledPool()


class Novelty:
    """A pool of texts that finds the nearest to another, exactly, without comparing with most of them.

    Not covered: with the tokenizer `rouge`, text in other scripts than Latin letters and digits, which the reference
    does not see at all. Time grows linearly with the pool.
    """

    def __init__(self, limit: float, tokenizer: Tokenizer = "rouge", pool: Pool | None = None) -> None:
        """A text whose F-measure with any of the pool is greater than `limit` is not novel."""
        self.limit = limit
        self._tokens = TOKENIZERS[tokenizer]
        self._pool = new_pool() if pool is None else pool
        self._ids, self._ends = bytearray(), array("Q", [0])
        self._codes: dict[str | tuple[str, int], int] = {}
        self._last: tuple[str, Coded] = ("", ([], []))

    def __len__(self) -> int:
        return len(self._pool)

    def add(self, id: str, text: str) -> None:
        """Puts a text into the pool; one that tokenizes to nothing is left out, since nothing can be near to it."""
        tokens, occurrences = self._coded(text)
        if tokens:
            self._pool.add(tokens, occurrences)
            # One after the other: as texts of their own they would take as much memory as all else of the pool.
            self._ids += id.encode("utf-8", "surrogatepass")
            self._ends.append(len(self._ids))

    def nearest(self, text: str) -> Match | None:
        """The best match over the whole pool; None if the text or every text of the pool tokenizes to nothing."""
        tokens, occurrences = self._coded(text)
        if not tokens or not len(self):
            return None
        f, place = self._pool.nearest(tokens, occurrences, over=0.0)
        start, end = self._ends[max(place, 0)], self._ends[max(place, 0) + 1]
        return Match(f, self._ids[start:end].decode("utf-8", "surrogatepass"))

    def is_near(self, text: str) -> bool:
        """Whether the nearest text is nearer than the limit: the same decision as of `verdict`, in less time."""
        tokens, occurrences = self._coded(text)
        return bool(tokens and len(self)) and self._pool.nearest(tokens, occurrences, over=self.limit)[1] >= 0

    def verdict(self, match: Match | None) -> Drop | None:
        """A drop if the match (of `nearest`) is nearer than the limit; None: keep."""
        if match is None or not match.f > self.limit:
            return None
        return Drop("not_novel", f"ROUGE-L {match.f:.3f} with {match.id}, more than {self.limit:g}")

    def _coded(self, text: str) -> Coded:
        """The codes of a text; remembered, since what was just found to be novel is put in next."""
        if text != self._last[0]:
            codes = self._codes
            tokens = self._tokens(text)
            occurrences = [codes.setdefault(occurrence, len(codes)) for occurrence in _occurrences(tokens)]
            # What occurs a first time has the token's own code.
            self._last = text, ([codes[token] for token in tokens], occurrences)
        return self._last[1]


class PlainPool:
    """The pool in numpy and rapidfuzz; time and memory of `nearest` grow linearly with it."""

    def __init__(self) -> None:
        self._sequences: list[str | list[int]] = []
        self._lengths: Floats = np.empty(1024)
        self._postings: dict[int, array[int]] = {}

    def __len__(self) -> int:
        return len(self._sequences)

    def add(self, tokens: list[int], occurrences: list[int]) -> None:
        """As in `Pool`."""
        place = len(self)
        if place == len(self._lengths):
            self._lengths = np.concatenate([self._lengths, np.empty_like(self._lengths)])
        self._lengths[place] = len(tokens)
        self._sequences.append(_sequence(tokens))
        for occurrence in occurrences:
            self._postings.setdefault(occurrence, array("q")).append(place)

    def nearest(self, tokens: list[int], occurrences: list[int], over: float) -> tuple[float, int]:
        """As in `Pool`."""
        sequence, bounds = _sequence(tokens), self._bounds(occurrences)
        if not bounds.any():
            return over, -1
        best = max((over, 1), self._best(sequence, [int(bounds.argmax())]))
        rest = np.flatnonzero(bounds >= best[0] * SLACK / 2)
        for batch in _batches(rest[np.argsort(-bounds[rest])].tolist()):
            if bounds[batch[0]] < best[0] * SLACK / 2:
                break
            best = max(best, self._best(sequence, batch))
        return best[0], -best[1]

    def _best(self, sequence: str | list[int], places: list[int]) -> tuple[float, int]:
        """Highest F-measure among these places of the pool, and the earliest such place, negated: greater is better."""
        if len(places) == 1:
            other = self._sequences[places[0]]
            return f_measure(float(LCSseq.similarity(sequence, other)), len(sequence), float(len(other))), -places[0]
        others = [self._sequences[place] for place in places]
        common = cdist([sequence], others, scorer=LCSseq.similarity, dtype=np.float64)[0]
        figures = f_measure(common, len(sequence), self._lengths[places])
        return float(figures.max()), -min(places[i] for i in np.flatnonzero(figures == figures.max()))

    def _bounds(self, occurrences: Sequence[int]) -> Floats:
        """For each text of the pool, half of what its F-measure cannot exceed: as if what is common stood in order."""
        found = [
            np.frombuffer(posting, dtype=np.int64)
            for occurrence in occurrences
            if (posting := self._postings.get(occurrence)) is not None
        ]
        if not found:
            return np.zeros(len(self))
        common = np.bincount(np.concatenate(found), minlength=len(self))
        bounds: Floats = common / (self._lengths[: len(self)] + len(occurrences))
        return bounds


def _occurrences(tokens: Sequence[str]) -> list[str | tuple[str, int]]:
    """Each token, and its second, third ... occurrence as others, so that common ones count as often as in both."""
    if len(set(tokens)) == len(tokens):
        return list(tokens)
    seen: dict[str, int] = {}
    occurrences: list[str | tuple[str, int]] = []
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
