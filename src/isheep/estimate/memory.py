"""Memory that a run takes at its peak: of the engine, of training, and of the machine around them."""

from __future__ import annotations

from isheep.check.resources import SAVED_NUMBER_BYTES, TOKEN_BYTES, TRAINING_COPIES
from isheep.estimate.hardware import layout
from isheep.estimate.shape import Shape
from isheep.recipe import Recipe

LIBRARIES = 2**30
"""Bytes that the libraries take, on a GPU as on the machine."""
FOUR_BITS = 0.56
"""Bytes of a weight in NF4 with its constants."""
STATES, INNER_STATES = 16, 5
"""Numbers that a layer keeps of a token for the way back, in widths of the model and of its MLP."""
FLOAT = 4
"""Bytes; logits are compared in float32."""
TEXTS = 4
"""Copies of a record's text in a process at once: its row, its tokens, what it is compared by, what is written."""


def engine_memory(recipe: Recipe, shape: Shape, context: int, gpus: int) -> int:
    """Bytes on each GPU: weights, keys and values of a full batch at the longest context, logits, what is read at once.

    vLLM takes what `engine.vllm.memory` gives it; this is what it needs so that no request waits.
    """
    sharing = layout(recipe, gpus).sharing
    rows = recipe.engine.batch_size
    cache = rows * context * shape.cached * shape.number
    reading = rows * context * (2 * shape.hidden + 2 * shape.inner) * shape.number
    logits = 2 * rows * shape.vocabulary * FLOAT
    return round((shape.weights + cache + reading) / sharing) + logits + LIBRARIES


def training_memory(recipe: Recipe, shape: Shape, twice: bool, pair: float, gpus: int) -> int:
    """Bytes on each GPU: weights, gradients and moments, activations of a micro-batch, logits of what is learned.

    Under `fsdp` and `deepspeed` each process holds its part of the first three, and one layer whole while it works.

    Args:
        recipe: the run's.
        shape: of its model.
        twice: whether activations are computed twice, so that a layer keeps its input alone.
        pair: tokens of the longest pair that is to be expected.
        gpus: of the run.
    """
    settings, parameters = recipe.train, shape.checkpoint.parameters
    tokens = settings.micro_batch_size * min(pair, settings.cutoff)
    if settings.method == "full":
        state: float = parameters * TRAINING_COPIES * SAVED_NUMBER_BYTES
    else:
        frozen = parameters * FOUR_BITS if settings.method == "qlora" else shape.weights
        adapter = shape.checkpoint.adapter_parameters(settings.lora.rank)
        state = frozen + adapter * TRAINING_COPIES * SAVED_NUMBER_BYTES
    layer = tokens * (STATES * shape.hidden + INNER_STATES * shape.inner) * shape.number
    kept = shape.layers * tokens * shape.hidden * shape.number + layer if twice else shape.layers * layer
    logits = 3 * tokens * shape.vocabulary * FLOAT
    if settings.launch in ("fsdp", "deepspeed"):
        state = state / layout(recipe, gpus).training + shape.weights / shape.layers
    return round(state + kept + logits) + LIBRARIES


def host_memory(recipe: Recipe, shape: Shape, on_device: int, record: float) -> int:
    """Bytes of the machine: libraries, records of all iterations, and the model: while it loads, or as it works.

    Args:
        recipe: the run's.
        shape: of its model.
        on_device: what the model takes at its peak where there is no GPU; 0 where there is one.
        record: tokens of a record.
    """
    records = recipe.size * recipe.iterations * record * TOKEN_BYTES * TEXTS
    return round(records) + (on_device or LIBRARIES + shape.weights)
