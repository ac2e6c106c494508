"""The pool of novelty, compiled by numba (`pip install isheep[fast]`): same answers, an order of magnitude faster.

Of each text a signature is kept: 128 bits, one set for each of its tokens. How many bits two signatures share says how
many tokens two texts can have in common at most, for a nanosecond a text; and only where that leaves a text the chance
to be nearest are the tokens compared in their order (bit-parallel longest common subsequence, after Hyyrö 2004).
Signatures lie by the length of their texts, since the length alone rules most of them out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numpy as np
from numba import njit
from numpy.typing import NDArray

from isheep.filters.rouge import SLACK, f_measure

F = TypeVar("F", bound=Callable[..., Any])

Ints = NDArray[np.int32]
Words = NDArray[np.uint64]

_NONE = -1
_CHUNK = 64
"""Signatures that lie side by side, all of texts of one length."""


def _compiled(function: F) -> F:
    return cast(F, njit(cache=True)(function))


_f_measure = _compiled(f_measure)


class CompiledPool:
    """Texts as codes of their tokens (0, 1, 2 ... without a gap), numbered from 0 in the order in which they came."""

    def __init__(self) -> None:
        self._size = self._used = self._chunks = 0
        self._starts, self._texts = np.zeros(1024, np.int64), np.zeros(16 * 1024, np.int32)
        self._signatures, self._places = np.zeros((64, 2, _CHUNK), np.uint64), np.zeros((64, _CHUNK), np.int32)
        self._before = np.zeros(64, np.int32)
        self._newest, self._sizes = np.full(256, _NONE, np.int32), np.zeros(256, np.int32)
        self._rows = np.zeros(1024, np.int32)

    def __len__(self) -> int:
        return self._size

    def add(self, tokens: list[int], occurrences: list[int]) -> None:
        """Puts in a text: the codes of its tokens in order, and those of their occurrences, every one different."""
        self._make_room(len(tokens), max(occurrences))
        self._chunks = _put(
            self._size,
            self._used,
            np.array(tokens, np.int32),
            np.array(occurrences, np.int32),
            self._starts,
            self._texts,
            self._signatures,
            self._places,
            self._before,
            self._newest,
            self._sizes,
            self._chunks,
        )
        self._used += len(tokens)
        self._size += 1

    def nearest(self, tokens: list[int], occurrences: list[int], over: float) -> tuple[float, int]:
        """F-measure and number of the nearest text (the earliest of equals); (`over`, -1) where none is over that."""
        self._make_room(0, max(occurrences))
        f, place = _nearest(
            np.array(tokens, np.int32),
            np.array(occurrences, np.int32),
            over,
            self._starts,
            self._texts,
            self._signatures,
            self._places,
            self._before,
            self._newest,
            self._sizes,
            self._rows,
        )
        return float(f), int(place)

    def _make_room(self, tokens: int, code: int) -> None:
        """For a text of so many tokens to come, none with a greater code."""
        if (
            self._size < len(self._starts)
            and self._used + tokens <= len(self._texts)
            and self._chunks < len(self._places)
            and tokens < len(self._newest)
            and code < len(self._rows)
        ):
            return
        self._starts, self._texts = _grown(self._starts, self._size + 1), _grown(self._texts, self._used + tokens)
        self._signatures = _grown(self._signatures, self._chunks + 1)
        self._places, self._before = _grown(self._places, self._chunks + 1), _grown(self._before, self._chunks + 1)
        self._newest, self._sizes = _grown(self._newest, tokens + 1, _NONE), _grown(self._sizes, tokens + 1)
        self._rows = _grown(self._rows, code + 1)


def _grown(array: NDArray[Any], needed: int, filled: int = 0) -> NDArray[Any]:
    if needed <= len(array):
        return array
    # Zeros that nobody has written yet take no memory.
    grown = np.zeros((max(needed, 2 * len(array)), *array.shape[1:]), array.dtype)
    grown[: len(array)] = array
    if filled:
        grown[len(array) :] = filled
    return grown


@_compiled
def _bits(word: np.uint64) -> int:
    """How many bits of 64 are set: sums over pairs, over nibbles, over bytes."""
    word -= (word >> np.uint64(1)) & np.uint64(0x5555555555555555)
    word = (word & np.uint64(0x3333333333333333)) + ((word >> np.uint64(2)) & np.uint64(0x3333333333333333))
    word = (word + (word >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return int((word * np.uint64(0x0101010101010101)) >> np.uint64(56))


@_compiled
def _signature(occurrences: Ints) -> tuple[np.uint64, np.uint64]:
    """A bit for each occurrence, spread by a multiplication (Fibonacci hashing)."""
    low, high = np.uint64(0), np.uint64(0)
    for code in occurrences:
        bit = (np.uint64(code) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(57)
        if bit < np.uint64(64):
            low |= np.uint64(1) << bit
        else:
            high |= np.uint64(1) << (bit - np.uint64(64))
    return low, high


@_compiled
def _put(
    place: int,
    start: int,
    tokens: Ints,
    occurrences: Ints,
    starts: NDArray[np.int64],
    texts: Ints,
    signatures: Words,
    places: Ints,
    before: Ints,
    newest: Ints,
    sizes: Ints,
    chunks: int,
) -> int:
    """Writes a text down, and its signature in the newest chunk of its length; the number of chunks afterwards."""
    length = len(tokens)
    starts[place] = start
    texts[start : start + length] = tokens
    slot = sizes[length] % _CHUNK
    if slot == 0:
        before[chunks], newest[length] = newest[length], chunks
        chunks += 1
    chunk = newest[length]
    signatures[chunk, 0, slot], signatures[chunk, 1, slot] = _signature(occurrences)
    places[chunk, slot] = place
    sizes[length] += 1
    return chunks


@_compiled
def _nearest(
    tokens: Ints,
    occurrences: Ints,
    over: float,
    starts: NDArray[np.int64],
    texts: Ints,
    signatures: Words,
    places: Ints,
    before: Ints,
    newest: Ints,
    sizes: Ints,
    rows: Ints,
) -> tuple[float, int]:
    """`rows` is zero before and after."""
    length = len(tokens)
    low, high = _signature(occurrences)
    # Where tokens share a bit, so many more may be common than the signatures say.
    spare = length - _bits(low) - _bits(high)
    masks = _masks(tokens, rows)
    best, best_place = over, _NONE
    if over == 0:
        # The higher the first figure, the fewer texts have to be looked at afterwards.
        chunk, slot, other = _promising(low, high, length, signatures, before, newest, sizes)
        if chunk != _NONE:
            place = places[chunk, slot]
            common = _common(masks, rows, texts, starts[place], other, length)
            best, best_place = _better(common, length, other, place, best, best_place)
    for gap in range(max(length, len(newest))):
        if 2 * length / (2 * length + gap) < best * SLACK:
            break
        for other in (length - gap, length + gap):
            if other < 1 or other >= len(newest):
                continue
            chunk, used = newest[other], (sizes[other] - 1) % _CHUNK + 1
            while chunk != _NONE:
                least = best * SLACK * (length + other) / 2 - spare
                if _any_shares(signatures[chunk], low, high, least):
                    for slot in range(used):
                        place = places[chunk, slot]
                        if _shared(signatures[chunk], slot, low, high) >= least and place != best_place:
                            common = _common(masks, rows, texts, starts[place], other, length)
                            best, best_place = _better(common, length, other, place, best, best_place)
                chunk, used = before[chunk], _CHUNK
            if gap == 0:
                break
    for token in tokens:
        rows[token] = 0
    return best, best_place


@_compiled
def _shared(chunk: Words, slot: int, low: np.uint64, high: np.uint64) -> int:
    """How many bits a signature of the chunk shares with another one."""
    return _bits(chunk[0, slot] & low) + _bits(chunk[1, slot] & high)


@_compiled
def _any_shares(chunk: Words, low: np.uint64, high: np.uint64, least: float) -> bool:
    """Whether a signature of the chunk shares so many bits; without branches, so that eight are read at once."""
    passing = 0
    for slot in range(_CHUNK):
        passing += _shared(chunk, slot, low, high) >= least
    return passing > 0


@_compiled
def _promising(
    low: np.uint64, high: np.uint64, length: int, signatures: Words, before: Ints, newest: Ints, sizes: Ints
) -> tuple[int, int, int]:
    """Chunk, slot and length of the text that shares the most bits for its length; chunk -1 in an empty pool."""
    top, top_chunk, top_slot, top_other = -1.0, _NONE, 0, 0
    for other in range(1, len(newest)):
        if 2 * min(length, other) / (length + other) <= top:
            continue
        chunk, used = newest[other], (sizes[other] - 1) % _CHUNK + 1
        while chunk != _NONE:
            # Strictly more than the best so far, which few chunks have once the first were seen.
            if _any_shares(signatures[chunk], low, high, np.floor(top * (length + other) / 2) + 1):
                for slot in range(used):
                    share = 2 * _shared(signatures[chunk], slot, low, high) / (length + other)
                    if share > top:
                        top, top_chunk, top_slot, top_other = share, chunk, slot, other
            chunk, used = before[chunk], _CHUNK
    return top_chunk, top_slot, top_other


@_compiled
def _better(common: int, length: int, other: int, place: int, best: float, best_place: int) -> tuple[float, int]:
    """The nearer of a text and the best so far."""
    if common == 0:
        return best, best_place
    f = _f_measure(common, length, other)
    if f > best or (f == best and place < best_place):
        return f, place
    return best, best_place


@_compiled
def _masks(tokens: Ints, rows: Ints) -> Words:
    """For each different token a row of bits, set where it stands; `rows` says which row (0, without bits: none)."""
    masks = np.zeros((len(tokens) + 1, (len(tokens) + 63) // 64), np.uint64)
    used = 0
    for position, token in enumerate(tokens):
        if rows[token] == 0:
            used += 1
            rows[token] = used
        masks[rows[token], position // 64] |= np.uint64(1) << np.uint64(position % 64)
    return masks


@_compiled
def _common(masks: Words, rows: Ints, texts: Ints, start: int, other: int, length: int) -> int:
    """Length of the longest common subsequence of the text of the masks and another: the bits that went out."""
    words = masks.shape[1]
    if words == 1:
        state = ~np.uint64(0)
        for place in range(start, start + other):
            mask = masks[rows[texts[place]], 0]
            state = (state + (state & mask)) | (state & ~mask)
        return length - _bits(state & (~np.uint64(0) >> np.uint64(64 - length)))
    states = np.full(words, ~np.uint64(0), np.uint64)
    for place in range(start, start + other):
        row = rows[texts[place]]
        carry = np.uint64(0)
        for word in range(words if row else 0):
            before, mask = states[word], masks[row, word]
            added = before + (before & mask)
            after = added + carry
            carry = np.uint64(1) if added < before or after < added else np.uint64(0)
            states[word] = after | (before & ~mask)
    states[-1] &= ~np.uint64(0) >> np.uint64(64 * words - length)
    common = length
    for word in range(words):
        common -= _bits(states[word])
    return common
