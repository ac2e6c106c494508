"""How many tokens the stages of a run read and write, from what its iterations do per thing: assumed, or measured."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import accumulate

from isheep.check.select import quotas
from isheep.engines import part_size
from isheep.recipe import Recipe
from isheep.stages.embed import wanted


@dataclass(frozen=True, slots=True)
class Tokens:
    """That go into a model and come out of it."""

    read: float = 0.0
    written: float = 0.0

    def times(self, number: float) -> Tokens:
        """Of so many things."""
        return Tokens(self.read * number, self.written * number)

    def __add__(self, other: Tokens) -> Tokens:
        """Of both."""
        return Tokens(self.read + other.read, self.written + other.written)


@dataclass(frozen=True, slots=True)
class Habits:
    """What an iteration does, per thing; of iteration 0 the evaluation and `text` (of the seeds) count."""

    evaluation: Tokens
    """All benchmarks of the run, as the iteration's own model answers them."""
    yielded: float = 1.0
    """Instructions that pass rules and novelty, of a synthesis request."""
    request: Tokens = Tokens()
    """One synthesis request."""
    response: Tokens = Tokens()
    """Of an instruction; so are the next two."""
    assessment: Tokens = Tokens()
    selection: Tokens = Tokens()
    kept: float = 1.0
    """Share of the instructions whose pair passes the filters, before those that leave a number."""
    pair: float = 0.0
    """Tokens of a pair in training."""
    text: float = 0.0
    """Tokens of a pair as bare text."""


@dataclass(frozen=True, slots=True)
class Work:
    """What one stage of one iteration has to do."""

    stage: str
    iteration: int
    texts: int
    """Requests, texts that are scored, or pairs that a training sees."""
    read: int
    written: int
    compared: float = 0.0
    """Pairs of instructions whose likeness is looked at."""


def workload(recipe: Recipe, habits: Callable[[int], Habits], seeds: int, items: int) -> list[Work]:
    """Every stage of every iteration, in the order in which `isheep.store.costs` tells them.

    Args:
        recipe: the run's.
        habits: of an iteration.
        seeds: seed tasks.
        items: of all benchmarks.
    """
    kept = [_kept(recipe, number, habits(number)) for number in range(1, recipe.iterations + 1)]
    pairs = list(accumulate(kept)) if recipe.setting == "total_base" else kept
    found = [_work("embed", 0, min(seeds, wanted(recipe)), Tokens(habits(0).text))]
    found.append(_evaluation(0, items, habits(0)))
    for number in range(1, recipe.iterations + 1):
        own = habits(number)
        found += _made(recipe, number, own, seeds)
        found.append(Work("decontaminate", number, recipe.size, 0, 0))
        found.append(_work("select", number, recipe.size, own.selection))
        earlier = sum(kept[: number - 1])
        found.append(Work("examine", number, recipe.size, 0, 0, _compared(kept[number - 1], earlier)))
        found.append(_work("embed", number, min(kept[number - 1], wanted(recipe)), Tokens(own.text)))
        found.append(Work("gather", number, pairs[number - 1], 0, 0))
        if drawn := kept[number - 1] * (recipe.respond.draws - 1):
            each = own.response + own.assessment
            found.append(_work("draw", number, drawn * (1 + len(recipe.assess.questions)), each, per=drawn))
        found.append(_work("train", number, examples_shown(recipe, pairs[number - 1]), Tokens(own.pair)))
        found.append(_evaluation(number, items, own))
    return found


def examples_shown(recipe: Recipe, pairs: int) -> int:
    """How often a training shows a pair to the model: in its steps, and those held out in each look at them."""
    settings = recipe.train
    held_out = int(pairs * settings.held_out)
    steps = settings.steps or math.ceil(settings.epochs * (pairs - held_out) / settings.batch_size)
    return steps * settings.batch_size + held_out * (steps // settings.evaluate_every)


def _made(recipe: Recipe, number: int, habits: Habits, seeds: int) -> Iterator[Work]:
    """Requests are sent a part at a time, so the last part is asked whole."""
    size, part = recipe.size, part_size(recipe.engine)
    requests = math.ceil(size / habits.yielded / part) * part
    asked = habits.request.times(requests)
    # What a rule drops is compared with nothing; what novelty drops was, and is left out here.
    compared = _compared(size, seeds + (number - 1) * size)
    yield Work("synthesize", number, requests, round(asked.read), round(asked.written), compared)
    yield _work("respond", number, size, habits.response)
    yield _work("assess", number, size * len(recipe.assess.questions), habits.assessment, per=size)


def _evaluation(number: int, items: int, habits: Habits) -> Work:
    return Work("evaluate", number, items, round(habits.evaluation.read), round(habits.evaluation.written))


def _work(stage: str, number: int, texts: int, each: Tokens, per: int | None = None) -> Work:
    """`per`: of how many things `each` tells, where it is not of texts."""
    tokens = each.times(texts if per is None else per)
    return Work(stage, number, texts, round(tokens.read), round(tokens.written))


def _kept(recipe: Recipe, number: int, habits: Habits) -> int:
    return max(1, min([round(habits.kept * recipe.size), *quotas(recipe, number).values()]))


def _compared(new: int, earlier: int) -> float:
    """Pairs of texts, where each of the new ones is held against the earlier ones and the new ones before it."""
    return new * (earlier + new / 2)
