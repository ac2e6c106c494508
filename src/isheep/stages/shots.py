"""Shots: which tasks a synthesis request shows as examples, and how they are drawn (paper section 3.1)."""

from __future__ import annotations

import random
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from isheep.filters.density import clusters
from isheep.filters.perplexity import perplexity
from isheep.models import Model
from isheep.prompts import bare
from isheep.prompts.tasks import marked
from isheep.recipe import Recipe
from isheep.records import SeedTask
from isheep.seeding import derive_seed
from isheep.stages.stream import piecewise
from isheep.store.joined import join
from isheep.store.run import Iteration

FILE = "shots.json"
"""In an iteration's folder: whom it drew from, and the figure by which it drew."""


@dataclass(frozen=True, slots=True)
class Shot:
    """A task that may be shown, and the figure by which it is drawn (None: not asked for, or could not tell)."""

    id: str
    instruction: str
    input: str
    perplexity: float | None = None
    """Of the task's text under the model that writes the iteration."""
    cluster: int | None = None


class Pool:
    """The tasks that an iteration may show, and the draw for each of its requests."""

    def __init__(self, shots: Sequence[Shot], recipe: Recipe, iteration: int) -> None:
        self._shots, self._recipe, self._iteration = shots, recipe, iteration
        self._likelihoods = _likelihoods(shots)
        self._clusters: dict[int, list[Shot]] = {}
        for shot in shots:
            if shot.cluster is not None:
                self._clusters.setdefault(shot.cluster, []).append(shot)

    def draw(self, number: int) -> list[Shot]:
        """The shots of request `number`, no task twice; a pure function of run seed, iteration, number and figures."""
        count = self._recipe.synthesize.shots
        # S311: it has to repeat, no secret.
        rng = random.Random(derive_seed(self._recipe.seed, self._iteration, "shots", number))  # noqa: S311
        match self._recipe.synthesize.shots_drawn:
            case "uniform":
                return rng.sample(self._shots, count)
            case "inverse_perplexity":
                return [self._shots[place] for place in weighted_sample(self._likelihoods, count, rng)]
            case "clusters":
                return self._one_of_each_cluster(count, rng)

    def _one_of_each_cluster(self, count: int, rng: random.Random) -> list[Shot]:
        """One task out of each cluster, in any order; where tasks alike made fewer clusters, others fill the list."""
        drawn = [rng.choice(members) for members in self._clusters.values()]
        if len(drawn) < count:
            ids = {shot.id for shot in drawn}
            drawn += rng.sample([shot for shot in self._shots if shot.id not in ids], count - len(drawn))
        rng.shuffle(drawn)
        return drawn


def gather_shots(
    iteration: Iteration, earlier: Sequence[Iteration], seeds: Sequence[SeedTask], recipe: Recipe, model: Model
) -> Pool:
    """The iteration's pool: the seeds and, where `synthesize.shots_from` is `mixed`, what earlier iterations kept.

    The figures are computed once, one forward pass a task, and kept in shots.json, so that a resumed synthesis draws
    what an undisturbed one would have drawn, and a reader can trace it. Uniform draws from the seeds need none.
    """
    settings = recipe.synthesize
    shots = [Shot(seed.id, seed.instruction, seed.input) for seed in seeds]
    if settings.shots_from == "mixed":
        shots += _generated(earlier, most=max(len(shot.instruction + shot.input) for shot in shots))
    if (settings.shots_from, settings.shots_drawn) == ("seeds", "uniform"):
        return Pool(shots, recipe, iteration.number)
    kind = {"from": settings.shots_from, "drawn": settings.shots_drawn, "shots": settings.shots}
    stored = iteration.read_json(FILE)
    ids = [shot.id for shot in shots]
    if stored is None or {**stored, **kind} != stored or [row["id"] for row in stored["pool"]] != ids:
        stored = {**kind, "model": model.name, "pool": _figures(shots, iteration.number, recipe, model)}
        iteration.write_json(FILE, stored)
    known = [
        replace(shot, perplexity=row.get("perplexity"), cluster=row.get("cluster"))
        for shot, row in zip(shots, stored["pool"], strict=True)
    ]
    return Pool(known, recipe, iteration.number)


def weighted_sample(log_weights: npt.NDArray[np.float64], count: int, rng: random.Random) -> list[int]:
    """`count` different places: each draw takes one of those left with a probability proportional to its weight.

    Adding Gumbel noise to log weights and taking the highest is the same as drawing one after the other.
    """
    uniform = np.fromiter((rng.random() for _ in log_weights), dtype=np.float64)
    noise = -np.log(np.maximum(-np.log1p(-uniform), 1e-300))
    return [int(place) for place in np.argsort(-(log_weights + noise), kind="stable")[:count]]


def _likelihoods(shots: Sequence[Shot]) -> npt.NDArray[np.float64]:
    """Log of 1/perplexity of each; one whose perplexity could not be told counts as the middle one of the others."""
    known = [shot.perplexity for shot in shots if shot.perplexity is not None]
    middle = statistics.median(known) if known else 1.0
    return -np.log([middle if shot.perplexity is None else shot.perplexity for shot in shots])


def _generated(earlier: Sequence[Iteration], most: int) -> list[Shot]:
    """What earlier iterations kept to train on and a list of examples can show.

    The check has seen to it that the longest seeds leave the model room to go on; so a task of more characters than
    any seed (`most`) is not shown, nor one that holds a mark of the list.
    """
    kept = (row.instruction for past in earlier for row in join(past) if row.kept)
    return [
        Shot(task.id, task.instruction, task.input)
        for task in kept
        if len(task.instruction + task.input) <= most and not marked(task.instruction, task.input)
    ]


def _figures(shots: Sequence[Shot], iteration: int, recipe: Recipe, model: Model) -> list[dict[str, Any]]:
    """Rows of shots.json: the id of each task and what its draw needs."""
    limit, what = model.engine.positions, f"Shots {iteration}"
    texts = [model.encoder.plain(bare(shot.instruction, shot.input))[:limit] for shot in shots]
    rows: list[dict[str, Any]] = [{"id": shot.id} for shot in shots]
    match recipe.synthesize.shots_drawn:
        case "inverse_perplexity":
            for row, scores in zip(rows, piecewise(what, model.engine, "score_sequences", texts), strict=True):
                row["perplexity"] = perplexity(scores)
        case "clusters":
            vectors = piecewise(what, model.engine, "embed", texts)
            sound = [place for place, vector in enumerate(vectors) if np.isfinite(vector).all()]
            seed = derive_seed(recipe.seed, iteration, "shot clusters")
            found = np.stack([vectors[place] for place in sound]) if sound else np.empty((0, 1), dtype=np.float32)
            for place, number in zip(sound, clusters(found, recipe.synthesize.shots, seed), strict=True):
                rows[place]["cluster"] = number
    return rows
