"""One process holds a run: an advisory lock on a file, which the kernel gives up when its owner dies in any way."""

from __future__ import annotations

import fcntl
import os
import socket
import time
from pathlib import Path

from isheep.errors import UserError
from isheep.store.files import now

_PATIENCE_S = 0.5
"""A reader that asks `is_held` holds the lock for an instant; an owner waits that long before it refuses."""

_held: set[int] = set()


class InUse(UserError):
    """Another live process holds the lock."""


class Lock:
    """The lock of one directory, held from construction until `release` or the death of the process."""

    def __init__(self, path: Path) -> None:
        """Raises InUse, naming the owner, when another process holds it; OSError when it cannot be written."""
        self._descriptor: int | None = None
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        if not _acquire(descriptor):
            owner = os.pread(descriptor, 1000, 0).decode(errors="replace").strip()
            os.close(descriptor)
            raise InUse(
                str(path.parent),
                f"is in use by {owner or 'another process'}.",
                "Wait for it, stop it, or give another --dir.",
            )
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()} since {now()}\n".encode(), 0)
        self._descriptor = descriptor
        _held.add(descriptor)

    def release(self) -> None:
        """Gives the lock up; a second call does nothing."""
        if self._descriptor is not None:
            _held.discard(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = None


def is_held(path: Path) -> bool:
    """Whether a live process holds the lock file."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        # Shared, so that two readers never take each other for an owner.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        return False
    finally:
        os.close(descriptor)


def _acquire(descriptor: int) -> bool:
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        else:
            return True


def _forget_in_child() -> None:
    # A forked worker shares the lock: were it to outlive its parent, the run would stay refused.
    for descriptor in _held:
        os.close(descriptor)
    _held.clear()


os.register_at_fork(after_in_child=_forget_in_child)
