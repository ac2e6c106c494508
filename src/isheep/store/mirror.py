"""A run whose home is a URL: it works in a folder here, and what it has made there appears at the URL.

A thread looks at the working copy now and then. What it finds is a state that the run had at one moment: it looks again
until two looks agree, with links in hand to all that is new. That state is sent, and the index, one object, then says
that it is what counts; so what is there is always as if the run had been killed some moments ago, and another machine
goes on from there. Nothing of this holds the run up, and nothing piles up while the URL cannot be reached.

Left out: what is being written, checkpoints that are not whole, and what is true of a process only.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex
from shutil import rmtree

from isheep.errors import IsheepError, StageError, UserError, first_line
from isheep.progress import say
from isheep.store.claim import Claim, Lost, owner_of
from isheep.store.files import cache_folder, link_file, read_json, write_json
from isheep.store.index import INDEX, Files, Index, collect, files_of, read_index, weights_of
from isheep.store.lock import InUse, Lock, is_held
from isheep.store.remote import Remote, refuse_no_room
from isheep.store.run import LOCK, RECIPE
from isheep.store.under_way import PROGRESS

LOOK_S = 2.0
"""Seconds between two looks at the working copy."""
AT_REST_S = 0.05
"""Two looks so far apart that agree are one moment: clocks of file systems tick in milliseconds."""
LOOKS = 20
LAST_TRIES = 6
"""Of the sending at a command's end, with pauses of 1, 2, 4 ... seconds."""
LONGEST_PAUSE_S = 60.0


class Place:
    """Where this machine keeps what it has of a run at a URL: all below one folder of `$ISHEEP_CACHE/runs`."""

    def __init__(self, url: str) -> None:
        name = re.sub(r"[^\w.-]", "_", url.rstrip("/").rpartition("/")[2])[:100].strip(".") or "run"
        self.home = cache_folder() / "runs" / hashlib.sha256(url.rstrip("/").encode()).hexdigest()[:16]
        self.work = self.home / "work" / name
        """The working copy: whole, or not there."""
        self.read = self.home / "read" / name
        """A copy to look at, without weights."""
        self.fetching = self.home / "fetching"
        self.links = self.home / "links"
        self.lock = self.home / LOCK
        self._notes = self.home / "sent.json"
        noted = read_json(self._notes, writable=True)
        self.token = noted["token"] if isinstance(noted, dict) and "token" in noted else token_hex(16)
        """Of the working copy, as the index names it."""
        self.sent: Files = files_of(noted) or {}
        """What of it was at the URL when it was last sent or fetched."""

    def note_sent(self, files: Files) -> None:
        """Remembers it over the end of the command."""
        self.sent = files
        write_json(self._notes, {"token": self.token, "files": files})


@contextmanager
def mirrored(url: str) -> Iterator[Path]:
    """The working copy of a run at a URL, brought up to date; what happens to it within the block is sent there.

    Raises:
        UserError: the URL cannot be one, is in use, or holds other things.
        StageError: it cannot be reached, or at the end not all could be sent.
    """
    remote, place = Remote(url), Place(url)
    place.home.mkdir(parents=True, exist_ok=True)
    try:
        lock = Lock(place.lock)
    except InUse as held:
        raise InUse(url, held.what, held.mend) from None
    try:
        read_index(remote)  # Other things that lie there are refused before anything is written beside them.
        try:
            claim = Claim(remote, place.token, place.work / PROGRESS)
        except IsheepError:
            raise
        except Exception as error:
            raise UserError(url, f"cannot be written ({first_line(error)}).", "Mend the URL, or its rights.") from None
        try:
            sender = _Sender(remote, place, claim, _bring(remote, place, read_index(remote)))
            say(f"{url}: worked on in {place.work}")
            with sender.at_work():
                yield place.work
        finally:
            claim.release()
    finally:
        lock.release()


