"""What `isheep estimate` says beside what a run then takes: `python benchmarks/estimate.py [--json] [--dir DIR]`.

For lamb's own recipe, and for 0.36 billion parameters that answer as lamb does (see `checkpoints.coated_lamb`): a probe
is run, the run is estimated from it, and once more without it; then the run is made. Tokens read and written are those
that the run's notes tell, seconds those of the clock on the wall from the command's start to its end. On a busy machine
that clock counts the neighbours too, so processor seconds are compared as well: the estimate's seconds, with the share
that the probe spent on a processor. Runs in `--dir` stay, and are not made again.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from checkpoints import coated_lamb
from side import Row, children_seconds, compared, measured, parser, show, wall_seconds

from isheep.estimate import Estimate, estimate
from isheep.estimate.probe import small
from isheep.recipe import load_recipe
from isheep.recipe.files import dump_yaml
from isheep.store.costs import costs
from isheep.store.run import Run

PACKAGES = ("isheep", "torch", "transformers", "trl")

COAT = (
    "model.path={folder}",
    "iterations=2",
    "engine.batch_size=4",
    "train.steps=2",
    "train.warmup_steps=1",
    "train.learning_rate=1.0e-5",  # after two small steps it still writes lists
    "train.batch_size=4",
    "train.micro_batch_size=4",
    "select.threshold=0",  # of so few pairs a threshold might keep none
)


@dataclass(frozen=True, slots=True)
class Case:
    """A recipe, what its run and its probe set, and where both lie."""

    name: str
    settings: tuple[str, ...]
    own: tuple[str, ...]
    probe: tuple[str, ...] | None
    """None: what `isheep estimate --probe` makes by itself."""


def main() -> None:
    """Measures, then prints."""
    arguments = parser(__doc__)
    arguments.add_argument("--dir", type=Path, help="where the runs are kept")
    arguments.add_argument("--only", choices=["lamb", "0.36b"], help="one of the two")
    given = arguments.parse_args()
    with TemporaryDirectory() as folder:
        place = given.dir or Path(folder)
        show([row for case in cases(given.only) for row in rows(case, place / case.name)], given.json)


def cases(only: str | None) -> Iterable[Case]:
    """What is measured; the larger model with so few records that it takes minutes."""
    if only != "0.36b":
        yield Case("lamb", (), (), None)
    if only != "lamb":
        settings = tuple(one.format(folder=coated_lamb()) for one in COAT)
        yield Case("0.36b", settings, ("size=16", "evaluate.limit=4"), ("size=8", "evaluate.limit=4"))


def rows(case: Case, place: Path) -> list[Row]:
    """Tokens of each stage and of all, and the time, of both ways to estimate."""
    recipe = load_recipe("lamb", [*case.settings, *case.own])
    probe, run = place / "probe", place / "run"
    small_settings = case.probe or tuple(
        f"{key}={value}"
        for key, value in _changed(small(recipe).model_dump(mode="json"), recipe.model_dump(mode="json"))
    )
    probe_cpu, probe_wall = _timed(probe, [*case.settings, *small_settings])
    ways = {"with a probe": estimate(recipe, probe=probe), "without": estimate(recipe)}
    cpu, wall = _timed(run, [*case.settings, *case.own])
    found = []
    for way, guess in ways.items():
        found += [
            _row(
                f"{case.name}, {way}: {stage}",
                told / 1000,
                real / 1000,
                "1,000 tokens",
                "1.25x" if stage == "all stages" else "",
            )
            for stage, told, real in _tokens(guess, Run.read(run))
        ]
        if guess.seconds is not None:
            found.append(_row(f"{case.name}, {way}: time", guess.seconds, wall, "s", "2x"))
            own = guess.seconds * probe_cpu / probe_wall
            found.append(_row(f"{case.name}, {way}: the same on processors", own, cpu, "CPU-s", ""))
    return found


def _tokens(guess: Estimate, run: Run) -> list[tuple[str, int, int]]:
    """Stage, tokens estimated and measured, read and written together; of stages that have any."""
    real = costs(run)
    names = dict.fromkeys(one["stage"] for one in real)

    def of(stage: str | None) -> tuple[int, int]:
        told = sum(one.read + one.written for one in guess.stages if stage in (None, one.stage))
        took = sum(one["tokens"]["read"] + one["tokens"]["written"] for one in real if stage in (None, one["stage"]))
        return told, took

    each = [(name, *of(name)) for name in names]
    return [*(one for one in each if one[2]), ("all stages", *of(None))]


def _timed(directory: Path, settings: Sequence[str]) -> tuple[float, float]:
    """Processor seconds and seconds of the command that makes a run; of one that is there they are noted beside it."""
    note = directory.parent / f"{directory.name}.json"
    if note.is_file():
        kept: dict[str, float] = json.loads(note.read_text(encoding="utf-8"))
        return kept["cpu"], kept["wall"]
    command = [
        sys.executable,
        "-c",
        "from isheep.cli import main; main()",
        "run",
        "lamb",
        *settings,
        "--dir",
        directory,
    ]
    walls: list[float] = []
    # S603: our own command with settings of ours.
    work: Callable[[], Any] = partial(subprocess.run, command, check=True, stdout=subprocess.DEVNULL)
    cpu = children_seconds(lambda: walls.append(wall_seconds(work)))
    note.write_text(json.dumps({"cpu": cpu, "wall": walls[0]}), encoding="utf-8")
    return cpu, walls[0]


def _changed(mine: dict[str, Any], other: dict[str, Any], prefix: str = "") -> Iterable[tuple[str, str]]:
    """Settings in which two recipes differ, with the value of the first as the command line takes it."""
    for key, value in mine.items():
        if isinstance(value, dict):
            yield from _changed(value, other[key], f"{prefix}{key}.")
        elif value != other[key]:
            yield f"{prefix}{key}", dump_yaml({"v": value}).partition(":")[2].strip()


def _row(what: str, told: float, real: float, unit: str, goal: str) -> Row:
    """`ours` is the estimate, `peer` what was measured, and the ratio how many times as much was estimated."""
    return compared(what, measured([told]), measured([real]), unit, goal, PACKAGES, more_is_better=True)


if __name__ == "__main__":
    main()
