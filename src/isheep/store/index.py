"""What of the files at a URL, and of those in a working copy, is the run."""

from __future__ import annotations

import json
import os
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from isheep.errors import UserError, first_line
from isheep.store.claim import NAME as CLAIM
from isheep.store.files import WHOLE
from isheep.store.remote import Remote, is_safe
from isheep.store.run import LOCK, RECIPE
from isheep.store.under_way import PROGRESS

INDEX = "mirror.json"
_LARGEST_INDEX = 64 << 20
_NOT_OURS = {CLAIM, LOCK, PROGRESS, INDEX}
_WEIGHTS = re.compile(r"((?:.+/)?iteration-\d+/(?:adapter|model|checkpoints/[^/]+))/")
"""A folder whose files are only worth something together; all else is a document or a part, whole by itself."""

Files = dict[str, tuple[int, int]]
"""Name -> bytes, and the time of the last change in nanoseconds."""


@dataclass(frozen=True, slots=True)
class Index:
    """What of the files at the URL is the run."""

    writer: str
    """The working copy that they are of."""
    files: Files


def read_index(remote: Remote) -> Index | None:
    """What of the URL is the run, None where nothing lies there; a run that was copied there by hand is all of it.

    Raises:
        UserError: there are other things, or the index does not read.
    """
    try:
        content = remote.read(INDEX, _LARGEST_INDEX)
        if content is not None:
            found = json.loads(content)
            files = files_of(found)
            if files is None or not isinstance(found.get("writer"), str):
                raise ValueError("it lists no files")
            return Index(found["writer"], files)
    except (ValueError, RecursionError) as error:
        what = f"does not read ({first_line(error)})."
        raise UserError(f"{remote.url}/{INDEX}", what, "Take it away: then all that lies there is the run.") from None
    listed = {name: size for name, size in remote.files().items() if name not in _NOT_OURS}
    if not listed:
        return None
    if RECIPE not in listed:
        what = f"is not a run (it has no {RECIPE}) and not empty (`{min(listed)}`)."
        raise UserError(remote.url, what, "Give a new or an empty --dir.")
    return Index("", {name: (size, 0) for name, size in listed.items()})


def collect(directory: Path) -> dict[str, tuple[int, int, int]]:
    """Name -> bytes, time and inode of every file of a run that is not being written."""
    found: dict[str, tuple[int, int, int]] = {}
    folders = [(directory, "")]
    while folders:
        folder, prefix = folders.pop()
        # What is taken away in the middle of a look makes the next look another.
        with suppress(FileNotFoundError), os.scandir(folder) as entries:
            for entry in entries:
                name = f"{prefix}{entry.name}"
                if entry.name.endswith(".tmp") or name in _NOT_OURS or not is_safe(name):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    if not prefix.endswith("checkpoints/") or Path(entry.path, WHOLE).is_file():
                        folders.append((Path(entry.path), f"{name}/"))
                elif entry.is_file(follow_symlinks=False):
                    state = entry.stat(follow_symlinks=False)
                    found[name] = (state.st_size, state.st_mtime_ns, state.st_ino)
    return found


def weights_of(name: str) -> str:
    """The folder of weights that a file belongs to; empty where it stands for itself."""
    match = _WEIGHTS.match(name)
    return match[1] if match else ""


def files_of(document: Any) -> Files | None:
    """The files that a document lists, without names that no run has; None where it lists none."""
    try:
        found = {name: (int(size), int(time)) for name, (size, time) in document["files"].items()}
        return {one: about for one, about in found.items() if is_safe(one) and one not in _NOT_OURS and min(about) >= 0}
    except (AttributeError, KeyError, TypeError, ValueError):
        return None
