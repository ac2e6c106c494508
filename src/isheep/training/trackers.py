"""What a training tells TensorBoard, Weights & Biases, MLflow or Trackio, by the callbacks that transformers has.

They get figures only: the trainer's log, the trainer's arguments and the model's configuration, the iteration's health,
and the scores of the iteration before. A tracker that fails is given up, and the training goes on without it.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import TrainerCallback
from transformers.integrations import INTEGRATION_TO_CALLBACK

from isheep.errors import first_line
from isheep.progress import say
from isheep.store.files import read_json
from isheep.store.plan import folder_of

PROJECT = "isheep"
PROJECT_VARIABLES = {"wandb": "WANDB_PROJECT", "mlflow": "MLFLOW_EXPERIMENT_NAME", "trackio": "TRACKIO_PROJECT"}
"""Where the user's environment names a project, that is it."""

FOLDER, OVERVIEW = "tensorboard", "iterations"
"""TensorBoard's files in the run directory; in it what is told of iterations, and a folder for each training."""


@dataclass(frozen=True, slots=True)
class Tracked:
    """A training, and who is told of it."""

    trackers: Sequence[str] = ()
    directory: Path = Path()
    """Of the run."""
    number: int = 0
    """Of the iteration."""

    @property
    def run_name(self) -> str:
        """`RUN-iteration-01`."""
        return f"{self.directory.absolute().name}-{folder_of(self.number)}"

    def scores(self, number: int) -> dict[str, float]:
        """Those of an iteration's model that is measured, by their tags."""
        return dict(_scores(read_json(self.directory / folder_of(number) / "scores.json", writable=False)))

    def health(self, number: int) -> dict[str, float]:
        """The figures of an iteration's data, by their tags."""
        found = read_json(self.directory / folder_of(number) / "health.json", writable=False)
        return dict(_numbers("health", found))


@contextmanager
def tracking(tracked: Tracked, done: int) -> Iterator[TrainerCallback]:
    """A callback that tells the trackers of the training; afterwards what they hold is given back.

    Args:
        tracked: the training.
        done: steps of an earlier command that this one goes on from; what was told of later ones does not count.
    """
    told = _Told(tracked, done)
    try:
        yield told
    finally:
        told.close()


class _Told(TrainerCallback):  # type: ignore[misc]
    """Hands the trainer's events on to the trackers."""

    def __init__(self, tracked: Tracked, done: int) -> None:
        self._tracked, self._done = tracked, done
        self._callbacks: dict[str, Any] = {}
        self._ours = False
        self._writers: list[Any] = []

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        # Theirs alone: the trainer's own arguments stay as they are in its checkpoints.
        named = copy.copy(args)
        named.run_name = self._tracked.run_name
        named.project = os.environ.get(PROJECT_VARIABLES["trackio"], PROJECT)
        for name in dict.fromkeys(self._tracked.trackers):
            with self._given_up(name), _projects():
                self._callbacks[name] = self._opened(name)
                self._callbacks[name].on_train_begin(named, state, control, **kwargs)
                self._tell_figures(name, named, state, control, **kwargs)

    def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._each("on_log", args, state, control, **kwargs)

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._each("on_save", args, state, control, **kwargs)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._each("on_train_end", args, state, control, **kwargs)

    def close(self) -> None:
        """Also of a training that failed: the next one of this process begins with runs of its own."""
        for writer in self._writers:
            with self._given_up(FOLDER):
                writer.close()
        if self._ours:
            with self._given_up("wandb"):
                import wandb

                wandb.finish()
        # MLflow's callback ends its run when nothing holds it any more.
        self._callbacks.clear()

    def _opened(self, name: str) -> Any:
        kind = INTEGRATION_TO_CALLBACK[name]
        if name == "tensorboard":
            # What an earlier command told of steps that are done again would stand there twice.
            return kind(self._writer(folder_of(self._tracked.number), self._done + 1 if self._done else 0))
        if name == "wandb":
            import wandb

            self._ours = wandb.run is None
        return kind()

    def _writer(self, folder: str, purge: int) -> Any:
        self._writers.append(_writer(self._tracked.directory, folder, purge))
        return self._writers[-1]

    def _tell_figures(self, name: str, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """What the run knows by now: the scores of the last model, and the health of the new data."""
        last, number = self._tracked.number - 1, self._tracked.number
        if name == "tensorboard":
            _tell_overview(self._tracked, last)
            return
        at = copy.copy(state)
        for at.global_step, figures in ((last, self._tracked.scores(last)), (number, self._tracked.health(number))):
            if figures:
                self._callbacks[name].on_log(args, at, control, logs=figures, **kwargs)

    def _each(self, event: str, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        for name, callback in list(self._callbacks.items()):
            with self._given_up(name):
                getattr(callback, event)(args, state, control, **kwargs)

    @contextmanager
    def _given_up(self, name: str) -> Iterator[None]:
        with _told_of(name):
            try:
                yield
            except Exception:
                self._callbacks.pop(name, None)
                raise


def tell_end(trackers: Sequence[str], directory: Path, number: int) -> None:
    """The scores of a run's last iteration, which no training comes after: to TensorBoard, whose files take more."""
    if "tensorboard" in trackers:
        with _told_of("tensorboard"):
            _tell_overview(Tracked(trackers, directory, number), number)


@contextmanager
def _told_of(name: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # Whatever another library raises, over whichever network.
        say(f"! {name} failed ({first_line(error)}); the run goes on without it (train.track)")


def _tell_overview(tracked: Tracked, measured: int) -> None:
    """All that is known of the iterations, each a step of lines; in the place of what was told of them before.

    `measured` is the last one whose scores there are.
    """
    writer = _writer(tracked.directory, OVERVIEW, 0)
    for number in range(tracked.number + 1):
        figures = tracked.health(number) | (tracked.scores(number) if number <= measured else {})
        for tag, value in figures.items():
            writer.add_scalar(tag, value, number)
    writer.close()


def _writer(directory: Path, folder: str, purge: int) -> Any:
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(directory / FOLDER / folder), purge_step=purge)


@contextmanager
def _projects() -> Iterator[None]:
    """Within the block our project is the one that the environment names, unless it names another."""
    ours = [variable for variable in PROJECT_VARIABLES.values() if variable not in os.environ]
    os.environ.update(dict.fromkeys(ours, PROJECT))
    try:
        yield
    finally:
        for variable in ours:
            with suppress(KeyError):
                del os.environ[variable]


def _scores(scores: Any) -> Iterator[tuple[str, float]]:
    for benchmark, metrics in (scores or {}).items():
        for metric, figure in metrics.items():
            if _is_number(figure.get("value")):
                yield f"scores/{benchmark}/{metric}", figure["value"]


def _numbers(tag: str, value: Any) -> Iterator[tuple[str, float]]:
    """`health/scores/quality/entropy` and its value: what is no number (a list, a text, could not tell) is left out."""
    if isinstance(value, Mapping):
        for name, part in value.items():
            yield from _numbers(f"{tag}/{name}", part)
    elif _is_number(value):
        yield tag, value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
