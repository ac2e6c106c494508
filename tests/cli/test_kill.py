"""A run that is killed again and again ends as one that was left alone."""

from __future__ import annotations

import random
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path
from typing import Any

from isheep.store.run import Run
from tests.cli.conftest import ISHEEP, SMALL, Finished, quiet

Stage = tuple[int, str]

STAGES: list[Stage] = [
    *((number, stage) for number in (1, 2) for stage in ("synthesize", "respond", "assess", "train", "evaluate")),
    (3, "none"),
]
KILLS = 20


def stage_under_way(directory: Path) -> Stage:
    """Where the run stands, from its files alone."""
    for number in (1, 2):
        folder = directory / f"iteration-{number:02d}"
        for stage, table in (("synthesize", "instructions"), ("respond", "responses"), ("assess", "assessments")):
            if not (folder / table / "done.json").exists():
                return number, stage
        if not (folder / "adapter").exists():
            return number, "train"
        if not (folder / "scores.json").exists():
            return number, "evaluate"
    return STAGES[-1]


def kill_in(directory: Path, command: list[str], stage: Stage, rng: random.Random) -> None:
    """Starts the command, waits until it works on the stage (or is past it), and kills it a random moment later."""
    manifest = directory / "manifest.json"
    before = manifest.stat().st_mtime_ns if manifest.exists() else 0
    process = subprocess.Popen(command, env=quiet(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None:
        owned = manifest.exists() and manifest.stat().st_mtime_ns != before
        if owned and STAGES.index(stage_under_way(directory)) >= STAGES.index(stage):
            break
        time.sleep(0.01)
    time.sleep(rng.uniform(0, 1.5))
    process.send_signal(signal.SIGKILL)
    process.wait()


def everything(directory: Path) -> dict[str, Any]:
    """What a run has to show: every record of every table, the training sets and the scores."""
    run = Run.read(directory)
    return {
        f"{iteration.number}/{name}": iteration.table(name).rows()
        for iteration in run.iterations()
        for name in ("instructions", "responses", "assessments", "selection")
    } | {
        f"{iteration.number}/{file}": (iteration.path / file).read_text(encoding="utf-8")
        for iteration in run.iterations()
        for file in ("training-set.jsonl", "scores.json", "train.json", "health.json")
        if (iteration.path / file).exists()
    }


def test_twenty_kills_lose_nothing_and_repeat_nothing(finished: Finished, tmp_path: Path) -> None:
    directory = tmp_path / "killed"
    command = [ISHEEP, "run", *SMALL, "seed=0", "--dir", str(directory)]
    rng = random.Random(0)
    hit: Counter[Stage] = Counter()
    for kill in range(KILLS):
        kill_in(directory, command, STAGES[kill * (len(STAGES) - 1) // KILLS], rng)
        hit[stage_under_way(directory)] += 1
    ended = subprocess.run(command, env=quiet(), capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr

    expected, found = everything(finished(0)), everything(directory)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name] == value, name
    ids = [row.id for key, rows in found.items() if key.endswith("/instructions") for row in rows]
    assert len(ids) == len(set(ids))
    assert len(hit) >= 6, hit
