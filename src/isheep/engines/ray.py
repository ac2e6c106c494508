"""Several copies of an engine, the `engine.workers`, as actors of a Ray cluster (extra `isheep[ray]`)."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count, islice
from math import ceil
from pathlib import Path
from typing import Any

from isheep import watchdog
from isheep.checkpoint import refuse_adapter
from isheep.encoder import Encoder
from isheep.engines import part_size
from isheep.engines.base import PIECE, Completion, Engine, Request
from isheep.engines.ray_cluster import connect, has_gpus, nodes, share_of
from isheep.engines.ray_worker import PULSE_S, Files, Heard, Result, Task, Work, Worker
from isheep.errors import IsheepError, StageError, first_line
from isheep.hub import is_hub_id, model_folder
from isheep.progress import say
from isheep.recipe import Recipe

Tokens = tuple[int, ...]

ROOM = 2
"""Windows that a worker has at once, one at work and one waiting (of batches of vLLM, which keeps full, twice as many).
Between the oldest that is not done and the newest lie twice as many for each worker: who is slow holds the others up at
last, and what waits for its turn in the order of the records stays small."""
CALLS = 4
"""Of a worker's methods at once: one waits for results while others bring tasks."""
LOSSES = 3
"""For each worker, with nothing done between: then it is no accident."""
SILENCE_S = 30.0
"""Seconds without a worker, after which the user is told why that may be."""
REASON = 100
"""Characters of why a worker is lost, of which Ray says much."""
CLOSING_S = 60.0
"""Seconds that workers may take to give their memory back."""


@dataclass(slots=True, eq=False)
class _Seat:
    """One of the workers, whoever sits there."""

    actor: Any
    asked: Any
    """What it was asked last: to load while it is not ready, then for results."""
    adapter: int
    """Number of the adapter that it has, or loads with."""
    ready: bool = False
    place: str = "not yet started"
    beats: int = 0
    tasks: list[Task] = field(default_factory=list)


