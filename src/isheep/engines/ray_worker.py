"""One of the `engine.workers`: an engine in an actor of Ray, on whatever machine of the cluster has room for it.

Nothing here knows of stages or of the run directory. What comes in are tasks, what goes out are their results.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from tempfile import TemporaryDirectory, mkdtemp
from typing import Any, Literal

from isheep import watchdog
from isheep.encoder import Encoder
from isheep.engines import open_engine
from isheep.engines.base import Engine, Request
from isheep.recipe import Recipe

PULSE_S = 5.0
"""So long at most a question for results goes unanswered."""
GATHER_S = 0.05
"""Completions that come within this time of each other travel together."""

Work = Literal["generate", "score_next", "score_sequences", "embed"]
Files = Mapping[str, bytes]
"""Name -> content: an adapter travels, since the run directory need not lie on a file system that all machines see."""


@dataclass(frozen=True, slots=True)
class Task:
    """A piece of one call of the engine: a whole window of requests, or a list of texts."""

    call: int
    work: Work
    keys: tuple[str, ...]
    """What comes back carries one of these each: the requests' ids, or the one of the piece."""
    arguments: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Result:
    """A completion, or the rows of a piece."""

    call: int
    key: str
    value: Any


@dataclass(frozen=True, slots=True)
class Heard:
    """What a worker has to say."""

    results: tuple[Result, ...]
    beats: int
    """Of its watchdog so far: whether it gets on, though nothing has ended."""


class Worker:
    """The actor. `take` waits in one of its threads while others bring tasks, and one thread does all the work."""

    def __init__(self) -> None:
        self._engine: Engine | None = None
        self._busy = threading.Lock()
        self._waiting: SimpleQueue[Task] = SimpleQueue()
        self._made: SimpleQueue[Result | Exception | None] = SimpleQueue()
        self._dropped = 0
        self._folder = TemporaryDirectory(prefix="isheep-adapter-")
        threading.Thread(target=self._serve, name="work", daemon=True).start()

    def load(self, given: tuple[Recipe, Encoder], adapter: Files | None) -> tuple[int | None, str]:
        """Opens the engine; returns how many positions the model has, and where this is.

        Raises:
            UserError: the model is not there on this machine, or does not load.
        """
        recipe, encoder = given
        self._engine = open_engine(recipe, encoder)
        if adapter is not None:
            self.use(adapter)
        return self._engine.positions, f"process {os.getpid()} on {socket.gethostname()}"

    def use(self, adapter: Files | None) -> int | None:
        """Puts an adapter on, or takes it off; returns the positions as `load` does."""
        with self._busy:
            engine = self._opened()
            if adapter is None:
                engine.use(None)
            else:
                # A folder of its own for each: an engine may know an adapter by its path.
                folder = Path(mkdtemp(dir=self._folder.name))
                for name, content in adapter.items():
                    (folder / name).write_bytes(content)
                engine.use(folder)
            return engine.positions

    def do(self, task: Task) -> None:
        """Takes a task up; its results come by `take`."""
        self._waiting.put(task)

    def drop(self, call: int) -> None:
        """Nobody waits any more for what belongs to this call, or to one before it."""
        self._dropped = max(self._dropped, call)

    def take(self) -> Heard:
        """What has come out since the last time, or nothing after `PULSE_S`.

        Raises:
            Exception: what ended a task.
        """
        results: list[Result] = []
        until = time.monotonic() + PULSE_S
        with suppress(Empty):
            # None: a task has ended, and nothing is worth waiting for.
            while (one := self._made.get(timeout=max(0.0, until - time.monotonic()))) is not None:
                if isinstance(one, Exception):
                    raise one
                results.append(one)
                until = min(until, time.monotonic() + GATHER_S)
        return Heard(tuple(results), watchdog.beats())

    def close(self) -> None:
        """Gives the engine's memory back."""
        self.drop(1 << 62)
        with self._busy:
            self._opened().close()
        self._folder.cleanup()

    def _serve(self) -> None:
        while True:
            task = self._waiting.get()
            with self._busy:
                try:
                    for result in self._done(task):
                        self._made.put(result)
                    self._made.put(None)
                except Exception as error:
                    self._made.put(error)

    def _done(self, task: Task) -> Iterator[Result]:
        if self._is_dropped(task):
            return
        engine = self._opened()
        if task.work != "generate":
            yield Result(task.call, task.keys[0], getattr(engine, task.work)(*task.arguments))
            return
        for completion in engine.generate(self._requests(task)):
            yield Result(task.call, completion.id, completion)
            if self._is_dropped(task):
                return

    def _requests(self, task: Task | None) -> Iterator[Request]:
        """Those of the task and, while some wait, of the tasks behind it: the engine need not run dry between them."""
        while task is not None:
            if not self._is_dropped(task):
                yield from task.arguments[0]
            task = self._next_of(task.call)

    def _next_of(self, call: int) -> Task | None:
        try:
            task = self._waiting.get_nowait()
        except Empty:
            return None
        if task.call == call:
            return task
        # Of a later call, which comes only when this one has ended or was dropped.
        self._waiting.put(task)
        return None

    def _is_dropped(self, task: Task) -> bool:
        return task.call <= self._dropped

    def _opened(self) -> Engine:
        if self._engine is None:
            raise RuntimeError("no engine was loaded")
        return self._engine
