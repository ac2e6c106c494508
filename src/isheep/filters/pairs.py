"""The filters of assessed pairs by name: what each needs of the run, and the setting of how many pairs it leaves.

A new one begins here: its name in `recipe.settings.Filter`, its line below, its settings in `SelectSettings`, its
function in a module of this package, and its line in `Selector.apply` (`stages.select`). `check` reads this table.
"""

from __future__ import annotations

from dataclasses import dataclass
from operator import attrgetter

from isheep.filters.quota import of_iteration
from isheep.recipe.settings import Filter, SelectSettings


@dataclass(frozen=True, slots=True)
class PairFilter:
    """One of them."""

    log_probabilities: bool = False
    """It asks the engine how likely texts are."""
    vectors: bool = False
    """It asks the engine where texts lie."""
    leaves: str | None = None
    """The setting of `select` that says how many pairs it leaves."""

    def number(self, settings: SelectSettings) -> int | list[int] | None:
        """What that setting says: a number, or one for each iteration; None where it is not given, or there is none."""
        found: int | list[int] | None = attrgetter(self.leaves)(settings) if self.leaves else None
        return found

    def quota(self, settings: SelectSettings, iteration: int) -> int | None:
        """How many pairs it leaves of an iteration; None where that is not said."""
        return of_iteration(self.number(settings), iteration)


PAIR_FILTERS: dict[Filter, PairFilter] = {
    "threshold": PairFilter(),
    "perplexity": PairFilter(log_probabilities=True),
    "density": PairFilter(vectors=True, leaves="density.clusters"),
    "random": PairFilter(leaves="random"),
    "top": PairFilter(leaves="top"),
    "cap": PairFilter(leaves="cap"),
}


def pair_filter(name: str) -> PairFilter:
    """The filter of that name; one of a plug-in needs nothing of the run and says nothing of numbers."""
    return next((one for own, one in PAIR_FILTERS.items() if own == name), PairFilter())
