"""What the stages of a real run cost, and that a run which was stopped adds up."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

from isheep.store.costs import costs
from isheep.store.run import Run
from isheep.store.under_way import PROGRESS
from tests.cli.conftest import ISHEEP, Finished, isheep, quiet

RUN = (
    "lamb",
    "iterations=1",
    "size=48",
    "train.steps=8",
    "evaluate.limit=20",
    "engine.batch_size=8",
    "engine.window=1",
)


def test_every_stage_has_its_cost(finished: Finished) -> None:
    directory = finished(0)
    found = {(row["iteration"], row["stage"]): row for row in costs(Run.read(directory))}
    assert len(found) == 2 + 2 * 10
    assert all(row["seconds"] > 0 and row["from"] is None for row in found.values())
    responses = Run.read(directory).iteration(1).table("responses").columns("tokens")
    for number in (1, 2):
        for stage in ("synthesize", "respond", "evaluate"):
            assert min(found[number, stage]["tokens"].values()) > 0, stage
        assert found[number, "assess"]["tokens"]["read"] > 0
        for stage in ("decontaminate", "examine", "gather"):
            assert found[number, stage]["tokens"] == {"read": 0, "written": 0}
        assert found[number, "train"]["tokens"]["read"] > 0
        assert found[number, "train"]["tokens"]["written"] == 0
    assert found[1, "respond"]["tokens"]["written"] == sum(responses["tokens"])
    document = json.loads(isheep("status", directory, "--json").stdout)
    assert document["iterations"][2]["cost"]["train"] == {
        key: value for key, value in found[2, "train"].items() if key not in ("iteration", "stage")
    }


def test_a_run_that_was_stopped_and_resumed_sums_up(tmp_path: Path) -> None:
    words = [ISHEEP, "run", *RUN, "--dir", str(tmp_path / "run")]
    process = subprocess.Popen(words, env=quiet(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while _what(tmp_path / "run") != "Synthesize 1":
        assert process.poll() is None
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGTERM)
    assert process.wait(timeout=120) == 130
    before = _cost(tmp_path / "run", "synthesize")
    assert before["seconds"] > 0
    base = _cost(tmp_path / "run", "evaluate")
    assert subprocess.run(words, env=quiet(), capture_output=True, check=False).returncode == 0
    after = _cost(tmp_path / "run", "synthesize")
    assert after["seconds"] > before["seconds"]
    assert after["tokens"]["read"] > before["tokens"]["read"]
    assert _cost(tmp_path / "run", "evaluate") == base, "what had ended is not done again"


def _what(directory: Path) -> str | None:
    try:
        found: str = json.loads((directory / PROGRESS).read_text())["what"]
    except FileNotFoundError:
        return None
    return found


def _cost(directory: Path, stage: str) -> dict[str, Any]:
    return next(row for row in costs(Run.read(directory)) if row["stage"] == stage)
