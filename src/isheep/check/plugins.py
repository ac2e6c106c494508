"""The plug-ins that a recipe names: whose they are, and whether their settings are right."""

from __future__ import annotations

from collections.abc import Iterator

from isheep.check.findings import Finding
from isheep.recipe import Recipe
from isheep.recipe.plugged import loaded, refuse_unknown, refuse_unused, used


def plugins_found(recipe: Recipe) -> Iterator[Finding]:
    """A line for each, which is imported for it; what it makes is not made yet.

    Raises:
        UserError: one is not installed, does not import, lacks a method of its protocol, or its settings are wrong;
            or there are settings of one that the recipe does not name.
    """
    refuse_unknown(recipe, "of the run")
    refuse_unused(recipe)
    for kind, names in used(recipe).items():
        for name in names:
            plugin = loaded(kind, name, recipe)[0]
            yield Finding("plug-in", f"{plugin.title}, code of its own")
