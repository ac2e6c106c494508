"""A training by several processes, which accelerate starts: their command, and the run's process, which waits for them.

Shipped configurations (`launches/`) say how the processes share the work; how many there are is the recipe's. Not
covered: machines without a file system in common, where checkpoints and files of `child` would not be seen by all.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from shutil import rmtree
from typing import IO

import psutil

from isheep import drain, meter, watchdog
from isheep.errors import StageError, UserError
from isheep.progress import bar, say
from isheep.recipe import Recipe
from isheep.store.files import read_json, write_json
from isheep.terminal import printable
from isheep.training.child import EVENTS, FAILED, OUTCOME, STOP, TASK, Task
from isheep.training.trainer import Outcome, last_whole, step_of, within_memory

CONFIGURATIONS = Path(__file__).parent / "launches"
FOLDER = "launch"
"""In the folder of checkpoints: what the processes are told and tell, of the last try."""
LOG = "log"

PRECISION = {"float32": "no", "bfloat16": "bf16", "float16": "fp16"}
LAST_LINES, LINE = 12, 200
"""Of the log, in the message when they fail; characters of each."""
LOOK_S = 0.1
PATIENCE_S = 20.0
"""Seconds that they may take to leave when their pipe has ended."""
LOOPBACK = Path("/sys/class/net/lo")

ON_EACH_MACHINE = 'exec "$0" -m accelerate.commands.launch --machine_rank "$SLURM_NODEID" "$@"'
"""What a shell of each machine does with the words after it; only there is known which of them it is."""


def processes(recipe: Recipe) -> int:
    """Those on each machine.

    Raises:
        UserError: they are to be as many as the GPUs, and none is in sight.
    """
    if recipe.train.processes is not None:
        return recipe.train.processes
    import torch

    found = 0 if recipe.engine.device == "cpu" else torch.cuda.device_count()
    if not found:
        what = "null means a process for each GPU, and the training has none (engine.device)."
        raise UserError("train.processes", what, "Give a number, such as 2.")
    return found


def command(recipe: Recipe, folder: Path, address: str, port: int) -> list[str]:
    """What starts the processes: on this machine, or by `srun` on each of an allocation's.

    Args:
        recipe: the run's.
        folder: holds the task.
        address: of the machine of the first process, as the others reach it.
        port: of it.
    """
    train = recipe.train
    words = ["--config_file", str(CONFIGURATIONS / f"{train.launch}.yaml")]
    words += ["--num_machines", str(train.nodes), "--num_processes", str(train.nodes * processes(recipe))]
    words += ["--main_process_ip", address, "--main_process_port", str(port)]
    words += ["--mixed_precision", PRECISION[recipe.model.dtype], "--dynamo_backend", "no"]
    words += ["--module", "isheep.training.child", str(folder)]
    if train.nodes == 1:
        return [sys.executable, "-m", "accelerate.commands.launch", *words]
    each = ["srun", f"--nodes={train.nodes}", f"--ntasks={train.nodes}", "--ntasks-per-node=1", "--kill-on-bad-exit=1"]
    return [*each, "sh", "-c", ON_EACH_MACHINE, sys.executable, *words]


def variables(recipe: Recipe) -> dict[str, str]:
    """Of the processes' environment, beside the user's own."""
    found = {"TOKENIZERS_PARALLELISM": "false", "TRANSFORMERS_VERBOSITY": "error", "PYTHONUNBUFFERED": "1"}
    if not _on_gpus(recipe):
        # A GPU that is in sight would be taken for what FSDP puts its parts on.
        found |= {"ACCELERATE_USE_CPU": "true", "CUDA_VISIBLE_DEVICES": "", "DS_ACCELERATOR": "cpu"}
    if recipe.train.nodes == 1 and LOOPBACK.exists():
        # Otherwise they would meet at the address that this machine has for others.
        found |= {"GLOO_SOCKET_IFNAME": LOOPBACK.name}
    return found


class Launch:
    """One training by several processes, each try of it."""

    def __init__(self, recipe: Recipe, task: Task) -> None:
        self._recipe, self._task = recipe, task
        self._folder = Path(task.checkpoints) / FOLDER

    def run(self) -> Outcome:
        """Trains, as `Training.run` does in one process: on from the last whole checkpoint, through too little memory.

        Raises:
            UserError, StageError: what one of the processes says, or that they ended without a word.
            Interrupted: the user asked to stop; a checkpoint was written.
        """
        share = self._recipe.train.batch_size // (self._recipe.train.nodes * processes(self._recipe))
        return within_memory(self._recipe, self._folder.parent, self._task.title, share, self._attempt)

    def _attempt(self, micro: int) -> Outcome:
        """One try with `micro` pairs at once in each process; MemoryError where it does not suffice."""
        last = last_whole(self._folder.parent)
        done = step_of(last) if last else 0
        rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir(parents=True)
        task = replace(self._task, micro=micro, last=str(last) if last else None)
        write_json(self._folder / TASK, asdict(task))
        with (self._folder / LOG).open("wb") as log:
            child = self._start(log)
        try:
            with bar(self._task.title, self._task.steps, done) as advance:
                for step in self._steps(child, done):
                    advance(step)
        finally:
            _end(child)
        return self._outcome(child.returncode)

    def _start(self, log: IO[bytes]) -> subprocess.Popen[bytes]:
        address = "127.0.0.1" if self._recipe.train.nodes == 1 else first_machine()
        # A session of its own: Ctrl-C is this process's business, which asks them to stop.
        return subprocess.Popen(  # noqa: S603  # this interpreter, or srun and a shell whose text is our own
            command(self._recipe, self._folder, address, _free_port()),
            env={**os.environ, **variables(self._recipe)},
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )

    def _steps(self, child: subprocess.Popen[bytes], done: int) -> Iterator[int]:
        """How many steps were made, each time that some were; hands on what else is told, until they have ended."""
        events, tokens, ended = _Lines(self._folder / EVENTS), 0, False
        while not ended:
            ended = child.poll() is not None
            for event in map(json.loads, events.new()):
                watchdog.beat()
                if event[0] == "at":
                    yield event[1] - done
                    meter.read(event[2] - tokens)
                    _, done, tokens = event
                elif event[0] == "say":
                    say(event[1])
            if drain.wanted():
                (self._folder / STOP).touch()
            time.sleep(LOOK_S)

    def _outcome(self, code: int) -> Outcome:
        failed = read_json(self._folder / FAILED, writable=False)
        found = read_json(self._folder / OUTCOME, writable=False)
        if failed:
            kinds = {"user": UserError, "stage": StageError, "memory": MemoryError}
            raise kinds[failed["kind"]](*failed["message"])
        if code or found is None:
            how = f"by signal {-code}" if code < 0 else f"with status {code}"
            raise StageError(f"{self._task.title}: the processes of the training ended {how}{self._said()}")
        if found["outcome"] is None:
            drain.stop_here()
        return Outcome(**{**found["outcome"], "checkpoint": Path(found["outcome"]["checkpoint"])})

    def _said(self) -> str:
        text = (self._folder / LOG).read_text(encoding="utf-8", errors="replace")
        lines = [line for line in text.splitlines() if line.strip(" -=")][-LAST_LINES:]
        told = "".join(f"\n  {printable(line[:LINE])}" for line in lines)
        return f"; all that they said is in {self._folder / LOG}, at last:{told}" if told else ""


def refuse_outside(nodes: int) -> None:
    """Raises UserError where several machines are asked for and no cluster's launcher is there to start them."""
    if nodes > 1 and "SLURM_JOB_ID" not in os.environ:
        what = f"{nodes} machines are started by Slurm's srun, and this is no allocation of Slurm."
        raise UserError("train.nodes", what, "Start the run by sbatch or within salloc, or give 1.")


