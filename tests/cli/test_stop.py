"""The stop rule on a run that is made to degrade: chance judges, so that the model trains on anything."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import SMALL, isheep

METRIC = "lamb/prompt_level_strict_acc"
SPOILT = (
    *SMALL, "iterations=6", "train.steps=30", "assess.assessor=random", "stop.patience=1", f"stop.metric={METRIC}",
)  # fmt: skip


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The directory of the run, and what its command printed."""
    directory = tmp_path_factory.mktemp("spoilt") / "run"
    ended = isheep("run", *SPOILT, "--dir", directory)
    assert ended.returncode == 0, ended.stderr
    return directory, ended.stdout


def status_of(directory: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(isheep("status", directory, "--json").stdout)
    return document


def figures(document: dict[str, Any]) -> list[dict[str, float]]:
    benchmark, _, metric = METRIC.partition("/")
    return [row["scores"][benchmark][metric] for row in document["iterations"]]


def test_it_stops_when_the_metric_gains_nothing_and_names_the_best(stopped: tuple[Path, str]) -> None:
    document = status_of(stopped[0])
    found = figures(document)
    last = len(found) - 1
    assert document["state"] == "finished"
    assert document["stopped"]["iteration"] == last < 6
    # Every iteration but the last gained over the interval of the one before, and the last did not.
    gains = [now["value"] > before["high"] for before, now in pairwise(found)]
    assert gains == [True] * (last - 1) + [False]
    values = [one["value"] for one in found]
    assert document["best_iteration"] == values.index(max(values))
    assert document["stopped"]["why"].startswith(
        f"lamb prompt_level_strict_acc gained nothing over iteration {last - 1}'s"
    )
    done = json.loads((stopped[0] / "done.json").read_text(encoding="utf-8"))
    assert done["stopped"] == document["stopped"]
    assert done["best_iteration"] == document["best_iteration"]
    assert (stopped[0] / f"iteration-{last:02d}" / "done.json").is_file()
    assert not (stopped[0] / f"iteration-{last + 1:02d}").exists()


def test_the_table_and_the_report_say_it_in_a_sentence(stopped: tuple[Path, str]) -> None:
    directory, printed = stopped
    found = status_of(directory)["stopped"]
    sentence = f"The loop stopped after iteration {found['iteration']} of 6: {found['why']}"
    assert sentence in " ".join(printed.split())
    page = (directory / "report.html").read_text(encoding="utf-8")
    assert sentence.replace("'", "&#39;") in page
    assert f"finished, {found['iteration']} of 6 iterations begun" in page


def test_the_same_command_does_no_more_work(stopped: tuple[Path, str]) -> None:
    directory = stopped[0]
    before = {path: path.stat().st_mtime_ns for path in directory.glob("iteration-*/**/*") if path.name != "done.json"}
    again = isheep("run", *SPOILT, "--dir", directory)
    assert again.returncode == 0, again.stderr
    assert "Synthesize" not in again.stderr
    assert "Evaluate" not in again.stderr
    assert status_of(directory)["stopped"]["iteration"] == max(
        int(path.name.partition("-")[2]) for path in directory.glob("iteration-*")
    )
    after = {path: path.stat().st_mtime_ns for path in directory.glob("iteration-*/**/*") if path.name != "done.json"}
    assert after == before


def test_a_metric_that_the_benchmark_does_not_have_is_refused(tmp_path: Path) -> None:
    ended = isheep("run", *SMALL, "stop.metric=lamb/prompt_level_strict", "--dir", tmp_path / "run")
    assert ended.returncode == 2
    assert "has `lamb/prompt_level_strict`. Did you mean `lamb/prompt_level_strict_acc`?" in " ".join(
        ended.stderr.split()
    )
    assert not (tmp_path / "run").exists()


def test_every_iteration_is_examined_in_the_language_of_its_rules(stopped: tuple[Path, str]) -> None:
    for row in status_of(stopped[0])["iterations"][1:]:
        assert 0 < row["health"]["openings"] <= row["kept"]
        assert row["health"]["twins_within_share"] is not None
