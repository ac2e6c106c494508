"""How long work takes on GPUs that are not here: their data sheets, and shares of these that real code reaches."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from isheep.errors import UserError
from isheep.estimate.shape import Shape
from isheep.estimate.workload import Work
from isheep.recipe import Recipe
from isheep.recipe.refusals import nearest

READING = 0.4
"""Share of a GPU's arithmetic that reading prompts reaches."""
TRAINING = 0.35
"""The same of training."""
MOVING = 0.6
"""Share of the bandwidth of its memory that writing tokens reaches, which reads all weights for each step."""
SPLIT = 0.8
"""Of both what is left where several GPUs share one copy of the model."""
LAUNCH = {"transformers": 5e-4, "vllm": 2e-5}
"""Seconds that a layer takes to be started in a step, whatever it computes."""
STARTING = {"transformers": 15.0, "vllm": 60.0}
"""Seconds from nothing to an engine, without its weights."""
LOADING = 2e9
"""Bytes of weights that come from a disk in a second."""
ASKING = ("synthesize", "respond", "assess", "draw", "evaluate")
"""Stages that send requests to the engine."""
REQUEST = 1.1e-3
"""Seconds of one processor core for a request, its tokens and its record (benchmarks/RESULTS.md, Orchestration)."""
RECORD = 1e-4
"""The same for a record in a stage that asks no model, as lamb's runs take it."""
COMPARISON = 3e-9
"""Seconds of one core for a pair of instructions (the same, Novelty: 1.7 to 15 ns as the pool grows)."""
FORWARD = 2
"""Operations of a parameter for a token that is read."""
BACKWARD = {"lora": 2, "qlora": 2, "full": 4}
"""The same on the way back: what is frozen needs no gradient of its own."""


@dataclass(frozen=True, slots=True)
class Hardware:
    """GPUs of one kind."""

    name: str
    gpus: int
    memory: float
    """Bytes of each, as it is sold; the next two are per second."""
    bandwidth: float
    arithmetic: float


def hardware(name: str, gpus: int) -> Hardware:
    """So many GPUs of that name; raises UserError, with the known ones, for another."""
    known = table()
    key = name.strip().lower().replace(" ", "-").replace("_", "-")
    if key not in known:
        mend = f"{nearest(key, list(known))} Known are {', '.join(known)}.".lstrip()
        raise UserError("--gpu", f"no data of a GPU `{name}`.", mend)
    if gpus < 1:
        raise UserError("--gpus", f"{gpus} is no number of GPUs.", "Give 1 or more.")
    found = known[key]
    return Hardware(key, gpus, found["memory"] * 1e9, found["bandwidth"] * 1e12, found["arithmetic"] * 1e12)


@cache
def table() -> dict[str, Any]:
    """GPU -> what its data sheet says."""
    loaded: dict[str, Any] = yaml.safe_load((Path(__file__).parent / "gpus.yaml").read_text(encoding="utf-8"))
    return loaded


@dataclass(frozen=True, slots=True)
class Layout:
    """How a run puts GPUs to use."""

    sharing: int
    """GPUs that share one copy of the model in the engine."""
    copies: int
    """Of the model, each on GPUs of its own, that answer requests side by side."""
    training: int
    """GPUs that train one model together."""


def one_copy(recipe: Recipe) -> int:
    """GPUs that one copy of the model takes in the engine."""
    return recipe.engine.vllm.tensor_parallel if recipe.engine.name == "vllm" else 1


def layout(recipe: Recipe, gpus: int) -> Layout:
    """Of so many GPUs: as the recipe says (`engine.workers`, `train.processes`), else as many copies as have room."""
    sharing, train = one_copy(recipe), recipe.train
    each = train.processes or max(1, gpus // train.nodes)
    training = 1 if train.launch == "local" else each * train.nodes
    return Layout(sharing, recipe.engine.workers or max(1, gpus // sharing), training)


def gpus_wanted(recipe: Recipe) -> int:
    """GPUs that the recipe puts to use, where it has any: its engines and its training do so one after the other."""
    return max((recipe.engine.workers or 1) * one_copy(recipe), (recipe.train.processes or 1) * recipe.train.nodes)


def on_gpus(work: Work, recipe: Recipe, shape: Shape, given: Hardware, twice: bool) -> float:
    """Seconds of a stage. `twice`: whether training computes activations twice.

    The driver makes requests while GPUs work, so the slower of the two counts.
    """
    spread = layout(recipe, given.gpus)
    driver = work.texts * (REQUEST if work.stage in ASKING else RECORD) + work.compared * COMPARISON
    if not work.read:
        return driver
    share = SPLIT if spread.sharing > 1 else 1.0
    # What computes in float32 does so at half the rate of 16 bits.
    rate = given.arithmetic * 2 / shape.number
    load = shape.weights / spread.sharing / LOADING
    if work.stage == "train":
        operations = FORWARD + BACKWARD[recipe.train.method] + FORWARD * twice
        flops = operations * shape.checkpoint.parameters * work.read
        return load + STARTING["transformers"] + flops / (rate * TRAINING * spread.training)
    flops = FORWARD * shape.checkpoint.parameters
    seconds = flops * work.read / (rate * READING * share * spread.sharing * spread.copies)
    if work.written:
        rows = min(recipe.engine.batch_size, -(-work.texts // spread.copies))
        steps = work.written / (rows * min(spread.copies, work.texts))
        context = (work.read + work.written / 2) / work.texts
        moved = (shape.weights + rows * context * shape.cached * shape.number) / spread.sharing
        step = max(moved / (given.bandwidth * MOVING), flops * rows / spread.sharing / (rate * READING)) / share
        seconds += steps * (step + shape.layers * LAUNCH.get(recipe.engine.name, 0.0))
    started = load + STARTING.get(recipe.engine.name, 0.0) if work.stage == "evaluate" else 0.0
    return started + max(seconds, driver)
