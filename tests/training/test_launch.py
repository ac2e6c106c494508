"""Several processes train lamb to what one trains it to, through kills and with another number of them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from accelerate.commands.launch import launch_command_parser
from safetensors.torch import load_file

from isheep.encoder import Encoder
from isheep.engines import Request
from isheep.engines.transformers import TransformersEngine
from isheep.errors import StageError, UserError
from isheep.recipe import Recipe, load_recipe
from isheep.seeding import derive_seed
from isheep.stages.train import train
from isheep.store.files import WHOLE, write_json
from isheep.store.run import Run
from isheep.training.child import OUTCOME, TASK, Task
from isheep.training.examples import Example
from isheep.training.launch import command, processes, refuse_outside, variables
from isheep.training.launched import free_port
from isheep.training.trainer import even
from tests.data import LAMB

SUM_BY_SUM = 1e-5
"""Losses of two processes and of one differ by less: gradients are the same numbers, added up in another order."""
ROWS: list[dict[str, Any]] = [
    {
        "id": str(number),
        "messages": [
            {"role": "user", "content": f"Repeat the word {word}."},
            {"role": "assistant", "content": " ".join([word] * (1 + number % 4))},
        ],
    }
    for number, word in enumerate(["river", "stone", "lamp", "green", "apple", "seven", "cloud", "horse"] * 4)
]
SETTINGS = (
    "train.steps=20",
    "train.warmup_steps=2",
    "train.lora.dropout=0.0",
    "train.held_out=0.1",
    "train.evaluate_every=5",
    "train.batch_size=8",
    "train.micro_batch_size=4",
)
TWO = ("train.processes=2",)


def recipe_of(*settings: str) -> Recipe:
    return load_recipe("lamb", [*SETTINGS, *settings])


def train_in(directory: Path, recipe: Recipe) -> dict[str, Any]:
    """Trains an iteration, or goes on with it; returns train.json."""
    with Run.create_or_resume(directory, recipe, accept_changes=True) as run:
        iteration = run.iteration(1)
        if not iteration.training_set_path.exists():
            iteration.write_training_set(ROWS)
        train(iteration, [], recipe, Encoder.load(LAMB, "chatml"))
        summary: dict[str, Any] | None = iteration.read_json("train.json")
    assert summary is not None
    assert not (iteration.path / "checkpoints").exists()
    return summary


Alone = Callable[[str], tuple[dict[str, Any], Path]]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Alone:
    """`alone(method)`: train.json and the directory of a training by one process."""
    made: dict[str, tuple[dict[str, Any], Path]] = {}

    def trained(method: str) -> tuple[dict[str, Any], Path]:
        if method not in made:
            directory = tmp_path_factory.mktemp("alone") / method
            made[method] = train_in(directory, recipe_of(f"train.method={method}")), directory
        return made[method]

    return trained


def assert_the_same(found: dict[str, Any], expected: dict[str, Any]) -> None:
    """But for the order in which numbers are added up."""
    for name in ("loss", "evaluation_loss"):
        assert found[name] == pytest.approx(expected[name], rel=SUM_BY_SUM), name
    assert {**found, "loss": 0, "evaluation_loss": 0} == {**expected, "loss": 0, "evaluation_loss": 0}


def weights_of(directory: Path) -> dict[str, torch.Tensor]:
    (file,) = (directory / "iteration-01").glob("*/*.safetensors")
    weights: dict[str, torch.Tensor] = load_file(file)
    return weights


@pytest.mark.parametrize(("launch", "method"), [("ddp", "lora"), ("fsdp", "lora"), ("fsdp", "full"), ("ddp", "qlora")])
def test_two_processes_come_to_what_one_comes_to(alone: Alone, tmp_path: Path, launch: str, method: str) -> None:
    expected, directory = alone(method)
    found = train_in(tmp_path / "run", recipe_of(f"train.method={method}", f"train.launch={launch}", *TWO))
    assert_the_same(found, expected)
    torch.testing.assert_close(weights_of(tmp_path / "run"), weights_of(directory), rtol=1e-3, atol=1e-5)


def test_what_several_processes_leave_answers(tmp_path: Path) -> None:
    """The adapter of FSDP's parts, in the engine of the loop."""
    train_in(tmp_path / "run", recipe_of("train.launch=fsdp", *TWO, "train.steps=3"))
    encoder = Encoder.load(LAMB, "chatml")
    request = Request("a", encoder.chat(ROWS[0]["messages"][:1]), 12, encoder.stop_ids)
    with TransformersEngine(LAMB, "float32", "cpu", 1, 1, encoder.pad_id) as engine:
        engine.use(tmp_path / "run" / "iteration-01" / "adapter")
        (completion,) = engine.generate([request])
    assert completion.tokens


