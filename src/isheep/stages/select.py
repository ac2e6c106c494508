"""Selection: which assessed pairs are trained on, and for the others why not (paper section 3.3)."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType

import numpy as np

from isheep.filters import Drop, together
from isheep.filters.density import clusters, likeliest_of_each, one_of_each
from isheep.filters.perplexity import FIELDS, Perplexities, greatest, unlikely, untold
from isheep.filters.plugged import plugged
from isheep.filters.quota import draw, of_iteration, top
from isheep.filters.threshold import score_limit, threshold, unparsed
from isheep.models import Model
from isheep.recipe import Recipe
from isheep.records import AssessedPair, Assessment, Pair, Selection
from isheep.seeding import derive_seed
from isheep.stages.figures import perplexities, vectors
from isheep.store.joined import Anew, answered_pairs, contaminated
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
        assessments, pairs = iteration.table("assessments"), Anew(lambda: answered_pairs(iteration))
        table.append(choose(assessments, pairs, iteration.number, recipe, model, contaminated(iteration)))
    table.close()


def choose(
    assessments: Iterable[Assessment],
    pairs: Iterable[Pair],
    iteration: int,
    recipe: Recipe,
    model: Model,
    held: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[Selection]:
    """The verdict on each assessed pair, in their order; see `Selector`.

    Assessments and pairs may be gone through several times, so that none has to be kept in memory.
    `held`: of pairs that hold a benchmark's question, the reason; before all filters, so that none counts on them.
    """
    selector = Selector(assessments, pairs, iteration, recipe, model)
    if recipe.evaluate.contamination == "drop":
        selector.drop_held(held)
    for name in recipe.select.filters:
        selector.apply(name)
    return selector.selections()


class Selector:
    """The assessed pairs on their way through the filters, in the recipe's order; each is known by its place.

    A filter of rows (threshold, perplexity) judges every pair wherever it stands in the list, so that the reason of a
    pair tells all that it fell by; the first in the list is the one that dropped it. A filter of sets (density,
    random, top, cap) chooses among the pairs that are left at its place, and those are what a plug-in is shown.
    """

    def __init__(
        self, assessments: Iterable[Assessment], pairs: Iterable[Pair], iteration: int, recipe: Recipe, model: Model
    ) -> None:
        self._assessments, self._pairs = assessments, pairs
        self._ids = [row.id for row in assessments]
        self._drops: list[tuple[Drop, ...]] = [()] * len(self._ids)
        self._alike: dict[tuple[Drop, ...], tuple[Drop, ...]] = {}
        """Of equal drops the first: many pairs fall by the same, and share it."""
        self._perplexities: dict[int, Perplexities] = {}
        self._cluster_of: dict[int, int] = {}
        self._iteration, self._recipe, self._model = iteration, recipe, model

    def apply(self, name: str) -> None:
        """Lets the filter of that name drop what it will; a name that is not ours is a plug-in's."""
        work: dict[str, Callable[[], Iterable[tuple[int, Drop]]]] = {
            "threshold": self._threshold,
            "perplexity": self._perplexity,
            "density": lambda: self._density().items(),
            "random": self._random,
            "top": lambda: self._top().items(),
            "cap": lambda: draw(self._left(), self._recipe.select.cap, "cap", self._rng("cap")).items(),
        }
        for place, drop in work.get(name, lambda: self._plugged(name))():
            self._drop(place, drop)

    def drop_held(self, held: Mapping[str, str]) -> None:
        """Drops these pairs: id -> the reason."""
        for place, id_ in enumerate(self._ids):
            if id_ in held:
                self._drop(place, Drop("contamination", held[id_]))

    def selections(self) -> Iterator[Selection]:
        """A row for each pair, with the figures that were computed."""
        for place, (id_, drops) in enumerate(zip(self._ids, self._drops, strict=True)):
            drop = together(drops)
            told = self._perplexities.get(place, {})
            yield Selection(
                id=id_,
                kept=drop is None,
                dropped_by=drop.rule if drop else None,
                reason=drop.reason if drop else None,
                ppl_response=told.get("ppl_response"),
                ppl_pair=told.get("ppl_pair"),
                cluster=self._cluster_of.get(place),
            )

    def _drop(self, place: int, drop: Drop) -> None:
        drops = (*self._drops[place], drop)
        self._drops[place] = self._alike.setdefault(drops, drops)

    def _left(self) -> list[int]:
        return [place for place, drops in enumerate(self._drops) if not drops]

    def _rng(self, *what: str | int) -> random.Random:
        # S311: it has to repeat, no secret.
        return random.Random(derive_seed(self._recipe.seed, self._iteration, *what))  # noqa: S311

    def _threshold(self) -> Iterator[tuple[int, Drop]]:
        limit, questions = score_limit(self._recipe.select), self._recipe.assess.questions
        for place, row in enumerate(self._assessments if limit is not None else ()):
            if limit is not None and (drop := threshold(row, limit, questions)):
                yield place, drop

    def _perplexity(self) -> Iterator[tuple[int, Drop]]:
        limit = self._recipe.select.perplexity.limit
        told = self._told(range(len(self._ids)))
        return ((place, drop) for place, one in told.items() if (drop := unlikely(one, limit)))

    def _density(self) -> dict[int, Drop]:
        settings, left = self._recipe.select.density, self._left()
        drops: dict[int, Drop] = {}
        if settings.keep == "lowest_perplexity":
            drops = _found({place: untold(told) for place, told in self._told(left).items()})
            left = [place for place in left if place not in drops]
        found = dict(zip(left, vectors(self._texts(left), self._iteration, self._model), strict=True))
        sound = {place: vector for place, vector in found.items() if len(vector) and np.isfinite(vector).all()}
        untellable = Drop("no_vector", "could not tell the vector of the pair")
        drops |= {place: untellable for place in left if place not in sound}
        seed = derive_seed(self._recipe.seed, self._iteration, "clusters")
        numbers = clusters(np.stack(list(sound.values())), settings.clusters, seed) if sound else []
        self._cluster_of = dict(zip(sound, numbers, strict=True))
        if settings.keep == "random":
            return drops | one_of_each(self._cluster_of, self._rng("density"))
        likeliest = {place: greatest(self._perplexities[place]) for place in sound}
        return drops | likeliest_of_each(self._cluster_of, likeliest)

    def _random(self) -> Iterable[tuple[int, Drop]]:
        most = of_iteration(self._recipe.select.random, self._iteration)
        return () if most is None else draw(self._left(), most, "random", self._rng("random")).items()

    def _top(self) -> dict[int, Drop]:
        questions, most = self._recipe.assess.questions, self._recipe.select.top
        drops, scores = dict[int, Drop](), dict[int, float]()
        for place, row in enumerate(self._assessments):
            if not self._drops[place]:
                if drop := unparsed(row, questions):
                    drops[place] = drop
                if (score := row.lowest(questions)) is not None:
                    scores[place] = score
        return drops if most is None else drops | top(scores, most, self._rng("top"))

    def _plugged(self, name: str) -> list[tuple[int, Drop]]:
        # As a whole, since what it looks at while it works must not change.
        verdicts = plugged(name, self._records, self._recipe)
        return [(place, drop) for place, drop in zip(self._left(), verdicts, strict=True) if drop]

    def _records(self) -> Iterator[AssessedPair]:
        """The pairs that are left, each with its assessment."""
        for pair, assessment, drops in zip(self._pairs, self._assessments, self._drops, strict=True):
            if not drops:
                yield AssessedPair(pair, assessment)

    def _told(self, places: Sequence[int]) -> dict[int, Perplexities]:
        """The perplexities of these pairs that the recipe asks for, computed where they are not known."""
        new = [place for place in places if place not in self._perplexities]
        names = FIELDS[self._recipe.select.perplexity.of]
        found = perplexities(self._texts(new), names, self._iteration, self._model)
        self._perplexities |= {place: found[self._ids[place]] for place in new}
        return {place: self._perplexities[place] for place in places}

    def _texts(self, places: Sequence[int]) -> list[Pair]:
        """These pairs."""
        if not places:
            return []
        wanted = {self._ids[place] for place in places}
        found = {pair.id: pair for pair in self._pairs if pair.id in wanted}
        return [found[self._ids[place]] for place in places]


def _found(verdicts: Mapping[int, Drop | None]) -> dict[int, Drop]:
    return {place: drop for place, drop in verdicts.items() if drop is not None}
