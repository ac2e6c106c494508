"""Filters that leave nothing stop the run; it goes on once a changed setting is accepted."""

from __future__ import annotations

import json
from pathlib import Path

from isheep.store.run import Run
from tests.cli.conftest import isheep

SMALL = (
    "run", "lamb", "iterations=1", "size=32", "train.steps=2", "train.warmup_steps=0", "evaluate.benchmarks=[]",
    "engine.batch_size=32", "stop.patience=null",
)  # fmt: skip
MANY = ("select.filters=[density,perplexity,cap]", "select.density.clusters=8", "select.perplexity.limit=1e30")


def test_nothing_kept_then_filters_that_keep_some(tmp_path: Path) -> None:
    directory = tmp_path / "run"
    stopped = isheep(*SMALL, "select.threshold=9.99", "--dir", directory)
    assert stopped.returncode == 3
    assert "iteration 1 kept nothing to train on (" in stopped.stderr
    assert "--accept-changes" in stopped.stderr
    assert "The same command goes on from here." not in stopped.stderr
    iteration = directory / "iteration-01"
    assert "! iteration 1, nothing_kept: nothing was kept" in stopped.stderr
    assert "nothing_kept" in json.loads((iteration / "health.json").read_text(encoding="utf-8"))["alarms"]
    assert "nothing_kept" in isheep("status", directory).stdout
    before = {file.name: file.stat().st_mtime_ns for file in (iteration / "assessments").iterdir()}

    refused = isheep(*SMALL, *MANY, "--dir", directory)
    assert (refused.returncode, "--accept-changes" in refused.stderr) == (2, True)

    ended = isheep(*SMALL, *MANY, "--accept-changes", "--dir", directory)
    assert ended.returncode == 0, ended.stderr
    assert {file.name: file.stat().st_mtime_ns for file in (iteration / "assessments").iterdir()} == before
    rows = Run.read(directory).iteration(1).table("selection").rows()
    assert sorted(row.cluster for row in rows if row.kept and row.cluster is not None) == list(range(8))
    assert all(row.ppl_pair and row.ppl_pair > 1 for row in rows)
    lines = (iteration / "training-set.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["id"] for line in lines] == [row.id for row in rows if row.kept]
