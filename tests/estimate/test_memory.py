from __future__ import annotations

import pytest

from isheep.estimate.memory import LIBRARIES, engine_memory, host_memory, training_memory
from isheep.estimate.shape import shape_of
from isheep.recipe import load_recipe, overridden

RECIPE = load_recipe("lamb", ["engine.batch_size=10", "train.micro_batch_size=2"])
SHAPE = shape_of(RECIPE)


def test_keys_and_values_of_a_full_batch_stand_beside_the_weights() -> None:
    one, two = (engine_memory(RECIPE, SHAPE, context, 1) for context in (100, 200))
    assert one > LIBRARIES + SHAPE.weights + 10 * 100 * SHAPE.cached * 4
    assert two - one >= 10 * 100 * SHAPE.cached * 4
    split = overridden(RECIPE, ["engine.name=vllm", "engine.vllm.tensor_parallel=4"])
    assert engine_memory(split, SHAPE, 200, 4) < two


def test_training_holds_weights_gradients_and_moments() -> None:
    adapter = training_memory(RECIPE, SHAPE, False, 50, 1)
    full = training_memory(overridden(RECIPE, ["train.method=full"]), SHAPE, False, 50, 1)
    four_bits = training_memory(overridden(RECIPE, ["train.method=qlora"]), SHAPE, False, 50, 1)
    assert four_bits < adapter < full
    assert full - LIBRARIES >= 16 * SHAPE.checkpoint.parameters
    assert training_memory(RECIPE, SHAPE, True, 50, 1) < adapter
    assert training_memory(RECIPE, SHAPE, False, 5000, 1) == training_memory(
        RECIPE, SHAPE, False, RECIPE.train.cutoff, 1
    )


def test_without_a_gpu_the_model_lies_in_the_machines_memory() -> None:
    beside, within = host_memory(RECIPE, SHAPE, 0, 40), host_memory(RECIPE, SHAPE, 7 * 2**30, 40)
    assert within - 7 * 2**30 < beside < within


def test_processes_that_share_the_model_hold_a_part_each() -> None:
    def of(*settings: str) -> int:
        return training_memory(load_recipe("lamb", ["train.method=full", *settings]), SHAPE, True, 50, 8)

    shared = of("train.launch=fsdp", "train.processes=4", "train.nodes=2")
    state = 4 * 4 * SHAPE.checkpoint.parameters
    assert of() - shared == pytest.approx(state * 7 / 8 - SHAPE.weights / SHAPE.layers, abs=2)
    assert of("train.launch=ddp", "train.processes=8") == of()
