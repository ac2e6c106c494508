"""Filters and rules that contradict other settings are refused with both keys named."""

from __future__ import annotations

from typing import Any, get_args

import pytest

from isheep.check.assess import refuse_contradictions
from isheep.check.select import quotas, refuse_filters, rules_in_force
from isheep.errors import UserError
from isheep.filters.pairs import PAIR_FILTERS
from isheep.recipe import Recipe, load_recipe, parse_recipe
from isheep.recipe.settings import Filter


def recipe(size: int = 100, level: str = "both", rules: dict[str, Any] | None = None, **select: Any) -> Recipe:
    groups = {"assess": {"level": level}, "rules": rules or {}, "select": select}
    return parse_recipe({"model": {"path": "m"}, "size": size, **groups}, "test")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"filters": ["threshold", "cap", "threshold"]},
            ("select.filters", "names `threshold` twice.", "Name each filter once, where it has to work."),
        ),
        (
            {"threshold": -0.5},
            (
                "select.threshold",
                "-0.5 is neither -1 (no rules) nor a score.",
                "Give -1, 0 (rules, and no score filter) or more.",
            ),
        ),
        (
            {"filters": ["random"]},
            (
                "select.filters",
                "names `random`, but select.random does not say how many.",
                "Give select.random a number, or take `random` out of the list.",
            ),
        ),
        (
            {"filters": ["top"]},
            (
                "select.filters",
                "names `top`, but select.top does not say how many.",
                "Give select.top a number, or take `top` out of the list.",
            ),
        ),
        (
            {"random": [3, 4]},
            (
                "select.random",
                "is [3, 4], but select.filters does not name `random`.",
                "Put `random` into the list where it has to work, or take this out.",
            ),
        ),
        (
            {"top": 3},
            (
                "select.top",
                "is 3, but select.filters does not name `top`.",
                "Put `top` into the list where it has to work, or take this out.",
            ),
        ),
        (
            {"filters": ["density"], "density": {"clusters": 101}},
            (
                "select.density.clusters",
                "101 clusters of at most 100 pairs (size) cannot be.",
                "Give at most 100, or raise size.",
            ),
        ),
        (
            {"filters": ["top"], "top": 5, "level": "none", "threshold": 0},
            (
                "select.filters",
                "names `top`, but assess.level none asks for no score to go by.",
                "Take `top` out of the list, or set assess.level to both.",
            ),
        ),
    ],
)
def test_filters_that_cannot_be(settings: dict[str, Any], message: tuple[str, str, str]) -> None:
    with pytest.raises(UserError) as caught:
        refuse_filters(recipe(**settings))
    assert (caught.value.where, caught.value.what, caught.value.mend) == message


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"filters": []},
        {"threshold": -1},
        {"threshold": 0},
        {"filters": ["density"], "density": {"clusters": 100}},
        {"density": {"clusters": 101}},
        {"filters": ["top", "random"], "top": 5, "random": 3},
        {"filters": ["top"], "top": 5, "level": "quality"},
    ],
)
def test_filters_that_can(settings: dict[str, Any]) -> None:
    refuse_filters(recipe(**settings))


def test_a_level_without_scores_goes_with_a_list_without_the_threshold() -> None:
    refuse_contradictions(recipe(level="none", filters=["density", "cap"]))
    with pytest.raises(UserError, match=r"select\.threshold 8 would drop every pair"):
        refuse_contradictions(recipe(level="none"))


def test_the_check_refuses_before_anything_is_spent() -> None:
    from isheep.check import check

    for settings, where in (("select.filters=[cap, cap]", "select.filters"), ("rules.off=[ulr]", "rules.off")):
        with pytest.raises(UserError) as caught:
            check(load_recipe("lamb", [settings]))
        assert (caught.value.where, caught.value.exit_code) == (where, 2)
    assert caught.value.mend == "Did you mean `url`?"


def test_an_unknown_filter_is_told_with_those_that_there_are() -> None:
    with pytest.raises(UserError) as caught:
        load_recipe("lamb", ["select.filters=[treshold]"])
    assert caught.value.where == "recipe lamb, select.filters"
    assert caught.value.mend == "Did you mean `threshold`?"
    with pytest.raises(UserError) as caught:
        recipe(filters=[8])
    assert caught.value.where == "recipe test, select.filters"
    assert caught.value.mend == (
        "Give a list in brackets (each entry `threshold`, `perplexity`, `density`, `random`, `top` or `cap`, or the "
        "name of a plug-in)."
    )


def test_quotas_are_of_the_filters_that_are_named() -> None:
    assert quotas(recipe(), 1) == {"select.cap": 3000}
    assert quotas(recipe(filters=["threshold", "perplexity"]), 1) == {}
    everything: dict[str, Any] = {"random": [9, 4], "density": {"clusters": 8}, "top": 6, "cap": 7}
    asked = recipe(filters=["top", "density", "random", "cap"], **everything)
    first = {"select.top": 6, "select.density.clusters": 8, "select.random": 9, "select.cap": 7}
    assert quotas(asked, 1) == first
    assert quotas(asked, 2) == quotas(asked, 3) == first | {"select.random": 4}


def test_the_rules_in_one_line() -> None:
    assert rules_in_force(recipe()) == "package:filters/english.yaml  4 to 150 words"
    assert rules_in_force(recipe(rules={"off": ["url", "marker"]})).endswith("  without url, marker")
    assert rules_in_force(recipe(threshold=-1)) == "none: select.threshold is -1"


def test_every_filter_says_what_it_needs() -> None:
    assert list(PAIR_FILTERS) == list(get_args(Filter))
