"""A whole run of lamb on vLLM: killed in mid-stage, or its engine killed or hung, it goes on and ends whole."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import psutil

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


def test_a_worker_that_is_killed_or_hangs_is_started_again(tmp_path: Path) -> None:
    directory = tmp_path / "run"
    # A start of vLLM has to fit into the patience.
    words: list[str | Path] = [*RUN, "iterations=1", "watch.patience=90", "--dir", directory]
    killed = with_worker(directory, words, "instructions", signal.SIGKILL)
    assert killed.returncode == 3
    assert "the process of vLLM ended by signal 9" in killed.stderr
    assert killed.stderr.endswith("The same command goes on from here.\n")
    hung = with_worker(directory, words, "responses", signal.SIGSTOP)
    assert hung.returncode == 0, hung.stderr
    assert "has made no progress for 90 s (watch.patience); started again, 1 of 3" in hung.stderr
    asked = [row.id for row in Run.read(directory).iteration(1).table("instructions").rows() if row.dropped_by is None]
    assert len(set(asked)) == len(asked) == 48


def with_worker(
    directory: Path, words: Sequence[str | Path], table: str, number: signal.Signals
) -> subprocess.CompletedProcess[str]:
    """Runs the command; once it has written a part of the table, vLLM's process gets the signal."""
    command = [ISHEEP, *map(str, words)]
    process = subprocess.Popen(command, env=quiet(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while not list((directory / "iteration-01" / table).glob("part-*")):
        assert process.poll() is None
        time.sleep(0.02)
    [worker] = [one for one in psutil.Process(process.pid).children() if "isheep.engines.vllm_worker" in one.cmdline()]
    worker.send_signal(number)
    output, said = process.communicate()
    return subprocess.CompletedProcess(command, process.returncode, output, said)


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
