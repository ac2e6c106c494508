"""The run directory: the only module (with its parts lock, manifest, table and files) that writes or reads it.

State is what the directory says; there is no other.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import Any, Literal, Self, overload

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from isheep.errors import StageError, UserError
from isheep.recipe import Recipe, difference, dump_recipe, load_recipe
from isheep.records import TABLES, Alternative, Assessment, Instruction, Response, Selection
from isheep.secrecy import without_secrets
from isheep.store.changes import Begun, accept_changes
from isheep.store.files import (
    link,
    now,
    read_json,
    sha256_file,
    sync,
    write_atomic,
    write_json,
    write_json_lines,
)
from isheep.store.lock import Lock, is_held
from isheep.store.manifest import (
    assessor_hashes,
    machine,
    model_hashes,
    refuse_changed_inputs,
    refuse_no_manifest,
    seed_hash,
    versions,
)
from isheep.store.plan import folder_of
from isheep.store.table import DONE, Table

logger = logging.getLogger(__name__)

State = Literal["running", "interrupted", "failed", "finished"]

RECIPE, MANIFEST, LOCK = "recipe.yaml", "manifest.json", "lock"
BROKEN_RECIPE = RECIPE + ".broken"
SCRIPT, LOG = "submit.sh", "submit.log"
"""What `isheep submit` hands to a cluster, and what its jobs say there; both may be older than the run."""
_VECTOR_SCHEMA = pa.schema([("id", pa.string()), ("vector", pa.list_(pa.float32()))])
_FIRST_FILES = {LOCK, RECIPE + ".tmp", SCRIPT, SCRIPT + ".tmp", LOG}
"""All that a run killed in its first moments leaves, or one that waits for a cluster: still ours, not a foreign
directory."""
_ITERATION = re.compile(r"iteration-(\d{2,})")


class Iteration:
    """One `iteration-NN` folder: a table for each stage, JSON documents, the training set and the weights."""

    def __init__(self, run: Run, number: int) -> None:
        self.number = number
        self.path = run.directory / folder_of(number)
        self._writable = run.writable
        self._closings = (run.directory / DONE, self.path / DONE)
        self._tables: dict[str, Table[Any]] = {}

    @overload
    def table(self, name: Literal["instructions"]) -> Table[Instruction]: ...
    @overload
    def table(self, name: Literal["responses"]) -> Table[Response]: ...
    @overload
    def table(self, name: Literal["assessments"]) -> Table[Assessment]: ...
    @overload
    def table(self, name: Literal["selection"]) -> Table[Selection]: ...
    @overload
    def table(self, name: Literal["draws"]) -> Table[Response]: ...
    @overload
    def table(self, name: Literal["alternatives"]) -> Table[Alternative]: ...
    @overload
    def table(self, name: str) -> Table[Any]: ...

    def table(self, name: str) -> Table[Any]:
        """The table of that name (a key of `records.TABLES`): the same object each time."""
        if name not in self._tables:
            self._tables[name] = Table(self.path / name, TABLES[name], writable=self._writable, closings=self._closings)
        return self._tables[name]

    def write_json(self, name: str, data: Any) -> None:
        """Writes `name` (`scores.json`, `health.json`, `train.json` ...) atomically; not finite numbers become null."""
        self._must_own()
        write_json(self.path / name, data)

    def read_json(self, name: str) -> Any | None:
        """The document, None where there is none (or where it does not read, with a warning: set aside and redone)."""
        return read_json(self.path / name, writable=self._writable)

    @property
    def training_set_path(self) -> Path:
        """What the SFT saw: JSON lines in the messages format."""
        return self.path / "training-set.jsonl"

    def write_training_set(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Writes one JSON object a line, all lines or none."""
        self._must_own()
        write_json_lines(self.training_set_path, rows)

    def write_vectors(self, name: str, ids: Sequence[str], vectors: Sequence[npt.NDArray[np.float32]]) -> None:
        """Writes `name` (`vectors.parquet`): a vector for each id."""
        self._must_own()
        columns = {"id": list(ids), "vector": [vector.tolist() for vector in vectors]}
        buffer = pa.BufferOutputStream()
        pq.write_table(pa.table(columns, _VECTOR_SCHEMA), buffer)
        write_atomic(self.path / name, buffer.getvalue().to_pybytes())

    def read_vectors(self, name: str) -> npt.NDArray[np.float32]:
        """All of them: float32 [pairs, width]; [0, 0] where there are none, or where they do not read."""
        try:
            rows = pq.read_table(self.path / name, schema=_VECTOR_SCHEMA)["vector"].to_pylist()
            return np.asarray(rows, dtype=np.float32).reshape(len(rows), -1 if rows else 0)
        except (OSError, ValueError, pa.ArrowException):
            return np.empty((0, 0), dtype=np.float32)

    @property
    def weights_path(self) -> Path:
        """What the iteration trained: `model` (an HF checkpoint) where there is one, else `adapter` (PEFT)."""
        whole = self.path / "model"
        return whole if whole.is_dir() else self.path / "adapter"

    @contextmanager
    def new_weights(self, name: Literal["adapter", "model"]) -> Iterator[Path]:
        """A fresh folder to save a checkpoint into; it takes its place under `name` when the block ends well."""
        self._must_own()
        self.path.mkdir(parents=True, exist_ok=True)
        for leftover in self.path.glob(f"{name}.*.tmp"):
            rmtree(leftover)
        folder = Path(mkdtemp(prefix=f"{name}.", suffix=".tmp", dir=self.path))
        folder.chmod(0o755)
        yield folder
        for file in (*folder.rglob("*"), folder):
            sync(file)
        if (self.path / name).exists():
            rmtree(self.path / name)
        folder.rename(self.path / name)
        sync(self.path)

    def adopt(self, folder: Path, names: Sequence[str]) -> None:
        """Makes files and folders of another run's iteration its own, as links, where they are there."""
        self._must_own()
        for name in names:
            if (folder / name).exists():
                link(folder / name, self.path / name)
        # What a table has seen of its folder is not true any more.
        self._tables.clear()

    @property
    def is_done(self) -> bool:
        """Whether every stage of the iteration has ended."""
        return (self.path / DONE).is_file()

    def close(self) -> bool:
        """Writes done.json, after everything else; once, so that it keeps the time at which the iteration ended.

        Returns:
            Whether it ended just now.
        """
        if self.is_done:
            return False
        self.write_json(DONE, {"iteration": self.number, "ended": now()})
        return True

    def _must_own(self) -> None:
        if not self._writable:
            raise ValueError(f"{self.path} is open for reading only")


