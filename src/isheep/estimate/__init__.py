"""What a run will take, before it is started: tokens, time, GPU-hours, memory, disk, and every guess in words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from math import fsum
from pathlib import Path
from typing import Any

from isheep.check import usable_seeds
from isheep.check.findings import counted
from isheep.check.resources import disk_needed
from isheep.check.select import refuse_filters
from isheep.check.settings import refuse_iterations
from isheep.estimate.assumed import assumed
from isheep.estimate.hardware import COMPARISON, Hardware, gpus_wanted, hardware, layout, on_gpus
from isheep.estimate.memory import engine_memory, host_memory, training_memory
from isheep.estimate.probe import Probe, probed
from isheep.estimate.shape import Shape, shape_of
from isheep.estimate.workload import Work, workload
from isheep.recipe import Recipe
from isheep.recipe.settings import CHECKPOINTING_FROM as CHECKPOINTING_FROM


@dataclass(frozen=True, slots=True)
class StageEstimate:
    """One stage of one iteration; None: could not tell."""

    stage: str
    iteration: int
    read: int
    """Tokens, as `isheep.meter` counts them; so is the next."""
    written: int
    seconds: float | None
    device_hours: float | None
    """Hours of GPUs, those that wait among them."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A whole run."""

    stages: list[StageEstimate]
    seconds: float | None
    """By the clock on the wall."""
    device_hours: float | None
    devices: int
    """GPUs; 0 on a CPU."""
    device_memory: int
    """Bytes of each GPU at the peak: the larger of the next two; 0 on a CPU, whose memory is the host's."""
    engine_memory: int
    training_memory: int
    host_memory: int
    disk: int
    """Bytes, from above."""
    assumptions: list[str]
    """Every guess, in words."""
    warnings: list[str]
    """What will not fit."""

    @property
    def read(self) -> int:
        """Tokens of all stages."""
        return sum(one.read for one in self.stages)

    @property
    def written(self) -> int:
        """The same."""
        return sum(one.written for one in self.stages)


def estimate(recipe: Recipe, hardware: Hardware | None = None, probe: Path | None = None) -> Estimate:
    """What a run of the recipe will take.

    Args:
        recipe: the run's; of its model config.json is enough.
        hardware: GPUs that it would run on; None: this machine, whose speed a probe alone tells.
        probe: a directory with a small run of the same recipe, which is made where there is none.

    Raises:
        UserError: a model, seed file or prompt that is not there or wrong, or another run in the probe's directory.
        StageError, Interrupted: of the probe; the same call goes on from there.
    """
    refuse_iterations(recipe)
    refuse_filters(recipe)
    seeds = usable_seeds(recipe)
    shape = shape_of(recipe)
    guess = assumed(recipe, shape, seeds, evaluated=probe is None)
    found = probed(recipe, probe) if probe else None
    habits = found.habits if found else guess.habits
    work = workload(recipe, habits, len(seeds), found.items if found else guess.items)
    twice = _twice(recipe, shape)
    timed = _clock(recipe, shape, hardware, found, twice)
    devices = hardware.gpus if hardware else _devices_here(recipe)
    stages = [_stage(one, timed(one), devices) for one in work]
    engine = engine_memory(recipe, shape, guess.context, max(1, devices))
    training = training_memory(recipe, shape, twice, guess.pair, max(1, devices))
    seconds = known_sum([one.seconds for one in stages])
    if found and not hardware and seconds is not None:
        seconds += found.around() * (recipe.iterations + 1)
    peak = max(engine, training)
    return Estimate(
        stages=stages,
        seconds=seconds,
        device_hours=None if seconds is None else seconds * devices / 3600,
        devices=devices,
        device_memory=peak if devices else 0,
        engine_memory=engine,
        training_memory=training,
        host_memory=host_memory(recipe, shape, 0 if devices else peak, habits(1).pair),
        disk=disk_needed(recipe, shape.checkpoint),
        assumptions=[*_said(recipe, shape, hardware, found), *([] if found else guess.said)],
        warnings=_warned(hardware, engine, training),
    )


