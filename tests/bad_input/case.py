"""What a case of bad input is, what lies on disk before it, and how the command is asked."""

from __future__ import annotations

import io
import json
import os
import re
import shlex
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path

import huggingface_hub.constants
import pytest

import isheep
from isheep.cli import main

ANYTHING = "…"
"""Stands in an expected message for text that is long, or not the same on every machine."""

_BOX = re.compile("[\u2500-\u257f]+")
"""The frame that the command line's own library draws around what is wrong with an option."""


@dataclass
class Place:
    """Where a case happens: an empty folder, and what has to be ended after it."""

    folder: Path
    stack: ExitStack
    stands_for: dict[str, str] = field(default_factory=dict)
    """Word of the command and of messages -> what it is today: `DIR` -> the folder."""

    def path(self, name: str) -> Path:
        """A path in the folder, whose parents are made."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def fill(self, text: str) -> str:
        """The text with the words of `stands_for` replaced."""
        for word, today in self.stands_for.items():
            text = text.replace(word, today)
        return text

    def told(self, text: str) -> str:
        """What a command printed, in one line, with the words of `stands_for` in it again."""
        for word, today in sorted(self.stands_for.items(), key=lambda pair: -len(pair[1])):
            text = text.replace(today, word)
        return " ".join(_BOX.sub(" ", text).split())


Lay = Callable[[Place], object]
"""Puts something in its place before the command."""


@dataclass(frozen=True, slots=True)
class Case:
    """One bad input."""

    name: str
    input: str
    """What is wrong, in words."""
    command: str
    """The words after `isheep`, as a shell takes them; `DIR` is the case's folder."""
    says: str
    """All that is printed, in one line; `…` for what is cut."""
    lay: tuple[Lay, ...] = ()
    code: int = 2
    variables: Mapping[str, str] = field(default_factory=dict)
    begins: bool = False
    """Whether it cannot be known before the run has begun."""
    absent: str | None = None
    """A module without which alone the input is bad."""


@dataclass(frozen=True, slots=True)
class Said:
    """What the command did."""

    code: int
    errors: str
    """Standard error, as it was printed."""
    output: str
    message: str
    """Standard error in one line, with placeholders."""
    changed: list[str]
    """Files and folders that were made, changed or taken away."""


def ask(case: Case, folder: Path) -> Said:
    """Runs the command of the case, in this process, in a folder that is empty yet."""
    errors, output = io.StringIO(), io.StringIO()
    with ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
        place = Place(folder, stack, {"DIR": str(folder), "PACKAGE": str(Path(isheep.__file__).parent)})
        place.stands_for["PYTHON"] = sys.executable
        for one in case.lay:
            one(place)
        _surroundings(patch, folder, {name: place.fill(value) for name, value in case.variables.items()})
        patch.setattr(sys, "argv", ["isheep", *map(place.fill, shlex.split(case.command))])
        before = _state(folder)
        with redirect_stderr(errors), redirect_stdout(output), pytest.raises(SystemExit) as ended:
            main()
        after = _state(folder)
        changed = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
        code = ended.value.code
        assert isinstance(code, int)
        return Said(code, errors.getvalue(), output.getvalue(), place.told(errors.getvalue()), changed)


def matches(expected: str, message: str) -> bool:
    """Whether a message is the expected one, `…` standing for any text."""
    return re.fullmatch(".*".join(map(re.escape, expected.split(ANYTHING))), message) is not None


def _surroundings(patch: pytest.MonkeyPatch, folder: Path, variables: Mapping[str, str]) -> None:
    """A wide terminal, no hub, no key, and the case's own variables."""
    for name in ("OPENAI_API_KEY", "NLTK_DATA"):
        patch.delenv(name, raising=False)
    for name, value in {"COLUMNS": "400", "NO_COLOR": "1", **variables}.items():
        patch.setenv(name, value)
    patch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    patch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(folder / "hub"))
    patch.chdir(folder)


def _state(folder: Path) -> dict[str, tuple[int, int]]:
    """Everything below the folder but the lock of a run, which whoever looks at the run may touch."""
    found = {}
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(parent, name)
            state = path.lstat()
            if name != "lock":
                is_folder = path.is_dir()
                found[path.relative_to(folder).as_posix()] = (0, 0) if is_folder else (state.st_size, state.st_mtime_ns)
    return found


def file(name: str, content: str | bytes = "") -> Lay:
    """A file; in a text the words of the place are filled in."""

    def lay(place: Place) -> None:
        data = content if isinstance(content, bytes) else place.fill(content).encode("utf-8", "surrogatepass")
        place.path(name).write_bytes(data)

    return lay


def folder(name: str) -> Lay:
    """An empty folder."""
    return lambda place: place.path(name).mkdir(parents=True, exist_ok=True)


def lines(name: str, *rows: object) -> Lay:
    """A file of JSON lines; a row that is text is a line as it is."""
    return file(name, "".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows))
