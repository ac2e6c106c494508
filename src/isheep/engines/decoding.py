"""A batch that stays full: a row that has ended makes room for the next request while the others write on."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch

from isheep import watchdog
from isheep.engines.base import Completion, Request
from isheep.engines.reader import Reader, Rows
from isheep.engines.sampling import Sampler

COMPACT = 8
"""Ended rows leave the batch, and others come in, when they make up at least one in this many."""


@dataclass(slots=True)
class Row:
    """A request under way, and what it has so far."""

    request: Request
    budget: int
    tokens: list[int] = field(default_factory=list)
    stopped: bool = False

    def take(self, token: int) -> bool:
        """Whether it has ended with this token."""
        if token in self.request.stop_ids:
            self.stopped = True
            return True
        self.tokens.append(token)
        return len(self.tokens) == self.budget

    def completion(self) -> Completion:
        """What became of it."""
        return Completion(self.request.id, tuple(self.tokens), "stop" if self.stopped else "length")


class Decoding:
    """Completes a window of requests, the longest prompts first, `batch_size` rows at a time.

    What is batched with what depends on the window alone, so that the same window gives the same tokens to the bit.
    A model whose caches cannot be joined (sliding windows, recurrent layers) works through one batch after the other.
    """

    def __init__(self, reader: Reader, batch_size: int, window: Sequence[tuple[Request, int]]) -> None:
        """`window`: the requests, each with how many tokens it may get (one at least)."""
        self._reader, self._batch_size = reader, batch_size
        self._waiting = deque(sorted(window, key=lambda item: -len(item[0].prompt)))
        self._beginning = reader.beginning([request.prompt for request, _ in window])
        self._rows: list[Row | None] = []
        """What each row of the batch works at; None where it has ended."""

    @torch.inference_mode()
    def completions(self) -> Iterator[Completion]:
        """As they finish."""
        while self._waiting:
            batch, sampler = self._enter(self._batch_size)
            while self._rows:
                picked = sampler.pick(batch.logits)
                ended = self._take(picked.tolist())
                watchdog.beat()
                yield from (row.completion() for row in ended)
                live = [place for place, row in enumerate(self._rows) if row is not None]
                if not live:
                    self._rows = []
                    break
                gone = len(self._rows) - len(live)
                if gone * COMPACT >= len(self._rows):
                    picked = self._keep(live, batch, sampler, picked)
                self._reader.go_on(batch, picked[:, None])
                room = self._batch_size - len(self._rows)
                if self._waiting and self._reader.is_position_free and room * COMPACT >= self._batch_size:
                    rows, others = self._enter(room)
                    batch.join(rows)
                    sampler.join(others)

    def _enter(self, most: int) -> tuple[Rows, Sampler]:
        """Reads the next requests' prompts, `most` at most."""
        entering = [self._waiting.popleft() for _ in range(min(most, len(self._waiting)))]
        requests, budgets = zip(*entering, strict=True)
        self._rows += [Row(request, budget) for request, budget in entering]
        rows = self._reader.read([request.prompt for request in requests], self._beginning)
        return rows, Sampler(requests, budgets, self._reader.device)

    def _take(self, picked: Sequence[int]) -> list[Row]:
        """Gives each row its token; returns those that have ended with it."""
        ended: list[Row] = []
        for place, (row, token) in enumerate(zip(self._rows, picked, strict=True)):
            if row is not None and row.take(token):
                ended.append(row)
                self._rows[place] = None
        return ended

    def _keep(self, live: Sequence[int], batch: Rows, sampler: Sampler, picked: torch.Tensor) -> torch.Tensor:
        """Lets the other rows leave the batch; returns what the live ones have picked."""
        index = torch.tensor(live, device=self._reader.device)
        batch.select(index)
        sampler.select(index)
        self._rows = [self._rows[place] for place in live]
        return picked[index]
