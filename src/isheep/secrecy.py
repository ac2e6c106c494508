"""Keys and tokens of the environment: found where they stand in text by mistake, and not repeated."""

from __future__ import annotations

import os
import re

_NAME = re.compile(r"(?:KEY|TOKEN|SECRET|PASSWORD)\Z", re.IGNORECASE)
_SHORTEST = 8
"""Characters; servers without keys are given words such as `none` or `EMPTY`, which are no secrets."""


def secret_in(text: str) -> str | None:
    """The environment variable whose secret the text holds, if any.

    A secret is the value of a variable whose name ends with KEY, TOKEN, SECRET or PASSWORD.
    """
    return next((name for name, value in _secrets() if value in text), None)


def without_secrets(text: str) -> str:
    """The text with each secret of the environment replaced by `(the variable's name)`."""
    for name, value in _secrets():
        text = text.replace(value, f"({name})")
    return text


def _secrets() -> list[tuple[str, str]]:
    """Name and value, long values first: one may hold another."""
    found = [(name, value.strip()) for name, value in os.environ.items() if _NAME.search(name)]
    return sorted((one for one in found if len(one[1]) >= _SHORTEST), key=lambda one: -len(one[1]))
