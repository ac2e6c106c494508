"""Where a stage begins: what it is made from is noted, and what another run of the sweep has made is not made again."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Concatenate, ParamSpec

from isheep import drain
from isheep.errors import StageError, UserError
from isheep.meter import NOTHING, Cost, Meter
from isheep.progress import say
from isheep.records import TABLES
from isheep.store.files import read_json, set_aside
from isheep.store.lock import InUse, Lock
from isheep.store.plan import NOTES, STAGES, changed, folder_of, inputs, key_of, outputs
from isheep.store.run import MANIFEST, RECIPE, Iteration, Run

logger = logging.getLogger(__name__)

P = ParamSpec("P")

SWEEP = "sweep.json"
"""Lies in the directory of a sweep, whose runs are the directories beside it."""
LOCKS = "locks"
"""In the directory of a sweep, a lock file for each stage that was ever under way."""


def read_sweep(directory: Path) -> dict[str, Any]:
    """`sweep.json` of a sweep's directory; raises UserError where there is none, or one that names no runs."""
    file = directory / SWEEP
    if not file.is_file():
        raise UserError(str(directory), f"is not a sweep (it has no {SWEEP}).", "Give the --dir of `isheep sweep`.")
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict) or not isinstance(document.get("runs"), list):
        raise UserError(str(file), "names no runs.", "Start the sweep's command again, which writes it anew.")
    return document


class Once:
    """Does the stages of one run, each of them once among the runs of its sweep (a run alone has no others)."""

    def __init__(self, run: Run) -> None:
        manifest = run.read_json(MANIFEST) or {}
        self._hashes: Mapping[str, Any] = {name: manifest.get(name) for name in ("model", "assessors", "seeds")}
        self._run = run
        above = run.directory.absolute().parent
        self._sweep = above if (above / SWEEP).is_file() else None

    def do(
        self, stage: Callable[Concatenate[Iteration, P], None], iteration: Iteration, *args: P.args, **kwargs: P.kwargs
    ) -> None:
        """Calls `stage(iteration, ...)`, a room of the loop, unless another run of the sweep has its result to link.

        A stage that the recipe has no use for (`store.plan.Stage.when`) leaves no trace.

        Raises:
            UserError: the stage was begun with other inputs (a file that a setting names was changed, say).
            StageError: a table that it reads has gone.
        """
        name = stage.__name__
        if not STAGES[name].when(self._run.recipe):
            return
        found = inputs(name, iteration.number, self._run.recipe, self._hashes, self._run.directory)
        self._refuse_gone(found)
        note = _notes(iteration.path).get(name)
        ended = _has_ended(name, iteration.number, self._run.directory, note)
        if note is not None:
            _refuse_changed(name, iteration, changed(note["inputs"], found, ended=ended))
        if ended:
            stage(iteration, *args, **kwargs)
            return
        _set_damaged_aside(name, iteration.number, self._run.directory, note)
        key = key_of(found)
        with self._alone(key, f"{name.capitalize()} {iteration.number}"):
            origin, maker = self._made_by(name, iteration.number, key), None
            if origin is not None:
                maker = _maker(name, iteration.number, origin)
                iteration.adopt(origin / folder_of(iteration.number), STAGES[name].makes)
                say(f"{name.capitalize()} {iteration.number}: as in {maker}")
            begun = {"key": key, "from": maker, "inputs": found}
            with self._costs(iteration, name, begun, NOTHING if maker else _spent(note)) as cost:
                stage(iteration, *args, **kwargs)
            made = outputs(name, iteration.number, self._run.directory)
            self._note(iteration, name, {**begun, **cost(), "outputs": made})

    @contextmanager
    def _costs(
        self, iteration: Iteration, name: str, begun: Mapping[str, Any], before: Cost
    ) -> Iterator[Callable[[], dict[str, Any]]]:
        """Notes that the stage has begun and, where it does not end, what it cost so far.

        Yields:
            What the note says of the cost, that of earlier commands included; nothing of a stage that is linked.
        """

        def noted() -> dict[str, Any]:
            return {} if begun["from"] else (before + meter.spent()).noted()

        with Meter() as meter:
            self._note(iteration, name, {**begun, **({} if begun["from"] else before.noted())})
            try:
                yield noted
            except BaseException:
                # What it failed of may be the disk, and is what has to be told.
                with suppress(StageError, OSError):
                    self._note(iteration, name, {**begun, **noted()})
                raise

    def _refuse_gone(self, found: Mapping[str, Any]) -> None:
        """A stage that began without what it reads would be refused for ever after, once that is made anew."""
        for file, content in found.items():
            if content is None and file.rpartition("/")[2] in TABLES:
                raise StageError(f"{self._run.directory / file}: is gone. It has to be made anew.")

    def _made_by(self, name: str, number: int, key: str) -> Path | None:
        """Another run of the sweep in which the stage of this key has ended and is whole."""
        for other in _runs_of(self._sweep) if self._sweep else ():
            note = _notes(other / folder_of(number)).get(name)
            if (
                note is not None
                and note["key"] == key
                and other != self._run.directory.absolute()
                and _has_ended(name, number, other, note)
            ):
                return other
        return None

    @contextmanager
    def _alone(self, key: str, what: str) -> Iterator[None]:
        """No other process of the sweep makes the stage of this key meanwhile: who comes second waits, then links."""
        if self._sweep is None:
            yield
            return
        file, told = self._sweep / LOCKS / key, False
        file.parent.mkdir(exist_ok=True)
        while True:
            drain.stop_here()
            try:
                lock = Lock(file)
                break
            except InUse:
                if not told:
                    say(f"{what}: another run of the sweep makes it, waiting")
                    told = True
        try:
            yield
        finally:
            lock.release()

    def _note(self, iteration: Iteration, name: str, note: Mapping[str, Any]) -> None:
        iteration.write_json(NOTES, {**_notes(iteration.path), name: note})


