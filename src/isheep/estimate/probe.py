"""A small run of the same recipe, and what it tells of the whole one: every figure is measured, then scaled up."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from pathlib import Path
from statistics import fmean
from typing import Any

from isheep.engines import part_size
from isheep.errors import NothingKept, UserError
from isheep.estimate.workload import Habits, Tokens, Work, examples_shown
from isheep.evaluation.registry import prepared
from isheep.loop import run as run_loop
from isheep.meter import NOTHING, Cost
from isheep.recipe import Recipe, difference, overridden
from isheep.stages.embed import VECTORS
from isheep.stages.evaluate import PROTOCOL, read_items
from isheep.store.costs import costs_of
from isheep.store.run import MANIFEST, RECIPE, Iteration, Run

RECORDS = 50
"""Of a probe that is made here."""
ITERATIONS = 2
"""The first is written by the untouched base, the second by a trained model, as every later one is."""
FREE = ("size", "iterations", "evaluate.limit", "select.density.clusters", "stop.", "watch.", "train.track", "seed")
"""Settings (or beginnings of their names) in which a probe may be another than the run."""
BACKWARD = {"lora": 2.0, "qlora": 2.0, "full": 3.0}
"""Reading a token in training, with the way back, in readings of the engine; most of what is frozen needs no gradient
of its own."""
ASKING = ("synthesize", "respond", "assess")
"""Stages in which the engine works, and has been started before."""


@dataclass(frozen=True, slots=True)
class Probe:
    """A run that has ended at least one iteration, with what each of its stages took."""

    run: Run
    recipe: Recipe
    """Of the run that is estimated."""
    costs: Mapping[tuple[int, str], Cost]
    last: int
    """Its last iteration, which stands for all later ones of the run."""
    evaluated: float
    """How often the tokens of its evaluation are those of the run's."""
    items: int
    """Of the run's evaluation."""

    def habits(self, iteration: int) -> Habits:
        """Of an iteration of the run, as the probe's of that number, or its last one, did it."""
        number = min(iteration, self.last)
        evaluation = _tokens(self.costs[number, "evaluate"]).times(self.evaluated)
        own, recipe = self.run.iteration(number), self.run.recipe
        embedded = _tokens(self.costs.get((number, "embed"), NOTHING)).read
        text = embedded / max(1, len(own.read_vectors(VECTORS)))
        if number == 0:
            return Habits(evaluation, text=text)
        asked = own.table("instructions").parts() * part_size(recipe.engine)
        kept = sum(own.table("selection").columns("kept")["kept"])
        each = 1 / recipe.size
        return Habits(
            evaluation=evaluation,
            yielded=_yielded(own),
            request=_tokens(self.costs[number, "synthesize"]).times(1 / asked),
            response=_tokens(self.costs[number, "respond"]).times(each),
            assessment=_tokens(self.costs[number, "assess"]).times(each),
            selection=_tokens(self.costs[number, "select"]).times(each),
            kept=kept / recipe.size,
            pair=_tokens(self.costs[number, "train"]).read / self._shown(own),
            text=text,
        )

    def _shown(self, iteration: Iteration) -> int:
        told = iteration.read_json("train.json") or {}
        return examples_shown(self.run.recipe, told["examples"] + told["held_out"])

    def seconds(self, work: Work) -> float | None:
        """Of a stage of the run, on the machine of the probe; None where the probe's notes do not tell.

        The engine's speed is that of the probe's last iteration: of its reading and of its writing, by least squares.
        What a stage of the probe took beyond its tokens, above all starting, it takes once in the run, too.
        """
        cost = self.costs.get((min(work.iteration, self.last), work.stage))
        if cost is None or cost.seconds is None:
            return None
        speed = self._speed(work.stage)
        if speed is None:
            return None
        known = _pace(_tokens(cost), speed)
        if not known:
            return cost.seconds
        growing = min(cost.seconds, known)
        return cost.seconds - growing + growing * _pace(Tokens(work.read, work.written), speed) / known

    def around(self) -> float:
        """Seconds of an iteration that are no stage's: starting the command, reports."""
        manifest = self.run.read_json(MANIFEST) or {}
        spans = math.fsum(map(_span, manifest.get("commands", ())))
        return max(0.0, spans - math.fsum(cost.seconds or 0.0 for cost in self.costs.values())) / (self.last + 1)

    def _speed(self, stage: str) -> Tokens | None:
        """Seconds that a token takes that is read, and one that is written."""
        known = {name: self.costs[self.last, name] for name in ASKING}
        if any(cost.seconds is None for cost in known.values()):
            return None
        from scipy.optimize import nnls

        rows = [_tokens(cost) for cost in known.values()]
        seconds = [cost.seconds or 0.0 for cost in known.values()]
        # Errors count as shares, so that a short stage tells as much as a long one.
        scaled = [
            [row.read / second, row.written / second] for row, second in zip(rows, seconds, strict=True) if second
        ]
        fitted = nnls(scaled, [1.0] * len(scaled))[0]
        speed = Tokens(float(fitted[0]), float(fitted[1]))
        if stage in known:
            own = known[stage]
            expected = _pace(_tokens(own), speed)
            return speed.times((own.seconds or 0.0) / expected) if expected else speed
        if stage == "train":
            cost = self.costs[self.last, "train"]
            factor = BACKWARD[self.recipe.train.method] * speed.read
            return Tokens(min(factor, (cost.seconds or math.inf) / max(1, cost.read or 0)), 0.0)
        return speed


