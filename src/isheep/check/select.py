"""What can be known of rules and filters before anything is spent."""

from __future__ import annotations

from collections import Counter
from itertools import accumulate

from isheep.errors import UserError
from isheep.filters.pairs import PAIR_FILTERS, pair_filter
from isheep.recipe import Recipe
from isheep.recipe.settings import SelectSettings


def refuse_filters(recipe: Recipe) -> None:
    """Raises UserError where the list of filters and their settings contradict each other."""
    settings = recipe.select
    twice = next((name for name, count in Counter(settings.filters).items() if count > 1), None)
    if twice is not None:
        raise UserError("select.filters", f"names `{twice}` twice.", "Name each filter once, where it has to work.")
    if -1 < settings.threshold < 0:
        what = f"{settings.threshold:g} is neither -1 (no rules) nor a score."
        raise UserError("select.threshold", what, "Give -1, 0 (rules, and no score filter) or more.")
    for name, one in PAIR_FILTERS.items():
        number = one.number(settings)
        if name in settings.filters and one.leaves and number is None:
            what = f"names `{name}`, but select.{one.leaves} does not say how many."
            mend = f"Give select.{one.leaves} a number, or take `{name}` out of the list."
            raise UserError("select.filters", what, mend)
        if name not in settings.filters and number is not None and one.number(SelectSettings()) is None:
            what = f"is {number}, but select.filters does not name `{name}`."
            mend = f"Put `{name}` into the list where it has to work, or take this out."
            raise UserError(f"select.{one.leaves}", what, mend)
    if "density" in settings.filters and settings.density.clusters > recipe.size:
        what = f"{settings.density.clusters} clusters of at most {recipe.size} pairs (size) cannot be."
        raise UserError("select.density.clusters", what, f"Give at most {recipe.size}, or raise size.")
    if "top" in settings.filters and not recipe.assess.questions:
        what = "names `top`, but assess.level none asks for no score to go by."
        raise UserError("select.filters", what, "Take `top` out of the list, or set assess.level to both.")


def quotas(recipe: Recipe, iteration: int) -> dict[str, int]:
    """Setting -> how many pairs it leaves of an iteration, of the filters in force that leave a number."""
    filters = (pair_filter(name) for name in recipe.select.filters)
    found = {one.leaves: one.quota(recipe.select, iteration) for one in filters}
    return {f"select.{setting}": quota for setting, quota in found.items() if quota is not None}


def most_pairs(recipe: Recipe) -> list[int]:
    """Of each iteration the most pairs that it can keep, those held out included."""
    numbers = range(1, recipe.iterations + 1)
    return [min([recipe.size, *quotas(recipe, number).values()]) for number in numbers]


def training_pairs(recipe: Recipe) -> list[int]:
    """Of each iteration the most pairs that its training set can hold: its own or, under `total_base`, all so far."""
    own = most_pairs(recipe)
    return list(accumulate(own)) if recipe.setting == "total_base" else own


def rules_in_force(recipe: Recipe) -> str:
    """The rules in one line."""
    rules = recipe.rules
    if recipe.select.threshold < 0:
        return "none: select.threshold is -1"
    off = f"  without {', '.join(rules.off)}" if rules.off else ""
    return f"{rules.language}  {rules.min_words} to {rules.max_words} words{off}"
