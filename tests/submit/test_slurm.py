"""The jobs on a real slurmctld and slurmd: they finish, come back when stopped or preempted, and end when told to."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from isheep.store.run import LOG, SCRIPT
from isheep.submit import script_of
from isheep.submit.resources import Resources
from isheep.submit.script import Job
from tests.cli.test_kill import everything
from tests.submit.conftest import Slurm

SMALL = ("lamb", "iterations=1", "size=32", "train.steps=8", "evaluate.limit=10", "engine.batch_size=8")

Submit = Callable[..., str]


def isheep(slurm: Slurm | None, *words: str | Path) -> subprocess.CompletedProcess[str]:
    """The command, as the environment of the job will find it, too."""
    environment = slurm.environment if slurm else dict(os.environ)
    quiet = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "COLUMNS": "400"}
    return subprocess.run(
        [sys.executable, "-P", "-m", "isheep", *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
        env=environment | quiet,
    )


def submitted(slurm: Slurm, directory: Path, *words: str) -> str:
    """The job of a small run."""
    ended = isheep(slurm, "submit", *SMALL, *words, "--dir", directory, "--time", "01:00:00")
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.split()[1].rstrip(":")


def handed_over(slurm: Slurm, job: Job) -> str:
    """The job of a command of one's own."""
    job.directory.mkdir(parents=True, exist_ok=True)
    file = job.directory / SCRIPT
    file.write_text(script_of(job, "slurm"))
    return slurm.ask("sbatch", "--parsable", file).strip()


def simple(folder: Path, *command: str) -> Job:
    return Job(list(command), folder / "job", folder, Resources(1, 0, 1, 2**28, 3600))