class RayEngine(Engine):
    """The engine of the recipe, `engine.workers` times, on the machines that the cluster has.

    Work is handed out in the windows of the embedded engine, which decide its tokens to the bit, so what comes out
    depends neither on the number of workers nor on which of them did it. A worker that is lost, alone or with its
    machine, costs its windows: others do them again, with the same seeds, and a new worker starts as soon as there is
    room for one. Nobody but the process that asks writes anything down.
    """

    def __init__(self, recipe: Recipe, encoder: Encoder) -> None:
        """Starts the workers and waits for the first to be ready.

        Raises:
            UserError: Ray or the cluster is not there, or the model does not load.
        """
        self._ray = connect(recipe.engine.ray.address)
        path = recipe.model.path
        path = path if is_hub_id(path) else str(model_folder(path).absolute())
        engine = recipe.engine.model_copy(update={"workers": 0})
        model = recipe.model.model_copy(update={"path": path})
        self._given = self._ray.put((recipe.model_copy(update={"engine": engine, "model": model}), encoder))
        self._settings = recipe.engine
        self._share = share_of(recipe, has_gpus(nodes(self._ray)))
        self._adapter: Any = None
        self._adapters = self._losses = 0
        self._calls = count(1)
        self._orphans: list[Task] = []
        self.workers = recipe.engine.workers
        self.positions: int | None = None
        self._seats = [self._started() for _ in range(self.workers)]
        try:
            self._await_one()
        except BaseException:
            self.close()
            raise

    def generate(self, requests: Iterable[Request]) -> Iterator[Completion]:
        """Completions as they finish; windows are pulled ahead, some for each worker."""
        waiting, call = iter(requests), next(self._calls)

        def tasks() -> Iterator[Task]:
            while window := tuple(islice(waiting, part_size(self._settings))):
                yield Task(call, "generate", tuple(request.id for request in window), (window,))

        for _, completion in self._carried_out(call, tasks()):
            yield completion

    def score_next(self, prompts: Sequence[Tokens], candidates: Sequence[Tokens]) -> list[list[float]]:
        """As the engine's, a window of them to a worker at a time."""
        return self._in_pieces("score_next", prompts, part_size(self._settings), candidates)

    def score_sequences(self, sequences: Sequence[Tokens]) -> list[list[float]]:
        """As the engine's."""
        return self._in_pieces("score_sequences", sequences, PIECE)

    def embed(self, sequences: Sequence[Tokens]) -> list[list[float]]:
        """As the engine's."""
        return self._in_pieces("embed", sequences, PIECE)

    def use(self, adapter: Path | None) -> None:
        """Sends the adapter to every worker, and to those that start later.

        Raises:
            UserError: no adapter there, or one that does not fit the model.
        """
        files = None
        if adapter is not None:
            refuse_adapter(adapter)
            files = self._ray.put(_files(adapter))
        self._adapter, self._adapters = files, self._adapters + 1
        self._put_on(*(seat for seat in self._seats if seat.ready))
        self._await_one()

    def close(self) -> None:
        """Ends the workers, and with them all memory that they held; the cluster stays."""
        asked = [seat.actor.close.remote() for seat in self._seats if seat.ready]
        self._ray.wait(asked, num_returns=len(asked), timeout=CLOSING_S) if asked else None
        for seat in self._seats:
            self._ray.kill(seat.actor)
        self._seats = []

    @property
    def _embedded(self) -> bool:
        return self._settings.name == "transformers"

    def _in_pieces(self, work: Work, texts: Sequence[Tokens], size: int, *others: Any) -> list[list[float]]:
        # vLLM starts anew for vectors, so a worker gets all of its share at once.
        size = max(1, ceil(len(texts) / self.workers)) if work == "embed" and not self._embedded else size
        call, starts = next(self._calls), range(0, len(texts), size)
        tasks = (Task(call, work, (str(start),), (texts[start : start + size], *others)) for start in starts)
        rows = dict(self._carried_out(call, tasks))
        return [row for start in starts for row in rows[str(start)]]

    def _carried_out(self, call: int, tasks: Iterator[Task]) -> Iterator[tuple[str, Any]]:
        """(key, value) of all that the tasks of a call come to, each once, in any order."""
        room = ROOM if self._embedded else 2 * ROOM
        handed = _Handed(tasks, 2 * room * self.workers)
        try:
            while True:
                self._hand_out(handed, room)
                if handed.is_over:
                    return
                for result in self._heard():
                    if result.call == call and handed.is_new(result.key):
                        yield result.key, result.value
                        self._losses = 0
                for seat in self._seats:
                    seat.tasks = [task for task in seat.tasks if not handed.is_done(task)]
                handed.again([task for task in self._orphans if task.call == call])
                self._orphans = []
        finally:
            for seat in self._seats:
                if seat.tasks:
                    seat.tasks = []
                    seat.actor.drop.remote(call)

    def _hand_out(self, handed: _Handed, room: int) -> None:
        """To whoever has the fewest tasks, up to `room` for each: so nobody has two where another has none."""
        while ready := [seat for seat in self._seats if seat.ready]:
            seat = min(ready, key=lambda one: len(one.tasks))
            task = handed.next() if len(seat.tasks) < room else None
            if task is None:
                return
            seat.tasks.append(task)
            seat.actor.do.remote(task)

    def _heard(self) -> Iterator[Result]:
        """What workers have to say, once one of them has; those that are ready or lost are seen to."""
        asked = [seat.asked for seat in self._seats]
        self._ray.wait(asked, num_returns=1, timeout=PULSE_S)
        answered, _ = self._ray.wait(asked, num_returns=len(asked), timeout=0)
        for seat in [seat for seat in self._seats if seat.asked in answered]:
            answer = self._answer(seat, seat.asked)
            if isinstance(answer, Heard):
                if answer.beats != seat.beats:
                    watchdog.beat()
                seat.beats, seat.asked = answer.beats, seat.actor.take.remote()
                yield from answer.results
            elif answer is not None:
                self.positions, seat.place = answer
                self._seat(seat)

    def _answer(self, seat: _Seat, asked: Any) -> Any:
        """What a worker answers, None where it is lost; raises what it failed of."""
        errors = self._ray.exceptions
        try:
            return self._ray.get(asked)
        except errors.RayActorError as error:
            self._lose(seat, first_line(error))
            return None
        except errors.RayTaskError as error:
            if not seat.ready and any(other.ready for other in self._seats):
                # A machine that joined and lacks the model, say, is no reason for the others to stop.
                self._lose(seat, first_line(error.cause))
                return None
            if seat.ready and asked is seat.asked:
                seat.asked = seat.actor.take.remote()
            if isinstance(error.cause, IsheepError):
                raise error.cause from None
            raise StageError(f"engine.workers: {seat.place} failed ({first_line(error.cause)}).") from error

    def _started(self) -> _Seat:
        wanted = {"num_cpus": self._share.cpus, "num_gpus": self._share.gpus, "memory": self._share.memory}
        options = {"max_concurrency": CALLS, "max_restarts": 0, **wanted}
        actor = self._ray.remote(Worker).options(**options).remote()
        return _Seat(actor, actor.load.remote(self._given, self._adapter), self._adapters)

    def _seat(self, seat: _Seat) -> None:
        """It has loaded; meanwhile the adapter may have become another."""
        seat.ready, seat.asked = True, seat.actor.take.remote()
        if seat.adapter != self._adapters:
            self._put_on(seat)

    def _put_on(self, *seats: _Seat) -> None:
        asked = [(seat, seat.actor.use.remote(self._adapter)) for seat in seats]
        for seat, ref in asked:
            seat.adapter = self._adapters
            self.positions = self._answer(seat, ref) or self.positions

    def _lose(self, seat: _Seat, why: str) -> None:
        """What the worker was at is to be done again; another one starts as soon as the cluster has room for it."""
        self._losses += 1
        if self._losses > LOSSES * self.workers:
            raise StageError(f"engine.workers: {self._losses} were lost with nothing done between, at last: {why}")
        say(f"! a worker is lost, {seat.place} ({why[:REASON]}); what it was at is done again")
        self._orphans += seat.tasks
        self._ray.kill(seat.actor)
        self._seats[self._seats.index(seat)] = self._started()

    def _await_one(self) -> None:
        """Until a worker is ready."""
        began, told = time.monotonic(), False
        while not any(seat.ready for seat in self._seats):
            for _ in self._heard():
                pass
            if not told and time.monotonic() - began > SILENCE_S:
                say(f"no worker is ready yet: one asks for {self._share.in_words()}, and may be waiting for room")
                told = True