def fetched(url: str, *, weights: bool = False, may_be_new: bool = False) -> Path:
    """A copy of a run at a URL to look at; the working copy where this machine has what counts.

    Args:
        url: of the run.
        weights: with the models of its iterations, which else are left out.
        may_be_new: nothing need be there yet.

    Raises:
        UserError: no run is there, or the URL cannot be one.
        StageError: it cannot be reached.
    """
    remote, place = Remote(url), Place(url)
    if is_held(place.lock):
        return place.work
    index = read_index(remote)
    if may_be_new and (index is None or not index.files):
        return place.work
    if index is None or RECIPE not in index.files:
        raise UserError(url, f"is not a run (it has no {RECIPE}).", "Give the --dir of `isheep run`.")
    if index.writer == place.token and (place.work / RECIPE).is_file():
        return place.work
    _fetch(remote, index.files, place.read, lambda name: _is_to_read(name, weights))
    owner = owner_of(remote)
    if owner is not None and owner.is_alive:
        say(f"{url}: in use by {owner}")
        (place.read / PROGRESS).write_text(owner.progress, encoding="utf-8")
        with suppress(InUse):
            # Held for as long as this process lives, it says of the copy what is true of the run.
            Lock(place.read / LOCK)
    return place.read


def publish(url: str, directory: Path, made: Collection[Path]) -> None:
    """Sends files that a reader of a run wrote into its copy. Raises StageError where they cannot be sent."""
    remote = Remote(url)
    try:
        for file in made:
            remote.put(file, file.relative_to(directory).as_posix())
    except Exception as error:
        raise StageError(
            f"{url}: cannot be written ({first_line(error)}). What was made lies in {directory}."
        ) from error


