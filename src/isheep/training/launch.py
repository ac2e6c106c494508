"""How the processes of a training are started: by accelerate, on one machine or on those of a Slurm allocation.

Shipped configurations (`launches/`) say how the processes share the work; how many there are is the recipe's.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from isheep.errors import StageError, UserError
from isheep.recipe import Recipe

CONFIGURATIONS = Path(__file__).parent / "launches"
PRECISION = {"float32": "no", "bfloat16": "bf16", "float16": "fp16"}
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
    # What else the job runs there (workers, which wait meanwhile) does not keep it out, and it has their processors.
    each.append("--overlap")
    if cpus := os.environ.get("SLURM_CPUS_PER_TASK"):
        each.append(f"--cpus-per-task={cpus}")
    return [*each, "sh", "-c", ON_EACH_MACHINE, sys.executable, *words]


def variables(recipe: Recipe) -> dict[str, str]:
    """Of the processes' environment, over the user's own."""
    found = {"TOKENIZERS_PARALLELISM": "false", "TRANSFORMERS_VERBOSITY": "error", "PYTHONUNBUFFERED": "1"}
    if not on_gpus(recipe):
        # A GPU that is in sight would be taken for what FSDP puts its parts on.
        found |= {"CUDA_VISIBLE_DEVICES": "", "DS_ACCELERATOR": "cpu"}
        if recipe.train.launch != "deepspeed":
            found["ACCELERATE_USE_CPU"] = "true"
    if recipe.train.nodes == 1 and LOOPBACK.exists():
        # Otherwise they would meet at the address that this machine has for others.
        found |= {"GLOO_SOCKET_IFNAME": LOOPBACK.name}
    return found


def refuse_outside(nodes: int) -> None:
    """Raises UserError where several machines are asked for and no cluster's launcher is there to start them."""
    if nodes > 1 and "SLURM_JOB_ID" not in os.environ:
        what = f"{nodes} machines are started by Slurm's srun, and this is no allocation of Slurm."
        raise UserError("train.nodes", what, "Start the run by sbatch or within salloc, or give 1.")


def first_machine() -> str:
    """The address of the allocation's first machine, whose name in Slurm need not be one that others can look up.

    Raises:
        StageError: Slurm does not tell.
    """
    try:
        name = _told("show", "hostnames", os.environ.get("SLURM_JOB_NODELIST", "")).split()[0]
        fields = _told("--oneliner", "show", "node", name).split()
        return next(field.removeprefix("NodeAddr=") for field in fields if field.startswith("NodeAddr="))
    except (OSError, subprocess.CalledProcessError, IndexError, StopIteration) as error:
        raise StageError(f"Slurm does not tell which machines there are ({error}).") from error


def _told(*words: str) -> str:
    asked = ["scontrol", *words]
    return subprocess.run(asked, capture_output=True, text=True, check=True).stdout  # noqa: S603  # no shell


def on_gpus(recipe: Recipe) -> bool:
    """Whether the processes train on GPUs, each on one of its own."""
    import torch

    return recipe.engine.device != "cpu" and torch.cuda.is_available()