class Run:
    """A run directory, either owned (`create_or_resume`, a context manager that holds the lock) or read (`read`)."""

    def __init__(self, directory: Path, recipe: Recipe, lock: Lock | None) -> None:
        self.directory = directory
        self.recipe = recipe
        self.writable = lock is not None
        self._lock = lock
        self._iterations: dict[int, Iteration] = {}

    @classmethod
    def create_or_resume(cls, directory: Path, recipe: Recipe, accept_changes: bool = False) -> Self:
        """Owns the directory: a new one is made, parents too; a run of the same recipe goes on.

        Every table that is there is looked through, so that what does not read is named at once and redone. With
        `accept_changes` a run of another recipe goes on with this one (see `isheep.store.changes`).

        Raises:
            UserError: not writable, foreign, held by a live process, of another recipe, or its model or seed file
                changed since it began.
        """
        try:
            directory.mkdir(parents=True, exist_ok=True)
            refuse_foreign(directory)
            lock = Lock(directory / LOCK)
        except OSError as error:
            raise UserError(
                str(directory), f"cannot be written ({error.strerror}).", "Give another --dir or mend the rights."
            ) from None
        try:
            run = cls(directory, recipe, lock)
            run._begin(accept_changes)
        except BaseException:
            lock.release()
            raise
        return run

    @classmethod
    def read(cls, directory: Path) -> Self:
        """Opens a run for looking only, whether or not a process holds it. Raises UserError where there is no run."""
        file = directory / RECIPE
        if not file.is_file():
            raise UserError(str(directory), f"is not a run (it has no {RECIPE}).", _meant(directory))
        return cls(directory, load_recipe(str(file), of_run=True), None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.release()

    def release(self) -> None:
        """Gives the lock up; the run can be read from then on, not written."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None
            self.writable = False
            self._iterations.clear()

    def iteration(self, number: int) -> Iteration:
        """The iteration of that number (0 is the untouched base); its folder appears when something is written."""
        if number not in self._iterations:
            self._iterations[number] = Iteration(self, number)
        return self._iterations[number]

    def iterations(self) -> list[Iteration]:
        """The iterations that have begun, in order."""
        matches = (_ITERATION.fullmatch(path.name) for path in self.directory.iterdir() if path.is_dir())
        return [self.iteration(number) for number in sorted(int(match[1]) for match in matches if match)]

    def state(self) -> State:
        """What the directory says: a live owner, a done.json, a last command that failed, or none of these."""
        if is_held(self.directory / LOCK):
            return "running"
        if (self.directory / DONE).is_file():
            return "finished"
        manifest = self.read_json(MANIFEST)
        commands = manifest.get("commands") if isinstance(manifest, dict) else None
        return "failed" if commands and commands[-1]["outcome"] == "failed" else "interrupted"

    def note_command(self, argv: Sequence[str]) -> None:
        """Adds a command to manifest.json, with its start and, where they differ from the first, the versions."""
        self._must_own()
        manifest = self._manifest()
        words = [without_secrets(word) for word in argv]
        command: dict[str, Any] = {"argv": words, "started": now(), "ended": None, "outcome": None, "message": ""}
        today = versions(self.recipe)
        if today != manifest["versions"]:
            changed = {name: today[name] for name in today if today[name] != manifest["versions"].get(name)}
            logger.warning("the run began with other versions; now %s", changed)
            command["versions"] = changed
        manifest["commands"].append(command)
        write_json(self.directory / MANIFEST, manifest)

    def note_end(self, outcome: Literal["finished", "interrupted", "failed"], message: str = "") -> None:
        """Completes the last command in manifest.json."""
        self._must_own()
        manifest = self._manifest()
        manifest["commands"][-1].update(ended=now(), outcome=outcome, message=without_secrets(message))
        write_json(self.directory / MANIFEST, manifest)

    def finish(self, summary: Mapping[str, Any] | None = None) -> None:
        """Writes the run's done.json: the loop has reached its end."""
        self._must_own()
        write_json(self.directory / DONE, {"ended": now(), **(summary or {})})

    def read_json(self, name: str) -> Any | None:
        """A document at the top of the run directory, None where there is none."""
        return read_json(self.directory / name, writable=self.writable)

    def _begin(self, accept: bool) -> None:
        begun = refuse_changed_recipe(self.directory, self.recipe, accept)
        damaged = begun and _is_damaged(self.directory, self.recipe)
        if damaged:
            logger.warning("%s is not what it was; kept as %s and written anew", self.directory / RECIPE, BROKEN_RECIPE)
            link(self.directory / RECIPE, self.directory / BROKEN_RECIPE)
        if damaged or not begun:
            self._write_recipe()
        manifest = self.read_json(MANIFEST)
        if manifest is not None:
            refuse_no_manifest(self.directory / MANIFEST, manifest)
        if manifest is None:
            start: dict[str, Any] = {
                "versions": versions(self.recipe),
                "machine": machine(),
                **self._hashes(),
                "commands": [],
            }
            write_json(self.directory / MANIFEST, start)
        elif accept:
            old = load_recipe(str(self.directory / RECIPE), of_run=True)
            numbers = [iteration.number for iteration in self.iterations()]
            run = Begun(self.directory, numbers, self.recipe, self._hashes())
            write_json(self.directory / MANIFEST, accept_changes(run, old, manifest))
        else:
            refuse_changed_inputs(manifest, self.recipe)
        if accept:
            # After all that follows from it, so that a kill in between is a change that was not accepted yet.
            self._write_recipe()
        for iteration in self.iterations():
            for name in TABLES:
                iteration.table(name).parts()

    def _write_recipe(self) -> None:
        write_atomic(self.directory / RECIPE, dump_recipe(self.recipe).encode())

    def _hashes(self) -> dict[str, Any]:
        models = {"model": model_hashes(self.recipe), "assessors": assessor_hashes(self.recipe)}
        return {"recipe": _hash(self.recipe), **models, "seeds": seed_hash(self.recipe)}

    def _must_own(self) -> None:
        if not self.writable:
            raise ValueError(f"{self.directory} is open for reading only")

    def _manifest(self) -> dict[str, Any]:
        manifest: dict[str, Any] | None = self.read_json(MANIFEST)
        if manifest is None:
            raise StageError(f"{self.directory / MANIFEST}: is gone. Start the same command again to write a new one.")
        return manifest


def _hash(recipe: Recipe) -> str:
    return hashlib.sha256(dump_recipe(recipe).encode()).hexdigest()


def _is_damaged(directory: Path, recipe: Recipe) -> bool:
    """Whether the manifest tells that the run's recipe is this one, and the file with it holds something else."""
    manifest = read_json(directory / MANIFEST, writable=False) or {}
    known: str | None = manifest.get("recipe")
    return known == _hash(recipe) != sha256_file(directory / RECIPE)


def _meant(directory: Path) -> str:
    """What is offered instead: a run in the directory, or one beside it with nearly the same name."""
    inside, beside = (sorted(place.glob(f"*/{RECIPE}")) for place in (directory, directory.parent))
    if inside:
        return f"Give a run in it, such as {inside[0].parent}."
    near = get_close_matches(directory.name, [file.parent.name for file in beside], n=1)
    return f"Did you mean {directory.with_name(near[0])}?" if near else "Give the --dir of `isheep run`."


def refuse_foreign(directory: Path) -> None:
    """Raises UserError for a directory that is neither a run nor as good as empty."""
    if (directory / RECIPE).is_file():
        return
    foreign = sorted(path.name for path in directory.iterdir() if path.name not in _FIRST_FILES)
    if foreign:
        raise UserError(
            str(directory),
            f"is not a run (it has no {RECIPE}) and not empty (`{foreign[0]}`).",
            "Give a new or an empty --dir.",
        )


def refuse_changed_recipe(directory: Path, recipe: Recipe, accept_changes: bool = False) -> bool:
    """Whether a run has begun there; raises UserError with the difference if it began with another recipe."""
    file = directory / RECIPE
    if not file.is_file():
        return False
    same = accept_changes or _is_damaged(directory, recipe)
    lines = [] if same else difference(load_recipe(str(file), of_run=True), recipe)
    if lines:
        raise UserError(
            str(directory),
            "was begun with other settings:\n" + "\n".join(f"  {line}" for line in lines) + "\n",
            "Resume it with the same settings, accept the change with --accept-changes, or give another --dir.",
        )
    return True
