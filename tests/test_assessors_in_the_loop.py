"""The whole loop with each kind of judge: who is named in the records, and what is trained on in the end."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from isheep.loop import run
from isheep.recipe import load_recipe
from isheep.store.files import write_json
from isheep.store.run import Run
from isheep.store.status import status

SMALL = (
    "iterations=1", "size=24", "train.steps=2", "train.warmup_steps=0", "engine.batch_size=16",
    "evaluate.benchmarks=[]", "evaluate.tasks=null", "select.threshold=0",
)  # fmt: skip


@pytest.fixture(scope="module")
def judge(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of another tokenizer than lamb's, with a context of 2,048 tokens."""
    folder = Path(shutil.copytree(tiny_model, tmp_path_factory.mktemp("judge") / "model"))
    config = json.loads((folder / "config.json").read_text())
    write_json(folder / "config.json", {**config, "max_position_embeddings": 2048})
    return folder


@pytest.mark.parametrize("kind", ["none", "random", "other"])
def test_a_run_with_this_judge_comes_to_its_end(kind: str, judge: Path, tmp_path: Path) -> None:
    settings = {
        "none": ["assess.level=none"],
        "random": ["assess.assessor=random", "assess.level=following"],
        "other": [f"assess.assessor={judge}"],
    }
    names = {"none": "none", "random": "random", "other": str(judge)}
    asked = {"none": (), "random": ("following",), "other": ("quality", "following")}
    run(load_recipe("lamb", [*SMALL, *settings[kind]]), tmp_path / "run")
    made = Run.read(tmp_path / "run")
    rows = made.iteration(1).table("assessments").rows()
    assert {(row.assessor, row.asked) for row in rows} == {(names[kind], asked[kind])}
    document = status(made)["iterations"][1]
    assert document["assessed"] == len(rows) == document["kept"]
    assert document["unparsed"] == (0 if kind != "other" else document["health"]["unparsed"])
    assert document["health"]["unparsed_share"] == (None if kind == "none" else document["unparsed"] / len(rows))
    for question in ("quality", "following"):
        assert any(document["health"]["scores"][question]["histogram"]) == (question in asked[kind])
