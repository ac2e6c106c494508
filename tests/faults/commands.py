"""What is written for people: a report and an export are whole or not there; a sweep that is killed goes on."""

from __future__ import annotations

import signal
from pathlib import Path

from isheep.store.run import Run
from tests.faults.command import isheep
from tests.faults.injected import At, Signal
from tests.faults.scene import RECIPE, Journey, Suite, everything


def reports(suite: Suite, count: int) -> None:
    """SIGKILL before each durable step of `isheep report` and of `isheep export`."""
    journey = Journey(suite, "reported")
    journey.go()
    csv = suite.folder / "export.csv"
    both: list[tuple[list[str | Path], Path]] = [
        (["report", journey.directory], journey.directory / "report.html"),
        (["export", journey.directory, "--to", csv], csv),
    ]
    for words, file in both:
        isheep(words, journey.log)
        whole = file.read_bytes()
        for step in range(1, count + 1):
            ended = isheep(words, journey.log, Signal(At(None, step)))
            journey.strike(f"SIGKILL in isheep {words[0]}", ended, str(words[0]))
            if file.read_bytes() != whole:
                suite.failures.append(f"{file.name} is not whole after a kill at step {step}")
    journey.end()


def sweeps(suite: Suite, count: int) -> None:
    """SIGKILL at random moments of a sweep of two runs, which share what is equal in them."""
    directory = suite.folder / "sweep"
    over = ["--over", "select.threshold=5,6"]
    words: list[str | Path] = ["sweep", *RECIPE, "iterations=1", *over, "--dir", directory]
    row = suite.row("SIGKILL in a sweep", "any")
    for _ in range(count):
        ended = isheep(words, suite.folder / "sweep.log", Signal(At(None, suite.rng.randint(5, 60)), signal.SIGKILL))
        row.injected += ended.code == -9
        row.killed += ended.code == -9
    ended = isheep(words, suite.folder / "sweep.log")
    for threshold in (5, 6):
        [run] = [path for path in directory.iterdir() if path.is_dir() and path.name.endswith(str(threshold))]
        expected = suite.reference(["iterations=1", f"select.threshold={threshold}"])
        found = everything(run) if ended.code == 0 else {}
        ids = [one.id for one in Run.read(run).iteration(1).table("instructions").rows()]
        row.duplicated += len(ids) - len(set(ids))
        if found != expected:
            row.unfinished += 1
            suite.failures.append(f"sweep, threshold {threshold}: exit {ended.code}: {ended.said[-1500:]}")
