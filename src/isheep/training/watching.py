"""A training as it goes on: whether it is to stop, whether it learns anything, and which checkpoints stay."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree
from typing import Any

from transformers import TrainerCallback

from isheep import drain, meter
from isheep.store.files import WHOLE, read_json, sync, write_json
from isheep.training import ranks

logger = logging.getLogger(__name__)

EXPLODED_OVER = 5
"""Steps whose mean loss tells an explosion from a hard batch."""
EXPLODED_BY = 1.0
"""Nats: beside having doubled, the loss of those steps lies so much above that of the first ones."""


@dataclass(frozen=True, slots=True)
class Watching:
    """What a training asks and tells as it goes on."""

    wanted: Callable[[], bool] = drain.wanted
    """Whether it shall stop."""
    tell: Callable[[int, int], None] = lambda step, tokens: None
    """Is told the step and the tokens that all processes have read; where several train, in the first of them."""
    beat: Callable[[], None] = lambda: None
    """Is called for what is done within a step."""


@dataclass(frozen=True, slots=True)
class Broken:
    """A training that learns nothing more."""

    why: str
    good_until: int
    """The last step after which the weights were sound, for all that the losses tell."""


def broken(losses: Sequence[tuple[int, float]], steps: int = EXPLODED_OVER) -> Broken | None:
    """What is wrong with the losses so far, (step, loss) each; None where nothing is.

    An explosion is a mean over `steps` steps that is twice that of the first ones, and at least `EXPLODED_BY` more. A
    loss tells of the weights that the step before has left.
    """
    step, loss = losses[-1]
    if not math.isfinite(loss):
        return Broken(f"its loss is {loss} at step {step}", step - 2)
    if len(losses) < 2 * steps:
        return None
    first, last = (math.fsum(value for _, value in part) / steps for part in (losses[:steps], losses[-steps:]))
    if last > max(2 * first, first + EXPLODED_BY):
        return Broken(f"its loss rose from {first:.3g} to {last:.3g} by step {step}", step - steps - 1)
    return None


class Watch(TrainerCallback):  # type: ignore[misc]
    """Progress, the stop that the user asks for, losses that go wrong, and which checkpoints stay."""

    def __init__(self, checkpoints: Path, advance: Callable[[int], None], watching: Watching) -> None:
        self._checkpoints, self._advance, self._watching = checkpoints, advance, watching
        self.broken: Broken | None = None

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._advance(1)
        if self._told(args, state) and state.global_step < state.max_steps:
            control.should_save = control.should_training_stop = True

    def on_substep_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._watching.beat()

    def on_prediction_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._watching.beat()

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._told(args, state)

    def _told(self, args: Any, state: Any) -> bool:
        """Tells how far it is; returns whether one of the processes is to stop, so that all of them do."""
        wanted, tokens = ranks.sums([int(self._watching.wanted()), meter.read_so_far()], args.device)
        if ranks.own() == 0:
            self._watching.tell(state.global_step, tokens)
        return wanted > 0

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float], **kwargs: Any) -> None:
        losses = [(entry["step"], entry["loss"]) for entry in state.log_history if "loss" in entry]
        held_out = logs.get("eval_loss", 0.0)
        self.broken = broken(losses) if "loss" in logs else self.broken
        if not math.isfinite(held_out):
            what = f"its loss on what is held out is {held_out} at step {state.global_step}"
            self.broken = Broken(what, state.global_step - 1)
        if self.broken is not None:
            control.should_training_stop = True
            control.should_evaluate = control.should_save = False

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Marks the new checkpoint as whole; the best so far stays, and enough of the last ones to go back to."""
        ranks.wait()
        if ranks.own() > 0:
            return
        newest = self._checkpoints / f"checkpoint-{state.global_step}"
        for file in _files(newest):
            sync(file)
        write_json(newest / WHOLE, _sizes(newest))
        saved = {step_of(folder): folder for folder in self._checkpoints.glob("checkpoint-*")}
        best = best_step(state.log_history)
        past = [step for step in saved if step < state.global_step - EXPLODED_OVER]
        going_back = {step for step in saved if step >= max(past, default=0)} if best is None else {best}
        for step in saved.keys() - going_back - {state.global_step}:
            rmtree(saved[step])


def last_whole(checkpoints: Path) -> Path | None:
    """The newest checkpoint that was saved to its end and is as it was then; others are removed."""
    whole = []
    for folder in checkpoints.glob("checkpoint-*"):
        if read_json(folder / WHOLE, writable=False) == _sizes(folder):
            whole.append(folder)
        else:
            logger.warning("%s is not whole, it was cut or damaged; training goes on from an earlier one", folder)
            rmtree(folder)
    return max(whole, key=step_of, default=None)


def _sizes(checkpoint: Path) -> dict[str, int]:
    """File -> bytes."""
    files = [file for file in _files(checkpoint) if file.name != WHOLE]
    return {file.relative_to(checkpoint).as_posix(): file.stat().st_size for file in files}


def _files(checkpoint: Path) -> list[Path]:
    return sorted(file for file in checkpoint.rglob("*") if file.is_file())


def step_of(checkpoint: Path) -> int:
    """The optimizer step after which it was saved."""
    return int(checkpoint.name.removeprefix("checkpoint-"))


def saved_by(checkpoint: Path) -> int:
    """How many processes wrote it, each of which left the state of its generators."""
    return len(list(checkpoint.glob("rng_state*.pth")))


def evaluations(history: Sequence[dict[str, Any]]) -> dict[int, float]:
    """Optimizer step -> loss on the held-out examples."""
    return {entry["step"]: entry["eval_loss"] for entry in history if "eval_loss" in entry}


def best_step(history: Sequence[dict[str, Any]]) -> int | None:
    """Of the lowest loss on the held-out examples, the first of equals; None where none was told."""
    told = {step: loss for step, loss in evaluations(history).items() if math.isfinite(loss)}
    return min(told, key=lambda step: (told[step], step), default=None)
