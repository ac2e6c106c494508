"""The user's command in a child of a process that has imported everything: what was killed starts again in no time.

Such a child is the command in all but its start: it has its own memory, its own descriptors, its signals and its exit
code. What is to happen to it is put in place before the command begins (`tests.faults.injected`).
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

MODULES = (
    "isheep.cli.tables",
    "isheep.cli.side_by_side",
    "isheep.engines.openai",
    "isheep.engines.transformers",
    "isheep.evaluation.lm_eval_task",
    "isheep.filters.compiled",
    "isheep.loop",
    "isheep.report",
    "isheep.sweep",
    "isheep.training.trainer",
    "tests.faults.injected",
)

ENVIRONMENT = {
    "COLUMNS": "200",
    "HF_HUB_OFFLINE": "1",
    "NO_COLOR": "1",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
}

Prepare = Callable[[], None]
"""Called in the child before the command; has to be picklable."""


@dataclass(frozen=True, slots=True)
class Ended:
    """What became of a command."""

    code: int
    """Exit status; minus the signal that ended it."""
    said: str
    """Both of its outputs."""
    seconds: float
    """Seconds that it took."""


class Command:
    """One `isheep ...`, running from construction on."""

    def __init__(self, words: Sequence[str | Path], log: Path, prepare: Prepare | None = None) -> None:
        self._log = log
        self._began = time.monotonic()
        self._process = _CONTEXT.Process(target=_command, args=(list(map(str, words)), str(log), prepare))
        self._process.start()

    @property
    def pid(self) -> int:
        """Of the process."""
        assert self._process.pid is not None
        return self._process.pid

    @property
    def ended(self) -> bool:
        """Whether it has ended."""
        return self._process.exitcode is not None

    def signal(self, number: int) -> None:
        """Sends a signal, unless it has ended meanwhile."""
        if not self.ended:
            os.kill(self.pid, number)

    def wait(self, seconds: float = 300.0) -> Ended:
        """Its end; one that does not come in time is an error of the suite."""
        self._process.join(seconds)
        code = self._process.exitcode
        if code is None:
            self._process.kill()
            self._process.join()
            raise TimeoutError(f"the command did not end within {seconds:g} s; it said: {self.said()}")
        return Ended(code, self.said(), time.monotonic() - self._began)

    def said(self) -> str:
        """Both of its outputs, so far."""
        return self._log.read_text(encoding="utf-8", errors="replace") if self._log.exists() else ""


def isheep(words: Sequence[str | Path], log: Path, prepare: Prepare | None = None, seconds: float = 300.0) -> Ended:
    """Runs a command to its end."""
    return Command(words, log, prepare).wait(seconds)


def set_environment(variables: Mapping[str, str] = ENVIRONMENT) -> None:
    """Of every command to come; before the first one."""
    os.environ.update(variables)


def _command(words: list[str], log: str, prepare: Prepare | None) -> None:
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    for place in (1, 2):
        os.dup2(descriptor, place)
    os.close(descriptor)
    sys.argv = ["isheep", *words]
    # What the watchdog starts again is the command as a user gives it.
    sys.orig_argv = [sys.executable, "-c", "from isheep.cli import main; main()", *words]
    if prepare is not None:
        prepare()
    from isheep.cli import main

    main()


_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(list(MODULES))