class Started:
    """A training in a process of its own, which can be killed or asked to stop."""

    def __init__(self, directory: Path, *settings: str) -> None:
        self.checkpoints = directory / "iteration-01" / "checkpoints"
        code = (
            "import sys; sys.path[:0] = sys.argv[3:]\n"
            "from pathlib import Path; from isheep import drain; from isheep.errors import IsheepError\n"
            "import tests.training.test_launch as t\n"
            "try:\n"
            "    with drain.on_signals(): t.train_in(Path(sys.argv[1]), t.recipe_of(*sys.argv[2].split()))\n"
            "except IsheepError as error: print(error, file=sys.stderr); sys.exit(error.exit_code)\n"
        )
        words = [
            sys.executable,
            "-c",
            code,
            str(directory),
            " ".join(settings),
            str(Path(__file__).parents[2]),
            *sys.path,
        ]
        self.process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True, start_new_session=True)

    def wait_for(self, checkpoint: int) -> None:
        """Until that checkpoint is whole."""
        while not (self.checkpoints / f"checkpoint-{checkpoint}" / WHOLE).exists():
            assert self.process.poll() is None, self.process.communicate()[1]
            time.sleep(0.02)

    def children(self) -> list[psutil.Process]:
        """Those that train."""
        found = psutil.Process(self.process.pid).children(recursive=True)
        return [one for one in found if "isheep.training.child" in one.cmdline() and "-u" in one.cmdline()]

    def ended(self) -> tuple[int, str]:
        said = self.process.communicate(timeout=120)[1]
        return self.process.returncode, said


LONG = "train.steps=400"


def gone(processes: list[psutil.Process]) -> bool:
    return not psutil.wait_procs(processes, timeout=30)[1]


def test_a_killed_process_ends_all_and_the_same_command_goes_on_with_another_number(tmp_path: Path) -> None:
    directory, settings = tmp_path / "run", ("train.launch=fsdp", "train.steps=40")
    started = Started(directory, *settings, *TWO)
    started.wait_for(5)
    killed, other = started.children()
    killed.kill()
    code, said = started.ended()
    assert code == StageError.exit_code
    assert "Train 1: the processes of the training ended with status 1" in said
    assert "SIGKILL" in said
    assert gone([killed, other])
    last = max(int(folder.name.partition("-")[2]) for folder in started.checkpoints.glob("checkpoint-*"))
    assert 5 <= last < 40
    undisturbed = train_in(tmp_path / "undisturbed", recipe_of("train.steps=40"))
    found = train_in(directory, recipe_of(*settings, "train.processes=4"))
    assert_the_same(found, undisturbed)


def test_who_asks_to_stop_stops_all_at_one_step_with_a_checkpoint(tmp_path: Path) -> None:
    directory, settings = tmp_path / "run", ("train.launch=ddp", "train.steps=60")
    started = Started(directory, *settings, *TWO)
    started.wait_for(5)
    started.process.send_signal(signal.SIGINT)
    code, said = started.ended()
    assert code == 130, said
    steps = [int(folder.name.partition("-")[2]) for folder in started.checkpoints.glob("checkpoint-*")]
    told = [json.loads(line) for line in (started.checkpoints / "launch" / "events.jsonl").read_text().splitlines()]
    assert max(steps) == told[-1][1] < 60
    found = train_in(directory, recipe_of(*settings, "train.processes=1"))
    assert_the_same(found, train_in(tmp_path / "undisturbed", recipe_of("train.steps=60")))


