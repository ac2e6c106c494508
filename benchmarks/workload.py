"""The loop's own stages as a workload: run once with an engine that notes what it is asked, and how long it takes."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Self

from isheep.engines import Completion, Engine, Request
from isheep.models import Models
from isheep.recipe import Recipe, locate
from isheep.seeds import load_seeds
from isheep.stages.synthesize import synthesize
from isheep.store.run import Iteration, Run

Tokens = tuple[int, ...]


@dataclass(slots=True)
class Watch:
    """What an engine was asked, in order, and the seconds that it took by the clock on the wall."""

    requests: list[Request] = field(default_factory=list)
    seconds: float = 0.0

    @contextmanager
    def inside(self) -> Iterator[None]:
        """The engine is at work."""
        start = time.perf_counter()
        yield
        self.seconds += time.perf_counter() - start

    @contextmanager
    def outside(self) -> Iterator[None]:
        """The engine, at work, waits for the stage to make the next request."""
        start = time.perf_counter()
        yield
        self.seconds -= time.perf_counter() - start


class Watched:
    """An engine with a watch on it."""

    def __init__(self, engine: Engine, watch: Watch) -> None:
        self._engine, self._watch = engine, watch
        self.positions, self.workers = engine.positions, engine.workers

    def generate(self, requests: Iterable[Request]) -> Iterator[Completion]:
        """The engine's own."""
        stream = self._engine.generate(self._pulled(requests))
        while True:
            with self._watch.inside():
                completion = next(stream, None)
            if completion is None:
                return
            yield completion

    def score_next(self, prompts: Sequence[Tokens], candidates: Sequence[Tokens]) -> list[list[float]]:
        """The engine's own."""
        with self._watch.inside():
            return self._engine.score_next(prompts, candidates)

    def score_sequences(self, sequences: Sequence[Tokens]) -> list[list[float]]:
        """The engine's own."""
        with self._watch.inside():
            return self._engine.score_sequences(sequences)

    def embed(self, sequences: Sequence[Tokens]) -> list[list[float]]:
        """The engine's own."""
        with self._watch.inside():
            return self._engine.embed(sequences)

    def use(self, adapter: Path | None) -> None:
        """The engine's own."""
        self._engine.use(adapter)

    def close(self) -> None:
        """The engine's own."""
        self._engine.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _pulled(self, requests: Iterable[Request]) -> Iterator[Request]:
        source = iter(requests)
        while True:
            with self._watch.outside():
                request = next(source, None)
            if request is None:
                return
            self._watch.requests.append(request)
            yield request


class WatchedModels(Models):
    """The run's models, whose engine is watched."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__(recipe)
        self.watch = Watch()

    def engine(self, adapter: Path | None) -> Engine:
        """The engine, started if need be, with a watch on it."""
        return Watched(super().engine(adapter), self.watch)


@contextmanager
def first_iteration(recipe: Recipe) -> Iterator[tuple[Iteration, WatchedModels]]:
    """Iteration 1 of a run that is thrown away afterwards, and its models."""
    with (
        TemporaryDirectory() as folder,
        Run.create_or_resume(Path(folder) / "run", recipe) as run,
        WatchedModels(recipe) as models,
    ):
        yield run.iteration(1), models


def synthesis_requests(recipe: Recipe, count: int) -> list[Request]:
    """The first requests that synthesis sends in iteration 1; `size` of the recipe has to ask for as many."""
    with first_iteration(recipe) as (iteration, models):
        synthesize(iteration, [], load_seeds(locate(recipe.seeds.path)), recipe, models.base)
    if len(models.watch.requests) < count:
        raise ValueError(f"size={recipe.size} took {len(models.watch.requests)} requests, {count} are wanted")
    return models.watch.requests[:count]
