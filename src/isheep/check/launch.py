"""Whether several processes can train as the recipe asks, before anything is spent."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec

from isheep.check.findings import Finding, counted
from isheep.errors import UserError
from isheep.recipe import Recipe
from isheep.training.launch import processes, refuse_outside

DEVICES = ("auto", "cpu", "cuda")
NO_FOUR_BITS = {
    "fsdp": "fsdp would leave the base in 4 bits whole in each process, since it parts only numbers with a point",
    "deepspeed": "ZeRO-3 puts a model in parts as it is read, and a base in 4 bits is not read that way",
}


def launch_found(recipe: Recipe, elsewhere: bool = False) -> Iterator[Finding]:
    """How many processes will train, and how they share the work.

    `elsewhere`: the run will be on other machines, so what this one is part of says nothing.

    Raises:
        UserError: they cannot, or not together.
    """
    train = recipe.train
    if train.launch == "local":
        return
    if train.launch == "deepspeed" and find_spec("deepspeed") is None:
        mend = 'Install it with `pip install "isheep[deepspeed]"`, or give fsdp, which does the same by torch alone.'
        raise UserError("train.launch", "DeepSpeed is not installed.", mend)
    if train.method == "qlora" and train.launch in NO_FOUR_BITS:
        raise UserError("train.launch", f"{NO_FOUR_BITS[train.launch]}.", "Give ddp, or train.method=lora.")
    if recipe.engine.device not in DEVICES:
        what = f"{train.launch} gives each process a device of its own, but engine.device is {recipe.engine.device}."
        raise UserError("train.launch", what, "Set engine.device to auto, cpu or cuda, or train.launch to local.")
    if elsewhere and train.processes is None:
        return
    if not elsewhere:
        refuse_outside(train.nodes)
    number = train.nodes * processes(recipe)
    if train.batch_size % number:
        what = f"{train.batch_size} pairs of a step are not the same number for each of {number} processes."
        raise UserError("train.batch_size", what, f"Give a multiple of {number}, or another train.processes.")
    where = f" on {counted(train.nodes, 'machine')}" if train.nodes > 1 else ""
    each = f"{train.batch_size // number} of the {train.batch_size} pairs of a step each"
    yield Finding("launch", f"{number} processes{where} by {train.launch}, {each}")
