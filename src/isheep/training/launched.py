"""A training by several processes, seen from the run's: started, listened to, asked to stop, and ended.

Not covered: machines without a file system in common, where not all would see the checkpoints and what `child` writes.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from shutil import rmtree
from typing import IO

import psutil

from isheep import drain, meter, watchdog
from isheep.errors import StageError, UserError
from isheep.progress import bar, say
from isheep.recipe import Recipe
from isheep.store.files import read_json, write_json
from isheep.terminal import last_said
from isheep.training.child import EVENTS, FAILED, OUTCOME, STOP, TASK, Task
from isheep.training.launch import command, first_machine, processes, variables
from isheep.training.trainer import Outcome, within_memory
from isheep.training.watching import last_whole, saved_by, step_of

FOLDER = "launch"
"""In the folder of checkpoints: what the processes are told and tell, of the last try."""
LOG = "log"

LOOK_S = 0.1
PATIENCE_S = 20.0
"""Seconds that they may take to leave when their pipe has ended."""


class Launch:
    """One training by several processes, each try of it."""

    def __init__(self, recipe: Recipe, task: Task) -> None:
        self._recipe, self._task = recipe, task
        self._number = recipe.train.nodes * processes(recipe)
        self._folder = Path(task.checkpoints) / FOLDER

    def run(self) -> Outcome:
        """Trains, as `Training.run` does in one process: on from the last whole checkpoint, through too little memory.

        Raises:
            UserError, StageError: what one of the processes says, or that they ended without a word.
            Interrupted: the user asked to stop; a checkpoint was written.
        """
        share = self._recipe.train.batch_size // self._number
        return within_memory(self._recipe, self._folder.parent, self._task.title, share, self._attempt)

    def _attempt(self, micro: int) -> Outcome:
        """One try with `micro` pairs at once in each process; MemoryError where it does not suffice."""
        last = last_whole(self._folder.parent)
        if self._recipe.train.launch == "deepspeed" and last is not None and saved_by(last) != self._number:
            what = (
                f"is {self._number} in all, and {last} was saved by {saved_by(last)}, whose parts DeepSpeed joins for"
            )
            raise UserError("train.processes", f"{what} no other number.", "Give that, or delete the checkpoint.")
        done = step_of(last) if last else 0
        rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir(parents=True)
        task = replace(self._task, micro=micro, last=str(last) if last else None)
        write_json(self._folder / TASK, asdict(task))
        with (self._folder / LOG).open("wb") as log:
            child = self._start(log)
        try:
            with bar(self._task.title, self._task.steps, done) as advance:
                for step in self._steps(child, done):
                    advance(step)
        finally:
            _end(child)
        return self._outcome(child.returncode)

    def _start(self, log: IO[bytes]) -> subprocess.Popen[bytes]:
        address = "127.0.0.1" if self._recipe.train.nodes == 1 else first_machine()
        # A session of its own: Ctrl-C is this process's business, which asks them to stop.
        return subprocess.Popen(  # noqa: S603  # this interpreter, or srun and a shell whose text is our own
            command(self._recipe, self._folder, address, free_port()),
            env={**os.environ, **variables(self._recipe)},
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )

    def _steps(self, child: subprocess.Popen[bytes], done: int) -> Iterator[int]:
        """How many steps were made, each time that some were; hands on what else is told, until they have ended."""
        events, tokens, ended = _Lines(self._folder / EVENTS), 0, False
        while not ended:
            ended = child.poll() is not None
            for event in map(json.loads, events.new()):
                watchdog.beat()
                if event[0] == "at":
                    yield event[1] - done
                    meter.read(event[2] - tokens)
                    _, done, tokens = event
                elif event[0] == "say":
                    say(event[1])
            if drain.wanted():
                (self._folder / STOP).touch()
            time.sleep(LOOK_S)

    def _outcome(self, code: int) -> Outcome:
        failed = read_json(self._folder / FAILED, writable=False)
        found = read_json(self._folder / OUTCOME, writable=False)
        if failed:
            kinds = {"user": UserError, "stage": StageError, "memory": MemoryError}
            raise kinds[failed["kind"]](*failed["message"])
        if code or found is None:
            how = f"by signal {-code}" if code < 0 else f"with status {code}"
            raise StageError(
                f"{self._task.title}: the processes of the training ended {how}{last_said(self._folder / LOG, 'they')}"
            )
        if found["outcome"] is None:
            drain.stop_here()
        return Outcome(**{**found["outcome"], "checkpoint": Path(found["outcome"]["checkpoint"])})


def free_port() -> int:
    """One of this machine that nobody listens at."""
    with socket.socket() as one:
        one.bind(("", 0))
        port: int = one.getsockname()[1]
        return port


def _end(child: subprocess.Popen[bytes]) -> None:
    """Sees that nothing of it is left; what works ends when its pipe does."""
    workers: Sequence[psutil.Process] = []
    with suppress(psutil.NoSuchProcess):
        workers = psutil.Process(child.pid).children(recursive=True)
    if child.stdin:
        child.stdin.close()
    with suppress(subprocess.TimeoutExpired):
        child.wait(PATIENCE_S)
    for worker in workers:
        with suppress(psutil.NoSuchProcess):
            worker.kill()
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


class _Lines:
    """The lines of a file that another process is writing, as they become whole."""

    def __init__(self, path: Path) -> None:
        self._path, self._read = path, 0

    def new(self) -> list[bytes]:
        """Those that came since the last time."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._read)
                whole = file.read().rpartition(b"\n")[0]
        except FileNotFoundError:
            return []
        self._read += len(whole) + bool(whole)
        return whole.splitlines()
