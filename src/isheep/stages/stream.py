"""Requests through an engine and back in their order, whatever order the engine finishes them in."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal, TypeVar

import numpy as np
import numpy.typing as npt

from isheep import drain
from isheep.engines import Completion, Engine, Request
from isheep.engines.base import PIECE
from isheep.progress import bar

T = TypeVar("T")
Tokens = tuple[int, ...]


def parts(items: Iterable[T], size: int) -> Iterator[Sequence[T]]:
    """The items in runs of `size`, the last one shorter: what is written to disk at once."""
    left = iter(items)
    while part := list(itertools.islice(left, size)):
        yield part


def in_order(engine: Engine, requests: Iterable[Request]) -> Iterator[Completion]:
    """Completions in the order of their requests, each as soon as it and all before it are there.

    Order is what makes the records of a resumed stage those of an undisturbed one. The requests are pulled by the
    engine, so a stage that has enough just stops reading.
    """
    waiting: dict[str, Completion | None] = {}

    def noted() -> Iterator[Request]:
        for request in requests:
            waiting[request.id] = None
            yield request

    for completion in engine.generate(noted()):
        waiting[completion.id] = completion
        while waiting:
            first = next(iter(waiting))
            ready = waiting[first]
            if ready is None:
                break
            del waiting[first]
            yield ready


def piecewise(
    what: str, engine: Engine, work: Literal["score_sequences", "embed"], texts: Sequence[Tokens]
) -> list[npt.NDArray[np.float32]]:
    """A float32 array for each text, some texts at a time: as lists of floats many would fill the memory.

    Args:
        what: stands before the bar.
        engine: who works.
        work: what of it.
        texts: token ids.
    """
    done: list[npt.NDArray[np.float32]] = []
    with bar(what, len(texts)) as advance:
        for piece in parts(texts, PIECE * engine.workers):
            drain.stop_here()
            done += [np.asarray(row, dtype=np.float32) for row in getattr(engine, work)(piece)]
            advance(len(piece))
    return done
