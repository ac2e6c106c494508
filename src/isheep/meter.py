"""What work costs: seconds, tokens that went into a model and came out of it, joules."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from isheep.energy import Energy

_read = _written = 0


@dataclass(frozen=True, slots=True)
class Cost:
    """What some work took; None: could not tell."""

    seconds: float | None
    read: int | None
    """Tokens of prompts, of texts that were scored or embedded, and of examples that were trained on."""
    written: int | None
    """Tokens that were generated, those that end a text left out."""
    joules: float | None

    def __add__(self, other: Cost) -> Cost:
        """Of both; what one of them could not tell nobody can."""
        return Cost(
            _sum(self.seconds, other.seconds),
            _sum(self.read, other.read),
            _sum(self.written, other.written),
            _sum(self.joules, other.joules),
        )

    def noted(self) -> dict[str, Any]:
        """As it stands in a document."""
        return {
            "seconds": None if self.seconds is None else round(self.seconds, 3),
            "tokens": {"read": self.read, "written": self.written},
            "joules": None if self.joules is None else round(self.joules, 3),
        }

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Self:
        """From a document; what does not stand there, or is no amount, is unknown."""
        tokens = document.get("tokens")
        tokens = tokens if isinstance(tokens, dict) else {}
        read, written = (
            value if isinstance(value, int) else None for value in (tokens.get("read"), tokens.get("written"))
        )
        amounts = map(_amount, (document.get("seconds"), read, written, document.get("joules")))
        return cls(*amounts)


NOTHING = Cost(0.0, 0, 0, 0.0)
"""What work cost that has not begun."""


def read(tokens: int) -> None:
    """So many tokens go into a model."""
    global _read
    _read += tokens


def read_so_far() -> int:
    """Tokens that this process has read since it began."""
    return _read


def wrote(tokens: int) -> None:
    """So many tokens came out of it."""
    global _written
    _written += tokens


class Meter:
    """Context manager: `spent` is what this process spent since it was entered."""

    def __enter__(self) -> Self:
        self._energy = Energy()
        self._began, self._read, self._written = time.monotonic(), _read, _written
        return self

    def __exit__(self, *error: object) -> None:
        self._energy.close()

    def spent(self) -> Cost:
        """So far."""
        seconds = time.monotonic() - self._began
        return Cost(seconds, _read - self._read, _written - self._written, self._energy.joules())


def _sum(one: Any, other: Any) -> Any:
    return None if one is None or other is None else one + other


def _amount(value: Any) -> Any:
    """The value if it is a number of things, else None."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return value if number and 0 <= value < math.inf else None
