"""Who is to be told of a training is there, or the run is refused before anything is spent."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from isheep.check import Finding
from isheep.check.trackers import INSTALLED_BY, trackers_found
from isheep.errors import UserError
from isheep.recipe import Recipe, load_recipe
from tests.cli.conftest import isheep


def recipe(*names: str) -> Recipe:
    return load_recipe("lamb", [f"train.track=[{','.join(names)}]"])


def test_nobody_is_told_unless_asked_for() -> None:
    assert list(trackers_found(load_recipe("lamb"))) == []


@pytest.mark.parametrize("name", INSTALLED_BY)
def test_one_that_is_not_installed_is_refused_with_what_installs_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("tensorboard", "tensorboardX", "wandb", "mlflow", "trackio"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UserError) as caught:
        list(trackers_found(recipe(name)))
    assert (caught.value.where, caught.value.what) == ("train.track", f"{name} is not installed, or switched off.")
    assert caught.value.mend == f"Install it with `{INSTALLED_BY[name]}`, or take it out."


def test_tensorboard_keeps_to_the_run() -> None:
    assert list(trackers_found(recipe("tensorboard", "tensorboard"))) == [Finding("trackers", "tensorboard")]


def test_of_others_it_is_said_that_they_send(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "trackio.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    said, warned = trackers_found(recipe("trackio"))
    assert said == Finding("trackers", "trackio")
    assert warned.warning
    assert "sends them" in warned.found


def test_the_command_refuses_a_name_that_nobody_has(tmp_path: Path) -> None:
    ended = isheep("run", "lamb", "train.track=[tensorbord]", "--dir", tmp_path / "run")
    assert ended.returncode == 2
    assert "recipe lamb, train.track" in ended.stderr
    assert not (tmp_path / "run").exists()