def test_none_goes_on_without_the_run(tmp_path: Path) -> None:
    started = Started(tmp_path / "run", "train.launch=ddp", LONG, *TWO)
    started.wait_for(5)
    children = started.children()
    assert len(children) == 2
    started.process.kill()
    assert gone(children)


def test_two_machines_come_to_what_one_process_comes_to(alone: Alone, tmp_path: Path) -> None:
    """Both are this one: each is started as srun would start it there, by the shell that is told which it is."""
    expected, _ = alone("lora")
    recipe, folder = recipe_of("train.launch=fsdp", "train.nodes=2", "train.processes=1"), tmp_path / "launch"
    (tmp_path / "set.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    folder.mkdir()
    seed = derive_seed(recipe.seed, 1, "train")
    words = (str(tmp_path), 1, str(tmp_path / "checkpoints"), str(tmp_path / "set.jsonl"), seed, "Train 1", None, 20, 4)
    write_json(folder / TASK, asdict(Task(recipe.model_dump(mode="json"), *words)))
    words_of_srun = command(recipe, folder, "127.0.0.1", free_port())
    each = words_of_srun[words_of_srun.index("sh") :]
    environment = {**os.environ, **variables(recipe)}
    started = [
        subprocess.Popen(each, env={**environment, "SLURM_NODEID": str(number)}, stdin=subprocess.PIPE)
        for number in range(2)
    ]
    assert [one.wait(timeout=300) for one in started] == [0, 0]
    outcome = json.loads((folder / OUTCOME).read_text())["outcome"]
    assert outcome["loss"] == pytest.approx(expected["loss"], rel=SUM_BY_SUM)
    assert outcome["evaluation_loss"] == pytest.approx(expected["evaluation_loss"], rel=SUM_BY_SUM)


@pytest.mark.parametrize("launch", ["ddp", "fsdp", "deepspeed"])
def test_accelerate_reads_the_command(launch: str, tmp_path: Path) -> None:
    recipe = recipe_of(f"train.launch={launch}", *TWO)
    python, *words = command(recipe, tmp_path, "127.0.0.1", 1234)
    assert (python, words[:2]) == (sys.executable, ["-m", "accelerate.commands.launch"])
    read = launch_command_parser().parse_args(words[2:])
    assert (read.num_machines, read.num_processes, read.main_process_port) == (1, 2, 1234)
    assert Path(read.config_file).is_file()
    assert (read.training_script, read.training_script_args) == ("isheep.training.child", [str(tmp_path)])


def test_slurm_starts_one_command_on_each_machine(tmp_path: Path) -> None:
    """The shell that srun starts is asked here what it would run on the machine of rank 1."""
    recipe = recipe_of("train.launch=ddp", "train.nodes=2", *TWO)
    words = command(recipe, tmp_path, "first", 1234)
    srun = ["srun", "--nodes=2", "--ntasks=2", "--ntasks-per-node=1", "--kill-on-bad-exit=1", "--overlap"]
    assert words[: len(srun)] == srun
    shell = words[words.index("sh") :]
    assert shell[:2] == ["sh", "-c"]
    shell[3] = "echo"
    ran = subprocess.run(shell, env={**os.environ, "SLURM_NODEID": "1"}, capture_output=True, text=True, check=True)
    module, *said = ran.stdout.split()[1:]
    assert module == "accelerate.commands.launch"
    read = launch_command_parser().parse_args(said)
    assert (read.machine_rank, read.num_machines, read.num_processes) == (1, 2, 4)
    assert (read.main_process_ip, read.main_process_port) == ("first", 1234)


def test_machines_are_of_an_allocation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    with pytest.raises(UserError, match="this is no allocation of Slurm"):
        refuse_outside(2)
    refuse_outside(1)
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    refuse_outside(2)


def test_on_a_cpu_the_number_of_processes_is_to_be_said() -> None:
    with pytest.raises(UserError, match="null means a process for each GPU"):
        processes(recipe_of("train.launch=ddp"))


def test_one_process_evaluates_what_is_held_out_and_nothing_else() -> None:
    held_out = [Example((1, 2), (1, 2))] * 3
    assert even(held_out, 2) == held_out
