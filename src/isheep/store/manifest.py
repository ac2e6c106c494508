"""What a run was made of: versions, machine, and the hashes of the models and the seed file."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from isheep.errors import UserError
from isheep.hub import hub_data, known_data, known_folder
from isheep.recipe import Recipe, locate
from isheep.recipe.plugged import origins
from isheep.store.files import fingerprint, sha256_file

PACKAGES = ("isheep", "torch", "transformers", "trl", "peft", "datasets", "lm_eval")

_SUFFIXES = {".safetensors", ".bin", ".json", ".model", ".jinja", ".tiktoken"}
_NAMES = {"vocab.txt", "merges.txt"}


def versions(recipe: Recipe | None = None) -> dict[str, str | None]:
    """Version of Python and of each package that decides what a run produces; None where it is not installed.

    Of a recipe also of each plug-in that it names: `filters/NAME` -> its distribution and version.
    """
    found: dict[str, str | None] = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = None
    return found | (origins(recipe) if recipe else {})


def machine() -> dict[str, Any]:
    """Platform, CPU count and memory in bytes."""
    return {
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "memory": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
    }


def model_hashes(recipe: Recipe) -> dict[str, str]:
    """File name -> SHA-256 of the weights, tokenizer and configuration; empty where it is not here yet."""
    return _folder_hashes(recipe.model.path)


def assessor_hashes(recipe: Recipe) -> dict[str, dict[str, str]]:
    """Path -> the same of a model that judges and is not the run's own; empty where there is none."""
    path = recipe.assess.other_model
    return {path: _folder_hashes(path)} if path else {}


def seed_hash(recipe: Recipe) -> str | None:
    """SHA-256 of the seed file, or of the names and bytes of the files in its folder; None where there is none.

    Of data of the hub the split stands behind it, which is as much a part of what is read.
    """
    data = hub_data(recipe.seeds.path)
    place = known_data(data) if data else locate(recipe.seeds.path)
    if place is None or place.is_file():
        return sha256_file(place) if place else None
    content = fingerprint(place)
    return f"{content} {data.split}" if content and data and data.split else content


def refuse_no_manifest(file: Path, manifest: Any) -> None:
    """Raises UserError for JSON that is no manifest: a run could not tell from it what it stands on."""
    if not isinstance(manifest, dict) or not manifest.keys() >= {"versions", "model", "seeds", "commands"}:
        mend = "Put the old file back, or take it away: the same command then begins a new one."
        raise UserError(str(file), "is no manifest of a run.", mend)


def refuse_changed_inputs(manifest: dict[str, Any], recipe: Recipe) -> None:
    """Raises UserError naming the file of a model or the seed file that is not what it was when the run began."""
    _refuse_changed(recipe.model.path, manifest["model"], model_hashes(recipe))
    known = manifest.get("assessors", {})
    for path, now in assessor_hashes(recipe).items():
        _refuse_changed(path, known.get(path, now), now)
    seed = seed_hash(recipe)
    if manifest["seeds"] != seed:
        _refuse(locate(recipe.seeds.path), "changed" if seed else "is gone")


def _folder_hashes(path: str) -> dict[str, str]:
    folder = known_folder(path)
    if folder is None:
        return {}
    files = (file for file in sorted(folder.iterdir()) if file.suffix in _SUFFIXES or file.name in _NAMES)
    return {file.name: sha256_file(file) for file in files if file.is_file()}


def _refuse_changed(path: str, before: Mapping[str, str], now: Mapping[str, str]) -> None:
    for name in sorted(before.keys() | now.keys()):
        if before.get(name) != now.get(name):
            what = "is new" if name not in before else "changed" if name in now else "is gone"
            _refuse((known_folder(path) or Path(path)) / name, what)


def _refuse(file: Path, what: str) -> None:
    mend = "Put the old file back, accept the change with --accept-changes, or start a new run with another --dir."
    raise UserError(str(file), f"{what} since the run began.", mend)
