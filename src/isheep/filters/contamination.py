"""Which pairs hold a benchmark's question: a run that trains on what it is measured by measures its memory.

A question of 13 words or more is found by any 13 of its words in a row (as for GPT-3, section 4 of arXiv 2005.14165),
one of 8 to 12 words by 8 in a row, since 13 it can never show; a shorter one only where an instruction or a response is
that and nothing else. Words are compared without case and punctuation. What is not a question's own does not count:
words with which all texts of a benchmark begin or end, and rows of words that several and more than one in a thousand
of them have.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

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


class Contamination:
    """The words of some pairs, which benchmarks are held against one after the other."""

    def __init__(self, pairs: Iterable[Pair]) -> None:
        self._rows: dict[int, dict[Words, list[str]]] = {LONG: defaultdict(list), SHORT: defaultdict(list)}
        self._wholes: dict[Words, list[str]] = defaultdict(list)
        for pair in pairs:
            instruction, input_, response = map(words, (pair.instruction, pair.input, pair.response))
            for length, rows in self._rows.items():
                for row in dict.fromkeys(rows_of(instruction + input_ + response, length)):
                    rows[row].append(pair.id)
            for whole in dict.fromkeys((instruction, input_, instruction + input_, response)):
                self._wholes[whole].append(pair.id)

    def hits(self, benchmark: str, texts: Sequence[str], formulaic: bool = False) -> list[Hit]:
        """The pairs that hold one of these questions, each with the first one that it holds.

        Args:
            benchmark: its name.
            texts: its questions.
            formulaic: they are put together from so few phrases that only a whole one shows it.
        """
        questions = [words(text) for text in texts] if formulaic else without_frame([words(text) for text in texts])
        places: dict[Words, dict[int, None]] = defaultdict(dict)
        for item, question in enumerate(questions):
            for row in self._shared(question, formulaic):
                places[row].setdefault(item)
        most = max(1, int(COMMON * len(set(questions))))
        found: dict[str, Hit] = {}
        for row, items in sorted(places.items(), key=lambda place: next(iter(place[1]))):
            if len({questions[item] for item in items}) > most:
                continue
            item = next(iter(items))
            for id_ in self._holders(questions[item], row, formulaic):
                found.setdefault(id_, Hit(id_, benchmark, item, " ".join(row)))
        return list(found.values())

    def _shared(self, question: Words, formulaic: bool) -> Iterator[Words]:
        """What of a question shows it, as far as some pair has it."""
        if (length := _shown_by(question, formulaic)) is not None:
            yield from (row for row in rows_of(question, length) if row in self._rows[length])
        elif question in self._wholes:
            yield question

    def _holders(self, question: Words, row: Words, formulaic: bool) -> list[str]:
        length = _shown_by(question, formulaic)
        return self._wholes[row] if length is None else self._rows[length][row]


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
