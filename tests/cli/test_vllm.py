"""A whole run of lamb on vLLM: killed in mid-stage it goes on, ends, and its records hold the contracts."""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path

from isheep.store.run import Run
from tests.cli.conftest import ISHEEP, SMALL, isheep, quiet
from tests.engines.test_contract import needs_vllm

RUN = ("run", *SMALL, "size=48", "train.steps=6", "evaluate.limit=20", "engine=vllm")

pytestmark = needs_vllm


def test_run_that_is_killed_in_mid_stage_goes_on_and_ends(tmp_path: Path) -> None:
    directory = tmp_path / "run"
    command = [ISHEEP, *RUN, "--dir", str(directory)]
    for stage in ("instructions", "responses", "assessments"):
        process = subprocess.Popen(command, env=quiet(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while not list((directory / "iteration-01" / stage).glob("part-*")):
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.wait()
    ended = isheep(*RUN, "--dir", directory)
    assert ended.returncode == 0, ended.stderr
    holds_the_contracts(directory)


def holds_the_contracts(directory: Path) -> None:
    """Two iterations, no id twice, every table joined on the one before, made = dropped + kept."""
    run = Run.read(directory)
    for number in (1, 2):
        iteration = run.iteration(number)
        instructions, responses, assessments, selection = (
            iteration.table(name).rows() for name in ("instructions", "responses", "assessments", "selection")
        )
        asked = [row.id for row in instructions if row.dropped_by is None]
        answered = [row.id for row in responses if row.dropped_by is None]
        assert len(asked) == 48
        assert len({row.id for row in instructions}) == len(instructions)
        assert [row.id for row in responses] == asked
        assert [row.id for row in assessments] == answered == [row.id for row in selection]
        assert all(row.kept == (row.dropped_by is None) for row in selection)
        assert (iteration.weights_path / "adapter_model.safetensors").is_file()
        assert iteration.read_json("scores.json")
    assert {row.source for row in run.iteration(2).table("instructions").rows()} == {1}