class _Sender:
    """The thread that looks at the working copy and sends it."""

    def __init__(self, remote: Remote, place: Place, claim: Claim, known: Files) -> None:
        self._remote, self._place, self._claim = remote, place, claim
        self._known = known
        """What the index at the URL says."""
        self._lost: Lost | None = None
        self._failures = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._work, name="mirror", daemon=True)

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Within the block states are sent as they come, and after it the last one."""
        if not self._known:
            # From now on what lies there without being in an index is half of something.
            try:
                self._commit({})
            except Exception as error:
                raise StageError(f"{self._remote.url}: cannot be written ({first_line(error)}).") from error
        self._thread.start()
        try:
            yield
        except BaseException:
            self._end(failed=True)
            raise
        self._end(failed=False)

    def _work(self) -> None:
        while not self._over.wait(min(LOOK_S * 2 ** min(self._failures, 8), LONGEST_PAUSE_S)) and self._lost is None:
            self._try()

    def _try(self) -> str:
        """Sends what is new; why that could not be done, empty where it could."""
        place, url = self._place, self._remote.url
        try:
            self._send()
        except Lost as lost:
            self._lost = lost
            say(f"! {lost} What is done here lies in {place.work} and is not sent any more.")
            return str(lost)
        except Exception as error:
            self._failures += 1
            if self._failures == 1:
                say(f"! {url}: cannot be written ({first_line(error)}); the run goes on in {place.work}")
            return first_line(error)
        if self._failures:
            self._failures = 0
            say(f"{url}: can be written again")
        return ""

    def _end(self, *, failed: bool) -> None:
        """Sends the last state; what cannot be sent is an error, unless the command ends with another one."""
        self._over.set()
        self._thread.join()
        why = str(self._lost) if self._lost else self._try()
        for attempt in range(LAST_TRIES - 1):
            if not why or self._lost:
                break
            time.sleep(2**attempt)
            why = self._try()
        if not why:
            return
        what = f"{self._remote.url}: not all of the run is there ({why}). It lies whole in {self._place.work}"
        error = StageError(what + ("." if self._lost else "; the same command sends the rest."))
        if not failed:
            raise error
        say(f"! {error}")

    def _send(self) -> None:
        state = self._snapshot()
        if state is None:
            return
        self._claim.confirm()
        known = self._known
        new = state.keys() - known.keys()
        changed = {name for name in state.keys() & known.keys() if state[name] != known[name]}
        # Two halves of two models are none: a folder of weights that is another now is first not there any more.
        torn = {weights_of(name) for name in changed} - {""}
        if torn:
            self._commit({name: about for name, about in known.items() if weights_of(name) not in torn})
            again = {name for name in state if weights_of(name) in torn}
            new, changed = new | again, changed - again
        self._put(new, state)
        if new and changed:
            # Nothing that is rewritten may speak of what does not count yet.
            self._commit({**self._known, **{name: state[name] for name in new}})
        self._put(changed, state)
        self._commit(state)
        self._remote.remove(sorted(known.keys() - state.keys()))
        rmtree(self._place.links, ignore_errors=True)

    def _put(self, names: Collection[str], state: Files) -> None:
        """In the order in which they were written, for who reads there without the index."""
        for name in sorted(names, key=lambda name: (state[name][1], name)):
            self._remote.put(self._place.links / name, name)

    def _commit(self, files: Files) -> None:
        index = {"writer": self._place.token, "files": files}
        self._remote.write(INDEX, json.dumps(index, indent=0).encode())
        self._known = files
        self._place.note_sent(files)

    def _snapshot(self) -> Files | None:
        """A state of the run that is not at the URL yet, with links to what is new in it; None where there is none."""
        place = self._place
        for _ in range(LOOKS):
            seen = collect(place.work)
            state = {name: about[:2] for name, about in seen.items()}
            # Without its recipe it is no run: the folder was moved away, or a disk is gone, and nothing of it is lost.
            if state == self._known or RECIPE not in state:
                return None
            rmtree(place.links, ignore_errors=True)
            time.sleep(AT_REST_S)
            try:
                for name in state:
                    if state[name] != self._known.get(name):
                        (place.links / name).parent.mkdir(parents=True, exist_ok=True)
                        link_file(place.work / name, place.links / name)
            except FileNotFoundError:
                continue  # It was taken away meanwhile.
            if collect(place.work) == seen:
                return state
        return None


def _bring(remote: Remote, place: Place, index: Index | None) -> Files:
    """Makes the working copy what is at the URL, where that is newer; returns what counts there."""
    here: Files = {name: about[:2] for name, about in collect(place.work).items()}
    if place.work.exists() and (RECIPE not in here or (index is not None and index.writer != place.token)):
        unsent = [name for name, about in here.items() if place.sent.get(name) != about]
        if unsent:
            aside = _aside(place.work)
            say(f"! {remote.url}: went on elsewhere; what was done here and not sent lies in {aside}")
        else:
            rmtree(place.fetching, ignore_errors=True)
            place.work.rename(place.fetching)
    if index is None or not index.files:
        return {}
    if not place.work.exists():
        _fetch(remote, index.files, place.fetching, lambda name: True)
        place.work.parent.mkdir(exist_ok=True)
        place.fetching.rename(place.work)
        place.note_sent(index.files)
    return index.files


def _fetch(remote: Remote, files: Files, folder: Path, wanted: Callable[[str], bool]) -> None:
    """Makes the folder hold those of the files that are wanted; what is the same here is not fetched again."""
    listed = remote.files()
    asked = {name: about for name, about in files.items() if wanted(name)}
    gone = asked.keys() - listed.keys()
    for name in sorted(gone):
        say(f"! {remote.url}/{name}: is gone; what it was part of is made anew")
    broken = {weights_of(name) for name in gone} - {""}
    asked = {name: about for name, about in asked.items() if name not in gone and weights_of(name) not in broken}
    here = collect(folder)
    for name in here.keys() - asked.keys():
        # A report that a reader made here may stay.
        if not name.startswith(("report.html", "figures/")):
            (folder / name).unlink(missing_ok=True)
    # A document that was rewritten, and is not in the index yet, is whole all the same: its size is the listed one.
    now = {name: (listed[name], time) for name, (_, time) in asked.items()}
    missing = [name for name, about in now.items() if name not in here or here[name][:2] != about]
    folder.mkdir(parents=True, exist_ok=True)
    refuse_no_room(folder, sum(listed[name] for name in missing))
    if missing:
        say(f"{remote.url}: fetching {len(missing)} files, {sum(listed[name] for name in missing):,} bytes")
    for name in missing:
        remote.fetch(name, folder / name, listed[name])
        os.utime(folder / name, ns=(now[name][1], now[name][1]))


def _aside(folder: Path) -> Path:
    number = 1
    while (aside := folder.with_name(f"{folder.name}.unsent-{number}")).exists():
        number += 1
    return folder.rename(aside)


def _is_to_read(name: str, weights: bool) -> bool:
    if name.startswith("replaced-") or "/checkpoints/" in name:
        return False
    return weights or not weights_of(name)
