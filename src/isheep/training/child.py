"""One process of a training by several: `python -m isheep.training.child FOLDER`, started by accelerate for `launch`.

FOLDER holds what all of them are told (task.json). The first one tells there how far they are (events.jsonl) and what
came of it (outcome.json); one that fails for a reason that it knows says so (failed.json). They stop where the file
`stop` lies, each with the same step, and end with the run's process, whose pipe is their standard input.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from isheep.errors import Interrupted, IsheepError, UserError
from isheep.store.files import write_json

TASK, EVENTS, STOP, OUTCOME, FAILED = "task.json", "events.jsonl", "stop", "outcome.json", "failed.json"
BEAT_S = 5.0
"""Seconds between two signs of life within a step."""


@dataclass(frozen=True, slots=True)
class Task:
    """What all processes of a training are told."""

    recipe: Mapping[str, Any]
    directory: str
    """Of the run."""
    number: int
    """Of the iteration."""
    checkpoints: str
    training_set: str
    seed: int
    title: str
    start: str | None
    """A folder of weights to train on from; None begins with the base."""
    steps: int
    micro: int = 1
    """Pairs that a process reads at once, in this try."""
    last: str | None = None
    """The checkpoint that this try goes on from."""


def main() -> None:
    """Trains; ends at once where the process that started them all ends."""
    folder = Path(sys.argv[1])
    threading.Thread(target=_end_with_parent, name="parent", daemon=True).start()
    try:
        _work(Task(**json.loads((folder / TASK).read_text(encoding="utf-8"))), folder)
    except Exception as error:
        if (known := _known(error)) is not None:
            _fail(folder, known)
        raise


def _work(task: Task, folder: Path) -> None:
    # Imported here: the parent reads this module for its names alone.
    from isheep.encoder import Encoder
    from isheep.hub import model_folder
    from isheep.recipe import parse_recipe
    from isheep.training import ranks
    from isheep.training.examples import lessons
    from isheep.training.trackers import Tracked
    from isheep.training.trainer import Training
    from isheep.training.watching import Watching

    recipe = parse_recipe(dict(task.recipe), str(folder / TASK))
    encoder = Encoder.load(model_folder(recipe.model.path), recipe.model.template)
    learned = lessons(Path(task.training_set), recipe, encoder, task.seed)
    events = Events(folder / EVENTS)
    training = Training(
        recipe,
        encoder,
        Path(task.checkpoints),
        task.seed,
        task.title,
        Path(task.start) if task.start else None,
        Tracked(recipe.train.track, Path(task.directory), task.number),
        Watching((folder / STOP).exists, events.reached, events.beat),
    )
    last = Path(task.last) if task.last else None
    first = os.environ["RANK"] == "0"
    with events.said() if first else nullcontext():
        try:
            outcome = asdict(training.once(learned.in_order, learned.held_out, task.micro, last))
            outcome["checkpoint"] = str(outcome["checkpoint"])
        except Interrupted:
            outcome = None
    if first:
        write_json(folder / OUTCOME, {"outcome": outcome})
    ranks.part()


class Events:
    """What the first process tells, a JSON array a line: `["at", step, tokens]`, `["beat"]` or `["say", text]`."""

    def __init__(self, file: Path) -> None:
        self._file, self._last = file, 0.0

    def reached(self, step: int, tokens: int) -> None:
        """All processes together have read so many tokens by the end of a step."""
        self._tell("at", step, tokens)

    def beat(self) -> None:
        """Something within a step was done."""
        if time.monotonic() - self._last > BEAT_S:
            self._tell("beat")

    @contextmanager
    def said(self) -> Iterator[None]:
        """Within the block what is said to the user is told, too."""
        from isheep.progress import heard_by

        with heard_by(lambda message: self._tell("say", message)):
            yield

    def _tell(self, *event: Any) -> None:
        self._last = time.monotonic()
        with self._file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(event) + "\n")


def _end_with_parent() -> None:
    """Nothing is ever written into the pipe; it ends when nobody is there to hold its other end."""
    with suppress(OSError):
        while os.read(0, 1):
            pass
    os._exit(1)


def _known(error: Exception) -> dict[str, Any] | None:
    """What the parent is to raise for it; None: the log has to tell."""
    from isheep.training.steps import is_out_of_memory

    if isinstance(error, UserError):
        return {"kind": "user", "message": [error.where, error.what, error.mend]}
    if isinstance(error, IsheepError):
        return {"kind": "stage", "message": [str(error)]}
    return {"kind": "memory", "message": [str(error)]} if is_out_of_memory(error) else None


def _fail(folder: Path, known: Mapping[str, Any]) -> None:
    """The first that fails is the one to hear; others fail since it is gone, so nothing waits for them."""
    if not (folder / FAILED).exists():
        write_json(folder / FAILED, known)
    os._exit(1)


if __name__ == "__main__":
    main()
