"""What a recipe and the user's wishes become."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from isheep.check import check
from isheep.errors import UserError
from isheep.estimate import estimate, hardware
from isheep.recipe import load_recipe
from isheep.store.run import LOG, SCRIPT, Run
from isheep.submit import Wishes, prepare
from isheep.submit.resources import CPUS, CPUS_PER_GPU, LIBRARIES, SHORTEST_S, Resources, resources_of
from isheep.submit.script import Job

HOUR = Wishes(time="01:00:00")


def job_of(*words: str, wishes: Wishes = HOUR, directory: Path = Path("run"), accept: bool = False) -> Job:
    recipe = load_recipe("lamb", words)
    return prepare(recipe, ["lamb", *words], directory, wishes, accept)[0]


def needed(*settings: str, kind: str | None = None, per_node: int | None = None) -> Resources:
    return resources_of(load_recipe("lamb", settings), kind, per_node)


def test_the_command_is_the_runs_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    job = job_of("size=40")
    assert job.command == [
        sys.executable, "-P", "-m", "isheep", "run", "--dir", str(tmp_path / "run"), "--", "lamb", "size=40",
    ]  # fmt: skip
    assert job.folder == tmp_path
    assert not (tmp_path / "run").exists()
    assert "--accept-changes" in job_of(accept=True).command


def test_lamb_asks_for_no_gpu_and_another_device_for_one() -> None:
    assert (needed().gpus, needed().cpus) == (0, 2)
    assert needed("engine.threads=null").cpus == CPUS
    assert (needed("engine.device=auto").gpus, needed("engine.device=auto").cpus) == (1, CPUS_PER_GPU)
    assert needed("engine.device=auto", "engine=vllm", "engine.vllm.tensor_parallel=4").gpus == 4


def test_memory_and_time_are_the_estimates() -> None:
    recipe = load_recipe("lamb", ["engine.device=auto", "model.dtype=bfloat16"])
    found = estimate(recipe, hardware("h100", 1))
    asked = resources_of(recipe, "h100")
    assert found.seconds is not None
    assert asked.seconds is not None
    assert asked.memory == found.host_memory + LIBRARIES
    assert 1.5 * found.seconds <= max(asked.seconds, SHORTEST_S + 1) <= max(1.5 * found.seconds + 60, SHORTEST_S + 1)
    assert needed().seconds is None, "of a CPU no data sheet tells"


def test_workers_share_nodes() -> None:
    workers = ("engine.device=auto", "engine=vllm", "engine.vllm.tensor_parallel=4", "engine.workers=6")
    of_eight, of_four = needed(*workers), needed(*workers, per_node=4)
    assert (of_eight.nodes, of_eight.gpus) == (3, 8)
    assert (of_four.nodes, of_four.gpus) == (6, 4)
    assert needed("engine.workers=3", "engine.ray.cpus=4").cpus == 13
    assert needed("train.launch=ddp", "train.processes=2", "train.nodes=2").nodes == 2


def test_wishes_count_more_than_the_recipe() -> None:
    wishes = replace(HOUR, gpus=3, time="2-01:00:01", partition="gpu", account="me", options=["--mem=0", "exclusive"])
    job = job_of(wishes=wishes)
    assert (job.resources.gpus, job.resources.seconds) == (3, 176_401)
    assert job.options == {"mem": "0", "exclusive": None, "partition": "gpu", "account": "me"}


def test_ray_asks_for_no_time() -> None:
    assert job_of(wishes=Wishes(to="ray")).resources.seconds is None


def test_what_this_machine_lacks_is_no_reason_to_refuse() -> None:
    """A machine from which jobs are submitted has no GPU, and reaches no server that a job starts."""
    words = ("engine.device=cuda:77",)
    with pytest.raises(UserError):
        check(load_recipe("lamb", words))
    assert job_of(*words).resources.gpus == 1
    assert job_of("engine=openai", "engine.server.url=http://127.0.0.1:9/v1").command


def test_what_check_finds_is_found_first() -> None:
    with pytest.raises(UserError, match=r"synthesize\.shots"):
        job_of("synthesize.shots=1000")


def test_a_directory_that_only_waits_for_the_cluster_is_not_foreign(tmp_path: Path) -> None:
    for name in (SCRIPT, LOG):
        (tmp_path / name).touch()
    Run.create_or_resume(tmp_path, load_recipe("lamb")).release()
    assert {SCRIPT, LOG} <= {path.name for path in tmp_path.iterdir()}
