"""Files of a run that are cut, changed, exchanged or foreign when the command is given again."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from shutil import copyfile, rmtree

from tests.faults.injected import At, Jump, Loss, Signal
from tests.faults.scene import Journey, Suite

TABLES = {"synthesize": "instructions", "respond": "responses", "assess": "assessments"}
AFTER = {"synthesize": "respond", "respond": "assess", "assess": "decontaminate"}
Harm = Callable[[Path], None]

DOCUMENTS = (
    "manifest.json",
    "recipe.yaml",
    "done.json",
    "progress.json",
    "iteration-00/scores.json",
    "iteration-00/done.json",
    "iteration-01/instructions/done.json",
    "iteration-01/assessments/done.json",
    "iteration-01/selection/done.json",
    "iteration-01/contamination.json",
    "iteration-01/health.json",
    "iteration-01/training-set.jsonl",
    "iteration-01/train.json",
    "iteration-01/adapter/adapter_model.safetensors",
    "iteration-01/adapter/adapter_config.json",
    "iteration-01/stages.json",
    "iteration-02/scores.json",
    "iteration-02/done.json",
)


def _cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def _empty(file: Path) -> None:
    file.write_bytes(b"")


def _flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 3] ^= 0xFF
    file.write_bytes(content)


def _gone(file: Path) -> None:
    file.unlink()


def _twice(file: Path) -> None:
    """Once more under the next number."""
    index = int(file.stem.removeprefix("part-"))
    copyfile(file, file.with_name(f"part-{index + 1:05d}.parquet"))


def _exchanged(file: Path) -> None:
    other = file.with_name("part-00000.parquet")
    content = other.read_bytes()
    other.write_bytes(file.read_bytes())
    file.write_bytes(content)


HARMS: tuple[tuple[str, Harm], ...] = (
    ("cut", _cut),
    ("emptied", _empty),
    ("a byte flipped", _flip),
    ("gone", _gone),
    ("there twice", _twice),
    ("exchanged with the first", _exchanged),
)


def parts(suite: Suite, count: int) -> None:
    """The last but one part of a table, in a stage under way and in one that has ended."""
    foreign = Journey(suite, "foreign", ["seed=1"])
    foreign.go(Signal(At("train")))
    harms: list[tuple[str, Harm]] = [*HARMS, ("of another run", partial(_foreign, foreign.directory))]
    for closed in (False, True):
        journey = Journey(suite, f"parts-{'closed' if closed else 'open'}")
        for stage, name in TABLES.items():
            for what, harm in harms[:count]:
                journey.go(Signal(At(AFTER[stage]) if closed else At(stage, seconds=suite.rng.uniform(0.2, 1.2))))
                found = sorted((journey.directory / "iteration-01" / name).glob("part-*.parquet"))
                if len(found) > 1:
                    # What is harmed was acknowledged and then damaged: it is made again, the same.
                    journey.strike(f"part {what}, its table {'closed' if closed else 'open'}", stage=stage)
                    harm(found[-2])
        journey.end()
    rmtree(foreign.directory)


def _foreign(directory: Path, file: Path) -> None:
    copyfile(directory / "iteration-01" / file.parent.name / file.name, file)


def documents(suite: Suite, count: int) -> None:
    """Documents, weights and training sets of a finished run, cut and emptied."""
    journey = Journey(suite, "documents")
    for name in DOCUMENTS[:count]:
        for what, harm in (("cut", _cut), ("emptied", _empty)):
            ended = journey.go()
            journey.check(f"before {name} {what}", ended, [0])
            journey.strike(f"{Path(name).name} {what}", stage="finished")
            harm(journey.directory / name)
    journey.end()


def clocks(suite: Suite, count: int) -> None:
    """A clock that jumps years, and files from the future and from 1970."""
    year = 365 * 86_400.0
    journey = Journey(suite, "clocks")
    for number, stage in enumerate(("synthesize", "respond", "assess", "train", "select", "evaluate")[:count]):
        jump = year if number % 2 else -year
        ended = journey.go(_Both(Jump(stage, jump), Signal(At(stage, seconds=0.5))))
        journey.strike("clock jumps by a year", ended, stage)
        for path in journey.directory.rglob("*"):
            os.utime(path, (0.0, 0.0) if number % 2 else (4e9, 4e9))
        journey.strike("files of 1970 or 2096", stage=stage)
    journey.end()


class _Both:
    def __init__(self, *acts: Callable[[], None]) -> None:
        self.acts = acts

    def __call__(self) -> None:
        for act in self.acts:
            act()


def training(suite: Suite, count: int) -> None:
    """Losses that are no numbers or explode, memory that does not suffice, and checkpoints that are cut."""
    losses = [("loss is no number", float("nan")), ("loss explodes", 40.0), ("loss is infinite", float("inf"))]
    for number, (what, value) in enumerate(losses[:count]):
        journey = Journey(suite, f"loss-{number}", ["iterations=1", "train.steps=24"])
        ended = journey.go(Loss(11, value))
        journey.strike(what, ended, "train")
        journey.check(what, ended, [0], "stopped, the checkpoint of step", "Lower train.learning_rate")
        # What it left is a model of fewer steps: only the records are those of an undisturbed run.
        journey.end(only_tables=True)
    for number in range(count):
        journey = Journey(suite, f"memory-{number}", ["iterations=1"])
        ended = journey.go(Loss(2 + 2 * number))
        journey.strike("out of memory", ended, "train")
        journey.check("out of memory", ended, [0], "out of memory; going on from the last checkpoint with")
        journey.end(only_tables=True)
    journey = Journey(suite, "checkpoints")
    for name in ("adapter_model.safetensors", "optimizer.pt", "trainer_state.json", "whole")[: count + 1]:
        for harm in (_cut, _gone):
            journey.go(Signal(At("train", step=suite.rng.randint(12, 30)), signal.SIGKILL))
            found = sorted(journey.directory.glob("iteration-*/checkpoints/checkpoint-*"))
            if found and (found[-1] / name).exists():
                harm(found[-1] / name)
                journey.strike(f"checkpoint's {name} {harm.__name__.strip('_')}", stage="train")
    journey.end()