def _runs_of(sweep: Path) -> list[Path]:
    return sorted(path.parent for path in sweep.glob(f"*/{RECIPE}"))


def _notes(folder: Path) -> dict[str, Any]:
    found = read_json(folder / NOTES, writable=False)
    return found if isinstance(found, dict) else {}


def _spent(note: Mapping[str, Any] | None) -> Cost:
    """What earlier commands spent on a stage; of one that another run had made they spent nothing."""
    return NOTHING if note is None or note.get("from") else Cost.of(note)


def _has_ended(name: str, number: int, directory: Path, note: Mapping[str, Any] | None) -> bool:
    """Whether the stage ended, and what it made is still what it made then."""
    return note is not None and note.get("outputs") == outputs(name, number, directory)


def _set_damaged_aside(name: str, number: int, directory: Path, note: Mapping[str, Any] | None) -> None:
    """What the stage made once and is another now, cut by a full disk say, is not taken for its work.

    Nor is then what says that the stage has ended. Tables are left to themselves: they know which parts are whole.
    """
    noted = (note or {}).get("outputs") or {}
    found = {file: content for file, content in outputs(name, number, directory).items() if file not in TABLES}
    damaged = [
        file for file, content in found.items() if None not in (content, noted.get(file)) and content != noted[file]
    ]
    for file in damaged:
        logger.warning("%s is not what %s left; set aside, to be made anew", directory / folder_of(number) / file, name)
    last = STAGES[name].makes[-1]
    for file in dict.fromkeys([*damaged, *([last] if damaged and found.get(last) else [])]):
        set_aside(directory / folder_of(number) / file)


def _maker(name: str, number: int, origin: Path) -> str:
    """The run that made it, which need not be the run whose links are linked."""
    return str(_notes(origin / folder_of(number))[name]["from"] or origin.name)


def _refuse_changed(name: str, iteration: Iteration, differing: list[str]) -> None:
    if differing:
        raise UserError(
            str(iteration.path),
            f"its {name} was begun with other content of {', '.join(differing)}.",
            "Put back what was there, accept the change with --accept-changes, or give another --dir.",
        )
