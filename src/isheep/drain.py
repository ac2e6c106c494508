"""Stopping in good order: the first Ctrl-C (or SIGTERM) lets the batch in flight end, the second stops at once.

A SIGTERM that follows within ECHO_S is the first one again: a scheduler signals every process of a job, and the job's
shell passes on what it got.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from isheep.errors import Interrupted
from isheep.progress import say

ECHO_S = 2.0
"""Seconds; nobody who reads what the first signal says is so quick to send the second."""

_wanted = False

STOPPED = "stopped by the user; everything finished so far is kept"


def wanted() -> bool:
    """Whether the user asked to stop."""
    return _wanted


def stop_here() -> None:
    """Called where everything so far is on disk.

    Raises:
        Interrupted: the user asked to stop.
    """
    if _wanted:
        raise Interrupted(STOPPED)


@contextmanager
def on_signals() -> Iterator[None]:
    """Within the block SIGINT and SIGTERM ask for a stop; a second one is not caught any more."""
    global _wanted
    _wanted = False
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    asked = 0.0

    def again(number: int, frame: FrameType | None) -> None:
        if time.monotonic() - asked > ECHO_S:
            signal.signal(number, before[signal.Signals(number)])
            os.kill(os.getpid(), number)

    def ask(number: int, frame: FrameType | None) -> None:
        global _wanted
        nonlocal asked
        _wanted, asked = True, time.monotonic()
        signal.signal(signal.SIGINT, before[signal.SIGINT])
        signal.signal(signal.SIGTERM, again)
        say("Stopping when the batch in flight is written. Once more stops at once (and loses that batch).")

    for number in before:
        signal.signal(number, ask)
    try:
        yield
    finally:
        _wanted = False
        for number, handler in before.items():
            signal.signal(number, handler)
