"""What a run leaves for others: its pairs in the forms that other programs read, and its models.

A new kind begins here: its line in `KINDS`, and a function in a module of this package that takes a run, a path and
what is wanted of it, writes whole or not at all, and returns what it wrote in a few words.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from isheep.errors import UserError
from isheep.recipe.refusals import nearest
from isheep.store.run import Run


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked for, besides where to put it."""

    iteration: int | None = None
    """Only this one; None: all of them for pairs, the best one for a model."""
    everything: bool = False
    """Of tables: every record, not only the kept pairs."""
    dtype: str | None = None
    """Of a merged model: what its weights are cast to; None: the recipe's `model.dtype`."""


Exporter = Callable[[Run, Path, Wanted], str]

KINDS: dict[str, str] = {
    "csv": "isheep.export.tables",
    "jsonl": "isheep.export.tables",
    "parquet": "isheep.export.tables",
    "alpaca": "isheep.export.datasets",
    "sharegpt": "isheep.export.datasets",
    "messages": "isheep.export.datasets",
    "llamafactory": "isheep.export.datasets",
    "preference": "isheep.export.preference",
    "adapter": "isheep.export.weights",
    "merged": "isheep.export.weights",
}
"""Kind -> the module whose function `export_KIND` writes it; imported when it is asked for."""


def export(run: Run, to: Path, kind: str | None = None, wanted: Wanted = Wanted()) -> str:
    """Writes something of a run for other programs, whole or not at all, and returns what that is in a few words.

    Args:
        run: whose.
        to: a file or a folder, by its kind; outside of the run's directory.
        kind: one of `KINDS`; None: by the file's suffix.
        wanted: which part of it.

    Raises:
        UserError: no such kind, or one that the path, the run or what is wanted does not fit.
        StageError: it cannot be written.
    """
    named = to.suffix.lower().removeprefix(".") if kind is None else kind
    if named not in KINDS:
        *others, last = KINDS
        what = f"there is no export to `{to.suffix}`." if kind is None else f"there is no export as `{kind}`."
        mend = nearest(named, KINDS) or f"Give --as {', '.join(others)} or {last}."
        raise UserError(str(to) if kind is None else "--as", what, mend)
    if to.resolve().is_relative_to(run.directory.resolve()):
        raise UserError(str(to), "lies in the directory of the run, whose files are its own.", "Give a path elsewhere.")
    exporter: Exporter = getattr(import_module(KINDS[named]), f"export_{named}")
    return exporter(run, to, wanted)


__all__ = ["KINDS", "Exporter", "Wanted", "export"]
