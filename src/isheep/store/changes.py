"""`--accept-changes`: a run goes on with another recipe; what the change touches is set aside, never deleted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from isheep.progress import say
from isheep.recipe import Recipe, difference
from isheep.store.files import DONE, now, read_json, sync, write_json
from isheep.store.plan import (
    HASHED_AT_START,
    NOTES,
    STAGES,
    changed,
    files_made,
    files_read,
    folder_of,
    inputs,
    outputs,
)

FOLDER = "replaced-"
"""Beginning of the name of a folder in the run directory that holds what a change replaced."""


@dataclass(frozen=True, slots=True)
class Touched:
    """A stage that has to be done again, and the first reason that was found."""

    name: str
    number: int
    why: str


@dataclass(frozen=True, slots=True)
class Begun:
    """A run directory as it would be gone on with."""

    directory: Path
    iterations: Sequence[int]
    """The numbers of those that have begun."""
    recipe: Recipe
    """The new one."""
    hashes: Mapping[str, Any]
    """Of the models and the seed file as they are now."""


def accept_changes(run: Begun, old: Recipe, manifest: dict[str, Any]) -> dict[str, Any]:
    """Sets aside, in a folder `replaced-N`, what a run's new recipe (or new input files) would make otherwise.

    Stages whose inputs changed, and all that is made from what they made, go there; others stay. A kill at any moment
    leaves a run that the same command, or one with the old recipe, goes on with.

    Args:
        run: whose directory this process owns.
        old: the recipe that it went on with so far.
        manifest: the run's.

    Returns:
        The manifest with the hashes of now and, if there was anything to accept, the change with its time.
    """
    lines = difference(old, run.recipe)
    lines += [
        f"{key}: its content changed"
        for key, name in HASHED_AT_START.items()
        if manifest.get(name) != run.hashes[name] and not any(line.startswith(f"{key}: ") for line in lines)
    ]
    touched = list(_touched(run))
    if lines or touched:
        (run.directory / DONE).unlink(missing_ok=True)
        folder = _set_aside(run.directory, touched) if touched else None
        change = {
            "accepted": now(),
            "difference": lines,
            "set_aside": None if folder is None else folder.name,
            "stages": [f"{folder_of(one.number)}/{one.name}: {one.why}" for one in touched],
        }
        manifest = {**manifest, "changes": [*manifest.get("changes", []), change]}
        _say(lines, touched, folder)
    return {**manifest, **run.hashes}


def _touched(run: Begun) -> Iterator[Touched]:
    """The stages that the change touches, in the order of the work."""
    gone: dict[str, str] = {}
    for number in run.iterations:
        notes: dict[str, Any] = read_json(run.directory / folder_of(number) / NOTES, writable=True) or {}
        for name in STAGES:
            made = files_made(name, number, scratch=True)
            if name not in notes and not any((run.directory / file).exists() for file in made):
                continue
            why = _why(run, name, number, notes.get(name), gone)
            if why is not None:
                gone |= dict.fromkeys(made, f"{name} of iteration {number}")
                yield Touched(name, number, why)


def _why(run: Begun, name: str, number: int, note: Mapping[str, Any] | None, gone: Mapping[str, str]) -> str | None:
    if number > run.recipe.iterations:
        return f"there are {run.recipe.iterations} iterations now"
    if note is None:
        return "nothing says what it was made from"
    read = files_read(name, number, run.recipe)
    stale = next((gone[file] for file in read if file in gone), None)
    if stale is not None:
        return f"it reads what {stale} made"
    ended = note.get("outputs") == outputs(name, number, run.directory)
    today = inputs(name, number, run.recipe, run.hashes, run.directory)
    return ", ".join(changed(note["inputs"], today, ended=ended)) or None


def _set_aside(directory: Path, touched: list[Touched]) -> Path:
    """Moves what the stages made, last first, so that a kill never leaves something made from what is gone."""
    number = 1
    while (directory / f"{FOLDER}{number}").exists():
        number += 1
    aside = directory / f"{FOLDER}{number}"
    for stage in reversed(touched):
        folder = directory / folder_of(stage.number)
        (folder / DONE).unlink(missing_ok=True)
        # What says that the stage has ended goes first: a kill must not leave it above what is gone.
        for file in reversed(files_made(stage.name, stage.number, scratch=True)):
            if (directory / file).exists():
                place = aside / file
                place.parent.mkdir(parents=True, exist_ok=True)
                (directory / file).rename(place)
                sync(place.parent)
                sync(folder)
        _move_note(folder, aside / folder.name, stage.name)
    return aside


def _move_note(folder: Path, aside: Path, name: str) -> None:
    notes = read_json(folder / NOTES, writable=False) or {}
    if name in notes:
        moved = read_json(aside / NOTES, writable=False) or {}
        write_json(aside / NOTES, {name: notes.pop(name), **moved})
        write_json(folder / NOTES, notes)
    if not notes:
        (folder / NOTES).unlink(missing_ok=True)
        if not any(folder.iterdir()):
            folder.rmdir()


def _say(lines: list[str], touched: list[Touched], folder: Path | None) -> None:
    said = ["Accepted:", *(f"  {line}" for line in lines)]
    if folder is not None:
        said += [f"Set aside in {folder} and done again:"]
        said += [f"  iteration {one.number}, {one.name}: {one.why}" for one in touched]
    for line in said:
        say(line)
