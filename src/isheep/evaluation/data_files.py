"""A benchmark's data as files under `evaluate.data_dir`: found by name wherever they lie there, read as rows."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from isheep.errors import UserError
from isheep.recipe import Recipe, locate
from isheep.store.files import leaves

WHERE = "evaluate.data_dir"


def data_folder(recipe: Recipe) -> Path | None:
    """`evaluate.data_dir`, None where the recipe names none; raises UserError where it is no folder."""
    name = recipe.evaluate.data_dir
    if name is None:
        return None
    folder = locate(name)
    if not folder.is_dir():
        raise UserError(WHERE, f"{name} is no folder.", "Give the folder with the benchmarks' data.")
    return folder


def find(folder: Path, patterns: Sequence[str], preferred: str) -> Path | None:
    """The file of the first pattern that some file matches; those in a folder named `preferred` come first.

    Raises:
        UserError: it is a link that leads out of the folder.
    """
    for pattern in patterns:
        files = [file for file in folder.rglob(pattern) if file.is_file()]
        if files:
            chosen = min(files, key=lambda file: (preferred not in file.parts, len(file.parts), str(file)))
            refuse_leaving(folder, chosen)
            return chosen
    return None


def refuse_leaving(folder: Path, file: Path) -> None:
    """Raises UserError for a link to what lies elsewhere: data from others could so name any file of this machine."""
    if leaves(folder, file):
        raise UserError(str(file), f"is a link that leads out of {folder}.", "Put the file itself there.")


def read_lines(file: Path, keys: Sequence[str]) -> list[dict[str, Any]]:
    """The objects of a JSON lines file, each with these keys; raises UserError for anything else."""
    rows = []
    for number, line in enumerate(_text(file).split("\n"), 1):
        if line.strip():
            rows.append(_object(f"{file}, line {number}", _parsed(f"{file}, line {number}", line), keys))
    return rows


def read_list(file: Path, keys: Sequence[str]) -> list[dict[str, Any]]:
    """The objects of a file that is one JSON list, each with these keys; raises UserError for anything else."""
    found = _parsed(str(file), _text(file))
    if not isinstance(found, list):
        raise UserError(str(file), "is no list.", _MEND)
    return [_object(f"{file}, item {number}", row, keys) for number, row in enumerate(found)]


_MEND = "Fetch the file anew from where it was published."


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(str(file), f"cannot be read ({error}).", _MEND) from None


def _parsed(where: str, text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise UserError(where, "is no JSON.", _MEND) from None


def _object(where: str, row: Any, keys: Sequence[str]) -> dict[str, Any]:
    missing = [key for key in keys if not isinstance(row, dict) or key not in row]
    if missing:
        raise UserError(where, f"has no `{missing[0]}`.", _MEND)
    return dict(row)
