"""isheep: a language model aligns itself (I-SHEEP, arXiv 2408.08072)."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from isheep.api import Run, run
    from isheep.recipe import Recipe

__version__ = "0.1.0"

_HOMES = {"Recipe": "isheep.recipe", "Run": "isheep.api", "run": "isheep.api"}
"""Public name -> where it lives: imported when it is asked for, since the command line should not wait for all."""


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module `isheep` has no attribute `{name}`")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__


__all__ = ["Recipe", "Run", "__version__", "run"]
