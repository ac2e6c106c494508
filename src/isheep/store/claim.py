"""Who works on a run at a URL: a document there, refreshed for as long as its owner lives.

An object store knows no locks. Where it can create an object on condition (S3, Google's, Azure's stores), two commands
that start together are told apart for sure; elsewhere each writes, waits, and looks who wrote last. Not covered: an
owner that was stopped, or cut off, for longer than `STALE_S`, and goes on in the middle of an upload.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path

from isheep.errors import StageError
from isheep.progress import say
from isheep.store.files import now
from isheep.store.lock import InUse
from isheep.store.remote import Remote

NAME = "lock"
REFRESH_S = 30.0
STALE_S = 300.0
"""Seconds without a refresh after which an owner is taken for dead."""
WATCHED_S = 1.5 * REFRESH_S
SETTLE_S = 1.0
"""Seconds in which another that came at the same time has written, too."""
_MOST = 1 << 16


class Lost(StageError):
    """Another command has taken the run over."""


@dataclass(frozen=True, slots=True)
class Owner:
    """What the document says."""

    token: str
    """Of a working copy: the same command on it goes on at once."""
    process: int
    host: str
    machine: str
    """This boot of the machine and the space of its process numbers; empty where that cannot be told."""
    since: str
    refreshed: str
    progress: str
    """What `progress.json` said then."""

    def __str__(self) -> str:
        return f"process {self.process} on {self.host} since {self.since}, last heard of at {self.refreshed}"

    @property
    def is_gone(self) -> bool:
        """Whether it was a process of this machine that is no more."""
        if not self.machine or self.machine != _machine():
            return False
        try:
            os.kill(self.process, 0)
        except ProcessLookupError:
            return True
        except (PermissionError, OverflowError):
            pass
        return False

    @property
    def is_alive(self) -> bool:
        """Whether it has to be taken for alive, as far as clocks tell."""
        heard_of = datetime.fromisoformat(self.refreshed)
        return not self.is_gone and (datetime.now(UTC) - heard_of).total_seconds() < STALE_S


def owner_of(remote: Remote) -> Owner | None:
    """Who holds the run at the URL, alive or not; None where nobody does, or where that does not read."""
    try:
        found = json.loads(remote.read(NAME, _MOST) or b"null")
        owner = Owner(**found)
        kinds = {field.name: int if field.name == "process" else str for field in fields(Owner)}
        sound = all(isinstance(getattr(owner, name), kind) for name, kind in kinds.items()) and owner.process > 1
        return owner if sound and datetime.fromisoformat(owner.refreshed).tzinfo else None
    except (ValueError, TypeError, RecursionError):
        return None


class Claim:
    """The run at a URL, held from construction until `release`, or until another takes it over."""

    def __init__(self, remote: Remote, token: str, progress: Path) -> None:
        """Raises InUse, naming the owner, where another command works on it; what fsspec raises where it cannot."""
        self._remote, self._token, self._progress = remote, token, progress
        self._since = now()
        self._take()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._refresh, name="claim", daemon=True)
        self._thread.start()

    def confirm(self) -> None:
        """Raises Lost, naming who has it, where another command has taken the run over."""
        found = owner_of(self._remote)
        if found is not None and found.token != self._token:
            raise Lost(f"{self._remote.url}: was taken over by {found}.")

    def release(self) -> None:
        """Gives it up, where it can be reached; else it is stale in a while."""
        self._over.set()
        self._thread.join()
        with suppress(Exception):
            self.confirm()
            self._remote.remove([NAME])

    def _take(self) -> None:
        found = owner_of(self._remote)
        if found is None or found.token == self._token or self._is_over(found):
            if found is not None and found.token != self._token:
                say(f"{self._remote.url}: taken over from {found}")
            with suppress(FileExistsError):
                content = self._document()
                self._remote.create(NAME, content) if found is None else self._remote.write(NAME, content)
            time.sleep(SETTLE_S)
            found = owner_of(self._remote)
        if found is None or found.token != self._token:
            mend = "Wait for it, stop it, or give another --dir; one that is not heard of for 5 minutes is taken over."
            raise InUse(self._remote.url, f"is in use by {found or 'another process'}.", mend)

    def _is_over(self, found: Owner) -> bool:
        """Whether it is dead: known to be, or not heard of for long, nor while one watches, whatever clocks say."""
        if found.is_gone or found.is_alive:
            return found.is_gone
        say(f"{self._remote.url}: held by {found}; waiting for {WATCHED_S:g} s whether it is heard of")
        time.sleep(WATCHED_S)
        return owner_of(self._remote) == found

    def _refresh(self) -> None:
        while not self._over.wait(REFRESH_S):
            try:
                self.confirm()
                self._remote.write(NAME, self._document())
            except Lost as lost:
                say(f"! {lost}")
                return
            except Exception:  # noqa: S112  # Not to be reached now; whoever sends files says so.
                continue

    def _document(self) -> bytes:
        progress = ""
        with suppress(OSError, UnicodeDecodeError):
            progress = self._progress.read_text(encoding="utf-8")[:1000]
        owner = Owner(self._token, os.getpid(), socket.gethostname(), _machine(), self._since, now(), progress)
        return json.dumps(asdict(owner), indent=1).encode()


def _machine() -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""
