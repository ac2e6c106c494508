"""What is put into a command before it begins: its death at a durable step, a full disk, a jump of the clock.

Nothing of isheep is replaced: its steps are counted as they pass, and what then happens is what happens to processes.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import wraps
from pathlib import Path
from typing import Any

STEPS = ("fsync", "replace", "rename", "unlink", "rmdir")
"""Of the operating system: what makes a change last, or takes something away."""

Act = Callable[[], None]


def stages(act: Callable[[str, int], None]) -> None:
    """Calls `act(stage, iteration)` whenever a stage begins."""
    from isheep.stages.once import Once

    do = Once.do

    @wraps(do)
    def noted(self: Any, stage: Any, iteration: Any, *args: Any, **kwargs: Any) -> None:
        act(stage.__name__, iteration.number)
        do(self, stage, iteration, *args, **kwargs)

    Once.do = noted  # type: ignore[method-assign]


def durable_steps(act: Act) -> None:
    """Calls `act` before every step that makes a change last."""
    for name in STEPS:
        setattr(os, name, _preceded(getattr(os, name), act))


def _preceded(function: Callable[..., Any], act: Act) -> Callable[..., Any]:
    @wraps(function)
    def preceded(*args: Any, **kwargs: Any) -> Any:
        act()
        return function(*args, **kwargs)

    return preceded


@dataclass(frozen=True, slots=True)
class At:
    """Where in a run something happens: in a stage (any iteration), at its `step`-th durable step or after a time."""

    stage: str | None = None
    """None: anywhere, counted from the start of the command."""
    step: int | None = None
    seconds: float = 0.0

    def arm(self, act: Act) -> None:
        """Has `act` called there, once."""
        state = {"inside": self.stage is None, "left": self.step or 0, "over": False}

        def begin() -> None:
            if self.step is None and not state["over"]:
                state["over"] = True
                timer = threading.Timer(self.seconds, act)
                timer.daemon = True
                timer.start()

        def entered(stage: str, number: int) -> None:
            if self.stage is not None:
                state["inside"] = stage == self.stage
                if state["inside"]:
                    begin()

        def passed() -> None:
            if state["inside"] and self.step is not None and not state["over"]:
                state["left"] -= 1
                if state["left"] <= 0:
                    state["over"] = True
                    act()

        stages(entered)
        if self.step is not None:
            durable_steps(passed)
        elif self.stage is None:
            begin()


@dataclass(frozen=True, slots=True)
class Signal:
    """The process gets a signal there."""

    at: At
    number: int = signal.SIGKILL

    def __call__(self) -> None:
        self.at.arm(lambda: os.kill(os.getpid(), self.number))


def stand_still(stage: str) -> None:
    """The engine (in `train`: the training) does nothing any more from its third step in that stage on."""
    inside, left = False, 3

    def entered(name: str, number: int) -> None:
        nonlocal inside
        inside = name == stage

    def passed() -> None:
        nonlocal left
        left -= inside
        if inside and left < 0:
            threading.Event().wait()

    stages(entered)
    from isheep.engines.reader import Reader
    from isheep.training.steps import Trainer

    for owner, name in ((Reader, "read"), (Trainer, "training_step")):
        setattr(owner, name, _preceded(getattr(owner, name), passed))


@dataclass(frozen=True, slots=True)
class Fill:
    """When a stage begins, all but some bytes of the disk on which the run lies are taken."""

    stage: str
    ballast: Path
    left: int

    def __call__(self) -> None:
        stages(self._begin)

    def _begin(self, stage: str, number: int) -> None:
        if stage == self.stage and not self.ballast.exists():
            room = os.statvfs(self.ballast.parent)
            self.ballast.write_bytes(b"\0" * max(0, room.f_bavail * room.f_frsize - self.left))


@dataclass(frozen=True, slots=True)
class Unwritable:
    """When a stage begins, its iteration's folder becomes read-only, even for root."""

    stage: str
    directory: Path

    def __call__(self) -> None:
        stages(self._begin)

    def _begin(self, stage: str, number: int) -> None:
        folder = self.directory / f"iteration-{number:02d}"
        if stage == self.stage and folder.is_dir():
            for how in (["--bind", str(folder)], ["-o", "remount,ro,bind"]):
                subprocess.run(["mount", *how, str(folder)], check=True)


@dataclass(frozen=True, slots=True)
class Vanish:
    """Soon after a stage has begun, its iteration's folder is somewhere else."""

    stage: str
    directory: Path
    seconds: float

    def __call__(self) -> None:
        At(self.stage, seconds=self.seconds).arm(self._vanish)

    def _vanish(self) -> None:
        last = max(self.directory.glob("iteration-??"))
        last.rename(self.directory.with_name(f"{self.directory.name}-{last.name}"))


@dataclass(frozen=True, slots=True)
class Jump:
    """The clock jumps by some seconds when a stage begins."""

    stage: str
    seconds: float

    def __call__(self) -> None:
        stages(self._begin)

    def _begin(self, stage: str, number: int) -> None:
        if stage == self.stage:
            from isheep.store import files

            clock, jump = time.time, self.seconds
            time.time = lambda: clock() + jump
            jumped = type("Jumped", (), {"now": _jumped(jump)})
            setattr(files, "datetime", jumped)  # noqa: B010  # not exported


def _jumped(seconds: float) -> Any:
    return staticmethod(lambda zone=None: datetime.now(zone) + timedelta(seconds=seconds))


@dataclass(frozen=True, slots=True)
class Loss:
    """From a training step on the loss is another one, or there is no memory for it."""

    step: int
    value: float | None = None
    """Times the loss that it would have; None: out of memory, this once."""

    def __call__(self) -> None:
        from torch import OutOfMemoryError

        from isheep.training.steps import Trainer

        compute, over = Trainer.compute_loss, False

        @wraps(compute)
        def computed(trainer: Any, *args: Any, **kwargs: Any) -> Any:
            nonlocal over
            loss = compute(trainer, *args, **kwargs)
            if trainer.state.global_step + 1 < self.step or not trainer.model.training:
                return loss
            if self.value is not None:
                return loss * self.value
            if not over:
                over = True
                raise OutOfMemoryError("injected")
            return loss

        Trainer.compute_loss = computed  # type: ignore[method-assign, assignment]
