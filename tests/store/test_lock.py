"""One holder at a time, and an instant's look by a reader never costs an owner its start."""

from __future__ import annotations

import errno
import fcntl
import os
import threading
import time
from pathlib import Path

import pytest

from isheep.errors import UserError
from isheep.store.lock import Lock, is_held, refuse_unfit


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


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_said_to_be_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    (tmp_path / "lock").touch()

    def refuse(descriptor: int, how: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    assert not is_held(tmp_path / "lock")
    with pytest.raises(UserError, match=f"{tmp_path}: its file system knows no locks"):
        Lock(tmp_path / "lock")
    with pytest.raises(UserError, match="its file system knows no locks"):
        refuse_unfit(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["lock"]


def test_locks_that_lock_nothing_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fcntl, "flock", lambda descriptor, how: None)
    with pytest.raises(UserError, match="gives a lock to two at once"):
        refuse_unfit(tmp_path)


def test_a_folder_that_cannot_be_synced_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(descriptor: int) -> None:
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(UserError, match=r"cannot rename, or sync a folder \(Invalid argument\)"):
        refuse_unfit(tmp_path)


def test_a_disk_of_this_machine_is_fit_and_left_as_it_was(tmp_path: Path) -> None:
    refuse_unfit(tmp_path)
    assert not list(tmp_path.iterdir())
