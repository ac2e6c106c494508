"""Under which licence a model or a seed file stands, where what lies beside it tells."""

from __future__ import annotations

import json
import re
from pathlib import Path

from isheep.errors import UserError
from isheep.recipe import PACKAGE_PREFIX

OWN = "apache-2.0"
"""Of what ships with isheep."""
UNKNOWN_LICENCE = "unknown"
"""As the hub calls it."""

_ID = re.compile(r"[a-z0-9][a-z0-9.+-]{0,39}")
_TEXTS = {
    "apache-2.0": r"Apache License\s+Version 2\.0",
    "mit": r"MIT License|Permission is hereby granted, free of charge",
    "cc-by-4.0": r"Attribution 4\.0 International",
    "cc-by-sa-4.0": r"Attribution-ShareAlike 4\.0 International",
    "gpl-3.0": r"GNU GENERAL PUBLIC LICENSE\s+Version 3",
}
"""Identifier -> how the text of the licence begins."""
_BEGINNING = 2000
"""Characters of a licence in which its name stands."""


def licence_id(said: str) -> str:
    """The identifier, in the hub's small letters. Raises UserError for what can be none."""
    if not _ID.fullmatch(said.lower()):
        what = f"`{said}` is no identifier of a licence."
        raise UserError("--license", what, "Give one as the hub lists them: apache-2.0, cc-by-4.0, other.")
    return said.lower()


def licence_of(path: str, folder: Path | None) -> str | None:
    """Of a recipe's model or seed file; None: could not tell.

    What its card says (README.md) counts before the text of a licence, and that before config.json.

    Args:
        path: as the recipe names it.
        folder: where it lies; None: not here.
    """
    if path.startswith(PACKAGE_PREFIX):
        return OWN
    return None if folder is None else _of_card(folder) or _of_text(folder) or _of_config(folder)


def _of_card(folder: Path) -> str | None:
    from huggingface_hub import metadata_load

    try:
        return _known((metadata_load(folder / "README.md") or {}).get("license"))
    except Exception:
        # Anybody's file: it may be missing, no UTF-8, or YAML of any kind of wrong.
        return None


def _of_text(folder: Path) -> str | None:
    for file in sorted(folder.glob("LICEN[CS]E*")):
        try:
            beginning = file.read_text(encoding="utf-8", errors="replace")[:_BEGINNING]
        except OSError:
            continue
        for name, pattern in _TEXTS.items():
            if re.search(pattern, beginning):
                return name
    return None


def _of_config(folder: Path) -> str | None:
    try:
        return _known(json.loads((folder / "config.json").read_text(encoding="utf-8")).get("license"))
    except (OSError, ValueError, AttributeError):
        return None


def _known(said: object) -> str | None:
    return said.lower() if isinstance(said, str) and _ID.fullmatch(said.lower()) else None
