"""The process of `vllm_worker`, seen from its parent: started, fed, listened to and ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from itertools import islice
from multiprocessing import Pipe
from pathlib import Path
from typing import Any

from isheep.engines.vllm_worker import Job, Result, Start
from isheep.errors import StageError, UserError
from isheep.terminal import last_said, printable

PATIENCE = 20.0
"""Seconds that it may take to leave when asked."""


class Process:
    """A running worker. What it prints goes to a log file, which stays where it is when the worker fails."""

    def __init__(self, start: Start, variables: Mapping[str, str]) -> None:
        """Starts it and waits until the model is loaded.

        Args:
            start: how vLLM's engine is to be made.
            variables: of its environment, where the user has not set them.

        Raises:
            UserError: the model does not load.
        """
        self._log = Path(tempfile.mkstemp(prefix="isheep-vllm-", suffix=".log")[1])
        self._connection, theirs = Pipe()
        command = [sys.executable, "-m", "isheep.engines.vllm_worker", str(theirs.fileno())]
        with self._log.open("wb") as log:
            # A session of its own: Ctrl-C is the parent's business, which then drains what is under way.
            self._child = subprocess.Popen(  # noqa: S603  # this interpreter, a module of ours and a number
                command,
                env={**variables, **os.environ},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        theirs.close()
        try:
            self.send(start)
            self.positions: int = self._receive("ready")
        except StageError as error:
            self._end()
            what = f"does not load in vLLM ({error})."
            raise UserError(str(start.options["model"]), what, "Mend what it names, or take another engine.") from None
        except BaseException:
            self._end()
            raise

    def send(self, message: object) -> None:
        """Hands a message over.

        Raises:
            StageError: the process is gone.
        """
        try:
            self._connection.send(message)
        except OSError:
            raise self._gone() from None

    def results(self, jobs: Iterator[Job], ahead: int) -> Iterator[Result]:
        """What becomes of the jobs, as they finish; `ahead` of them at most are handed over and not finished.

        A consumer that stops reading leaves nothing behind.

        Raises:
            StageError: the process is gone, or refuses a job.
        """
        under_way: set[int] = set()
        try:
            while True:
                if batch := list(islice(jobs, ahead - len(under_way))):
                    under_way.update(job.number for job in batch)
                    self.send(("work", batch))
                if not under_way:
                    return
                # Those of a stream that nobody reads any more may still come in.
                finished = [result for result in self._receive("done") if result.number in under_way]
                under_way.difference_update(result.number for result in finished)
                for result in finished:
                    if result.refused:
                        raise StageError(f"vLLM refuses a request: {printable(result.refused)}")
                    yield result
        finally:
            if under_way and self._child.poll() is None:
                self.send(("abort", list(under_way)))

    def close(self) -> None:
        """Ends it, with all memory that it held."""
        self._end()
        self._log.unlink(missing_ok=True)

    def _receive(self, expected: str) -> Any:
        try:
            kind, content = self._connection.recv()
        except (EOFError, OSError):
            raise self._gone() from None
        if kind != expected:
            raise StageError(f"{printable(str(content))}{last_said(self._log, 'it')}")
        return content

    def _gone(self) -> StageError:
        try:
            code = self._child.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            code = None
        how = f"by signal {-code}" if code is not None and code < 0 else f"with status {code}"
        return StageError(f"the process of vLLM ended {how}{last_said(self._log, 'it')}")

    def _end(self) -> None:
        self._connection.close()
        with suppress(subprocess.TimeoutExpired):
            self._child.wait(PATIENCE)
        # With several GPUs vLLM has processes of its own, which are in the worker's session.
        with suppress(ProcessLookupError):
            os.killpg(self._child.pid, signal.SIGKILL)
        self._child.wait()
