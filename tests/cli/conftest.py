"""Runs of the user's own command on lamb, small enough for a test; each is made once."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ISHEEP = str(Path(sys.executable).with_name("isheep"))

SMALL = ("lamb", "iterations=2", "size=96", "train.steps=12", "evaluate.limit=50", "engine.batch_size=32")

Finished = Callable[..., Path]


def isheep(*words: str | Path, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    """Runs the command and returns what it printed and its exit code."""
    return subprocess.run([ISHEEP, *map(str, words)], capture_output=True, text=True, check=False, env=quiet())


def quiet() -> dict[str, str]:
    """The environment of a terminal of 100 columns, one thread, no hub."""
    return {**os.environ, "COLUMNS": "100", "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "NO_COLOR": "1"}


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """`finished(seed)`: the directory of a finished small run of that seed; `again=True`: a second one of its own."""
    made: dict[tuple[int, bool], Path] = {}

    def run(seed: int = 0, again: bool = False) -> Path:
        if (seed, again) not in made:
            directory = tmp_path_factory.mktemp("runs") / f"seed-{seed}"
            ended = isheep("run", *SMALL, f"seed={seed}", "--dir", directory)
            assert ended.returncode == 0, ended.stderr
            made[seed, again] = directory
        return made[seed, again]

    return run
