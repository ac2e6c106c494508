"""The pool of novelty, compiled by numba (`pip install isheep[fast]`): same answers, an order of magnitude faster.

Each occurrence of a token has a list of the texts that hold it. A text is looked up occurrence by occurrence, the
rarest first, counting how much each text of the pool has in common with it. What has not turned up when few
occurrences are left shares at most these, so the long lists of common words are mostly not read. The order of the
tokens is then compared (bit-parallel longest common subsequence, after Hyyrö 2004) only where the counts leave a text
the chance to be nearest.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numpy as np
from numba import njit
from numpy.typing import NDArray

F = TypeVar("F", bound=Callable[..., Any])

Ints = NDArray[np.int32]
Words = NDArray[np.uint64]

_PLACES = 15
"""Places in a chunk of a list; with the number of the chunk before it that is a cache line."""
_NONE = -1
_LESS_SLACK = 1 - 1e-9
"""Covers the rounding of any formula of an F-measure, and is far below the gap between two of them."""
_FEW = 8
"""Occurrences on whose lists all texts that matter have turned up are still counted where that is less work than to
compare so many tokens for each of those texts."""


def _compiled(function: F) -> F:
    return cast(F, njit(cache=True)(function))


class CompiledPool:
    """Texts as codes of their tokens (0, 1, 2 ... without a gap), numbered from 0 in the order in which they came."""

    def __init__(self) -> None:
        self._size = self._used = self._chunks = 0
        self._lengths, self._starts = np.zeros(1024, np.int32), np.zeros(1024, np.int64)
        self._tokens = np.zeros(16 * 1024, np.int32)
        self._lists = np.zeros((1024, _PLACES + 1), np.int32)
        self._newest, self._sizes = np.full(1024, _NONE, np.int32), np.zeros(1024, np.int32)
        self._counts, self._found = np.zeros(1024, np.int32), np.zeros(1024, np.int32)
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
            self._lengths,
            self._starts,
            self._tokens,
            self._lists,
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
            self._lengths,
            self._starts,
            self._tokens,
            self._lists,
            self._newest,
            self._sizes,
            self._counts,
            self._found,
            self._rows,
        )
        return float(f), int(place)

    def _make_room(self, tokens: int, code: int) -> None:
        """For a text of so many tokens to come, none with a greater code."""
        if (
            self._size + 1 < len(self._lengths)
            and self._used + tokens <= len(self._tokens)
            and self._chunks + tokens <= len(self._lists)
            and code < len(self._rows)
        ):
            return
        # One more than there are texts: `_nearest` writes behind the last one found before it knows.
        self._lengths, self._starts = _grown(self._lengths, self._size + 2), _grown(self._starts, self._size + 2)
        self._counts, self._found = _grown(self._counts, self._size + 2), _grown(self._found, self._size + 2)
        self._tokens = _grown(self._tokens, self._used + tokens)
        self._lists = _grown(self._lists, self._chunks + tokens)
        self._newest, self._sizes = _grown(self._newest, code + 1, _NONE), _grown(self._sizes, code + 1)
        self._rows = _grown(self._rows, code + 1)


def _grown(array: NDArray[Any], needed: int, filled: int = 0) -> NDArray[Any]:
    if needed <= len(array):
        return array
    more = np.full((max(needed, 2 * len(array)) - len(array), *array.shape[1:]), filled, array.dtype)
    return np.concatenate([array, more])


@_compiled
def _put(
    place: int,
    start: int,
    tokens: Ints,
    occurrences: Ints,
    lengths: Ints,
    starts: NDArray[np.int64],
    texts: Ints,
    lists: Ints,
    newest: Ints,
    sizes: Ints,
    chunks: int,
) -> int:
    """Writes a text down, and on the lists of its occurrences; the number of chunks afterwards."""
    lengths[place], starts[place] = len(tokens), start
    texts[start : start + len(tokens)] = tokens
    for code in occurrences:
        used = sizes[code] % _PLACES
        if used == 0:
            lists[chunks, _PLACES] = newest[code]
            newest[code] = chunks
            chunks += 1
        lists[newest[code], used] = place
        sizes[code] += 1
    return chunks


@_compiled
def _nearest(
    tokens: Ints,
    occurrences: Ints,
    over: float,
    lengths: Ints,
    starts: NDArray[np.int64],
    texts: Ints,
    lists: Ints,
    newest: Ints,
    sizes: Ints,
    counts: Ints,
    found: Ints,
    rows: Ints,
) -> tuple[float, np.int64]:
    """`counts` and `rows` are zero before and after; `found` is scratch."""
    length = len(tokens)
    known = occurrences[sizes[occurrences] > 0]
    _sort(known, sizes)
    masks = _masks(tokens, rows)
    best, best_place = over, np.int64(_NONE)
    total, left = 0, len(known)
    unread = np.sum(sizes[known])
    for code in known:
        unseen_may_win = 2 * left / (length + left) >= best * _LESS_SLACK
        if not unseen_may_win and unread > _FEW * total:
            break
        top = np.int64(0)
        chunk, used = newest[code], (sizes[code] - 1) % _PLACES + 1
        while chunk != _NONE:
            # No branches, which nobody could predict; unsigned, or each access asks if it counts from the end.
            for slot in range(used):
                place = np.uint32(lists[chunk, slot])
                if unseen_may_win:
                    counts[place] += 1
                    found[total] = place
                    total += counts[place] == 1
                    top = max(top, np.int64(counts[place]) << 32 | np.int64(place))
                else:
                    counts[place] += counts[place] > 0
            chunk, used = lists[chunk, _PLACES], _PLACES
        left -= 1
        unread -= sizes[code]
        # The most promising text so far: the higher the best, the fewer have to be looked at.
        promising = top & 0xFFFFFFFF
        if top and promising != best_place:
            common = _common(masks, rows, texts, starts[promising], lengths[promising], length)
            best, best_place = _better(common, length, lengths[promising], promising, best, best_place)
    for number in range(total):
        text = np.int64(found[number])
        most = counts[text] + left
        counts[text] = 0
        if 2 * most >= best * _LESS_SLACK * (length + lengths[text]) and text != best_place:
            common = _common(masks, rows, texts, starts[text], lengths[text], length)
            best, best_place = _better(common, length, lengths[text], text, best, best_place)
    for token in tokens:
        rows[token] = 0
    return best, best_place


@_compiled
def _sort(codes: Ints, sizes: Ints) -> None:
    """The codes with the shortest lists first, in place (by insertion: there are few of them)."""
    for end in range(1, len(codes)):
        code, place = codes[end], end
        while place and sizes[codes[place - 1]] > sizes[code]:
            codes[place] = codes[place - 1]
            place -= 1
        codes[place] = code


@_compiled
def _better(
    common: int, length: int, other: int, place: np.int64, best: float, best_place: np.int64
) -> tuple[float, np.int64]:
    """The nearer of a text and the best so far, by rouge_score's formula, operation by operation."""
    if common == 0:
        return best, best_place
    precision, recall = common / length, common / other
    f = 2 * precision * recall / (precision + recall)
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


@_compiled
def _bits(word: np.uint64) -> int:
    """How many bits of 64 are set: sums over pairs, over nibbles, over bytes."""
    word -= (word >> np.uint64(1)) & np.uint64(0x5555555555555555)
    word = (word & np.uint64(0x3333333333333333)) + ((word >> np.uint64(2)) & np.uint64(0x3333333333333333))
    word = (word + (word >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return int((word * np.uint64(0x0101010101010101)) >> np.uint64(56))
