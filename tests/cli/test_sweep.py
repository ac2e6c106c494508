"""A sweep on lamb: what is equal is made once, a finished sweep does nothing more, and a stopped one goes on."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from isheep.store.lock import is_held
from isheep.store.plan import NOTES, STAGES
from isheep.store.run import Run
from tests.cli.conftest import ISHEEP, isheep, quiet
from tests.cli.test_kill import everything

THRESHOLDS = (0, 1, 2, 3, 4)
CELLS = [f"threshold-{threshold}" for threshold in THRESHOLDS]
OVER = ("--over", f"select.threshold={','.join(map(str, THRESHOLDS))}")
SMALL = ("lamb", "iterations=2", "size=32", "train.steps=4", "train.warmup_steps=0", "evaluate.limit=20")
COMMAND = ("sweep", *SMALL, "engine.batch_size=16", *OVER)
SHARED = ("synthesize", "respond", "assess")


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished sweep over five thresholds."""
    directory = tmp_path_factory.mktemp("sweeps") / "undisturbed"
    ended = isheep(*COMMAND, "--dir", directory)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines()[:5] == [str(directory / cell) for cell in CELLS]
    return directory


def notes(directory: Path) -> dict[tuple[int, str], list[dict[str, Any]]]:
    """(iteration, stage) -> what each run of the sweep notes of it."""
    found: dict[tuple[int, str], list[dict[str, Any]]] = {}
    for cell in CELLS:
        for iteration in Run.read(directory / cell).iterations():
            for stage, note in json.loads((iteration.path / NOTES).read_text()).items():
                found.setdefault((iteration.number, stage), []).append(note)
    return found


def made(found: list[dict[str, Any]]) -> int:
    return sum(note["from"] is None for note in found)


def files(directory: Path) -> dict[Path, tuple[int, int]]:
    return {
        path: (path.stat().st_ino, path.stat().st_mtime_ns)
        for path in directory.rglob("*")
        if path.is_file() and path.name != "sweep.json"
    }


def test_five_thresholds_synthesize_answer_and_assess_iteration_1_once(swept: Path) -> None:
    found = notes(swept)
    assert {key: len(found[key]) for key in found} == {
        (0, "evaluate"): 5, (0, "embed"): 5,
        **{(number, stage): 5 for number in (1, 2) for stage in STAGES if stage != "draw"},
    }  # fmt: skip
    assert made(found[0, "evaluate"]) == 1
    for stage, table in zip(SHARED, ("instructions", "responses", "assessments"), strict=True):
        assert made(found[1, stage]) == 1
        folders = [swept / cell / "iteration-01" / table for cell in CELLS]
        assert len({tuple(ids(folder)) for folder in folders}) == 1
        for part in folders[0].glob("part-*.parquet"):
            assert part.stat().st_nlink == 5
            assert all(part.samefile(folder / part.name) for folder in folders)


def ids(folder: Path) -> list[str]:
    return Run.read(folder.parents[1]).iteration(1).table(folder.name).columns("id")["id"]


def test_every_stage_of_a_key_is_made_once_in_every_iteration(swept: Path) -> None:
    for (number, stage), found in notes(swept).items():
        assert made(found) == len({note["key"] for note in found}), (number, stage)
        makers = Counter(note["key"] for note in found if note["from"] is None)
        assert set(makers.values()) == {1}


def test_runs_that_kept_the_same_share_the_training_and_all_after_it(swept: Path) -> None:
    found = notes(swept)
    sets = {(swept / cell / "iteration-01" / "training-set.jsonl").read_text(encoding="utf-8") for cell in CELLS}
    assert made(found[1, "train"]) == made(found[1, "evaluate"]) == made(found[2, "synthesize"]) == len(sets)
    assert made(found[1, "select"]) == 5
    # Every pair has a score of at least 1, so that two of these thresholds keep the same.
    assert len(sets) < 5


