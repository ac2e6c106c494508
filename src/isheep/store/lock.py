"""One process holds a run: an advisory lock on a file, which the kernel gives up when its owner dies in any way."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from isheep.errors import UserError
from isheep.store.files import now, sync

_PATIENCE_S = 0.5
"""A reader that asks `is_held` holds the lock for an instant; an owner waits that long before it refuses."""

_NOT_DONE = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL)
"""What the system says of what a file system does not do."""

_held: set[int] = set()


class InUse(UserError):
    """Another live process holds the lock."""


class Lock:
    """The lock of one directory, held from construction until `release` or the death of the process."""

    def __init__(self, path: Path) -> None:
        """Raises InUse, naming the owner, when another process holds it; OSError when it cannot be written.

        UserError where the file system knows no locks.
        """
        self._descriptor: int | None = None
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            acquired = _acquire(descriptor)
        except OSError as error:
            os.close(descriptor)
            if error.errno in _NOT_DONE:
                raise _unfit(path.parent, f"knows no locks ({error.strerror})") from None
            raise
        if not acquired:
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
    except OSError as error:
        if error.errno not in _NOT_DONE:
            raise
        return False  # Where there are no locks no run begins.
    else:
        return False
    finally:
        os.close(descriptor)


def refuse_unfit(folder: Path) -> None:
    """Tries in a folder of its own, which it takes away again, what a run stands on: locks, renames, synced folders.

    Raises:
        UserError: the file system does not do one of them. A full disk is not what is asked here.
    """
    try:
        with TemporaryDirectory(prefix=".isheep-", dir=folder) as made:
            one, other = Path(made, "one"), Path(made, "other")
            lock = Lock(one)
            try:
                if not is_held(one):
                    raise _unfit(folder, "gives a lock to two at once")
            finally:
                lock.release()
            other.mkdir()
            other.rename(Path(made, "folder"))
            other.write_bytes(b"")
            one.replace(other)
            sync(Path(made))
    except OSError as error:
        if error.errno in _NOT_DONE:
            raise _unfit(folder, f"cannot rename, or sync a folder ({error.strerror})") from None


def _unfit(folder: Path, why: str) -> UserError:
    mend = (
        "Mount it with them, give another --dir, or --dir file://... : then the run works on this machine's own disk."
    )
    return UserError(str(folder), f"its file system {why}, so no run can be kept there.", mend)


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
