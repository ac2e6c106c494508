"""The run directories that a workbench shows, each read again when something was written there."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from isheep.errors import UserError
from isheep.store.marks import Mark, read_marks
from isheep.store.run import MANIFEST, RECIPE, Run
from isheep.store.status import status
from isheep.store.under_way import PROGRESS, progress_of
from isheep.terminal import printable
from isheep.workbench.catalog import Catalog
from isheep.workbench.rebuilt import Prompts

_DECIDES = (".json", ".yaml", ".parquet")
_NOT = (PROGRESS,)


class Opened:
    """One run directory; may be asked from several threads."""

    def __init__(self, name: str, directory: Path) -> None:
        """Raises UserError where there is no run."""
        self.name = name
        self.directory = directory
        self._lock = threading.Lock()
        self._read = self._fresh()
        self._status: tuple[Any, dict[str, Any]] | None = None

    @property
    def run(self) -> Run:
        """For looking only; of another recipe than before where a change was accepted. UserError: it is gone."""
        return self._current()[1]

    @property
    def catalog(self) -> Catalog:
        """Its records."""
        return self._current()[2]

    @property
    def prompts(self) -> Prompts:
        """What its models were shown."""
        return self._current()[3]

    def marks(self) -> dict[str, Mark]:
        """Its hand marks, by record."""
        return read_marks(self.directory)

    def status(self) -> dict[str, Any]:
        """The document of `isheep status --json`; read again where a file that decides it has changed."""
        run = self.run
        with self._lock:
            stamp = tuple(sorted(_stamps(self.directory)))
            if self._status is None or self._status[0] != stamp:
                self._status = stamp, status(run)
            return {**self._status[1], "state": run.state()}

    def bar(self) -> dict[str, Any] | None:
        """The stage under way, how far and how fast; None where nothing says it, or the run does not run."""
        return progress_of(self.run)

    def failure(self) -> str:
        """What the last command of the run failed of; empty where it did not."""
        manifest = self.run.read_json(MANIFEST)
        commands = manifest.get("commands") if isinstance(manifest, dict) else None
        return str(commands[-1].get("message") or "") if commands else ""

    def _current(self) -> tuple[int, Run, Catalog, Prompts]:
        with self._lock:
            if self._time() != self._read[0]:
                self._read, self._status = self._fresh(), None
            return self._read

    def _fresh(self) -> tuple[int, Run, Catalog, Prompts]:
        time = self._time()
        run = Run.read(self.directory)
        catalog = Catalog(run)
        return time, run, catalog, Prompts(run, catalog)

    def _time(self) -> int:
        try:
            return (self.directory / RECIPE).stat().st_mtime_ns
        except OSError:
            if self.directory.is_dir():
                Run.read(self.directory)
            raise UserError(str(self.directory), "is not there.", "Give the --dir of `isheep run`.") from None


def open_all(directories: Sequence[Path]) -> dict[str, Opened]:
    """Name -> run directory: its last part, and as much of what stands before as tells it from the others.

    Raises:
        UserError: one of them is no run.
    """
    whole = list(dict.fromkeys(directory.absolute() for directory in directories))
    found = {}
    for directory in whole:
        own = directory.parts
        others = [one.parts for one in whole if one != directory]
        length = next(n for n in range(1, len(own) + 1) if not any(one[-n:] == own[-n:] for one in others))
        name = printable(str(Path(*own[-length:])))
        found[name] = Opened(name, directory)
    return found


def _stamps(directory: Path) -> Iterator[tuple[str, int, int]]:
    """Of the files that the status is read from, down to the parts of the tables."""
    for depth, pattern in enumerate(("*", "iteration-*/*", "iteration-*/*/*")):
        for file in directory.glob(pattern):
            if file.suffix in _DECIDES and file.name not in _NOT and not (depth == 2 and file.suffix != ".parquet"):
                try:
                    state = file.stat()
                except FileNotFoundError:
                    continue
                yield str(file), state.st_size, state.st_mtime_ns