class _Handed:
    """The tasks of one call: which are still to be handed out, and what of the others has not come back."""

    def __init__(self, tasks: Iterator[Task], most: int) -> None:
        """At most `most` tasks lie between the oldest that is not done and the newest."""
        self._tasks, self._most = tasks, most
        self._again: deque[Task] = deque()
        self._count = 0
        self._left: dict[int, set[str]] = {}
        """Number of a task -> keys that have not come back, the oldest task first."""
        self._owners: dict[str, int] = {}
        self._ended = False

    @property
    def is_over(self) -> bool:
        return self._ended and not self._left

    def next(self) -> Task | None:
        """The task to hand out; None: none for now, or none any more."""
        if self._again:
            return self._again.popleft()
        if self._left and self._count - next(iter(self._left)) >= self._most:
            return None
        task = next(self._tasks, None)
        if task is None:
            self._ended = True
            return None
        self._left[self._count] = set(task.keys)
        self._owners |= dict.fromkeys(task.keys, self._count)
        self._count += 1
        return task

    def is_new(self, key: str) -> bool:
        """Whether this is the first time that it comes back; what is done again comes twice."""
        number = self._owners.pop(key, None)
        if number is None:
            return False
        self._left[number].remove(key)
        if not self._left[number]:
            del self._left[number]
        return True

    def is_done(self, task: Task) -> bool:
        return not any(key in self._owners for key in task.keys)

    def again(self, tasks: Iterable[Task]) -> None:
        """They were lost, and come before all others."""
        self._again.extendleft(task for task in reversed(list(tasks)) if not self.is_done(task))


def _files(adapter: Path) -> Files:
    return {file.name: file.read_bytes() for file in sorted(adapter.iterdir()) if file.is_file()}
