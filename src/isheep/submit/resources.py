"""What a run asks of a cluster: from the recipe, unless the user says it."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

from isheep.engines.ray_cluster import share_of
from isheep.estimate import estimate, gpus_wanted, hardware
from isheep.recipe import Recipe

CPUS_PER_GPU = 8
"""Tokenizing, novelty and grading keep so many busy beside a GPU."""
CPUS = 4
"""Of a run without a GPU, where `engine.threads` says nothing."""
GPUS_OF_A_NODE = 8
"""Where nobody says how many."""
LIBRARIES = 4 * 2**30
"""Bytes of memory that a process takes before any weight is read, the libraries of a GPU among them."""
LONGER = 1.5
"""Times as long as it is estimated a job may take: estimates are within a factor of two, and a job comes back."""
SHORTEST_S = 300
"""Of the time at a stretch: Slurm's notice may come a minute early, and a job that is told at once does nothing."""


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


def resources_of(recipe: Recipe, kind: str | None = None, per_node: int | None = None) -> Resources:
    """What the recipe takes by its estimate.

    Args:
        recipe: the run's.
        kind: of GPU, by whose data sheet the time is told.
        per_node: GPUs that a node has.

    Raises:
        UserError: no such GPU, or whatever the estimate finds wrong.
    """
    wanted = 0 if recipe.engine.device == "cpu" else gpus_wanted(recipe)
    found = estimate(recipe, hardware(kind, wanted) if kind and wanted else None)
    gpus = min(wanted, per_node or GPUS_OF_A_NODE)
    nodes = max(recipe.train.nodes, -(-wanted // gpus) if gpus else 1)
    workers = -(-recipe.engine.workers // nodes)
    share = share_of(recipe, on_gpus=bool(gpus))
    alone = gpus * CPUS_PER_GPU or max(recipe.engine.threads or CPUS, 2)
    training = LIBRARIES * (recipe.train.processes or 1)
    return Resources(
        nodes=nodes,
        gpus=gpus,
        cpus=max(alone, ceil(workers * share.cpus) + 1),
        memory=found.host_memory + training + workers * share.memory,
        seconds=None if found.seconds is None else max(SHORTEST_S, ceil(found.seconds * LONGER / 60) * 60),
    )


def runs_on_ray(recipe: Recipe) -> bool:
    """Whether the run's engines are actors of a Ray cluster."""
    return recipe.engine.workers > 0


def trains_on_nodes(recipe: Recipe) -> bool:
    """Whether the training starts itself on the other machines of a job."""
    return recipe.train.nodes > 1
