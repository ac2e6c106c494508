"""The way in as a new user goes it: ten tasks of one's own, `init`, `check`, a run; and `doctor`."""

from __future__ import annotations

import json
import os
import pty
import subprocess
from pathlib import Path

import pytest

from isheep.recipe import load_recipe
from tests.cli.conftest import ISHEEP, isheep, quiet

TASKS = """Nr;Question;Answer
1;Write the word lamp in capitals.;LAMP
2;Give the first letter of tent.;t
3;Name a word that means the opposite of far.;near
4;Give the last letter of drawer.;r
5;Write the word coat twice.;coat coat
6;Pick the larger one of 42 and 67.;67
7;What kind of thing is eagle?;bird
8;Write cook with a capital first letter.;Cook
9;Put a dash between pond and sword.;pond-sword
10;Spell the word cook letter by letter.;c o o k
"""
SMALL = ("iterations=1", "size=32", "train.steps=6", "evaluate.limit=10", "select.threshold=2")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.csv").write_text(TASKS)
    return tmp_path


def test_ten_tasks_of_ones_own_become_a_run(folder: Path) -> None:
    made = isheep("init", "--model", "lamb", "--seeds", "mine.csv", "--hardware", "cpu", "--to", "mine.yaml")
    assert made.returncode == 0, made.stderr
    looked = isheep("check", "mine.yaml")
    assert (looked.returncode, looked.stdout.splitlines()[-1]) == (0, "ready to run"), looked.stderr
    said = '10 tasks, CSV with semicolons: instruction from "Question", output from "Answer", no input'
    assert said in looked.stdout
    # How much memory is free changes meanwhile.
    lines = [line for line in looked.stdout.splitlines()[:-1] if not line.startswith("  memory")]
    assert lines == [line for line in made.stdout.splitlines() if not line.startswith("  memory")][: len(lines)]
    assert made.stdout.endswith("  isheep run mine.yaml --dir runs/mine\n")
    ran = isheep("run", "mine.yaml", *SMALL, "--dir", "runs/mine")
    assert ran.returncode == 0, ran.stderr
    document = json.loads(isheep("status", "runs/mine", "--json").stdout)
    assert (document["state"], document["iterations"][1]["kept"] > 0) == ("finished", True)
    assert json.loads((folder / "runs/mine/manifest.json").read_text())["seeds"]


def test_without_a_terminal_nothing_is_waited_for(folder: Path) -> None:
    ended = subprocess.run([ISHEEP, "init"], capture_output=True, text=True, stdin=subprocess.DEVNULL, env=quiet())
    assert ended.returncode == 2
    assert ended.stderr.startswith("--model, --seeds, --hardware: are not given, and there is no terminal to ask at.")
    assert not (folder / "my.yaml").exists()


def test_what_is_proposed_is_taken_where_that_is_said(folder: Path) -> None:
    ended = isheep("init", "--yes", "--hardware", "cpu")
    assert ended.returncode == 0, ended.stderr
    assert load_recipe("my.yaml") == load_recipe("lamb")


def test_at_a_terminal_three_questions_are_asked(folder: Path) -> None:
    ours, theirs = pty.openpty()
    os.write(ours, b"\nmine.csv\ncpu\n")
    ended = subprocess.run([ISHEEP, "init"], capture_output=True, text=True, stdin=theirs, env=quiet(), timeout=300)
    os.close(theirs)
    os.close(ours)
    assert ended.returncode == 0, ended.stderr
    assert [ended.stderr.count(word) for word in ("Base model: ", "Seed tasks: ", "Hardware: ")] == [1, 1, 1]
    assert "Base model" not in ended.stdout
    assert load_recipe("my.yaml").seeds.path == "mine.csv"


def test_doctor_prints_a_report_to_paste() -> None:
    ended = isheep("doctor")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.startswith("### isheep doctor\n\n- isheep: ")
    document = json.loads(isheep("doctor", "--json").stdout)
    assert set(document) == {"system", "gpus", "libraries", "features", "variables", "wrong"}
    assert [one["name"] for one in document["libraries"] if not one["fits"]] == []
