"""Workers on Ray beside the plain engine: `python benchmarks/workers.py [--json] [--checkpoint 30m]`.

The same requests through the plain engine, through one worker and through two, each pinned to a core of its own with
one thread, by the clock on the wall; models are loaded before. Two plain processes at once tell what the machine itself
gives: its cores share caches, memory and, on a virtual machine, neighbours.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from checkpoints import SHAPES, random_checkpoint
from generate import long_tailed
from side import REPEATS, Row, compared, measured, parser, show, wall_seconds

from isheep.encoder import Encoder
from isheep.engines import Engine, Request, open_engine
from isheep.engines.ray import RayEngine
from isheep.recipe import Recipe, load_recipe

PACKAGES = ("isheep", "ray", "torch", "transformers")
REQUESTS, BATCH = 64, 4


def main() -> None:
    """Measures, then prints."""
    arguments = parser(__doc__)
    arguments.add_argument("--checkpoint", choices=SHAPES, default="30m", help="the shape of the random weights")
    arguments.add_argument("--plain", type=int, metavar="CORE", help="one plain process on this core (for the limit)")
    given = arguments.parse_args()
    folder = random_checkpoint(given.checkpoint, torch.float32)
    recipe = recipe_of(folder, 0)
    requests = long_tailed(recipe, REQUESTS)
    if given.plain is not None:
        os.sched_setaffinity(0, {given.plain})
        with opened(recipe) as engine:
            print(seconds(engine, requests))
        return
    show(rows(folder, given.checkpoint, requests), given.json)


def rows(folder: Path, checkpoint: str, requests: Sequence[Request]) -> list[Row]:
    """One worker beside none, two beside one, and two plain processes beside one."""
    plain, one, two, both = [], [], [], []
    for _ in range(REPEATS):
        plain += together(checkpoint, [0])
        one.append(with_workers(folder, 1, requests))
        two.append(with_workers(folder, 2, requests))
        both.append(max(together(checkpoint, [0, 1])))
    what = f"{len(requests)} responses, {checkpoint}"
    speed = {
        name: [len(requests) / value for value in found]
        for name, found in {"plain": plain, "one": one, "two": two, "both": [value / 2 for value in both]}.items()
    }

    def row(about: str, ours: str, peer: str, goal: str) -> Row:
        return compared(
            f"{what}: {about}", measured(speed[ours]), measured(speed[peer]), "responses/s", goal, PACKAGES, True
        )

    return [
        row("one worker beside the plain engine", "one", "plain", "0.9x"),
        row("two workers beside one", "two", "one", "1.8x"),
        row("two plain processes beside one: the machine's limit", "both", "plain", ""),
    ]


def recipe_of(folder: Path, workers: int) -> Recipe:
    """One thread, small windows: there have to be several for each worker."""
    settings = [f"model.path={folder}", "engine.threads=1", f"engine.batch_size={BATCH}", "engine.window=1"]
    return load_recipe("lamb", [*settings, f"engine.workers={workers}"])


def opened(recipe: Recipe) -> Engine:
    """The recipe's engine, its model loaded."""
    return open_engine(recipe, Encoder.load(Path(recipe.model.path), "chatml"))


def seconds(engine: Engine, requests: Sequence[Request]) -> float:
    """For all requests, after a few to warm up."""
    list(engine.generate(requests[:BATCH]))
    return wall_seconds(lambda: list(engine.generate(requests)))


def with_workers(folder: Path, workers: int, requests: Sequence[Request]) -> float:
    """Seconds of so many workers, each on a core of its own."""
    with opened(recipe_of(folder, workers)) as engine:
        assert isinstance(engine, RayEngine)  # noqa: S101  # it says so to mypy
        while not all(seat.ready for seat in engine._seats):
            list(engine.generate(requests[:1]))
        for core, seat in enumerate(engine._seats):
            for thread in Path(f"/proc/{seat.place.split()[1]}/task").iterdir():
                os.sched_setaffinity(int(thread.name), {core})
        return seconds(engine, requests)


def together(checkpoint: str, cores: Sequence[int]) -> list[float]:
    """Seconds of plain engines in processes of their own, one on each of the cores, all at once."""
    command = [sys.executable, __file__, "--checkpoint", checkpoint, "--plain"]
    # S603: this interpreter, this file and words of its own.
    processes = [subprocess.Popen([*command, str(core)], stdout=subprocess.PIPE, text=True) for core in cores]  # noqa: S603
    return [float(process.communicate()[0]) for process in processes]


if __name__ == "__main__":
    main()
