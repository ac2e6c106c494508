"""Stopping in good order: the first Ctrl-C (or SIGTERM) lets the batch in flight end, the second stops at once."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from isheep.errors import Interrupted
from isheep.progress import say

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

    def ask(number: int, frame: FrameType | None) -> None:
        global _wanted
        _wanted = True
        for caught, handler in before.items():
            signal.signal(caught, handler)
        say("Stopping when the batch in flight is written. Once more stops at once (and loses that batch).")

    for number in before:
        signal.signal(number, ask)
    try:
        yield
    finally:
        _wanted = False
        for number, handler in before.items():
            signal.signal(number, handler)
