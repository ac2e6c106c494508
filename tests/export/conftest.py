"""What a small run's own engine answers, and its model merged."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from isheep.engines import Request
from isheep.export import Wanted, export
from isheep.models import Models
from isheep.recipe import locate
from isheep.seeds import load_seeds
from isheep.store.run import Run

LAST = 2
"""The iteration that is asked."""
LONGEST = 40

Tasks = Sequence[tuple[str, str]]


@pytest.fixture(scope="session")
def run(lamb_run: Path) -> Run:
    return Run.read(lamb_run)


@pytest.fixture(scope="session")
def tasks(run: Run) -> Tasks:
    """Instruction and input of seed tasks."""
    return [(seed.instruction, seed.input) for seed in load_seeds(locate(run.recipe.seeds.path))[:12]]


@pytest.fixture(scope="session")
def answers(run: Run, tasks: Tasks) -> list[list[int]]:
    """What the run's own engine answers greedily, without the stop token."""
    with Models(run.recipe) as models:
        model = models.out_of(run.iteration(LAST))
        stops = model.encoder.stop_ids
        asked = [Request(str(n), model.ask(*task), LONGEST, stops) for n, task in enumerate(tasks)]
        found = {one.id: list(one.tokens) for one in model.engine.generate(asked)}
        written = [found[request.id] for request in asked]
    # Of both kinds, so that both the answers and their ends are compared.
    assert len({tuple(one) for one in written}) > 3
    assert any(len(one) < LONGEST for one in written)
    return written


@pytest.fixture(scope="session")
def merged(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """In float32, as the run is."""
    folder = tmp_path_factory.mktemp("merged") / "model"
    export(run, folder, "merged", Wanted(LAST))
    return folder
