"""A recipe of lamb that a test can run, and its probe and its run, each made once."""

from __future__ import annotations

import json
from pathlib import Path
from shutil import copy

import pytest

from isheep.estimate.probe import Probe, probed
from isheep.loop import run as run_loop
from isheep.recipe import Recipe, load_recipe, locate
from isheep.store.run import Run

SETTINGS = ("iterations=2", "size=100", "train.steps=8", "evaluate.limit=80", "engine.batch_size=16", "seed=3")


@pytest.fixture(scope="session")
def recipe() -> Recipe:
    return load_recipe("lamb", SETTINGS)


@pytest.fixture(scope="session")
def probe(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Probe:
    """As `isheep estimate --probe` makes it, of 50 records and two iterations."""
    return probed(recipe, tmp_path_factory.mktemp("probe") / "probe")


@pytest.fixture(scope="session")
def real(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run_loop(recipe, tmp_path_factory.mktemp("real") / "run")


@pytest.fixture
def drafted(tmp_path: Path) -> Path:
    """A folder with lamb's config.json and nothing else."""
    return drafted_in(tmp_path / "drafted")


def drafted_in(folder: Path, **changes: object) -> Path:
    """The same, with other numbers in it."""
    folder.mkdir()
    file = copy(locate("package:lamb/model") / "config.json", folder)
    config = json.loads(Path(file).read_text(encoding="utf-8"))
    Path(file).write_text(json.dumps({**config, **changes}), encoding="utf-8")
    return folder
