"""A run that faults are put into: what it had acknowledged before each, and what it has to show at its end."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from shutil import rmtree
from typing import Any

from isheep.records import TABLES
from isheep.store.files import read_json, write_json
from isheep.store.run import Run
from tests.faults.command import Ended, Prepare, isheep

RECIPE = (
    "lamb",
    "iterations=2",
    "size=40",
    "train.steps=8",
    "train.evaluate_every=3",
    "evaluate.limit=20",
    "engine.batch_size=8",
    "engine.window=1",
)
"""Small, with a part for every eight requests and a checkpoint for every third step."""
STAGES = ("evaluate", "synthesize", "respond", "assess", "decontaminate", "select", "examine", "gather", "train")
SHOWN = ("training-set.jsonl", "scores.json", "train.json", "health.json")

COUNTED = ("injected", "killed", "lost", "duplicated", "unfinished")

Key = tuple[int, str, str]
"""Iteration, table, id."""


@dataclass
class Row:
    """One fault of the table: where it struck, how often, and what came of it."""

    fault: str
    stage: str
    injected: int = 0
    killed: int = 0
    """By SIGKILL."""
    lost: int = 0
    """Records that were on disk before a fault, or that an undisturbed run has, and are not there at the end."""
    duplicated: int = 0
    unfinished: int = 0
    """Faults after which the same command did not end with what an undisturbed run has."""
    said: str = ""
    """What the user was told, of one of them."""


@dataclass
class Suite:
    """All rows so far, and where runs may lie."""

    folder: Path
    rng: random.Random
    rows: dict[tuple[str, str], Row] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    _references: dict[tuple[str, ...], dict[str, Any]] = field(default_factory=dict)

    def row(self, fault: str, stage: str) -> Row:
        """The row of that name, begun if need be."""
        return self.rows.setdefault((fault, stage), Row(fault, stage))

    def reference(self, settings: Sequence[str]) -> dict[str, Any]:
        """What a run with these settings has to show that nobody disturbs; made once."""
        key = tuple(one for one in settings if not one.startswith(("watch.", "engine.server.")))
        if key not in self._references:
            directory = self.folder / f"reference-{len(self._references)}"
            ended = isheep(["run", *RECIPE, *settings, "--dir", directory], self.folder / "log")
            if ended.code != 0:
                raise RuntimeError(f"the undisturbed run failed: {ended.said}")
            self._references[key] = everything(directory)
            rmtree(directory)
        return self._references[key]

    def write(self, file: Path) -> dict[str, Any]:
        """Writes the table as a JSON document and returns it."""
        rows = [asdict(row) for row in self.rows.values()]
        sums = {
            name: sum(row[name] for row in rows) for name in ("injected", "killed", "lost", "duplicated", "unfinished")
        }
        document = {**sums, "rows": rows, "failures": self.failures}
        write_json(file, document)
        return document


class Journey:
    """One run from its first fault to its end."""

    def __init__(self, suite: Suite, name: str, settings: Sequence[str] = (), directory: Path | None = None) -> None:
        self.suite, self.name, self.settings = suite, name, tuple(settings)
        self.directory = directory or suite.folder / name
        self.log = suite.folder / f"{name}.log"
        self._acknowledged: dict[Key, Any] = {}
        self._struck: list[Row] = []

    @property
    def words(self) -> list[str | Path]:
        """The command."""
        return ["run", *RECIPE, *self.settings, "--dir", self.directory]

    def go(self, prepare: Prepare | None = None) -> Ended:
        """Gives the command, disturbed or not, and waits for its end."""
        return isheep(self.words, self.log, prepare)

    def strike(self, fault: str, ended: Ended | None = None, stage: str | None = None) -> None:
        """Notes that the fault struck, and what was on disk then."""
        row = self.suite.row(fault, stage or under_way(self.directory))
        row.injected += 1
        if ended is not None:
            row.killed += ended.code == -9
            row.said = told(ended.said) or row.said
        self._struck.append(row)
        self._acknowledged |= dict(records(self.directory))

    def check(self, what: str, ended: Ended, codes: Sequence[int], *parts: str) -> None:
        """Holds an exit code and what was said against what the user needs."""
        missing = [part for part in parts if part not in ended.said]
        if ended.code not in codes or missing or "Traceback" in ended.said:
            self.suite.failures.append(
                f"{self.name}, {what}: exit {ended.code}, without {missing}: {ended.said[-1500:]}"
            )

    def end(self, only_tables: bool = False) -> None:
        """The same command once more, undisturbed; what it ends with (or its records) is held against such a run's."""
        ended = self.go()
        expected = self.suite.reference(self.settings)
        found = everything(self.directory) if ended.code == 0 else {}
        if only_tables:
            expected = {name: rows for name, rows in expected.items() if is_table(name)}
            found = {name: rows for name, rows in found.items() if is_table(name)}
        now = dict(records(self.directory))
        lost = sum(now.get(key) != row for key, row in self._acknowledged.items())
        lost += sum(len(set(rows) - set(found.get(name, ()))) for name, rows in expected.items() if is_table(name))
        twice = sum(count - 1 for count in Counter(all_keys(self.directory)).values())
        unfinished = ended.code != 0 or found != expected
        for row in {id(row): row for row in self._struck}.values():
            row.lost += lost
            row.duplicated += twice
            row.unfinished += sum(one is row for one in self._struck) if unfinished else 0
        if unfinished or lost or twice:
            differing = [name for name in expected if found.get(name) != expected[name]]
            self.suite.failures.append(f"{self.name}: exit {ended.code}, differs in {differing}: {ended.said[-2000:]}")
        else:
            rmtree(self.directory)


def is_table(name: str) -> bool:
    """Whether an entry of `everything` holds records."""
    return name.rpartition("/")[2] in TABLES


def everything(directory: Path) -> dict[str, Any]:
    """What a run has to show: every record of every table (as text), the training sets, the scores and the health."""
    run = Run.read(directory)
    tables = {
        f"{one.number}/{name}": [repr(row) for row in one.table(name).rows()]
        for one in run.iterations()
        for name in TABLES
    }
    files = {
        f"{one.number}/{name}": (one.path / name).read_text(encoding="utf-8")
        for one in run.iterations()
        for name in SHOWN
        if (one.path / name).exists()
    }
    return tables | files


def records(directory: Path) -> Iterator[tuple[Key, str]]:
    """What is acknowledged: every record in a whole part."""
    if (directory / "recipe.yaml").is_file():
        for one in Run.read(directory).iterations():
            for name in TABLES:
                yield from (((one.number, name, row.id), repr(row)) for row in one.table(name).rows())


def all_keys(directory: Path) -> list[Key]:
    """The identity of every record, as often as it is there."""
    return [key for key, _ in records(directory)]


def under_way(directory: Path) -> str:
    """The stage that a run is at, from its notes."""
    notes: dict[str, Any] = {}
    for number in (2, 1, 0):
        file = directory / f"iteration-{number:02d}" / "stages.json"
        if file.is_file():
            notes = read_json(file, writable=False) or {}
            break
    begun = [stage for stage in STAGES if stage in notes and "outputs" not in notes[stage]]
    return begun[-1] if begun else "between stages"


def told(said: str) -> str:
    """The message among what a command said: its last line that is no progress."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    lines = [line for line in lines if "The same command goes on" not in line and " in all" not in line]
    return lines[-1][:300] if lines else ""
