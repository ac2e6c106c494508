"""Whatever order an engine finishes in, what comes out is in the order of the requests."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isheep.engines import Completion, Request
from isheep.engines.base import PIECE
from isheep.errors import Interrupted
from isheep.stages.stream import in_order, parts, piecewise


def asked(number: int) -> Request:
    return Request(str(number), (1,), 1, frozenset())


@given(st.permutations(range(9)))
def test_completions_come_in_the_order_of_their_requests(order: list[int]) -> None:
    def generate(requests: Iterable[Request]) -> Iterator[Completion]:
        taken = list(requests)
        yield from (Completion(taken[number].id, (number,), "stop") for number in order)

    engine: Any = SimpleNamespace(generate=generate)
    found = list(in_order(engine, map(asked, range(9))))
    assert found == [Completion(str(number), (number,), "stop") for number in range(9)]


def test_a_completion_comes_as_soon_as_it_and_all_before_it_are_there() -> None:
    ended: list[str] = []

    def generate(requests: Iterable[Request]) -> Iterator[Completion]:
        list(requests)
        for name in "1023":
            ended.append(name)
            yield Completion(name, (), "stop")

    engine: Any = SimpleNamespace(generate=generate)
    seen = [(completion.id, len(ended)) for completion in in_order(engine, map(asked, range(4)))]
    assert seen == [("0", 2), ("1", 2), ("2", 3), ("3", 4)]


@given(st.lists(st.integers()), st.integers(1, 5))
def test_parts_are_all_there_is_in_runs_of_the_size(items: list[int], size: int) -> None:
    found = list(parts(items, size))
    assert [item for part in found for item in part] == items
    assert [len(part) for part in found[:-1]] == [size] * (len(found) - 1) if found else not items
    assert all(found)


def test_texts_are_worked_on_some_at_a_time_and_no_further_than_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    class Counting:
        workers = 2

        def embed(self, sequences: Any) -> list[list[float]]:
            sizes.append(len(sequences))
            return [[float(text[0]), 0.5] for text in sequences]

    engine: Any = Counting()
    found = piecewise("Work", engine, "embed", [(number,) for number in range(2 * PIECE + 3)])
    assert sizes == [2 * PIECE, 3]
    assert [row.tolist() for row in found] == [[float(number), 0.5] for number in range(2 * PIECE + 3)]
    assert {row.dtype for row in found} == {np.dtype(np.float32)}
    monkeypatch.setattr("isheep.drain._wanted", True)
    with pytest.raises(Interrupted):
        piecewise("Work", engine, "embed", [(1,)])
    assert len(sizes) == 2
