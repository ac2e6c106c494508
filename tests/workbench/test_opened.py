"""Run directories as the workbench opens them: named apart, read again when written to, refused when they are none."""

from __future__ import annotations

from pathlib import Path

import pytest

from isheep.errors import UserError
from isheep.recipe import load_recipe, overridden
from isheep.store.files import write_json
from isheep.store.run import Run
from isheep.store.under_way import PROGRESS
from isheep.workbench import views
from isheep.workbench.opened import Opened, open_all
from tests.workbench.conftest import MakeRun, instruction


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not a run"):
        open_all([tmp_path])
    with pytest.raises(UserError, match="is not there"):
        open_all([tmp_path / "nowhere"])


def test_names_are_as_short_as_they_can_be_told_apart_by(make_run: MakeRun) -> None:
    one, other, third = (make_run([], name=name) for name in ("x/run", "y/run", "alone"))
    assert list(open_all([one, other, third, one])) == ["x/run", "y/run", "alone"]


def test_the_status_follows_the_files(make_run: MakeRun) -> None:
    directory = make_run([instruction(0, "Name a bird.")])
    one = Opened("made", directory)
    assert (one.status()["state"], one.status()["iterations"][1]["instructions"]["made"]) == ("interrupted", 1)
    with Run.create_or_resume(directory, one.run.recipe) as owner:
        assert one.status()["state"] == "running"
        owner.iteration(1).table("instructions").append([instruction(1, "Name a fish.")])
        assert one.status()["iterations"][1]["instructions"]["made"] == 2
        owner.iteration(1).write_json("scores.json", {"bench": {"acc": {"value": 0.5, "low": 0.25, "high": 0.75}}})
        assert ".500 [.250, .750]" in views.progress([one])
        owner.note_command(["isheep", "run"])
        owner.note_end("failed", "<b>it broke</b>")
    assert one.status()["state"] == "failed"
    assert "&lt;b&gt;it broke" in views.progress([one])


def test_a_changed_recipe_is_read_again(make_run: MakeRun) -> None:
    directory = make_run([])
    one = Opened("made", directory)
    recipe = overridden(load_recipe("lamb", ["iterations=2"]), ["iterations=5"])
    with Run.create_or_resume(directory, recipe, accept_changes=True):
        pass
    assert one.run.recipe.iterations == 5


SOUND = {"what": "Synthesize 1", "done": 3, "total": 10, "rate": 1.5, "at": "2026-11-23T12:00:00+00:00"}


def test_a_bar_is_shown_while_the_run_runs(make_run: MakeRun) -> None:
    directory = make_run([])
    one = Opened("made", directory)
    write_json(directory / PROGRESS, SOUND)
    assert "Synthesize 1" not in views.progress([one])
    with Run.create_or_resume(directory, one.run.recipe):
        assert "Synthesize 1: 3 of 10, 1.5 a second" in views.progress([one])
        write_json(directory / PROGRESS, {**SOUND, "total": None, "rate": None})
        assert "3 of" not in views.progress([one])
        assert "Synthesize 1: 3" in views.progress([one])
        write_json(directory / PROGRESS, {**SOUND, "done": "<b>3</b>"})
        assert "Synthesize 1" not in views.progress([one])


def test_one_run_that_is_gone_hides_no_other(make_run: MakeRun) -> None:
    one, other = Opened("one", make_run([], name="one")), Opened("other", make_run([], name="other"))
    (one.directory / "recipe.yaml").unlink()
    page = views.progress([one, other])
    assert "is not a run" in page
    assert "interrupted" in page