def probed(recipe: Recipe, directory: Path) -> Probe:
    """The probe in a directory: a run that is there, or one that is made (or gone on with) now.

    Raises:
        UserError: another recipe's run lies there, its notes do not tell tokens, or so few records leave nothing to
            train on.
        StageError, Interrupted: as of any run; the same call goes on from there.
    """
    made = small(recipe)
    try:
        run = _finished(recipe, directory) or run_loop(made, directory)
    except NothingKept as error:
        mend = "Make a larger one with `isheep run RECIPE size=... iterations=2 --dir DIR`, and give that directory."
        raise UserError(str(directory), f"a probe of {made.size} records is too small: {error}", mend) from None
    ended = [iteration for iteration in run.iterations() if iteration.is_done]
    last = max((iteration.number for iteration in ended), default=0)
    if last == 0:
        raise UserError(str(directory), "has ended no iteration.", "Go on with it, or give another directory.")
    costs = {
        (iteration.number, stage): Cost.of(cost)
        for iteration in ended
        for stage, cost in costs_of(iteration).items()
        if cost["from"] is None
    }
    for iteration in ended:
        for stage in ("evaluate", *(() if iteration.number == 0 else (*ASKING, "select", "train"))):
            cost = costs.get((iteration.number, stage), NOTHING if stage == "evaluate" else None)
            if cost is None or cost.read is None or cost.written is None:
                what = f"does not tell the tokens of {stage} in iteration {iteration.number}."
                raise UserError(str(directory), what, "Give a directory in which a probe can be made.")
    evaluated, items = _evaluated(recipe, run)
    return Probe(run, recipe, costs, last, evaluated, items)


def small(recipe: Recipe) -> Recipe:
    """The recipe of its probe: fewer records, iterations and items of a benchmark."""
    size = min(RECORDS, recipe.size)
    clusters = max(1, recipe.select.density.clusters * size // recipe.size)
    limit = min(RECORDS, recipe.evaluate.limit or RECORDS)
    changes = [f"size={size}", f"iterations={min(ITERATIONS, recipe.iterations)}", f"evaluate.limit={limit}"]
    return overridden(recipe, [*changes, f"select.density.clusters={clusters}", "stop.patience=null"])


def _finished(recipe: Recipe, directory: Path) -> Run | None:
    """A run that lies there and has ended, of this recipe but for what a probe may have changed."""
    if not (directory / RECIPE).is_file():
        return None
    run = Run.read(directory)
    if run.state() != "finished":
        return None
    others = [line for line in difference(run.recipe, recipe) if not line.startswith(FREE)]
    if others:
        what = f"is a run of another recipe ({'; '.join(others)})."
        raise UserError(str(directory), what, "Give another --probe, or the settings of that run.")
    return run


def _evaluated(recipe: Recipe, run: Run) -> tuple[float, int]:
    """How often the probe's evaluation the run's is, by items and the length of what stands in them; and all items."""
    known = run.iteration(0).read_json(PROTOCOL) or {}
    if not known:
        return 1.0, 0
    alike = run.recipe.evaluate.limit == recipe.evaluate.limit
    whole = known if alike else {name: one.protocol() for name, one in prepared(list(known), recipe).items()}
    shares = {name: _characters(run.iteration(0), name, protocol) for name, protocol in known.items()}
    total = sum(shares.values())
    ratios = {name: whole[name]["items"] / max(1, protocol["items"]) for name, protocol in known.items()}
    weighted = sum(ratios[name] * shares[name] for name in known) / total if total else fmean(ratios.values())
    return weighted, sum(protocol["items"] for protocol in whole.values())


def _characters(iteration: Iteration, name: str, protocol: Mapping[str, Any]) -> int:
    """Of what a benchmark asked and was answered."""
    rows = [row for task in protocol.get("tasks", [name]) for row in read_items(iteration, task)]
    return sum(len(str(row["prompt"])) + len(str(row["responses"])) for row in rows)


def _yielded(iteration: Iteration) -> float:
    """Instructions that passed, of a request that was looked at; a request is known by what it showed.

    The last one is left where the size was reached, half-way on average. A request that gave no record at all is not
    seen.
    """
    columns = iteration.table("instructions").columns("shot_ids", "dropped_by")
    passed = sum(reason is None for reason in columns["dropped_by"])
    return passed / max(1.0, len(list(groupby(columns["shot_ids"]))) - 0.5)


def _tokens(cost: Cost) -> Tokens:
    return Tokens(cost.read or 0, cost.written or 0)


def _pace(tokens: Tokens, speed: Tokens) -> float:
    return tokens.read * speed.read + tokens.written * speed.written


def _span(command: Mapping[str, Any]) -> float:
    """Seconds of a command, 0 where it did not get to write down its end."""
    try:
        return (datetime.fromisoformat(command["ended"]) - datetime.fromisoformat(command["started"])).total_seconds()
    except (KeyError, TypeError, ValueError):
        return 0.0


__all__ = ["Probe", "probed", "small"]
