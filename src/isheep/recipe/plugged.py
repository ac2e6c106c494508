"""Which plug-ins a recipe names, and each of them with its settings (`plugins.NAME`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, get_args

from pydantic import BaseModel, ValidationError

from isheep.errors import UserError
from isheep.plugins import Kind, Plugin, find, installed, origin_of
from isheep.recipe import refusals
from isheep.recipe.settings import OWN_BENCHMARKS, PLUGIN_PREFIX, EngineName, Filter

if TYPE_CHECKING:
    from isheep.recipe import Recipe


def used(recipe: Recipe) -> dict[Kind, list[str]]:
    """The plug-ins that the recipe names, by kind. A benchmark that is neither ours nor installed is lm-eval's."""
    benchmarks = [name for name in recipe.evaluate.benchmarks if name not in OWN_BENCHMARKS]
    return {
        "filters": [name for name in recipe.select.filters if name not in get_args(Filter)],
        "engines": [] if recipe.engine.name in get_args(EngineName) else [recipe.engine.name],
        "assessors": [] if recipe.assess.plugin is None else [recipe.assess.plugin],
        "benchmarks": [name for name in benchmarks if name in installed("benchmarks")],
    }


def origins(recipe: Recipe) -> dict[str, str | None]:
    """`KIND/NAME` of each plug-in that the recipe names -> its distribution and version; None: not installed."""
    return {f"{kind}/{name}": origin_of(kind, name) for kind, names in used(recipe).items() for name in names}


def refuse_unknown(recipe: Recipe, origin: str) -> None:
    """Raises UserError for a filter, an engine or an assessor that is neither ours nor installed.

    Benchmarks are left to lm-eval, which knows thousands of them.
    """
    ours: dict[Kind, tuple[str, Sequence[str]]] = {
        "filters": ("select.filters", get_args(Filter)),
        "engines": ("engine.name", get_args(EngineName)),
        "assessors": ("assess.assessor", ()),
    }
    names = used(recipe)
    for kind, (key, own) in ours.items():
        prefix = PLUGIN_PREFIX if kind == "assessors" else ""
        known = [*own, *(f"{prefix}{name}" for name in installed(kind))]
        for name in names[kind]:
            if name not in installed(kind):
                there = f"There is {', '.join(f'`{one}`' for one in known)}. " if known else ""
                mend = refusals.nearest(f"{prefix}{name}", known) or there.strip() or "None is installed."
                what = f"there is no {kind[:-1]} `{prefix}{name}`, of ours or of an installed package."
                raise UserError(f"recipe {origin}, {key}", what, mend)


def refuse_unused(recipe: Recipe) -> None:
    """Raises UserError for settings of a plug-in that the recipe does not name: nobody would read them."""
    named = [name for names in used(recipe).values() for name in names]
    for name in recipe.plugins:
        if name not in named:
            mend = refusals.nearest(name, named) or "Name it where it has to work, or take its settings out."
            raise UserError(f"plugins.{name}", "are settings of a plug-in that nothing in the recipe names.", mend)


def loaded(kind: Kind, name: str, recipe: Recipe) -> tuple[Plugin, Any, dict[str, Any]]:
    """The plug-in, what makes an object of it, and the keyword argument `settings` where it takes one.

    What makes it takes settings if it has a pydantic model as its attribute `Settings`.

    Raises:
        UserError: it is not installed, does not import, lacks a method, or its settings are wrong.
    """
    plugin = find(kind, name)
    made = plugin.load()
    model, given = getattr(made, "Settings", None), recipe.plugins.get(name, {})
    if model is None:
        if given:
            raise UserError(f"plugins.{name}", f"is set, but {plugin.title} takes no settings.", "Take it out.")
        return plugin, made, {}
    if not (isinstance(model, type) and issubclass(model, BaseModel)):
        raise UserError(plugin.title, "has `Settings` that are no pydantic model.", "See docs/plugins.md.")
    try:
        return plugin, made, {"settings": model.model_validate(given)}
    except ValidationError as error:
        wrong = refusals.refusals(error, model, given)[0]
        key = f"plugins.{name}.{wrong.key}" if wrong.key else f"plugins.{name}"
        raise UserError(key, wrong.what, wrong.mend) from None


def opened(kind: Kind, name: str, recipe: Recipe, *given: Any) -> tuple[Plugin, Any]:
    """The plug-in, and an object that it makes of `given` and of its settings.

    Raises:
        UserError: as `loaded` does.
        StageError: it fails.
    """
    plugin, make, settings = loaded(kind, name, recipe)
    with plugin.blamed():
        made = make(*given, **settings)
    plugin.refuse_unfit(made)
    return plugin, made
