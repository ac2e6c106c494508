"""A whole iteration of lamb beside the published way: `python benchmarks/iteration.py [--json] [--size 800]`.

Both make the same number of instructions from the same seeds, answer and assess them, train as many steps, and evaluate
nothing. What is different is what the published scripts do differently:

1. an engine start (a process) each for instructions, responses and scores; ours has one for all three;
2. novelty by `rouge_scorer.score` against every text of the pool, in a process pool that each candidate opens anew;
3. scores that are generated (64 tokens) and parsed; ours are read from the distribution;
4. after the training the adapter is merged into a full checkpoint for the next start; ours is put on the loaded base.

Engine, prompts, parsers, rules and trainer are ours on both sides. CPU seconds with all processes, and the clock on the
wall; medians of `--repeats`.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Callable, Mapping
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

from rouge_score.rouge_scorer import RougeScorer
from side import REPEATS, Row, children_seconds, compared, measured, parser, show, wall_seconds

from isheep import run as run_loop
from isheep.engines.loading import load_model, pick_device
from isheep.filters.novelty import Match, Novelty
from isheep.filters.rouge import Tokenizer
from isheep.hub import model_folder
from isheep.models import Models
from isheep.recipe import Recipe, load_recipe, locate
from isheep.seeds import load_seeds
from isheep.stages import synthesize as synthesis
from isheep.stages.assess import assess
from isheep.stages.respond import respond
from isheep.stages.select import select
from isheep.stages.train import train
from isheep.stages.training_set import gather
from isheep.store.run import Run

PACKAGES = ("isheep", "rouge-score", "torch", "transformers")
SETTINGS = ("iterations=1", "evaluate.benchmarks=[]")
PROCESSES = 4
"""Of the pool that a candidate opens, as in Self-Instruct."""


def main() -> None:
    """Measures, then prints; as a child, does one step of either side."""
    arguments = parser(__doc__)
    arguments.add_argument("--size", type=int, default=800, help="instructions")
    arguments.add_argument("--repeats", type=int, default=REPEATS)
    arguments.add_argument("--step", choices=["ours", *PUBLISHED], help=argparse.SUPPRESS)
    arguments.add_argument("--dir", type=Path, help=argparse.SUPPRESS)
    given = arguments.parse_args()
    if given.step == "ours":
        run_loop(load_recipe("lamb", [*SETTINGS, f"size={given.size}"]), given.dir)
    elif given.step:
        recipe = load_recipe("lamb", [*SETTINGS, f"size={given.size}", "assess.read=generate"])
        with Run.create_or_resume(given.dir, recipe) as run:
            PUBLISHED[given.step](run, recipe)
    else:
        show(rows(given.size, given.repeats), given.json)


def rows(size: int, repeats: int) -> list[Row]:
    """By both clocks, by turns."""
    costs: dict[str, tuple[list[float], list[float]]] = {"CPU-s": ([], []), "s": ([], [])}
    for _ in range(repeats):
        for place, steps in enumerate((["ours"], list(PUBLISHED))):
            wall = []
            cpu = children_seconds(lambda steps=steps, wall=wall: wall.append(wall_seconds(partial(do, steps, size))))
            costs["CPU-s"][place].append(cpu)
            costs["s"][place].append(wall[0])
    what = f"one iteration of lamb, {size} instructions, 100 training steps"
    return [
        compared(what, measured(ours), measured(peer), unit, "5x", PACKAGES) for unit, (ours, peer) in costs.items()
    ]


def do(steps: list[str], size: int) -> None:
    """The steps, one process after the other, in a run that is thrown away; says on stderr what each has cost."""
    with TemporaryDirectory() as folder:
        for step in steps:
            command = [sys.executable, __file__, "--step", step, "--size", str(size), "--dir", f"{folder}/run"]
            seconds = children_seconds(partial(subprocess.run, command, check=True, stdout=subprocess.DEVNULL))
            print(f"{step}: {seconds:.1f} CPU-s", file=sys.stderr)


class PooledRouge(Novelty):
    """Novelty as Self-Instruct has it."""

    def __init__(self, limit: float, tokenizer: Tokenizer = "rouge") -> None:
        super().__init__(limit, tokenizer)
        self._scorer = RougeScorer(["rougeL"], use_stemmer=False)
        self._texts: dict[str, str] = {}

    def add(self, id: str, text: str) -> None:
        """Puts a text into the pool."""
        self._texts[id] = text

    def nearest(self, text: str) -> Match:
        """The best match over the whole pool."""
        with get_context("fork").Pool(PROCESSES) as pool:
            scores = pool.map(partial(self._scorer.score, text), self._texts.values())
        matches = (Match(score["rougeL"].fmeasure, id_) for id_, score in zip(self._texts, scores, strict=True))
        return max(matches, key=lambda match: match.f)


def instructions(run: Run, recipe: Recipe) -> None:
    """The first engine start."""
    synthesis.Novelty = PooledRouge  # type: ignore[misc]
    with Models(recipe) as models:
        seeds = load_seeds(locate(recipe.seeds.path))
        synthesis.synthesize(run.iteration(1), [], seeds, recipe, models.base)


def responses(run: Run, recipe: Recipe) -> None:
    """The second."""
    with Models(recipe) as models:
        respond(run.iteration(1), recipe, models.base)


def scores(run: Run, recipe: Recipe) -> None:
    """The third, and which pairs are kept."""
    with Models(recipe) as models:
        assess(run.iteration(1), recipe, models.base)
        select(run.iteration(1), recipe, models.base)
    gather(run.iteration(1), [], recipe)


def training(run: Run, recipe: Recipe) -> None:
    """The same training, and a whole checkpoint out of it."""
    from peft import PeftModel

    iteration = run.iteration(1)
    encoder = Models(recipe).encoder
    train(iteration, [], recipe, encoder)
    base = load_model(model_folder(recipe.model.path), recipe.model.dtype, pick_device(recipe.engine.device))
    merged = PeftModel.from_pretrained(base, str(iteration.weights_path)).merge_and_unload()
    merged.save_pretrained(run.directory / "merged")
    encoder.tokenizer.save_pretrained(run.directory / "merged")


PUBLISHED: Mapping[str, Callable[[Run, Recipe], None]] = {
    "instructions": instructions,
    "responses": responses,
    "scores": scores,
    "training": training,
}
"""Its steps, each a process of its own."""


if __name__ == "__main__":
    main()
