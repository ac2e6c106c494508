"""progress.json of a run: what its process is at. It is for who looks on; nothing is gone on with from it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from isheep.progress import Progress
from isheep.store.files import now
from isheep.store.run import Run
from isheep.terminal import storable

PROGRESS = "progress.json"
MOST, SLOWEST = 10**15, 1e-9
"""Figures beyond these are nobody's, and would be more than what shows them can count."""


def note_progress(directory: Path, reached: Progress) -> None:
    """Writes it down, whole or not at all, where that can be done: work goes on whether or not somebody can look on.

    Nothing is synced: after a power cut the file says nothing that anybody asks for.
    """
    unfinished = directory / f"{PROGRESS}.tmp"
    text = json.dumps({**asdict(reached), "at": now()}, ensure_ascii=False)
    with suppress(OSError):
        unfinished.write_bytes(storable(text).encode())
        unfinished.replace(directory / PROGRESS)


def progress_of(run: Run) -> dict[str, Any] | None:
    """The document of a run that a process is at; None where none is, or where the file says nothing that holds."""
    if run.state() != "running":
        return None
    try:
        found = json.loads((run.directory / PROGRESS).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return found if _holds(found) else None


def reached(document: Mapping[str, Any]) -> Progress:
    """What a document of `progress_of` says, without its time."""
    return Progress(document["what"], document["done"], document["total"], document["rate"])


def _holds(found: Any) -> bool:
    """Whether it is what `note_progress` writes: a run directory may come from anywhere."""
    if not isinstance(found, dict) or found.keys() != {"what", "done", "total", "rate", "at"}:
        return False
    done, total, rate = found["done"], found["total"], found["rate"]
    return (
        isinstance(found["what"], str)
        and isinstance(found["at"], str)
        and _is_count(done)
        and (total is None or _is_count(total))
        and (rate is None or (isinstance(rate, int | float) and SLOWEST <= rate < MOST))
    )


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < MOST
