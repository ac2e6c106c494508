"""An engine whose tokens are counted as they pass: every request of the loop goes through here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from isheep import meter
from isheep.engines.base import Completion, Engine, Request

Tokens = tuple[int, ...]


class Metered(Engine):
    """Another engine, with `isheep.meter` told of each request, text and completion.

    A text counts whole, whatever the engine remembers of it. Tokens count as read once the engine takes them.
    """

    def __init__(self, engine: Engine) -> None:
        self.positions, self.workers = engine.positions, engine.workers
        self._engine = engine

    def generate(self, requests: Iterable[Request]) -> Iterator[Completion]:
        """As the engine's; what is generated counts as it comes out."""
        for completion in self._engine.generate(_read(requests)):
            meter.wrote(len(completion.tokens))
            yield completion

    def score_next(self, prompts: Sequence[Tokens], candidates: Sequence[Tokens]) -> list[list[float]]:
        """As the engine's; each prompt counts once, and with it every candidate."""
        scores = self._engine.score_next(prompts, candidates)
        meter.read(_length(prompts) + len(prompts) * _length(candidates))
        return scores

    def score_sequences(self, sequences: Sequence[Tokens]) -> list[list[float]]:
        """As the engine's."""
        scores = self._engine.score_sequences(sequences)
        meter.read(_length(sequences))
        return scores

    def embed(self, sequences: Sequence[Tokens]) -> list[list[float]]:
        """As the engine's."""
        vectors = self._engine.embed(sequences)
        meter.read(_length(sequences))
        return vectors

    def use(self, adapter: Path | None) -> None:
        """As the engine's."""
        self._engine.use(adapter)
        self.positions = self._engine.positions

    def close(self) -> None:
        """As the engine's."""
        self._engine.close()


def _read(requests: Iterable[Request]) -> Iterator[Request]:
    for request in requests:
        meter.read(len(request.prompt))
        yield request


def _length(texts: Sequence[Tokens]) -> int:
    return sum(map(len, texts))
