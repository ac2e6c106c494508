"""What a training learns from: the pairs as token ids, those that are held out, and the order of the others."""

from __future__ import annotations

import logging
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from isheep.encoder import IGNORED, Encoder
from isheep.errors import StageError
from isheep.recipe import Recipe
from isheep.store.files import read_json_lines

logger = logging.getLogger(__name__)

WINDOW = 8
"""Optimizer steps among which examples change places so that a step's examples are about equally long."""


@dataclass(frozen=True, slots=True)
class Example:
    """Token ids of a conversation and what is learned of them (-100: not learned)."""

    ids: tuple[int, ...]
    labels: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Lessons:
    """What one training learns from."""

    training: list[Example]
    held_out: list[Example]
    in_order: list[Example]
    """Of the training, as often as they are learned: one optimizer step's examples after the other's."""
    steps: int
    """That these are enough for."""


def lessons(training_set: Path, recipe: Recipe, encoder: Encoder, seed: int) -> Lessons:
    """Those of an iteration; the same in each process that trains it.

    Raises:
        StageError: there is nothing to train on.
    """
    settings = recipe.train
    training, held_out = split(read_examples(training_set, encoder, settings.cutoff), settings.held_out, seed)
    steps = settings.steps or math.ceil(settings.epochs * len(training) / settings.batch_size)
    order = training_order([len(example.ids) for example in training], steps, settings.batch_size, seed)
    return Lessons(training, held_out, [training[index] for index in order], steps)


def read_examples(training_set: Path, encoder: Encoder, cutoff: int) -> list[Example]:
    """Encodes the lines {"id", "messages"} of a training set.

    A pair of more than `cutoff` tokens is cut from the end of its response, its turn end kept; one whose prompt alone
    leaves no room for a response is left out, with a warning.

    Raises:
        StageError: no pair is left.
    """
    examples, too_long = [], []
    for row in read_json_lines(training_set):
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
    # S311: it has to repeat, no secret.
    drawn = set(random.Random(seed).sample(range(len(examples)), int(len(examples) * share)))  # noqa: S311
    training = [example for number, example in enumerate(examples) if number not in drawn]
    return training, [examples[number] for number in sorted(drawn)]


def training_order(lengths: Sequence[int], steps: int, batch_size: int, seed: int) -> list[int]:
    """steps x batch_size indices: one shuffled epoch after the other, grouped by length within windows of WINDOW steps.

    A pure function of its arguments, so that a training that goes on sees what it would have seen.
    """
    shuffler = random.Random(seed + 1)  # noqa: S311  # it has to repeat, no secret
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
