"""Selection: which assessed pairs are trained on, and for the others why not (paper section 3.3)."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import numpy as np

from isheep.filters import Drop, together
from isheep.filters.density import clusters, likeliest_of_each, one_of_each
from isheep.filters.perplexity import FIELDS, Perplexities, greatest, unlikely, untold
from isheep.filters.quota import draw, of_iteration, top
from isheep.filters.threshold import score_limit, threshold, unparsed
from isheep.models import Model
from isheep.recipe import Recipe
from isheep.recipe.settings import Filter
from isheep.records import Assessment, Pair, Selection
from isheep.seeding import derive_seed
from isheep.stages.figures import perplexities, vectors
from isheep.store.joined import answered_pairs, contaminated
from isheep.store.run import Iteration


def select(iteration: Iteration, recipe: Recipe, model: Model) -> None:
    """Fills the iteration's selection, one row for each assessed pair, in one part: all or nothing.

    Perplexities and vectors are the model's, the one that wrote the iteration. They are computed where a filter asks
    for them, and again after an interruption.

    Raises:
        Interrupted: the user asked to stop while the model was at work.
    """
    table = iteration.table("selection")
    if table.is_done:
        return
    if table.parts() == 0:
        pairs, held = list(answered_pairs(iteration)), contaminated(iteration)
        table.append(choose(iteration.table("assessments").rows(), pairs, iteration.number, recipe, model, held))
    table.close()


def choose(
    assessments: Sequence[Assessment],
    pairs: Sequence[Pair],
    iteration: int,
    recipe: Recipe,
    model: Model,
    held: Mapping[str, str] = MappingProxyType({}),
) -> list[Selection]:
    """The verdict on each assessed pair, in their order; see `Selector`.

    `held`: of pairs that hold a benchmark's question, the reason; before all filters, so that none counts on them.
    """
    selector = Selector(assessments, pairs, iteration, recipe, model)
    if recipe.evaluate.contamination == "drop":
        selector.drop({id_: Drop("contamination", reason) for id_, reason in held.items()})
    for name in recipe.select.filters:
        selector.apply(name)
    return selector.selections()


class Selector:
    """The assessed pairs on their way through the filters, in the recipe's order.

    A filter of rows (threshold, perplexity) judges every pair wherever it stands in the list, so that the reason of a
    pair tells all that it fell by; the first in the list is the one that dropped it. A filter of sets (density,
    random, top, cap) chooses among the pairs that are left at its place.
    """

    def __init__(
        self, assessments: Sequence[Assessment], pairs: Sequence[Pair], iteration: int, recipe: Recipe, model: Model
    ) -> None:
        self._assessments = {row.id: row for row in assessments}
        self._pairs = {pair.id: pair for pair in pairs}
        self._drops: dict[str, list[Drop]] = {row.id: [] for row in assessments}
        self._perplexities: dict[str, Perplexities] = {}
        self._cluster_of: dict[str, int] = {}
        self._iteration, self._recipe, self._model = iteration, recipe, model

    def apply(self, name: Filter) -> None:
        """Lets the filter of that name drop what it will."""
        work: dict[Filter, Callable[[], Mapping[str, Drop]]] = {
            "threshold": self._threshold,
            "perplexity": self._perplexity,
            "density": self._density,
            "random": self._random,
            "top": self._top,
            "cap": lambda: draw(self._left(), self._recipe.select.cap, "cap", self._rng("cap")),
        }
        self.drop(work[name]())

    def drop(self, drops: Mapping[str, Drop]) -> None:
        """Drops these pairs."""
        for id_, drop in drops.items():
            self._drops[id_].append(drop)

    def selections(self) -> list[Selection]:
        """A row for each pair, with the figures that were computed."""
        rows = []
        for id_, drops in self._drops.items():
            drop = together(drops)
            told = self._perplexities.get(id_, {})
            rows.append(
                Selection(
                    id=id_,
                    kept=drop is None,
                    dropped_by=drop.rule if drop else None,
                    reason=drop.reason if drop else None,
                    ppl_response=told.get("ppl_response"),
                    ppl_pair=told.get("ppl_pair"),
                    cluster=self._cluster_of.get(id_),
                )
            )
        return rows

    def _left(self) -> list[str]:
        return [id_ for id_, drops in self._drops.items() if not drops]

    def _rng(self, *what: str | int) -> random.Random:
        # S311: it has to repeat, no secret.
        return random.Random(derive_seed(self._recipe.seed, self._iteration, *what))  # noqa: S311

    def _threshold(self) -> dict[str, Drop]:
        limit = score_limit(self._recipe.select)
        if limit is None:
            return {}
        questions = self._recipe.assess.questions
        return _found({id_: threshold(row, limit, questions) for id_, row in self._assessments.items()})

    def _perplexity(self) -> dict[str, Drop]:
        limit = self._recipe.select.perplexity.limit
        return _found({id_: unlikely(told, limit) for id_, told in self._told(list(self._drops)).items()})

    def _density(self) -> dict[str, Drop]:
        settings, ids = self._recipe.select.density, self._left()
        drops: dict[str, Drop] = {}
        if settings.keep == "lowest_perplexity":
            drops = _found({id_: untold(told) for id_, told in self._told(ids).items()})
            ids = [id_ for id_ in ids if id_ not in drops]
        found = dict(zip(ids, vectors([self._pairs[id_] for id_ in ids], self._iteration, self._model), strict=True))
        sound = {id_: vector for id_, vector in found.items() if len(vector) and np.isfinite(vector).all()}
        drops |= {id_: Drop("no_vector", "could not tell the vector of the pair") for id_ in ids if id_ not in sound}
        seed = derive_seed(self._recipe.seed, self._iteration, "clusters")
        numbers = clusters(np.stack(list(sound.values())), settings.clusters, seed) if sound else []
        self._cluster_of = dict(zip(sound, numbers, strict=True))
        if settings.keep == "random":
            return drops | one_of_each(self._cluster_of, self._rng("density"))
        return drops | likeliest_of_each(self._cluster_of, {id_: greatest(self._perplexities[id_]) for id_ in sound})

    def _random(self) -> dict[str, Drop]:
        most = of_iteration(self._recipe.select.random, self._iteration)
        return {} if most is None else draw(self._left(), most, "random", self._rng("random"))

    def _top(self) -> dict[str, Drop]:
        questions, most, left = self._recipe.assess.questions, self._recipe.select.top, self._left()
        drops = _found({id_: unparsed(self._assessments[id_], questions) for id_ in left})
        lowest = {id_: self._assessments[id_].lowest(questions) for id_ in left}
        scores = {id_: score for id_, score in lowest.items() if score is not None}
        return drops if most is None else drops | top(scores, most, self._rng("top"))

    def _told(self, ids: Sequence[str]) -> dict[str, Perplexities]:
        """The perplexities of these pairs that the recipe asks for, computed where they are not known."""
        new = [self._pairs[id_] for id_ in ids if id_ not in self._perplexities]
        names = FIELDS[self._recipe.select.perplexity.of]
        self._perplexities |= perplexities(new, names, self._iteration, self._model)
        return {id_: self._perplexities[id_] for id_ in ids}


def _found(verdicts: Mapping[str, Drop | None]) -> dict[str, Drop]:
    return {id_: drop for id_, drop in verdicts.items() if drop is not None}
