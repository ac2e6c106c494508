"""The recipe: everything that a run is, validated before anything is spent."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, ValidationError

from isheep.errors import UserError
from isheep.recipe import files, refusals
from isheep.recipe.files import shipped_recipes
from isheep.recipe.settings import (
    AssessSettings,
    Count,
    EngineSettings,
    EvaluateSettings,
    HealthSettings,
    ModelSettings,
    NoveltySettings,
    RespondSettings,
    RuleSettings,
    SeedSettings,
    SelectSettings,
    Settings,
    StopSettings,
    SynthesizeSettings,
    TrainSettings,
)

PACKAGE_PREFIX = "package:"
"""A path that starts with this lies inside the installed isheep package."""


class Recipe(Settings):
    """One run, whole. Frozen; an unknown key is an error; every field is read by some stage (a test walks them)."""

    model: ModelSettings
    seeds: SeedSettings = SeedSettings()
    iterations: Count = 3
    size: Count = 10_000
    """Instructions that survive the rules and novelty, per iteration."""
    setting: Literal["one_base", "one_last", "total_base", "direct"] = "one_base"
    """The iterative setting: an iteration's pairs train the base; they train the model before it; those of all
    iterations so far (each of at most `select.cap`) train the base; or there is but one iteration, of `size`."""
    synthesize: SynthesizeSettings = SynthesizeSettings()
    rules: RuleSettings = RuleSettings()
    novelty: NoveltySettings = NoveltySettings()
    respond: RespondSettings = RespondSettings()
    assess: AssessSettings = AssessSettings()
    select: SelectSettings = SelectSettings()
    train: TrainSettings = TrainSettings()
    health: HealthSettings = HealthSettings()
    evaluate: EvaluateSettings = EvaluateSettings()
    stop: StopSettings = StopSettings()
    engine: EngineSettings = EngineSettings()
    seed: Annotated[int, Field(ge=0)] = 0


def locate(path: str) -> Path:
    """The file or folder that a recipe's path means: inside the package, or as the user wrote it."""
    if path.startswith(PACKAGE_PREFIX):
        return Path(__file__).parents[1] / path.removeprefix(PACKAGE_PREFIX)
    return Path(path).expanduser()


def load_recipe(names: str | Sequence[str], overrides: Sequence[str] = ()) -> Recipe:
    """Reads recipes by shipped name or by path, lays each over those before it, applies `key.key=value`, validates.

    Raises:
        UserError: no such recipe, unreadable YAML, an unknown key (the nearest is offered), a wrong type or range.
    """
    data, origin = files.read_recipes([names] if isinstance(names, str) else names)
    for override in overrides:
        files.apply_override(data, override)
    if "model" not in data and origin in shipped_recipes():
        mend = f"Name one that has a model before it, as in `isheep run lamb {origin}`, or give `model.path=...`."
        raise UserError(f"recipe {origin}, model", "is missing.", mend)
    return parse_recipe(data, origin)


def overridden(recipe: Recipe, overrides: Sequence[str]) -> Recipe:
    """The recipe with `key.key=value` overrides; raises UserError as `load_recipe` does."""
    data = recipe.model_dump(mode="json")
    for override in overrides:
        files.apply_override(data, override)
    return parse_recipe(data, "with overrides")


def parse_recipe(data: dict[str, Any], origin: str) -> Recipe:
    """Validates a mapping; `origin` names it in the message of the UserError, which tells of every wrong key."""
    try:
        return Recipe.model_validate(data)
    except ValidationError as error:
        found = refusals.refusals(error, Recipe, data)
    if len(found) == 1:
        raise UserError(f"recipe {origin}, {found[0].key}", found[0].what, found[0].mend)
    lines = "\n".join(f"  {wrong.key}: {wrong.what} {wrong.mend}" for wrong in found)
    raise UserError(f"recipe {origin}", f"{len(found)} settings are wrong:\n{lines}\n", "Mend each of them.")


def dump_recipe(recipe: Recipe) -> str:
    """The recipe as YAML with every default written out."""
    return files.dump_yaml(recipe.model_dump(mode="json"))


def difference(old: Recipe, new: Recipe) -> list[str]:
    """One line `key: old -> new` for each setting in which two recipes differ."""
    before, after = settings_of(old), settings_of(new)
    return [f"{key}: {before[key]} -> {after[key]}" for key in before if before[key] != after[key]]


def settings_of(recipe: Recipe) -> dict[str, Any]:
    """Every dotted key, leaves only, with its value."""
    return dict(_flatten(recipe.model_dump()))


def _flatten(data: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in data.items():
        if isinstance(value, dict):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def setting_names(model: type[BaseModel] = Recipe, prefix: str = "") -> list[str]:
    """Every dotted key of a recipe, leaves only."""
    return refusals.setting_names(model, prefix)


__all__ = ["Recipe", "difference", "dump_recipe", "load_recipe", "locate", "parse_recipe", "shipped_recipes"]
