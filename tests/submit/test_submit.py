"""What a recipe and the user's wishes become."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from isheep.check import check
from isheep.check.model import checkpoint_of
from isheep.errors import UserError
from isheep.recipe import load_recipe
from isheep.store.run import LOG, SCRIPT, Run
from isheep.submit import Wishes, prepare
from isheep.submit.resources import CPUS, CPUS_PER_GPU, LIBRARIES, Resources, resources_of
from isheep.submit.script import Job

HOUR = Wishes(time="01:00:00")


def job_of(*words: str, wishes: Wishes = HOUR, directory: Path = Path("run"), accept: bool = False) -> Job:
    recipe = load_recipe("lamb", words)
    return prepare(recipe, ["lamb", *words], directory, wishes, accept)[0]


def needed(*settings: str) -> Resources:
    recipe = load_recipe("lamb", settings)
    return resources_of(recipe, checkpoint_of("model.path", recipe.model.path))


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
    assert needed("engine.device=auto", "engine.vllm.tensor_parallel=4").gpus == 4


def test_memory_is_for_what_is_trained() -> None:
    weights = needed().memory - LIBRARIES
    assert weights == 4 * checkpoint_of("model.path", "package:lamb/model").parameters
    assert needed("train.method=full").memory - LIBRARIES == 4 * weights


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
