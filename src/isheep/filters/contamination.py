"""Which pairs hold a benchmark's question: a run that trains on what it is measured by measures its memory.

A question of 13 words or more is found by any 13 of its words in a row (as for GPT-3, section 4 of arXiv 2005.14165),
one of 8 to 12 words by 8 in a row, since 13 it can never show; a shorter one only where an instruction or a response is
that and nothing else. Words are compared without case and punctuation. What is not a question's own does not count:
words with which all texts of a benchmark begin or end, and rows of words that several and more than one in a thousand
of them have.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter

import regex

from isheep.records import Pair

LONG, SHORT = 13, 8
COMMON = 0.001
"""A row of words that a larger share of a benchmark's texts has is its manner of speaking."""

_WORD = regex.compile(r"[\p{L}\p{M}\p{N}]+")

Words = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Hit:
    """A pair that holds a question."""

    id: str
    benchmark: str
    item: int
    """The question's place among the benchmark's texts."""
    shared: str
    """The words that both have."""


class Questions:
    """The questions of a benchmark, which pairs are held against one after the other."""

    def __init__(self, benchmark: str, texts: Sequence[str], formulaic: bool = False) -> None:
        """Reads the questions.

        Args:
            benchmark: its name.
            texts: its questions.
            formulaic: they are put together from so few phrases that only a whole one shows it.
        """
        self.benchmark = benchmark
        split = [words(text) for text in texts]
        questions = split if formulaic else without_frame(split)
        places: dict[tuple[int | None, Words], list[int]] = defaultdict(list)
        for item, question in enumerate(questions):
            length = _shown_by(question, formulaic)
            for row in dict.fromkeys([question] if length is None else rows_of(question, length)):
                places[length, row].append(item)
        most = max(1, int(COMMON * len(set(questions))))
        self._firsts: dict[int | None, dict[Words, tuple[int, int]]] = {LONG: {}, SHORT: {}, None: {}}
        """Words in a row -> how early they show a question, and the first that they show."""
        for rank, ((length, row), items) in enumerate(places.items()):
            if len({questions[item] for item in items}) <= most:
                self._firsts[length][row] = rank, items[0]

    def shown_by(self, rows: Mapping[int | None, Iterable[Words]]) -> tuple[int, int, Words] | None:
        """The earliest that these rows of words show, by their length: its rank, the question, the row."""
        found = (
            (*firsts[row], row) for length, firsts in self._firsts.items() for row in rows[length] if row in firsts
        )
        return min(found, default=None)


def hits(pairs: Iterable[Pair], benchmarks: Sequence[Questions]) -> list[list[Hit]]:
    """For each benchmark the pairs that hold one of its questions, each with the first one that it holds.

    Those of an earlier question come first. What is held in memory are the questions: of pairs there may be more.
    """
    found: list[list[tuple[int, Hit]]] = [[] for _ in benchmarks]
    for pair in pairs:
        instruction, input_, response = map(words, (pair.instruction, pair.input, pair.response))
        rows: dict[int | None, Iterable[Words]] = {
            length: list(rows_of(instruction + input_ + response, length)) for length in (LONG, SHORT)
        }
        rows[None] = (instruction, input_, instruction + input_, response)
        for benchmark, held in zip(benchmarks, found, strict=True):
            if (shown := benchmark.shown_by(rows)) is not None:
                rank, item, row = shown
                held.append((rank, Hit(pair.id, benchmark.benchmark, item, " ".join(row))))
    return [[hit for _, hit in sorted(held, key=itemgetter(0))] for held in found]


def words(text: str) -> Words:
    """Runs of letters and digits, in lower case."""
    return tuple(_WORD.findall(text.lower()))


def rows_of(text: Words, length: int) -> Iterator[Words]:
    """Every so many words in a row."""
    return (text[start : start + length] for start in range(len(text) - length + 1))


def without_frame(texts: Sequence[Words]) -> list[Words]:
    """The texts without the words with which all of them begin and end (`Question: ... Answer:`)."""
    different = set(texts)
    if len(different) < 2:
        return list(texts)
    start = _common(different)
    rest = [text[start:] for text in texts]
    end = _common({text[::-1] for text in rest})
    return [text[: len(text) - end] for text in rest]


def _common(texts: Iterable[Words]) -> int:
    """How many words all of them begin with."""
    count = 0
    for column in zip(*texts, strict=False):
        if len(set(column)) > 1:
            break
        count += 1
    return count


def _shown_by(question: Words, formulaic: bool) -> int | None:
    """How many words in a row show a question; None: all of it and nothing else."""
    if formulaic or len(question) < SHORT:
        return None
    return LONG if len(question) >= LONG else SHORT
