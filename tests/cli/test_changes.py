"""A changed recipe on a run that is there: the command goes on with what stays."""

from __future__ import annotations

import shutil
from pathlib import Path

from isheep.store.changes import FOLDER
from isheep.store.run import Run
from tests.cli.conftest import SMALL, Finished, isheep


def test_the_command_goes_on_with_the_change_and_keeps_what_it_can(finished: Finished, tmp_path: Path) -> None:
    directory = tmp_path / "run"
    shutil.copytree(finished(0), directory)
    words = ("run", *SMALL, "seed=0", "iterations=1", "select.cap=5", "--dir", directory)
    refused = isheep(*words)
    assert refused.returncode == 2
    assert "select.cap: 3000 -> 5" in refused.stderr
    assert "--accept-changes" in refused.stderr
    kept = (directory / "iteration-01" / "assessments" / "part-00000.parquet").stat().st_mtime_ns
    ended = isheep(*words, "--accept-changes")
    assert ended.returncode == 0, ended.stderr
    assert "Synthesize" not in ended.stderr
    assert "iteration 1, select: select.cap" in ended.stderr
    run = Run.read(directory)
    assert run.state() == "finished"
    assert sum(row.kept for row in run.iteration(1).table("selection").rows()) == 5
    assert (directory / "iteration-01" / "assessments" / "part-00000.parquet").stat().st_mtime_ns == kept
    assert (directory / f"{FOLDER}1" / "iteration-02" / "adapter").is_dir()
    assert [one.number for one in run.iterations()] == [0, 1]
    again = isheep(*words)
    assert again.returncode == 0, again.stderr
