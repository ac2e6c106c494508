"""`isheep sweep`: a grid of runs in one directory, an ordinary run each; what is equal in them is made once.

All that is known of a sweep stands in its directory: `sweep.json` names the runs, and a run whose directory says that
it has finished is finished. So the same command resumes, and several processes work on one sweep: each takes the next
run that nobody holds. What a stage waits for, and what it links, is seen to where the stage begins (`stages.once`).
"""

from __future__ import annotations

import hashlib
import itertools
import json
import logging
import math
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from isheep.check import check
from isheep.errors import Interrupted, IsheepError, StageError, UserError
from isheep.loop import run
from isheep.progress import say
from isheep.recipe import Recipe, dump_recipe, load_recipe
from isheep.recipe.files import read_values
from isheep.stages.once import SWEEP, read_sweep
from isheep.store.files import DONE, now, read_json, write_atomic, write_json
from isheep.store.lock import InUse, is_held
from isheep.store.plan import settings_read
from isheep.store.run import LOCK, MANIFEST, RECIPE, Run, refuse_changed_recipe

logger = logging.getLogger(__name__)

NAME_LENGTH = 100
"""Characters of a run's directory, from where on the rest of its name is told by a hash."""

MOST_RUNS = 1000
"""Of a sweep."""

PATIENCE_S = 1.0
"""Seconds between two looks at the runs that other processes hold."""

AfterIteration = Callable[[Run], object]


@dataclass(frozen=True, slots=True)
class Cell:
    """One run of the grid."""

    name: str
    """Of its directory."""
    recipe: Recipe


def sweep(
    names: Sequence[str],
    settings: Sequence[str],
    over: Sequence[str],
    directory: Path,
    seeds: int | None = None,
    jobs: int = 1,
    after_iteration: AfterIteration = lambda run: None,
) -> list[Run]:
    """Runs every combination of the values, or goes on with the sweep that is there.

    Args:
        names: recipes, each laid over those before it.
        settings: `key=value` of every run.
        over: `key=value,value...`, an axis of the grid each.
        directory: of the sweep; each run has its own directory in it. A sweep that is there may grow by further values.
        seeds: every run with so many seeds, from the recipe's on.
        jobs: processes that work on it at the same time.
        after_iteration: called whenever an iteration has ended (in other processes the report is written).

    Returns:
        The runs of this grid, all of them finished.

    Raises:
        UserError: a recipe that cannot be run, a value that stands there twice, or a directory that holds other things;
            found before anything is spent.
        StageError: some runs stopped; the others were finished first. The same call goes on.
        Interrupted: the user asked to stop.
    """
    cells = grid(names, settings, over, seeds)
    command = {"recipe": list(names), "settings": list(settings), "over": list(over), "seeds": seeds}
    _prepare(directory, cells, command)
    with _helpers(directory, min(jobs, len(cells)) - 1):
        failed = _work(directory, cells, after_iteration)
    _refuse_unfinished(directory, cells, failed)
    return [Run.read(directory / cell.name) for cell in cells]


def grid(names: Sequence[str], settings: Sequence[str], over: Sequence[str], seeds: int | None = None) -> list[Cell]:
    """Every combination, the seed changing fastest; raises UserError as `sweep` does."""
    axes = [read_values(one) for one in over]
    runs = math.prod([seeds or 1, *(len(values) for _, values in axes)])
    if runs > MOST_RUNS:
        raise UserError("--over", f"makes {runs:,} runs.", f"Give values that make at most {MOST_RUNS:,}.")
    if seeds is not None:
        first = load_recipe(list(names), settings).seed
        axes.append(("seed", list(range(first, first + seeds))))
    if not axes:
        raise UserError("--over", "nothing is varied.", "Give `--over KEY=VALUE,VALUE`, or `--seeds N`.")
    for key, count in Counter(key for key, _ in axes).items():
        if count > 1:
            either = " (--seeds varies it, too)" if key == "seed" and seeds is not None else ""
            raise UserError(f"--over {key}", f"is given {count} times{either}.", "Give all its values at once.")
    keys = [key for key, _ in axes]
    combinations = list(itertools.product(*(values for _, values in axes)))
    overrides = [[*settings, *map(_override, keys, values)] for values in combinations]
    cells = [
        Cell(name, load_recipe(list(names), words))
        for name, words in zip(_names(keys, combinations), overrides, strict=True)
    ]
    for one, other in itertools.combinations(cells, 2):
        if one.recipe == other.recipe:
            raise UserError("--over", f"{one.name} and {other.name} are the same run.", "Give each value once.")
    return cells


def work(directory: Path, after_iteration: AfterIteration) -> None:
    """Works on a sweep until nothing is left to take; ends when the process that started this one does."""
    names: list[str] = _command(directory)["runs"]
    threading.Thread(target=_end_with_parent, daemon=True).start()
    cells = [Cell(name, load_recipe(str(directory / name / RECIPE), of_run=True)) for name in names]
    _work(directory, cells, after_iteration)


def _prepare(directory: Path, cells: Sequence[Cell], command: dict[str, Any]) -> None:
    """Refuses what would stop a run, then writes sweep.json and the recipe of every run."""
    if directory.is_dir() and not (directory / SWEEP).is_file() and any(directory.iterdir()):
        raise UserError(str(directory), f"is not a sweep (it has no {SWEEP}) and not empty.", "Give a new --dir.")
    for cell in cells:
        place = directory / cell.name
        if _is_finished(place):
            refuse_changed_recipe(place, cell.recipe)
        else:
            check(cell.recipe, place)
    names = [cell.name for cell in cells]
    before = (read_json(directory / SWEEP, writable=True) or {}).get("runs", [])
    known = [*before, *(name for name in names if name not in before)]
    write_json(directory / SWEEP, {"runs": known, "command": {**command, "started": now(), "runs": names}})
    for cell in cells:
        if not (directory / cell.name / RECIPE).is_file():
            write_atomic(directory / cell.name / RECIPE, dump_recipe(cell.recipe).encode())


