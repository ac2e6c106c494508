"""What a run asks of a cluster: from the recipe, unless the user says it."""

from __future__ import annotations

from dataclasses import dataclass

from isheep.check.resources import SAVED_NUMBER_BYTES, TRAINING_COPIES
from isheep.checkpoint import Checkpoint
from isheep.recipe import Recipe, settings_of

CPUS_PER_GPU = 8
"""Tokenizing, novelty and grading keep so many busy beside a GPU."""
CPUS = 4
"""Of a run without a GPU, where `engine.threads` says nothing."""
LIBRARIES = 4 * 2**30
"""Bytes of memory that a process takes before any weight is read, the libraries of a GPU among them."""


@dataclass(frozen=True, slots=True)
class Resources:
    """What the job takes, on each of its nodes."""

    nodes: int
    gpus: int
    """0: none is asked for."""
    cpus: int
    memory: int
    """Bytes of the machine's memory, not of the GPUs'."""
    seconds: int | None
    """How long at a stretch; None: could not tell."""


def resources_of(recipe: Recipe, checkpoint: Checkpoint) -> Resources:
    """What the recipe needs on one machine, from above."""
    gpus = 0 if recipe.engine.device == "cpu" else recipe.engine.vllm.tensor_parallel
    cpus = gpus * CPUS_PER_GPU or max(recipe.engine.threads or CPUS, 2)
    copies = TRAINING_COPIES if recipe.train.method == "full" else 1
    memory = LIBRARIES + checkpoint.parameters * copies * SAVED_NUMBER_BYTES
    return Resources(1, gpus, cpus, memory, seconds=None)


def runs_on_ray(recipe: Recipe) -> bool:
    """Whether the run's engines are actors of a Ray cluster."""
    return bool(settings_of(recipe).get("engine.workers"))


def trains_on_nodes(recipe: Recipe) -> bool:
    """Whether the training starts itself on the other machines of a job."""
    return bool(settings_of(recipe).get("train.nodes", 1) > 1)
