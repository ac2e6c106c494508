"""What `isheep check` finds, and how it counts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Finding:
    """What was looked at, and what was found there."""

    what: str
    found: str
    warning: bool = False
    """Not certain to fail, but worth a thought before starting."""


def in_bytes(count: int) -> str:
    """`1.5 GiB`, or `300 MiB`."""
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"


def counted(number: int, noun: str) -> str:
    """`1 pair`, `2 pairs`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def nearest_existing(directory: Path) -> Path:
    """The folder itself, or the innermost one above it that is there and can be looked into."""
    path = directory.absolute()
    return next(place for place in (path, *path.parents) if _is_there(place))


def _is_there(place: Path) -> bool:
    try:
        place.stat()
    except OSError:
        return False
    return True
