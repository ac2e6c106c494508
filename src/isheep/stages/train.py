"""Algorithm 1, last line: the training set trains an adapter, or every weight: of the base, or of the model before."""

from __future__ import annotations

import json
import logging
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree

from isheep.errors import StageError
from isheep.recipe import Recipe
from isheep.run import Iteration
from isheep.seeding import derive_seed
from isheep.text import IGNORED, Encoder

logger = logging.getLogger(__name__)

WINDOW = 8
"""Optimizer steps among which examples change places so that a step's examples are about equally long."""


@dataclass(frozen=True, slots=True)
class Example:
    """Token ids of a conversation and what is learned of them (-100: not learned)."""

    ids: tuple[int, ...]
    labels: tuple[int, ...]


def train(iteration: Iteration, earlier: Sequence[Iteration], recipe: Recipe, encoder: Encoder) -> None:
    """Trains the iteration's model from its training set; goes on from the last whole checkpoint of a cut training.

    Under `one_last` the training begins with the weights of the iteration before (iteration 1 with the base's), and the
    optimizer, the warm-up and the schedule begin anew. Of an adapter that is not what merging it into the base and
    training a second adapter on top would be: the update of the base keeps `train.lora.rank` however many iterations
    went by, where merging adds as much rank with each, and what is saved loads alone on the untouched base, where a
    second adapter would need the merged model under it. Every other setting begins with the base.

    Leaves the adapter (the whole model where `train.method` is full) and train.json: start (`base` or `iteration-N`,
    whose weights the training began with), examples, held_out, steps, epochs, loss (mean over the steps),
    evaluation_loss (mean over the learned tokens held out, of the checkpoint that was kept; null where nothing was held
    out) and kept_step.

    Raises:
        UserError: `one_last`, and the adapter before has another rank or alpha than the recipe.
        StageError: there is nothing to train on, or the loss is no number.
        Interrupted: the user asked to stop; a checkpoint was written.
    """
    checkpoints = iteration.path / "checkpoints"
    if iteration.weights_path.is_dir() and iteration.read_json("train.json") is not None:
        rmtree(checkpoints, ignore_errors=True)
        return
    settings = recipe.train
    last = earlier[-1] if recipe.setting == "one_last" and earlier else None
    seed = derive_seed(recipe.seed, iteration.number, "train")
    examples = read_examples(iteration.training_set_path, encoder, settings.cutoff)
    training, held_out = split(examples, settings.held_out, seed)
    steps = settings.steps or math.ceil(settings.epochs * len(training) / settings.batch_size)
    order = training_order([len(example.ids) for example in training], steps, settings.batch_size, seed)

    from isheep.stages import weights
    from isheep.stages.trainer import Training

    start = last.weights_path if last else None
    outcome = Training(recipe, encoder, checkpoints, seed, f"Train {iteration.number}", start).run(
        [training[index] for index in order], held_out
    )
    iteration.write_json(
        "train.json",
        {
            "start": f"iteration-{last.number}" if last else "base",
            "examples": len(training),
            "held_out": len(held_out),
            "steps": steps,
            "epochs": steps * settings.batch_size / len(training),
            "loss": outcome.loss,
            "evaluation_loss": outcome.evaluation_loss,
            "kept_step": outcome.kept_step,
        },
    )
    with iteration.new_weights("model" if settings.method == "full" else "adapter") as folder:
        weights.keep(outcome.checkpoint, folder, recipe, encoder)
    rmtree(checkpoints)


def read_examples(training_set: Path, encoder: Encoder, cutoff: int) -> list[Example]:
    """Encodes the lines {"id", "messages"} of a training set.

    A pair of more than `cutoff` tokens is cut from the end of its response, its turn end kept; one whose prompt alone
    leaves no room for a response is left out, with a warning.

    Raises:
        StageError: no pair is left.
    """
    examples, too_long = [], []
    for line in training_set.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        ids, labels = encoder.supervised(row["messages"])
        if len(ids) > cutoff:
            ids, labels = (*ids[: cutoff - 1], ids[-1]), (*labels[: cutoff - 1], labels[-1])
            if labels[-2] == IGNORED:
                too_long.append(row["id"])
                continue
        if labels[-1] != encoder.turn_end_id:
            raise StageError(
                f"{training_set}: {row['id']} does not end with the turn end, so no stop would be learned."
            )
        examples.append(Example(ids, labels))
    if too_long:
        names = ", ".join(too_long[:3])
        logger.warning("%d pairs are left out, their prompts fill train.cutoff=%d: %s", len(too_long), cutoff, names)
    if not examples:
        raise StageError(f"{training_set}: no pair to train on. See `isheep records --dropped` for what dropped them.")
    return examples


def split(examples: Sequence[Example], share: float, seed: int) -> tuple[list[Example], list[Example]]:
    """Those to train on and those held out (`share` of all, rounded down), drawn at random; order is kept."""
    drawn = set(random.Random(seed).sample(range(len(examples)), int(len(examples) * share)))
    training = [example for number, example in enumerate(examples) if number not in drawn]
    return training, [examples[number] for number in sorted(drawn)]


def training_order(lengths: Sequence[int], steps: int, batch_size: int, seed: int) -> list[int]:
    """steps x batch_size indices: one shuffled epoch after the other, grouped by length within windows of WINDOW steps.

    A pure function of its arguments, so that a training that goes on sees what it would have seen.
    """
    shuffler = random.Random(seed + 1)
    stream: list[int] = []
    while len(stream) < steps * batch_size:
        stream += shuffler.sample(range(len(lengths)), len(lengths))
    order: list[int] = []
    for start in range(0, steps * batch_size, WINDOW * batch_size):
        window = stream[start : min(start + WINDOW * batch_size, steps * batch_size)]
        window.sort(key=lambda index: lengths[index])
        batches = [window[place : place + batch_size] for place in range(0, len(window), batch_size)]
        shuffler.shuffle(batches)
        order += [index for batch in batches for index in batch]
    return order