def _clock(
    recipe: Recipe, shape: Shape, given: Hardware | None, probe: Probe | None, twice: bool
) -> Callable[[Work], float | None]:
    """What tells how long a stage takes."""

    def on_this_machine(work: Work) -> float | None:
        seconds = probe.seconds(work) if probe else None
        # A probe's pool of instructions is too small to be felt, and the whole run's grows with the square.
        return None if seconds is None else seconds + work.compared * COMPARISON

    def elsewhere(work: Work) -> float | None:
        return on_gpus(work, recipe, shape, given, twice) if given else None

    return elsewhere if given else on_this_machine


def _stage(work: Work, seconds: float | None, devices: int) -> StageEstimate:
    hours = None if seconds is None else seconds * devices / 3600
    return StageEstimate(work.stage, work.iteration, work.read, work.written, seconds, hours)


def known_sum(seconds: Sequence[float | None]) -> float | None:
    """The sum; None where one of them is not known."""
    told = [one for one in seconds if one is not None]
    return fsum(told) if len(told) == len(seconds) else None


def _twice(recipe: Recipe, shape: Shape) -> bool:
    asked = recipe.train.gradient_checkpointing
    return shape.checkpoint.parameters >= CHECKPOINTING_FROM if asked is None else asked


def _devices_here(recipe: Recipe) -> int:
    """GPUs of this machine that the recipe would use."""
    if recipe.engine.device.startswith("cpu"):
        return 0
    import torch

    return gpus_wanted(recipe) if torch.cuda.is_available() else 0


def _said(recipe: Recipe, shape: Shape, given: Hardware | None, probe: Probe | None) -> list[str]:
    """What every figure stands on."""
    said = []
    if shape.drafted:
        said.append(f"{shape.checkpoint.parameters:,} parameters, as config.json says: there are no weights to look at")
    if "num_experts" in shape.checkpoint.config or "num_local_experts" in shape.checkpoint.config:
        said.append("a mixture of experts: all of them count as computed")
    if recipe.assess.other_model:
        said.append("the assessor counts as a model of the run's own size")
    if recipe.engine.name == "openai":
        said.append("the engine's memory and time are the server's, as if it were these GPUs")
    if probe:
        own = probe.run.recipe
        said.append(
            f"tokens as in the probe, {own.size} records an iteration; iteration {probe.last} of it stands for every "
            "later one, novelty drops as much of a larger pool, and a model that is trained on more behaves as its does"
        )
    if given:
        spread = layout(recipe, given.gpus)
        if spread.copies > 1 and not recipe.engine.workers:
            said.append(f"as with engine.workers={spread.copies}, which the recipe does not say")
        said.append(
            f"copies of the model, which share the requests evenly: {spread.copies}, each on {spread.sharing} of "
            f"{counted(given.gpus, 'GPU')}; GPUs that train: {spread.training}"
        )
        said.append(
            "shares of the data sheet's arithmetic and bandwidth that real code reaches; no run was timed on it"
        )
    elif probe:
        said.append("this machine goes on as fast as it did in the probe")
    else:
        said.append("time: could not tell; give --probe DIR for this machine, or --gpu NAME for another")
    return said


def _warned(given: Hardware | None, engine: int, training: int) -> list[str]:
    if given is None:
        return []
    needs = {"the engine": engine, "training": training}
    return [
        f"{what} needs {bytes_ / 1e9:.0f} GB on a GPU, {given.name} has {given.memory / 1e9:.0f} GB"
        for what, bytes_ in needs.items()
        if bytes_ > given.memory
    ]


def as_document(found: Estimate) -> dict[str, Any]:
    """As `--json` prints it."""
    return {**asdict(found), "read": found.read, "written": found.written}


__all__ = ["Estimate", "Hardware", "StageEstimate", "as_document", "estimate", "gpus_wanted", "hardware", "known_sum"]
