"""What can be known of rules and filters before anything is spent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from isheep.errors import UserError
from isheep.filters.pairs import PAIR_FILTERS
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
        number = one.quota(settings)
        if name in settings.filters and one.leaves and number is None:
            what = f"names `{name}`, but select.{one.leaves} does not say how many."
            mend = f"Give select.{one.leaves} a number, or take `{name}` out of the list."
            raise UserError("select.filters", what, mend)
        if name not in settings.filters and number is not None and one.quota(SelectSettings()) is None:
            what = f"is {number}, but select.filters does not name `{name}`."
            mend = f"Put `{name}` into the list where it has to work, or take this out."
            raise UserError(f"select.{one.leaves}", what, mend)
    if "density" in settings.filters and settings.density.clusters > recipe.size:
        what = f"{settings.density.clusters} clusters of at most {recipe.size} pairs (size) cannot be."
        raise UserError("select.density.clusters", what, f"Give at most {recipe.size}, or raise size.")
    if "top" in settings.filters and not recipe.assess.questions:
        what = "names `top`, but assess.level none asks for no score to go by."
        raise UserError("select.filters", what, "Take `top` out of the list, or set assess.level to both.")


def quotas(recipe: Recipe, of: Callable[[Sequence[int]], int] = max) -> dict[str, int]:
    """Setting -> how many pairs it leaves at the most, of the filters in force that leave a number.

    `of` chooses among the iterations where `select.random` says a number for each: the greatest, unless told.
    """
    found: dict[str, int] = {}
    for one in (PAIR_FILTERS[name] for name in recipe.select.filters):
        quota = one.quota(recipe.select)
        if quota is not None:
            found[f"select.{one.leaves}"] = of(quota) if isinstance(quota, list) else quota
    return found


def most_pairs(recipe: Recipe, of: Callable[[Sequence[int]], int] = max) -> int:
    """The most pairs that an iteration can train on, those held out included; `of` as in `quotas`."""
    return min([recipe.size, *quotas(recipe, of).values()])


def rules_in_force(recipe: Recipe) -> str:
    """The rules in one line."""
    rules = recipe.rules
    if recipe.select.threshold < 0:
        return "none: select.threshold is -1"
    off = f"  without {', '.join(rules.off)}" if rules.off else ""
    return f"{rules.language}  {rules.min_words} to {rules.max_words} words{off}"