def status_of(directory: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(isheep(None, "status", directory, "--json").stdout)
    return document


def wait_until_under_way(slurm: Slurm, job: str, directory: Path, folder: str) -> None:
    """Until records of a stage are written, so that there is something to lose."""
    deadline = time.monotonic() + 240
    while not list(directory.glob(f"{folder}/part-*")):
        assert time.monotonic() < deadline
        assert slurm.state(job) in ("PENDING", "RUNNING"), (directory / LOG).read_text()
        time.sleep(0.05)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a run without a cluster has to show."""
    directory = tmp_path_factory.mktemp("alone") / "run"
    ended = isheep(None, "run", *SMALL, "--dir", directory)
    assert ended.returncode == 0, ended.stderr
    return everything(directory)


def test_slurm_takes_the_script_with_gpus_on_two_nodes(slurm: Slurm, tmp_path: Path) -> None:
    job = replace(
        simple(tmp_path, "true"),
        resources=Resources(2, 2, 2, 2**30, 100_020),
        options={"comment": 'a "b" \\ c', "partition": "main"},
        ray=True,
    )
    file = tmp_path / "submit.sh"
    file.write_text(script_of(job, "slurm"))
    slurm.ask("sbatch", "--test-only", file)
    held = slurm.ask("sbatch", "--parsable", "--hold", file).strip()
    assert slurm.field(held, "TimeLimit") == "1-03:47:00"
    assert slurm.field(held, "MinMemoryNode") == "1G"
    assert slurm.field(held, "Requeue") == "1"
    assert slurm.field(held, "NumNodes") == "2-2"
    assert slurm.field(held, "TresPerNode") == "gres:gpu:2"
    assert 'Comment=a "b" \\ c' in slurm.ask("scontrol", "--oneliner", "show", "job", held)
    slurm.ask("scancel", held)


def test_a_run_finishes_in_a_directory_of_any_name(slurm: Slurm, tmp_path: Path, undisturbed: dict[str, Any]) -> None:
    directory = tmp_path / 'it\'s a $(touch x) % %j "#" `y` ö'
    job = submitted(slurm, directory)
    second = isheep(slurm, "submit", *SMALL, "--dir", directory, "--time", "01:00:00")
    assert second.returncode == 2
    assert f"job {job} (" in second.stderr
    assert slurm.wait_for(job, "COMPLETED", "FAILED") == "COMPLETED", (directory / LOG).read_text()
    assert status_of(directory)["state"] == "finished"
    assert everything(directory) == undisturbed
    assert "Evaluate iteration-1" in (directory / LOG).read_text()
    assert not (tmp_path / "x").exists()


def test_a_job_whose_time_is_up_drains_and_comes_back(
    slurm: Slurm, tmp_path: Path, undisturbed: dict[str, Any]
) -> None:
    """What Slurm does at `--signal`, done at once: the batch shell alone gets it."""
    directory = tmp_path / "run"
    job = submitted(slurm, directory)
    wait_until_under_way(slurm, job, directory, "iteration-01/instructions")
    slurm.ask("scancel", "--batch", "--signal=TERM", job)
    slurm.wait_for(job, "PENDING")
    assert status_of(directory)["state"] == "interrupted"
    wait_until_under_way(slurm, job, directory, "iteration-01/responses")
    slurm.ask("scancel", "--batch", "--signal=TERM", job)
    assert slurm.wait_for(job, "COMPLETED", "FAILED") == "COMPLETED", (directory / LOG).read_text()
    assert slurm.field(job, "Restarts") == "2"
    assert [ended["outcome"] for ended in commands(directory)] == ["interrupted", "interrupted", "finished"]
    assert everything(directory) == undisturbed


def test_a_preempted_job_makes_room_and_comes_back(slurm: Slurm, tmp_path: Path, undisturbed: dict[str, Any]) -> None:
    """Slurm's own preemption: TERM, then a minute of grace, which the drain does not need."""
    directory = tmp_path / "run"
    job = submitted(slurm, directory)
    wait_until_under_way(slurm, job, directory, "iteration-01/instructions")
    wants_all = ["--partition=urgent", "--nodes=2", "--ntasks-per-node=2", f"--output={tmp_path}/urgent.log"]
    urgent = slurm.ask("sbatch", "--parsable", *wants_all, "--wrap=sleep 1").strip()
    slurm.wait_for(urgent, "COMPLETED")
    assert slurm.wait_for(job, "COMPLETED", "FAILED") == "COMPLETED", (directory / LOG).read_text()
    assert slurm.field(job, "Restarts") == "1"
    assert [ended["outcome"] for ended in commands(directory)] == ["interrupted", "finished"]
    assert everything(directory) == undisturbed


def test_a_job_that_slurm_requeues_comes_back_once(slurm: Slurm, tmp_path: Path, undisturbed: dict[str, Any]) -> None:
    """Every process of the job is signalled, and the shell passes its signal on: still one wish to stop."""
    directory = tmp_path / "run"
    job = submitted(slurm, directory)
    wait_until_under_way(slurm, job, directory, "iteration-01/instructions")
    slurm.ask("scontrol", "requeue", job)
    assert slurm.wait_for(job, "COMPLETED", "FAILED") == "COMPLETED", (directory / LOG).read_text()
    assert slurm.field(job, "Restarts") == "1"
    assert [ended["outcome"] for ended in commands(directory)] == ["interrupted", "finished"]
    assert everything(directory) == undisturbed


def test_a_job_that_is_cancelled_stays_away(slurm: Slurm, tmp_path: Path) -> None:
    directory = tmp_path / "run"
    job = submitted(slurm, directory)
    wait_until_under_way(slurm, job, directory, "iteration-01/instructions")
    slurm.ask("scancel", job)
    assert slurm.wait_for(job, "CANCELLED", "PENDING", "FAILED") == "CANCELLED"
    assert slurm.field(job, "Restarts") == "0"
    assert status_of(directory)["state"] == "interrupted"
    assert commands(directory)[-1]["outcome"] == "interrupted"


def commands(directory: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((directory / "manifest.json").read_text(encoding="utf-8"))["commands"]
    return found


@pytest.mark.parametrize(
    ("code", "starts", "ends"), [(0, 1, "COMPLETED"), (1, 1, "FAILED"), (2, 1, "FAILED"), (3, 6, "FAILED")]
)
def test_what_comes_back_after_an_exit_code(slurm: Slurm, tmp_path: Path, code: int, starts: int, ends: str) -> None:
    counted = tmp_path / "starts"
    job = handed_over(slurm, simple(tmp_path, "bash", "-c", 'echo x >> "$0"; exit "$1"', str(counted), str(code)))
    slurm.wait_for(job, ends)
    assert counted.read_text().count("x") == starts


def test_what_does_not_drain_is_killed_before_slurm_ends_the_job(slurm: Slurm, tmp_path: Path) -> None:
    """The first start hears nothing; its notice is short, and so is what it has left after it."""
    script = 'trap "" TERM; [[ -e $0 ]] && exit 0; touch "$0"; while true; do sleep 0.2; done'
    begun = tmp_path / "begun"
    job = replace(simple(tmp_path, "bash", "-c", script, str(begun)), resources=Resources(1, 0, 1, 2**28, 50))
    assert job.notice == 10
    number = handed_over(slurm, replace(job, options={"time": "01:00:00"}))
    deadline = time.monotonic() + 60
    while not begun.exists():
        assert time.monotonic() < deadline
        time.sleep(0.1)
    slurm.ask("scancel", "--batch", "--signal=TERM", number)
    slurm.wait_for(number, "COMPLETED", timeout=60)
    assert slurm.field(number, "Restarts") == "1"
    assert "ended with exit code 137 and goes back" in (job.directory / LOG).read_text()


RAY_PROGRAM = """
import sys, ray
ray.init(logging_level="error")
nodes = [node for node in ray.nodes() if node["Alive"]]
print("nodes", len(nodes), "cpus", ray.cluster_resources()["CPU"], flush=True)
"""


@pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed")
def test_two_nodes_are_one_ray_cluster_and_nothing_is_left_of_it(slurm: Slurm, tmp_path: Path) -> None:
    job = replace(
        simple(tmp_path, sys.executable, "-P", "-c", RAY_PROGRAM),
        resources=Resources(2, 0, 1, 2**32, 3600),
        ray=True,
    )
    number = handed_over(slurm, job)
    assert slurm.wait_for(number, "COMPLETED", "FAILED") == "COMPLETED", (job.directory / LOG).read_text()
    said = (job.directory / LOG).read_text()
    assert "nodes 2 cpus 2.0" in said
    assert not Path(f"/tmp/ray-{number}").exists()  # noqa: S108  # looked for, not made
    processes = subprocess.run(["pgrep", "-f", f"ray-{number}/"], capture_output=True, text=True, check=False).stdout
    assert processes == ""


@pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed")
def test_a_run_works_and_trains_on_two_nodes(slurm: Slurm, tmp_path: Path, undisturbed: dict[str, Any]) -> None:
    """Workers on both, then a process of the training on both, started by srun beside them."""
    directory = tmp_path / "run"
    training = ("train.launch=ddp", "train.processes=1", "train.nodes=2")
    job = submitted(slurm, directory, "engine.workers=2", *training, "--option", "cpus-per-task=1")
    assert slurm.wait_for(job, "COMPLETED", "FAILED") == "COMPLETED", (directory / LOG).read_text()
    found = everything(directory)
    for table in ("instructions", "responses", "assessments", "selection"):
        assert found[f"1/{table}"] == undisturbed[f"1/{table}"]
    trained = json.loads((directory / "iteration-01" / "train.json").read_text())
    assert trained["steps"] == 8


def test_what_slurm_refuses_is_told(slurm: Slurm, tmp_path: Path) -> None:
    words = ("submit", *SMALL, "--dir", tmp_path / "run", "--time", "01:00:00")
    ended = isheep(slurm, *words, "--partition", "nowhere")
    assert ended.returncode == 2
    assert "sbatch: refused the job: " in ended.stderr
    assert "invalid partition" in ended.stderr.lower()


def test_without_slurm_the_script_is_still_to_be_had(tmp_path: Path) -> None:
    words = ("submit", *SMALL, "--dir", tmp_path / "run", "--time", "01:00:00")
    shown = isheep(None, *words, "--dry-run")
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.startswith("#!/bin/bash\n")
    assert not (tmp_path / "run").exists()
    if shutil.which("sbatch") is None:
        refused = isheep(None, *words)
        assert refused.returncode == 2
        assert "there is none on this machine" in refused.stderr
        assert not (tmp_path / "run").exists()
