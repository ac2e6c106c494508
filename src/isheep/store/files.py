"""Files that are either whole or not there: atomic writes, JSON, hashes, and text made fit to be stored."""

from __future__ import annotations

import gzip
import hashlib
import json
import logging
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from shutil import copy2, rmtree
from typing import Any

from isheep.errors import StageError
from isheep.terminal import storable as storable

logger = logging.getLogger(__name__)

DONE = "done.json"
"""Closes a folder: what a stage made, an iteration, or a whole run."""
WHOLE = "whole"
"""Written into a checkpoint last, the sizes of its files: where they differ it was cut, while it was saved or later."""
LARGEST_UNPACKED = 1 << 30
"""Bytes that a packed file may hold."""
_NO_CONTENT = (".tmp", ".pyc")
_LINE_ENDS = {ord(character): f"\\u{ord(character):04x}" for character in "\x85\u2028\u2029"}


def write_atomic(path: Path, content: bytes | Iterable[bytes]) -> None:
    """Makes `path` hold `content` at once and for good: after a kill or a power cut the old file stands, or the new.

    Content that comes in pieces is written as it comes.

    Raises:
        StageError: the file cannot be written (a full disk, rights).
    """
    unfinished = path.with_name(path.name + ".tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with unfinished.open("wb") as file:
            file.writelines([content] if isinstance(content, bytes) else content)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
        sync(path.parent)
    except OSError as error:
        raise StageError(f"{path}: cannot be written ({error.strerror}). Make room or mend the rights.") from error


def cache_folder() -> Path:
    """What outlasts a command and can be made again: `$ISHEEP_CACHE`, or `isheep` in the user's folder for caches."""
    if own := os.environ.get("ISHEEP_CACHE"):
        return Path(own).expanduser()
    shared = os.environ.get("XDG_CACHE_HOME")
    return (Path(shared) if shared else Path.home() / ".cache") / "isheep"


def sync(path: Path) -> None:
    """Makes a file's bytes, or the renames in a folder, last through a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_json(path: Path, data: Any) -> None:
    """Writes a JSON document atomically; a number that is not finite becomes null, since it says nothing."""
    text = json.dumps(_finite(data), ensure_ascii=False, indent=1, allow_nan=False)
    write_atomic(path, storable(text + "\n").encode())


def read_json(path: Path, *, writable: bool) -> Any | None:
    """The document, or None where there is none; one that does not read is named and, if `writable`, set aside."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (ValueError, RecursionError) as error:
        logger.warning("%s does not read as JSON (%s)%s", path, error, "; set aside" if writable else "")
        if writable:
            set_aside(path)
        return None


def write_json_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Writes one JSON object a line, all lines or none; as `write_json` does, and what JSON has no form for as text.

    Characters at which only some readers end a line stand as escapes.
    """
    lines = (json.dumps(_finite(row), ensure_ascii=False, allow_nan=False, default=str) + "\n" for row in rows)
    write_atomic(path, (storable(line.translate(_LINE_ENDS)).encode() for line in lines))


def read_json_lines(path: Path) -> Iterator[Any]:
    r"""What stands in each line, empty lines aside; a `.gz` is unpacked. Raises what reading and parsing raise.

    Lines end at `\n` alone: a JSON text may hold other characters at which `str.splitlines` would cut it (U+2028, say).
    ValueError, too, where a file unpacks to more than `LARGEST_UNPACKED` bytes.
    """
    content = _unpacked(path) if path.suffix == ".gz" else path.read_bytes()
    return (json.loads(line) for line in content.decode("utf-8").split("\n") if line.strip())


def _unpacked(path: Path) -> bytes:
    """A few kilobytes can hold more than memory does, so no more is unpacked than may be."""
    with gzip.open(path) as file:
        content = file.read(LARGEST_UNPACKED + 1)
    if len(content) > LARGEST_UNPACKED:
        raise ValueError(f"it unpacks to more than {LARGEST_UNPACKED:,} bytes")
    return content


def leaves(folder: Path, file: Path) -> bool:
    """Whether the file is a link that leads out of the folder; the hub's cache links to its own, which is none."""
    root = folder.resolve()
    if root.parent.name == "snapshots":
        root = root.parents[1]
    return not file.resolve().is_relative_to(root)


def now() -> str:
    """The time in UTC, to the second, as every document of a run writes it."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def set_aside(path: Path) -> Path:
    """Renames the file to NAME.broken (NAME.broken-2, ... where that is taken) and returns the new path."""
    aside, attempt = path.with_name(path.name + ".broken"), 1
    while aside.exists():
        attempt += 1
        aside = path.with_name(f"{path.name}.broken-{attempt}")
    path.rename(aside)
    sync(path.parent)
    return aside


def sha256_file(path: Path) -> str:
    """Hex SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fingerprint(path: Path) -> str | None:
    """SHA-256 of a file's bytes, or of the names and bytes of a folder's files; None where there is nothing.

    Of a folder what counts is its content: not done.json, nor what is unfinished, set aside, or compiled.
    """
    if path.is_file():
        return _hash_once(path)
    if not path.is_dir():
        return None
    lines = (f"{file.relative_to(path).as_posix()} {_hash_once(file)}\n" for file in _content(path))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def link(source: Path, target: Path) -> None:
    """Makes `target` the same file or folder as `source`, in the place of what was there; whole or not at all.

    Hard links, so that nothing is stored twice, and copies where the disk has no links. Since everything of a run is
    written beside its place and renamed, a link is never written through.

    Raises:
        StageError: it cannot be written.
    """
    unfinished = target.with_name(f"{target.name}.link.tmp")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _remove(unfinished)
        if source.is_dir():
            unfinished.mkdir()
            for file in _files(source):
                place = unfinished / file.relative_to(source)
                place.parent.mkdir(parents=True, exist_ok=True)
                link_file(file, place)
        else:
            link_file(source, unfinished)
        _remove(target)
        unfinished.rename(target)
        sync(target.parent)
    except OSError as error:
        raise StageError(f"{target}: cannot be written ({error.strerror}). Make room or mend the rights.") from error


def link_file(source: Path, target: Path) -> None:
    """Makes `target`, which is not there yet, the same file; a copy where the disk has no links."""
    try:
        target.hardlink_to(source)
    except OSError:
        copy2(source, target)
        sync(target)


def _remove(path: Path) -> None:
    if path.is_dir():
        rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _files(folder: Path) -> Iterator[Path]:
    """The files of a folder in the order of their names, without what is unfinished, set aside or compiled."""
    for file in sorted(folder.rglob("*")):
        if file.is_file() and file.suffix not in _NO_CONTENT and ".broken" not in file.suffix:
            yield file


def _content(folder: Path) -> Iterator[Path]:
    return (file for file in _files(folder) if file.name != DONE)


def _hash_once(path: Path) -> str:
    """The hash of a file, computed once for as long as it is the same file with the same size and time."""
    state = path.stat()
    return _hash(path, state.st_ino, state.st_size, state.st_mtime_ns)


@lru_cache(maxsize=4096)
def _hash(path: Path, inode: int, size: int, time: int) -> str:
    return sha256_file(path)


def _finite(data: Any) -> Any:
    if isinstance(data, float):
        return data if math.isfinite(data) else None
    if isinstance(data, dict):
        return {key: _finite(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [_finite(value) for value in data]
    return data
