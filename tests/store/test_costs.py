"""What each stage cost, read from notes of any age and kind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from isheep.recipe import parse_recipe
from isheep.store.costs import costs
from isheep.store.plan import NOTES
from isheep.store.run import Run
from isheep.store.status import status

UNKNOWN = {"seconds": None, "tokens": {"read": None, "written": None}, "joules": None}


@pytest.fixture
def run(tmp_path: Path) -> Run:
    recipe = parse_recipe({"model": {"path": str(tmp_path / "model")}}, "test")
    return Run.create_or_resume(tmp_path / "run", recipe)


def test_a_row_for_every_stage_in_the_order_of_the_work(run: Run) -> None:
    spent: dict[str, Any] = {"seconds": 2.5, "tokens": {"read": 10, "written": 4}, "joules": None}
    run.iteration(1).write_json(
        NOTES,
        {
            "respond": {"key": "k", "from": None, "inputs": {}},
            "synthesize": {"key": "k", "from": None, "inputs": {}, **spent, "outputs": {}},
            "assess": {"key": "k", "from": "threshold-4", "inputs": {}},
        },
    )
    run.iteration(0).write_json(NOTES, {"evaluate": {**spent, "joules": 7.5, "from": None}})
    assert costs(run) == [
        {"iteration": 0, "stage": "evaluate", **spent, "joules": 7.5, "from": None},
        {"iteration": 1, "stage": "synthesize", **spent, "from": None},
        {"iteration": 1, "stage": "respond", **UNKNOWN, "from": None},
        {"iteration": 1, "stage": "assess", **UNKNOWN, "from": "threshold-4"},
    ]
    document = status(run)["iterations"]
    assert document[0]["cost"] == {"evaluate": {**spent, "joules": 7.5, "from": None}}
    assert list(document[1]["cost"]) == ["synthesize", "respond", "assess"]


@pytest.mark.parametrize("content", ["", "[]", '{"train": []}', '{"of a later version": {"seconds": 1}}'])
def test_notes_that_say_nothing(run: Run, content: str) -> None:
    run.iteration(1).path.mkdir()
    (run.iteration(1).path / NOTES).write_text(content)
    assert costs(run) == []


def test_a_run_without_notes(run: Run) -> None:
    assert costs(run) == []
