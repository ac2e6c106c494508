"""Files that are either whole or not there: atomic writes, JSON, hashes, and text made fit to be stored."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
from pathlib import Path
from typing import Any

from isheep.errors import StageError

logger = logging.getLogger(__name__)


def storable(text: str) -> str:
    """The text as UTF-8 can hold it: halves of a pair are joined, a lone surrogate becomes U+FFFD, NULs stay."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def write_atomic(path: Path, content: bytes) -> None:
    """Makes `path` hold `content` at once and for good: after a kill or a power cut the old file stands, or the new.

    Raises:
        StageError: the file cannot be written (a full disk, rights).
    """
    unfinished = path.with_name(path.name + ".tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with unfinished.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
        sync(path.parent)
    except OSError as error:
        raise StageError(f"{path}: cannot be written ({error.strerror}). Make room or mend the rights.") from error


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


def _finite(data: Any) -> Any:
    if isinstance(data, float):
        return data if math.isfinite(data) else None
    if isinstance(data, dict):
        return {key: _finite(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [_finite(value) for value in data]
    return data
