from __future__ import annotations

from dataclasses import replace

import pytest

from isheep.errors import UserError
from isheep.estimate.hardware import RECORD, REQUEST, hardware, layout, on_gpus, table
from isheep.estimate.shape import shape_of
from isheep.estimate.workload import Work
from isheep.recipe import load_recipe, overridden

RECIPE = load_recipe("lamb", ["engine.name=vllm"])
SHAPE = shape_of(RECIPE)


def test_a_gpu_is_known_however_it_is_written() -> None:
    assert hardware("RTX 4090", 2) == hardware("rtx_4090", 2) == hardware("rtx-4090", 2)
    assert hardware("h100", 8).gpus == 8
    for name in table():
        found = hardware(name, 1)
        assert 1e10 < found.memory < found.bandwidth * 1e3
        assert found.arithmetic > 1e13


def test_another_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(
        UserError, match=r"no data of a GPU `h10`. Did you mean `h100`\? Known are .*a100-80gb.*rtx-4090"
    ):
        hardware("h10", 1)
    with pytest.raises(UserError, match="no number of GPUs"):
        hardware("h100", 0)


def test_copies_of_a_model_share_the_gpus() -> None:
    split = overridden(RECIPE, ["engine.vllm.tensor_parallel=8"])
    assert (layout(split, 16).copies, layout(split, 16).sharing) == (2, 8)
    assert (layout(RECIPE, 16).copies, layout(RECIPE, 16).sharing) == (16, 1)
    # Of the embedded engine each copy lies on one device.
    assert layout(load_recipe("lamb"), 4).sharing == 1


def test_what_the_driver_does_bounds_the_stage() -> None:
    many, work = hardware("h100", 1000), Work("assess", 1, 10_000, 100, 0)
    assert on_gpus(work, RECIPE, SHAPE, many, twice=False) == pytest.approx(10_000 * REQUEST)
    assert on_gpus(replace(work, stage="select", read=0), RECIPE, SHAPE, many, twice=False) == 10_000 * RECORD
    compared = replace(work, stage="synthesize", compared=1e13)
    assert on_gpus(compared, RECIPE, SHAPE, many, twice=False) > 10_000


def test_a_faster_gpu_is_faster() -> None:
    works = [Work("respond", 1, 64, 10**9, 10**8), Work("train", 1, 64, 10**9, 0)]
    for work in works:
        times = [on_gpus(work, RECIPE, SHAPE, hardware(name, 1), twice=False) for name in ("h100", "a100-80gb", "t4")]
        assert times == sorted(times)
        assert times[0] < times[-1]
    twice = on_gpus(works[1], RECIPE, SHAPE, hardware("h100", 1), twice=True)
    assert twice > on_gpus(works[1], RECIPE, SHAPE, hardware("h100", 1), twice=False)