def test_a_linked_stage_is_the_one_that_the_run_would_have_made(swept: Path, tmp_path: Path) -> None:
    last = CELLS[-1]
    assert Run.read(swept / last).state() == "finished"
    alone = tmp_path / "alone"
    ended = isheep("run", *SMALL, "engine.batch_size=16", f"select.threshold={THRESHOLDS[-1]}", "--dir", alone)
    assert ended.returncode == 0, ended.stderr
    assert everything(alone) == everything(swept / last)


def test_a_finished_sweep_does_nothing_more(swept: Path) -> None:
    before = files(swept)
    ended = isheep(*COMMAND, "--dir", swept)
    assert ended.returncode == 0, ended.stderr
    assert "Run " not in ended.stderr
    assert files(swept) == before


def test_a_sweep_is_compared_as_its_runs(swept: Path) -> None:
    ended = isheep("compare", swept, "--json")
    assert ended.returncode == 0, ended.stderr
    document = json.loads(ended.stdout)
    assert document["settings"] == {"select.threshold": list(map(float, THRESHOLDS))}
    assert [row["name"] for row in document["runs"]] == [f"threshold={threshold}" for threshold in THRESHOLDS]
    assert len(document["differences"]) == 2 * 10
    shown = isheep("compare", swept)
    assert "The runs differ in select.threshold." in shown.stdout


def held(directory: Path) -> list[str]:
    return [cell for cell in CELLS if is_held(directory / cell / "lock")]


def begun(directory: Path, process: subprocess.Popen[str], count: int) -> None:
    """Waits until so many runs are under way at the same time."""
    while len(held(directory)) < count and process.poll() is None:
        time.sleep(0.02)
    assert process.poll() is None, process.communicate()


def test_a_sweep_of_two_processes_is_stopped_and_killed_and_ends_as_one_left_alone(swept: Path, tmp_path: Path) -> None:
    directory = tmp_path / "sweep"
    command = [ISHEEP, *COMMAND, "--jobs", "2", "--dir", str(directory)]

    def start() -> subprocess.Popen[str]:
        return subprocess.Popen(command, env=quiet(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    process = start()
    begun(directory, process, 2)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 130, errors
    assert "The same command goes on from here." in errors
    assert "Traceback" not in errors
    assert held(directory) == []

    process = start()
    begun(directory, process, 2)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    deadline = time.monotonic() + 300
    while held(directory) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert held(directory) == [], "the other process outlives the one that started it"

    ended = subprocess.run(command, env=quiet(), capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    for cell in CELLS:
        assert everything(directory / cell) == everything(swept / cell), cell
    for (number, stage), found in notes(directory).items():
        assert made(found) == len({note["key"] for note in found}), (number, stage)


def test_a_run_that_stops_does_not_keep_the_others_from_their_end(tmp_path: Path) -> None:
    directory = tmp_path / "sweep"
    # So few requests are enough for eight instructions, and not for three thousand.
    settings = ("iterations=1", "synthesize.patience=0.01", "select.filters=[cap]")
    ended = isheep("sweep", *SMALL, *settings, "--over", "size=3000,8", "--dir", directory)
    assert ended.returncode == 3, ended.stderr
    assert f"{directory}: 1 of 2 runs stopped:\n  size-3000: iteration 1: " in ended.stderr
    assert "Traceback" not in ended.stderr
    assert Run.read(directory / "size-8").state() == "finished"
    assert Run.read(directory / "size-3000").state() == "failed"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--over", "select.threshold=8,80"], "select.threshold: cannot be 80."),
        (["--over", "select.threshold"], "is not KEY=VALUE,VALUE."),
        ([], "nothing is varied."),
        (["--seeds", "0"], "--seeds"),
    ],
)
def test_a_wrong_sweep_is_one_message(tmp_path: Path, words: list[str], message: str) -> None:
    ended = isheep("sweep", "lamb", *words, "--dir", tmp_path / "sweep")
    assert ended.returncode == 2
    assert message in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not (tmp_path / "sweep").exists()
