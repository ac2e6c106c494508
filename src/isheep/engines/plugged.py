"""An engine that a plug-in brings: what it raises is told as its own, and what it gives back is looked at."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from isheep.encoder import Encoder
from isheep.engines.base import Completion, Engine, Request
from isheep.recipe import Recipe
from isheep.recipe.plugged import opened

Tokens = tuple[int, ...]

FINISHED = ("stop", "length")


class PluggedEngine(Engine):
    """The plug-in's engine, made of the model's folder, its dtype, the recipe's `engine` and the encoder."""

    def __init__(self, name: str, folder: Path, recipe: Recipe, encoder: Encoder) -> None:
        """Opens it.

        Raises:
            UserError: it is not installed, does not import, or its settings are wrong.
            StageError: it fails.
        """
        given = folder, recipe.model.dtype, recipe.engine, encoder
        self._plugin, self._engine = opened("engines", name, recipe, *given)
        self.workers = int(getattr(self._engine, "workers", 1))
        self.positions = getattr(self._engine, "positions", None)

    def generate(self, requests: Iterable[Request]) -> Iterator[Completion]:
        """As the protocol says; raises StageError for what answers no request that was made, or is no completion."""
        waiting: dict[str, Request] = {}

        def noted() -> Iterator[Request]:
            for request in requests:
                waiting[request.id] = request
                yield request

        with self._plugin.blamed():
            for completion in self._engine.generate(noted()):
                request = waiting.pop(completion.id, None)
                if request is None:
                    raise self._plugin.wrong(f"answered {completion.id!r}, which it was not asked, or not once more.")
                if completion.finish_reason not in FINISHED or len(completion.tokens) > request.max_new_tokens:
                    raise self._plugin.wrong(
                        f"answered {completion.id!r} with more tokens than it may, or ended oddly."
                    )
                yield completion
        if waiting:
            raise self._plugin.wrong(f"left {len(waiting)} requests without an answer.")

    def score_next(self, prompts: Sequence[Tokens], candidates: Sequence[Tokens]) -> list[list[float]]:
        """As the protocol says."""
        with self._plugin.blamed():
            rows = [list(map(float, row)) for row in self._engine.score_next(prompts, candidates)]
        self._refuse("log-probabilities", rows, [len(candidates)] * len(prompts))
        return rows

    def score_sequences(self, sequences: Sequence[Tokens]) -> list[list[float]]:
        """As the protocol says."""
        with self._plugin.blamed():
            rows = [list(map(float, row)) for row in self._engine.score_sequences(sequences)]
        self._refuse("log-probabilities", rows, [max(0, len(sequence) - 1) for sequence in sequences])
        return rows

    def embed(self, sequences: Sequence[Tokens]) -> list[list[float]]:
        """As the protocol says."""
        with self._plugin.blamed():
            rows = [list(map(float, row)) for row in self._engine.embed(sequences)]
        self._refuse("vectors", rows, [len(row) for row in rows[:1]] * len(sequences))
        return rows

    def use(self, adapter: Path | None) -> None:
        """As the protocol says."""
        with self._plugin.blamed():
            self._engine.use(adapter)
        self.positions = getattr(self._engine, "positions", None)

    def close(self) -> None:
        """As the protocol says."""
        with self._plugin.blamed():
            self._engine.close()

    def _refuse(self, what: str, rows: list[list[float]], lengths: list[int]) -> None:
        """Raises StageError where rows are missing or of other lengths; what could not be told is no number (NaN)."""
        if [len(row) for row in rows] != lengths:
            raise self._plugin.wrong(f"gave {what} of other lengths than it was asked for.")
        if what == "log-probabilities" and any(value > 1e-3 for row in rows for value in row if math.isfinite(value)):
            raise self._plugin.wrong("gave log-probabilities greater than 0.")
