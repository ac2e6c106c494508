"""A command whose work stands still is ended and started again from the last part, so many times and no more.

Progress is whatever `beat` is called for: a token of a batch, a micro-batch, an answer of a server. Time counts only
while work is `under_way`, and only while this process runs: one that was stopped, or whose machine slept, did not stand
still. Not covered: a library that hangs and holds the interpreter's lock, since nothing else of the process runs then.
"""

from __future__ import annotations

import faulthandler
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psutil

from isheep.errors import StageError

RESTARTS = "ISHEEP_RESTARTS"
"""Environment variable: how often this command was started again."""
STARTED_AGAIN = "started again"
"""Stands in what is told of a restart, and in nothing else that is."""
TICKS = 20
"""Looks at the work within its patience, a second apart at most."""

REAP_S = 10.0
"""Seconds that killed children may take to be gone."""

Tell = Callable[[str], None]


class _Watch:
    """The thread that looks, and what it counts."""

    def __init__(self, patience: float, restarts: int, say: Tell) -> None:
        self._patience, self._restarts, self._say = patience, restarts, say
        self._tick = min(1.0, patience / TICKS)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, name="watchdog", daemon=True)
        self.works: list[str] = []
        self.still = 0.0
        self.tell: Tell = lambda message: None

    def start(self) -> None:
        self._thread.start()

    def end(self) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(self._tick):
            # Counted by looks and not by the clock, which also runs while this process does not.
            self.still += self._tick if self.works else 0.0
            if self.still > self._patience:
                self._replace()

    def _replace(self) -> None:
        """Takes the place of this process; its children end, and so does whatever they hold."""
        before = int(os.environ.get(RESTARTS, "0"))
        again = before < self._restarts
        then = f"{STARTED_AGAIN}, {before + 1} of {self._restarts}" if again else f"given up after {before} restarts"
        message = f"{self.works[-1]} has made no progress for {self._patience:g} s (watch.patience); {then}"
        faulthandler.dump_traceback(sys.__stderr__ or 2)
        try:
            self.tell(message)
            self._say(message)
        finally:
            children = psutil.Process().children(recursive=True)
            for child in children:
                child.kill()
            psutil.wait_procs(children, REAP_S)
            if not again:
                self._say("The same command goes on from here.")
                os._exit(StageError.exit_code)
            os.environ[RESTARTS] = str(before + 1)
            os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606  # no shell is wanted


_watch: _Watch | None = None
_replaceable = False
_beats = 0


def may_replace_process() -> None:
    """Said by a command of ours. Who calls the loop from a program of their own would not want it replaced."""
    global _replaceable
    _replaceable = True


@contextmanager
def on(patience: float, restarts: int, say: Tell) -> Iterator[None]:
    """Within the block work that stands still ends this process, if it may, and the same command takes its place.

    Args:
        patience: seconds without progress.
        restarts: how often the command is started again at most; then it ends as a failed stage does.
        say: prints a line for the user.
    """
    global _watch
    if not _replaceable:
        yield
        return
    _watch = _Watch(patience, restarts, say)
    _watch.start()
    try:
        yield
    finally:
        _watch.end()
        _watch = None


@contextmanager
def under_way(what: str) -> Iterator[None]:
    """Within the block it has to go on; `what` names it in messages."""
    watch = _watch
    if watch is None:
        yield
        return
    watch.still = 0.0
    watch.works.append(what)
    try:
        yield
    finally:
        watch.works.pop()
        watch.still = 0.0


def beat() -> None:
    """Something was done."""
    global _beats
    _beats += 1
    if _watch is not None:
        _watch.still = 0.0


def beats() -> int:
    """How often something was done in this process: whether another one gets on is told by it."""
    return _beats


def on_restart(tell: Tell) -> None:
    """Has what is said of a restart told to `tell`, too, which writes it down."""
    if _watch is not None:
        _watch.tell = tell