def _work(directory: Path, cells: Sequence[Cell], after_iteration: AfterIteration) -> dict[str, str]:
    """Runs what is not finished and not held by another process, until all is finished or has failed.

    Returns:
        Name -> message of the runs that failed in this process.
    """
    failed: dict[str, str] = {}
    since: str = _command(directory)["started"]
    while left := [
        cell
        for cell in _leaders_first(cells)
        if not (cell.name in failed or _is_finished(directory / cell.name) or _failed(directory / cell.name, since))
    ]:
        cell = next((cell for cell in left if not is_held(directory / cell.name / LOCK)), None)
        if cell is None:
            time.sleep(PATIENCE_S)
            continue
        say(f"Run {cell.name}")
        try:
            run(cell.recipe, directory / cell.name, after_iteration)
        except Interrupted:
            raise
        except InUse:
            continue
        except IsheepError as error:
            failed[cell.name] = str(error)
        except Exception as error:
            # That one run finds no room in memory, say, does not keep the others from their end.
            failed[cell.name] = f"{type(error).__name__}: {error}"
            logger.exception("%s failed", cell.name)
    return failed


def _leaders_first(cells: Sequence[Cell]) -> list[Cell]:
    """The first run of those that begin with the same work before the second of any.

    So several processes begin with different work, and do not wait for each other's.
    """
    seen: Counter[str] = Counter()
    ranks = []
    for cell in cells:
        begins_with = json.dumps(settings_read("synthesize", cell.recipe), sort_keys=True)
        ranks.append(seen[begins_with])
        seen[begins_with] += 1
    return [cell for _, cell in sorted(zip(ranks, cells, strict=True), key=lambda pair: pair[0])]


@contextmanager
def _helpers(directory: Path, count: int) -> Iterator[None]:
    """Other processes that work on the sweep within the block; they are asked to stop when it does not end well."""
    processes = []
    for number in range(2, count + 2):
        with (directory / f"process-{number}.log").open("ab") as log:
            # A group of its own: Ctrl-C on the terminal reaches this process alone, which passes it on once.
            process = subprocess.Popen(  # noqa: S603  # this interpreter, our own command and a folder, no shell
                [sys.executable, "-c", "from isheep.cli import main; main()", "work", str(directory)],
                stdin=subprocess.PIPE, stdout=log, stderr=log, process_group=0,
            )  # fmt: skip
        processes.append(process)
    try:
        yield
    except BaseException:
        for process in processes:
            process.terminate()
        raise
    finally:
        for process in processes:
            process.wait()


def _end_with_parent() -> None:
    """Waits for the end of standard input, which the parent holds open for as long as it lives, then asks to stop."""
    while sys.stdin.buffer.read(1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def _refuse_unfinished(directory: Path, cells: Sequence[Cell], failed: dict[str, str]) -> None:
    stopped = [cell.name for cell in cells if not _is_finished(directory / cell.name)]
    if stopped:
        lines = [f"  {name}: {failed.get(name) or _last_command(directory / name).get('message')}" for name in stopped]
        raise StageError(f"{directory}: {len(stopped)} of {len(cells)} runs stopped:\n" + "\n".join(lines))


def _command(directory: Path) -> dict[str, Any]:
    command: dict[str, Any] = read_sweep(directory)["command"]
    return command


def _is_finished(directory: Path) -> bool:
    return (directory / DONE).is_file()


def _failed(directory: Path, since: str) -> bool:
    """Whether a process of this sweep command has tried the run and failed."""
    last = _last_command(directory)
    return last.get("outcome") == "failed" and str(last["started"]) >= since


def _last_command(directory: Path) -> dict[str, Any]:
    commands = (read_json(directory / MANIFEST, writable=False) or {}).get("commands", [])
    return dict(commands[-1]) if commands else {}


def _override(key: str, value: Any) -> str:
    try:
        return f"{key}={json.dumps(value)}"
    except TypeError:
        raise UserError(f"--over {key}", f"{value} is no value of a setting.", "Put it in quotes.") from None


def _names(keys: Sequence[str], combinations: Sequence[Sequence[Any]]) -> list[str]:
    """A directory name for each: `threshold-4_seed-0`.

    The `=` that one would like to see there makes Parquet readers take a folder for a column.
    """
    short = Counter(key.rpartition(".")[2] for key in keys)
    called = [key if short[last] > 1 else last for key in keys for last in [key.rpartition(".")[2]]]
    texts = [
        "_".join(f"{key}-{_safe(value)}" for key, value in zip(called, values, strict=True)) for values in combinations
    ]
    same = Counter(texts)
    return [
        text if same[text] == 1 and len(text) <= NAME_LENGTH else f"{text[: NAME_LENGTH - 9]}-{_digest(values)}"
        for text, values in zip(texts, combinations, strict=True)
    ]


def _safe(value: Any) -> str:
    """A value as a part of a file name."""
    if isinstance(value, list):
        return "+".join(map(_safe, value)) or "none"
    if isinstance(value, dict):
        return "+".join(f"{key}-{_safe(entry)}" for key, entry in value.items()) or "none"
    text = value if isinstance(value, str) else json.dumps(value)
    return re.sub(r"[^\w.+-]+", "-", text, flags=re.ASCII) or "empty"


def _digest(values: Sequence[Any]) -> str:
    return hashlib.blake2b(json.dumps(list(values)).encode(), digest_size=4).hexdigest()