def first_machine() -> str:
    """The name of the allocation's first machine.

    Raises:
        StageError: Slurm does not tell.
    """
    asked = ["scontrol", "show", "hostnames", os.environ.get("SLURM_JOB_NODELIST", "")]
    try:
        told = subprocess.run(asked, capture_output=True, text=True, check=True)  # noqa: S603  # no shell
        return told.stdout.split()[0]
    except (OSError, subprocess.CalledProcessError, IndexError) as error:
        raise StageError(f"Slurm does not tell which machines there are ({error}).") from error


def _on_gpus(recipe: Recipe) -> bool:
    import torch

    return recipe.engine.device != "cpu" and torch.cuda.is_available()


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("", 0))
        port: int = one.getsockname()[1]
        return port


def _end(child: subprocess.Popen[bytes]) -> None:
    """Sees that nothing of it is left; what works ends when its pipe does."""
    workers: Sequence[psutil.Process] = []
    with suppress(psutil.NoSuchProcess):
        workers = psutil.Process(child.pid).children(recursive=True)
    if child.stdin:
        child.stdin.close()
    with suppress(subprocess.TimeoutExpired):
        child.wait(PATIENCE_S)
    for worker in workers:
        with suppress(psutil.NoSuchProcess):
            worker.kill()
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


class _Lines:
    """The lines of a file that another process is writing, as they become whole."""

    def __init__(self, path: Path) -> None:
        self._path, self._read = path, 0

    def new(self) -> list[bytes]:
        """Those that came since the last time."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._read)
                whole = file.read().rpartition(b"\n")[0]
        except FileNotFoundError:
            return []
        self._read += len(whole) + bool(whole)
        return whole.splitlines()
