"""How much of a stage's time its engine works: `python benchmarks/engine_share.py [--json] [--checkpoint 0.36b]`.

What is not the engine's is ours to lose: prompts, token ids, rules, novelty, scores, records on disk. By the clock on
the wall, with random weights on one core, in bfloat16. Random weights write nothing that parses, so each stage gets
what lamb's own run has made before it: respond its instructions, assess its responses; synthesize gives up after a few
requests, as `synthesize.patience` asks. The time in which the engine waits for the stage to make the next request is
the stage's.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from statistics import median

import torch
from checkpoints import SHAPES, random_checkpoint
from side import REPEATS, compared, measured, parser, show
from workload import WatchedModels, first_iteration

from isheep.errors import StageError
from isheep.recipe import Recipe, load_recipe, locate
from isheep.records import Instruction, Response
from isheep.seeds import load_seeds
from isheep.stages.assess import assess
from isheep.stages.respond import respond
from isheep.stages.synthesize import synthesize
from isheep.store.run import Iteration

PACKAGES = ("isheep", "torch", "transformers")
RECORDS, BATCH = 8, 4

Stage = Callable[[Iteration, WatchedModels], object]


def main() -> None:
    """Measures, then prints."""
    arguments = parser(__doc__)
    arguments.add_argument("--checkpoint", choices=SHAPES, default="0.36b", help="the shape of the random weights")
    given = arguments.parse_args()
    instructions, responses = records_of_lamb()
    folder = random_checkpoint(given.checkpoint, torch.bfloat16)
    settings = [f"model.path={folder}", "model.dtype=bfloat16", f"engine.batch_size={BATCH}", f"size={BATCH}"]
    recipe = load_recipe("lamb", [*settings, "synthesize.patience=1"])
    seeds = load_seeds(locate(recipe.seeds.path))

    def write(iteration: Iteration, models: WatchedModels) -> None:
        with suppress(StageError):  # It says that too few instructions came.
            synthesize(iteration, [], seeds, recipe, models.base)

    def answer(iteration: Iteration, models: WatchedModels) -> None:
        respond(iteration, recipe, models.base)

    def judge(iteration: Iteration, models: WatchedModels) -> None:
        assess(iteration, recipe, models.base)

    stages: dict[str, tuple[Stage, Sequence[Instruction], Sequence[Response]]] = {
        "synthesize": (write, (), ()),
        "respond": (answer, instructions, ()),
        "assess": (judge, instructions, responses),
    }
    rows = []
    for name, (stage, asked, answered) in stages.items():
        found = [share(stage, recipe, asked, answered) for _ in range(REPEATS)]
        what = f"{name}, {given.checkpoint} (a stage of {median(seconds for _, seconds in found):.0f} s)"
        rows.append(compared(what, measured([part for part, _ in found]), None, "share", "0.95", PACKAGES))
    show(rows, given.json)


def records_of_lamb() -> tuple[list[Instruction], list[Response]]:
    """Instructions that passed, and the responses to them."""
    recipe = load_recipe("lamb", [f"size={RECORDS}"])
    with first_iteration(recipe) as (iteration, models):
        synthesize(iteration, [], load_seeds(locate(recipe.seeds.path)), recipe, models.base)
        respond(iteration, recipe, models.base)
        return iteration.table("instructions").rows(), iteration.table("responses").rows()


def share(
    stage: Stage, recipe: Recipe, instructions: Sequence[Instruction], responses: Sequence[Response]
) -> tuple[float, float]:
    """The engine's part of the stage's time, and that time in seconds; the model is loaded before."""
    with first_iteration(recipe) as (iteration, models):
        if instructions:
            iteration.table("instructions").append(instructions)
            iteration.table("instructions").close()
        if responses:
            iteration.table("responses").append(responses)
            iteration.table("responses").close()
        models.engine(None)
        start = time.perf_counter()
        stage(iteration, models)
        seconds = time.perf_counter() - start
        return models.watch.seconds / seconds, seconds


if __name__ == "__main__":
    main()
