"""One holder at a time, and an instant's look by a reader never costs an owner its start."""

from __future__ import annotations

import fcntl
import os
import threading
import time
from pathlib import Path

import pytest

from isheep.errors import UserError
from isheep.store.lock import Lock, is_held


def test_held_until_released(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    assert not is_held(path)
    lock = Lock(path)
    assert is_held(path)
    assert path.read_text().startswith(f"process {os.getpid()} on ")
    with pytest.raises(UserError, match=f"is in use by process {os.getpid()} on "):
        Lock(path)
    lock.release()
    lock.release()
    assert not is_held(path)
    Lock(path).release()


def test_an_owner_waits_for_a_reader_that_looks(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    path.write_text("process 1 on somewhere since long ago, with a longer line than the next one will be" * 3)
    reader = os.open(path, os.O_RDONLY)
    fcntl.flock(reader, fcntl.LOCK_SH)
    timer = threading.Timer(0.1, os.close, [reader])
    timer.start()
    start = time.monotonic()
    lock = Lock(path)
    assert time.monotonic() - start >= 0.09
    assert path.read_text().count("process") == 1
    lock.release()
    timer.join()
