"""Hand marks: what a person thinks of a record, one JSON line each in the run directory, appended and never changed.

The last line of a record counts. Whoever marks need not own the run: the file is nobody else's.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from isheep.errors import StageError, UserError
from isheep.store.files import now, storable

MARKS = "marks.jsonl"
LONGEST_NOTE = 10_000
"""Characters; a note is a remark, and one line is written at once."""

Kind = Literal["good", "bad"]


@dataclass(frozen=True, slots=True)
class Mark:
    """Good, bad or neither, with a note or none."""

    id: str
    mark: Kind | None
    note: str
    at: str

    @property
    def kind(self) -> str:
        """`good`, `bad`, or `note` where there is nothing but one."""
        return self.mark or "note"


def read_marks(directory: Path) -> dict[str, Mark]:
    """Record id -> its mark; those taken back are left out, and so are lines that do not read (a cut one, say)."""
    try:
        content = (directory / MARKS).read_bytes()
    except FileNotFoundError:
        return {}
    found = {mark.id: mark for mark in _marks(content)}
    return {id_: mark for id_, mark in found.items() if mark.mark or mark.note}


def add_mark(directory: Path, id_: str, mark: Kind | None, note: str = "") -> Mark:
    """Appends a line for a record, on disk for good when this returns; neither mark nor note takes the last one back.

    Raises:
        UserError: the run is gone, or the note is too long.
        StageError: it cannot be written.
    """
    if len(note) > LONGEST_NOTE:
        raise UserError("the note", f"has {len(note):,} characters.", f"Write at most {LONGEST_NOTE:,}.")
    if not directory.is_dir():
        raise UserError(str(directory), "is gone.", "Put it back, or look at another run.")
    made = Mark(id_, mark, storable(note), now())
    line = json.dumps(asdict(made), ensure_ascii=True) + "\n"
    try:
        descriptor = os.open(directory / MARKS, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            size = os.fstat(descriptor).st_size
            # A line that a power cut left open must not swallow the next one.
            ends = not size or os.pread(descriptor, 1, size - 1) == b"\n"
            content = (line if ends else "\n" + line).encode()
            if os.write(descriptor, content) != len(content):
                raise StageError(f"{directory / MARKS}: cannot be written (the disk is full). Make room.")
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        what = f"{directory / MARKS}: cannot be written ({error.strerror})."
        raise StageError(f"{what} Make room or mend the rights.") from error
    return made


def _marks(content: bytes) -> Iterator[Mark]:
    for line in content.split(b"\n"):
        try:
            found: Any = json.loads(line)
            mark = Mark(found["id"], found["mark"], found["note"], found["at"])
        except (ValueError, TypeError, KeyError, RecursionError):
            continue
        texts = all(isinstance(one, str) for one in (mark.id, mark.note, mark.at))
        if texts and mark.mark in ("good", "bad", None):
            yield mark
