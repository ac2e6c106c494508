"""Who works on a run at a URL: one at a time, the dead do not hold it, and who lost it hears of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from isheep.store import claim as module
from isheep.store.claim import NAME, Claim, Lost, Owner, owner_of
from isheep.store.lock import InUse
from isheep.store.remote import Remote


@pytest.fixture
def remote(tmp_path: Path) -> Remote:
    return Remote(f"file://{tmp_path}/far")


def ago(seconds: float) -> str:
    return (datetime.now(UTC) - timedelta(seconds=seconds)).isoformat(timespec="seconds")


def elsewhere(seconds: float) -> Owner:
    """An owner on another machine, last heard of so long ago."""
    return Owner("theirs", 77, "far-away", "another boot", ago(9000), ago(seconds), "")


def lay(remote: Remote, owner: Owner) -> None:
    remote.write(NAME, json.dumps(asdict(owner)).encode())


def test_held_until_released(remote: Remote, tmp_path: Path) -> None:
    (tmp_path / "progress.json").write_text("{}")
    claim = Claim(remote, "mine", tmp_path / "progress.json")
    owner = owner_of(remote)
    assert owner is not None
    assert (owner.token, owner.process, owner.progress, owner.is_alive) == ("mine", os.getpid(), "{}", True)
    with pytest.raises(InUse, match=f"is in use by process {os.getpid()} on .* last heard of at"):
        Claim(remote, "another", tmp_path / "none")
    Claim(remote, "mine", tmp_path / "none").release()  # The same working copy: its lock here tells them apart.
    claim.release()
    assert owner_of(remote) is None


def test_who_was_heard_of_lately_is_not_taken_over(remote: Remote, tmp_path: Path) -> None:
    lay(remote, elsewhere(240))
    with pytest.raises(InUse, match="process 77 on far-away"):
        Claim(remote, "mine", tmp_path / "none")
    assert b"theirs" in (remote.read(NAME, 9999) or b"")


def test_who_was_not_heard_of_is_taken_over_and_it_is_said(
    remote: Remote, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "WATCHED_S", 0.1)
    lay(remote, elsewhere(360))
    claim = Claim(remote, "mine", tmp_path / "none")
    assert "taken over from process 77 on far-away" in capfd.readouterr().err
    claim.confirm()
    claim.release()


def test_a_clock_that_is_late_makes_nobody_dead(
    remote: Remote, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "WATCHED_S", 0.5)
    lay(remote, elsewhere(9000))
    refresh = threading.Timer(0.2, lay, [remote, elsewhere(8970)])
    refresh.start()
    with pytest.raises(InUse, match="process 77 on far-away"):
        Claim(remote, "mine", tmp_path / "none")
    refresh.join()


def test_the_dead_of_this_machine_hold_nothing(remote: Remote, tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    lay(remote, replace(elsewhere(0), machine=module._machine(), process=dead.pid))
    Claim(remote, "mine", tmp_path / "none").release()


def test_a_refresh_keeps_it_and_does_not_take_it_back(
    remote: Remote, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "REFRESH_S", 0.05)
    claim = Claim(remote, "mine", tmp_path / "progress.json")
    (tmp_path / "progress.json").write_text("so far")
    wait_for(lambda: (owner_of(remote) or elsewhere(0)).progress == "so far")
    lay(remote, elsewhere(0))
    wait_for(lambda: not claim._thread.is_alive())
    with pytest.raises(Lost, match="was taken over by process 77 on far-away"):
        claim.confirm()
    assert "was taken over by process 77" in capfd.readouterr().err
    claim.release()
    assert b"theirs" in (remote.read(NAME, 9999) or b"")


def wait_for(what: Callable[[], bool]) -> None:
    for _ in range(200):
        if what():
            return
        time.sleep(0.05)
    raise AssertionError("it never came")


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"{}", b"\xff", b"[" * 5000, json.dumps({**asdict(elsewhere(0)), "process": -1}).encode()],
)
def test_a_document_that_says_nothing_holds_nothing(remote: Remote, tmp_path: Path, content: bytes) -> None:
    remote.write(NAME, content)
    assert owner_of(remote) is None
