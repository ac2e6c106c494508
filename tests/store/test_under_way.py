"""progress.json: what a run's process is at, for who looks on; nothing depends on it."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from isheep.progress import Progress
from isheep.recipe import Recipe, parse_recipe
from isheep.store.run import Run
from isheep.store.under_way import PROGRESS, note_progress, progress_of, reached

HALF = Progress("Synthesize 1", 20, 40, 2.5)
DOCUMENT = {"what": "Synthesize 1", "done": 20, "total": 40, "rate": 2.5, "at": "2026-01-01T00:00:00+00:00"}


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    return parse_recipe({"model": {"path": str(tmp_path / "model")}}, "test")


def test_it_is_read_while_a_process_holds_the_run(tmp_path: Path, recipe: Recipe) -> None:
    with Run.create_or_resume(tmp_path, recipe) as run:
        assert progress_of(Run.read(tmp_path)) is None, "nothing is under way yet"
        note_progress(run.directory, HALF)
        found = progress_of(Run.read(tmp_path))
    assert found is not None
    assert list(found) == ["what", "done", "total", "rate", "at"]
    assert reached(found) == HALF
    assert abs((datetime.now(UTC) - datetime.fromisoformat(found["at"])).total_seconds()) < 60
    assert progress_of(Run.read(tmp_path)) is None, "nobody is at it any more"


def test_it_is_whole_or_not_there(tmp_path: Path) -> None:
    note_progress(tmp_path, HALF)
    before = (tmp_path / PROGRESS).stat().st_ino
    note_progress(tmp_path, Progress("Assess 1", 0, None, None))
    assert (tmp_path / PROGRESS).stat().st_ino != before, "renamed into its place"
    assert os.listdir(tmp_path) == [PROGRESS]  # noqa: PTH208  # names alone
    assert json.loads((tmp_path / PROGRESS).read_text())["total"] is None


def test_where_it_cannot_be_written_nothing_happens(tmp_path: Path) -> None:
    note_progress(tmp_path / "gone", HALF)
    (tmp_path / PROGRESS).mkdir()
    note_progress(tmp_path, HALF)
    assert (tmp_path / PROGRESS).is_dir()


def test_a_name_that_is_no_text_is_kept_as_text(tmp_path: Path) -> None:
    note_progress(tmp_path, Progress("Judge \ud800", 0, None, None))
    assert json.loads((tmp_path / PROGRESS).read_bytes())["what"] == "Judge \ufffd"


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{" * 100_000,
        json.dumps({**DOCUMENT, "more": 1}),
        *(
            json.dumps({**DOCUMENT, key: value})
            for key, value in (
                ("what", 1),
                ("done", -1),
                ("done", None),
                ("done", True),
                ("done", 10**400),
                ("total", 4.5),
                ("rate", float("nan")),
                ("rate", float("inf")),
                ("rate", 1e-300),
                ("rate", 10**400),
                ("rate", "2"),
                ("at", None),
            )
        ),
    ],
)
def test_what_nobody_of_ours_wrote_is_not_shown(tmp_path: Path, recipe: Recipe, content: str) -> None:
    with Run.create_or_resume(tmp_path, recipe):
        (tmp_path / PROGRESS).write_text(json.dumps(DOCUMENT))
        assert progress_of(Run.read(tmp_path)) == DOCUMENT
        (tmp_path / PROGRESS).write_text(content)
        assert progress_of(Run.read(tmp_path)) is None


def test_a_run_goes_on_whatever_it_says(tmp_path: Path, recipe: Recipe) -> None:
    Run.create_or_resume(tmp_path, recipe).release()
    for damaged in (b"\xff", b""):
        (tmp_path / PROGRESS).write_bytes(damaged)
        with Run.create_or_resume(tmp_path, recipe) as run:
            assert run.state() == "running"
