"""The user's commands, as a user types them."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from isheep.lamb.benchmark import FILE
from isheep.prompts import bare
from isheep.store.run import Run
from tests.cli.conftest import ISHEEP, SMALL, Finished, isheep, quiet


def kept_ids(directory: Path) -> list[str]:
    return [row.id for one in Run.read(directory).iterations() for row in one.table("selection").rows() if row.kept]


def kept_texts(directory: Path) -> list[str]:
    lines = (directory / "iteration-01" / "training-set.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["messages"][0]["content"] for line in lines]


def status_of(directory: Path) -> dict[str, Any]:
    ended = isheep("status", directory, "--json")
    assert ended.returncode == 0, ended.stderr
    document: dict[str, Any] = json.loads(ended.stdout)
    return document


def test_made_is_dropped_plus_kept_at_every_stage(finished: Finished) -> None:
    document = status_of(finished(0))
    assert document["state"] == "finished"
    assert [row["iteration"] for row in document["iterations"]] == [0, 1, 2]
    for row in document["iterations"][1:]:
        made, answered = row["instructions"], row["responses"]
        assert made["made"] == sum(made["dropped"].values()) + answered["made"]
        assert answered["made"] == 96
        assert answered["made"] == sum(answered["dropped"].values()) + row["assessed"]
        assert row["assessed"] == sum(row["selection"]["dropped"].values()) + row["kept"]
        assert row["kept"] == row["train"]["examples"] > 0


def test_every_iteration_is_measured_by_the_same_path(finished: Finished) -> None:
    for row in status_of(finished(0))["iterations"]:
        metrics = row["scores"]["lamb"]
        assert list(metrics) == [
            "prompt_level_strict_acc",
            "inst_level_strict_acc",
            "prompt_level_loose_acc",
            "inst_level_loose_acc",
        ]
        assert all(figure["low"] <= figure["value"] <= figure["high"] for figure in metrics.values())
        assert metrics["prompt_level_strict_acc"]["n"] == 50


def test_the_same_seed_keeps_the_same_and_another_seed_others(finished: Finished) -> None:
    assert kept_ids(finished(0)) == kept_ids(finished(0, again=True))
    assert kept_texts(finished(0)) == kept_texts(finished(0, again=True))
    assert set(kept_texts(finished(0))) != set(kept_texts(finished(1)))
    assert set(kept_ids(finished(0))).isdisjoint(kept_ids(finished(1)))


def test_no_held_out_item_stands_in_a_training_set(finished: Finished) -> None:
    items = [json.loads(line) for line in FILE.read_text(encoding="utf-8").splitlines()]
    asked = {bare(item["instruction"], item["input"]) for item in items}
    for seed in (0, 1):
        assert asked.isdisjoint(kept_texts(finished(seed)))


def test_a_finished_run_is_left_as_it_is(finished: Finished) -> None:
    directory = finished(1)
    before = {path: path.stat().st_mtime_ns for path in directory.rglob("*.parquet")}
    ended = isheep("run", *SMALL, "seed=1", "--dir", directory)
    assert ended.returncode == 0
    assert "Synthesize" not in ended.stderr
    assert {path: path.stat().st_mtime_ns for path in directory.rglob("*.parquet")} == before
    commands = json.loads((directory / "manifest.json").read_text(encoding="utf-8"))["commands"]
    assert [command["outcome"] for command in commands[-2:]] == ["finished", "finished"]


def test_the_run_ends_with_its_table_and_the_path_of_its_report(finished: Finished) -> None:
    directory = finished(1)
    ended = isheep("run", *SMALL, "seed=1", "--dir", directory)
    assert "prompt level" in ended.stdout
    assert ended.stdout.splitlines()[-1] == f"report: {directory / 'report.html'}"
    assert (directory / "report.html").is_file()
    assert all(len(line) <= 100 for line in ended.stdout.splitlines()[:-1])


def test_a_changed_recipe_is_refused_with_the_difference(finished: Finished) -> None:
    ended = isheep("run", *SMALL, "seed=0", "select.threshold=5.5", "--dir", finished(0))
    assert ended.returncode == 2
    assert "select.threshold: " in ended.stderr
    assert "-> 5.5" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_records_are_found_by_what_became_of_them(finished: Finished) -> None:
    directory = finished(0)
    ended = isheep("records", directory, "--iteration", "1", "--kept", "--limit", "3", "--json")
    kept = json.loads(ended.stdout)
    assert len(kept) == 3
    assert all(record["kept"] and record["iteration"] == 1 for record in kept)
    ended = isheep("records", directory, "--dropped", "--reason", "threshold", "--json")
    dropped = json.loads(ended.stdout)
    counts = [row["selection"]["dropped"]["threshold"] for row in status_of(directory)["iterations"][1:]]
    assert len(dropped) == sum(counts)
    assert {record["dropped_by"] for record in dropped} == {"threshold"}
    shown = isheep("records", directory, "--limit", "2")
    assert shown.stdout.count("instruction ") == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--reason", "nonsense"], "no rule 'nonsense' dropped anything here"),
        (["--iteration", "9"], "has no records of iteration 9"),
        (["--kept", "--dropped"], "no record is both"),
    ],
)
def test_records_that_cannot_be_found(finished: Finished, words: list[str], message: str) -> None:
    ended = isheep("records", finished(0), *words)
    assert ended.returncode == 2
    assert message in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_second_owner_is_refused_and_ctrl_c_drains(tmp_path: Path) -> None:
    directory = tmp_path / "run"
    command = [ISHEEP, "run", *SMALL, "size=2000", "--dir", str(directory)]
    process = subprocess.Popen(command, env=quiet(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    parts = directory / "iteration-01" / "instructions"
    while not list(parts.glob("part-*.parquet")) and process.poll() is None:
        time.sleep(0.05)
    assert status_of(directory)["state"] == "running"
    second = isheep("run", *SMALL, "size=2000", "--dir", directory)
    assert second.returncode == 2
    assert str(process.pid) in second.stderr
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130, errors
    assert "The same command goes on from here." in errors
    assert "Traceback" not in errors
    document = status_of(directory)
    assert document["state"] == "interrupted"
    assert document["iterations"][1]["instructions"]["made"] > 0


def test_eval_measures_a_run_and_a_bare_model(finished: Finished) -> None:
    best = json.loads(isheep("eval", finished(0), "--limit", "20", "--json").stdout)
    (scores,) = best.values()
    assert scores["lamb"]["prompt_level_strict_acc"]["n"] == 20
    model = Path(str(status_of(finished(0))["recipe"]["model"]["path"]).replace("package:", "src/isheep/"))
    ended = isheep(
        "eval", model, "--benchmarks", "lamb", "--limit", "20", "evaluate.tasks=package:lamb/benchmark", "--json"
    )
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout)[str(model)]["lamb"]["prompt_level_strict_acc"]["n"] == 20
    assert isheep("eval", model).returncode == 2


def test_recipes_show_and_check_on_what_ships() -> None:
    listed = isheep("recipes").stdout.splitlines()
    assert listed[0] == "recipes: isheep run NAME --dir DIR"
    assert listed[1].split(maxsplit=1) == ["lamb", "the embedded base model aligns itself, in minutes"]
    assert "ablations, over any recipe: isheep run lamb NAME --dir DIR" in listed
    assert all(len(line) <= 100 for line in listed)
    shown = isheep("show", "lamb", "ablations/threshold-4", "baselines/self-instruct", "seed=7")
    assert "seed: 7" in shown.stdout
    assert "package:lamb/model" in shown.stdout
    assert "level: none" in shown.stdout
    assert "extends" not in isheep("show", "qwen1.5-7b").stdout
    assert "path: Qwen/Qwen1.5-7B" in isheep("show", "qwen1.5-7b").stdout
    assert isheep("show", "ablations/threshold-4").returncode == 2
    checked = isheep("check", "lamb")
    assert checked.returncode == 0, checked.stderr
    assert checked.stdout.splitlines()[-1] == "ready to run"


def test_a_wrong_command_line_is_one_message() -> None:
    for words in (["run", "lamb"], ["status"], ["no-such-command"], ["run", "lamb", "--nonsense", "--dir", "x"]):
        ended = isheep(*words)
        assert ended.returncode == 2, words
        assert "Traceback" not in ended.stderr
        assert ended.stderr.strip()


def test_the_python_interface_is_the_same_thing(finished: Finished) -> None:
    from isheep import Recipe, run

    found = Run.read(finished(1))
    assert isinstance(found.recipe, Recipe)
    assert run(found.recipe, found.directory).state() == "finished"
