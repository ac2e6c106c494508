"""The recipe: everything that a run is, validated before anything is spent."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, JsonValue, ValidationError

from isheep.errors import UserError
from isheep.recipe import files, plugged, refusals
from isheep.recipe.files import shipped_recipes
from isheep.recipe.settings import (
    AssessSettings,
    Count,
    EngineSettings,
    EvaluateSettings,
    HealthSettings,
    ModelSettings,
    NoveltySettings,
    PluginName,
    RespondSettings,
    RuleSettings,
    SeedSettings,
    SelectSettings,
    Settings,
    StopSettings,
    SynthesizeSettings,
    TrainSettings,
    WatchSettings,
)
from isheep.secrecy import secret_in
from isheep.terminal import storable

RUNS_CODE: dict[str, Any] = {
    "evaluate.trust_tasks": False,
    "evaluate.evalplus": None,
    "evaluate.alpaca_eval": None,
    "evaluate.sandbox": True,
}
"""Settings that let code in -> the value that does not. Who runs a recipe says them, not who wrote it."""

PACKAGE_PREFIX = "package:"
"""A path that starts with this lies inside the installed isheep package."""


class Recipe(Settings):
    """One run, whole. Frozen; an unknown key is an error; every field is read by some stage (a test walks them)."""

    model: ModelSettings
    seeds: SeedSettings = SeedSettings()
    iterations: Annotated[int, Field(ge=1, le=1000)] = 3
    """How often the loop goes round at most; `stop` may end it earlier."""
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
    watch: WatchSettings = WatchSettings()
    plugins: dict[PluginName, dict[str, JsonValue]] = Field(default_factory=dict)
    """Name of a plug-in that the recipe uses -> its own settings, of which the plug-in says what they are."""
    seed: Annotated[int, Field(ge=0)] = 0
    """From this number all randomness of a run is derived."""

    @classmethod
    def load(cls, *words: str | Path, **settings: Any) -> Recipe:
        """The recipe that these words mean on the command line, with settings as keyword arguments over it.

            Recipe.load("lamb", "ablations/threshold-4", "train.steps=50", size=40, select={"cap": 20})

        Args:
            words: recipes by shipped name or by path, each laid over those before it (none: lamb), then
                `key.key=value` overrides.
            settings: top-level settings as Python values; of a group a dict of those that differ, or one word, as in
                `engine="vllm"` and `evaluate="paper"`.

        Raises:
            UserError: no such recipe, or a setting that is unknown or wrong; every wrong one is told.
        """
        given = [str(word) for word in words]
        first = next((place for place, word in enumerate(given) if "=" in word), len(given))
        return load_recipe(given[:first] or ["lamb"], given[first:], settings)


def locate(path: str) -> Path:
    """The file or folder that a recipe's path means: inside the package, or as the user wrote it."""
    if path.startswith(PACKAGE_PREFIX):
        return Path(__file__).parents[1] / path.removeprefix(PACKAGE_PREFIX)
    return Path(path).expanduser()


def load_recipe(
    names: str | Sequence[str],
    overrides: Sequence[str] = (),
    settings: Mapping[str, Any] = MappingProxyType({}),
    *,
    of_run: bool = False,
) -> Recipe:
    """Reads recipes by shipped name or by path, lays each over those before it, applies overrides, validates.

    Args:
        names: recipes, the one below all others first.
        overrides: `key.key=value`, over the recipes.
        settings: top-level settings as Python values, over all of these; see `Recipe.load`.
        of_run: the file is what a run noted of its command, so what lets code in may stand there, and a plug-in that
            it names need not be installed where somebody looks at it.

    Raises:
        UserError: no such recipe, unreadable YAML, an unknown key (the nearest is offered), a wrong type or range, a
            plug-in that is not installed, or a file that lets code in, which is for the command line to say.
    """
    data, origin = files.read_recipes([names] if isinstance(names, str) else names)
    if not of_run:
        _refuse_code(data, origin)
    for override in overrides:
        files.apply_override(data, override)
    for key, value in settings.items():
        below = data.get(key)
        if isinstance(below, dict) and isinstance(value, dict):
            value = files.merge(below, value)
        files.put(data, key, value)
    if "model" not in data and origin in shipped_recipes():
        mend = f"Name one that has a model before it, as in `isheep run lamb {origin}`, or give `model.path=...`."
        raise UserError(f"recipe {origin}, model", "is missing.", mend)
    recipe = parse_recipe(data, origin)
    if not of_run:
        plugged.refuse_unknown(recipe, origin)
    return recipe


def _refuse_code(data: dict[str, Any], origin: str) -> None:
    """Raises UserError for a recipe file that starts programs, takes walls away, or lets task files run functions."""
    for key, safe in RUNS_CODE.items():
        group, _, name = key.partition(".")
        settings = data.get(group)
        if isinstance(settings, dict) and settings.get(name, safe) != safe:
            what = "lets code run, which a recipe file may not say."
            said = f"{key}={refusals.shown(settings[name])}"
            mend = f"Take it out; if you trust it, give it on the command line: `{said}`."
            raise UserError(f"recipe {origin}, {key}", what, mend)


def without_code(recipe: Recipe) -> Recipe:
    """The recipe of a run that somebody else may have made, with nothing in it that lets code in."""
    return overridden(recipe, [f"{key}={refusals.shown(safe)}" for key, safe in RUNS_CODE.items()])


def overridden(recipe: Recipe, overrides: Sequence[str]) -> Recipe:
    """The recipe with `key.key=value` overrides; raises UserError as `load_recipe` does."""
    data = recipe.model_dump(mode="json")
    for override in overrides:
        files.apply_override(data, override)
    return parse_recipe(data, "with overrides")


def parse_recipe(data: dict[str, Any], origin: str) -> Recipe:
    """Validates a mapping; `origin` names it in the message of the UserError, which tells of every wrong setting."""
    try:
        recipe = Recipe.model_validate(data)
    except ValidationError as error:
        found = refusals.refusals(error, Recipe, data)
    else:
        _refuse_no_text(recipe, origin)
        _refuse_secrets(recipe, origin)
        return recipe
    if len(found) == 1:
        raise UserError(f"recipe {origin}, {found[0].key}", found[0].what, found[0].mend)
    lines = "\n".join(f"  {wrong.key}: {wrong.what} {wrong.mend}" for wrong in found)
    raise UserError(f"recipe {origin}", f"{len(found)} settings are wrong:\n{lines}\n", "Mend each of them.")


def _refuse_secrets(recipe: Recipe, origin: str) -> None:
    """Raises UserError for a setting that holds a key of the environment: a recipe is written down, and shown."""
    for key, value in settings_of(recipe).items():
        if name := secret_in(str(value)):
            what = f"holds the value of the environment variable {name}, which would be written into the run."
            raise UserError(f"recipe {origin}, {key}", what, "Leave it there: keys are read from the environment.")


def _refuse_no_text(recipe: Recipe, origin: str) -> None:
    for key, value in settings_of(recipe).items():
        if any("\0" in text or storable(text) != text for text in _texts(value)):
            what = "holds a NUL character or half of a surrogate pair, which no path can."
            raise UserError(f"recipe {origin}, {key}", what, "Take it out.")


def _texts(value: Any) -> Iterator[str]:
    """Every text in a setting's value, of which plug-ins may have lists and groups of their own."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | tuple | dict):
        inner = [*value, *value.values()] if isinstance(value, dict) else value
        yield from (text for one in inner for text in _texts(one))


def dump_recipe(recipe: Recipe) -> str:
    """The recipe as YAML with every default written out."""
    return files.dump_yaml(recipe.model_dump(mode="json"))


def difference(old: Recipe, new: Recipe) -> list[str]:
    """One line `key: old -> new` for each setting in which two recipes differ."""
    before, after = settings_of(old), settings_of(new)
    return [f"{key}: {before[key]} -> {after[key]}" for key in before if before[key] != after[key]]


def settings_of(recipe: Recipe) -> dict[str, Any]:
    """Every dotted key, leaves only, with its value; `plugins` is one, since its groups are nobody's but theirs."""
    return dict(_flatten(recipe.model_dump()))


def _flatten(data: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in data.items():
        if isinstance(value, dict) and key != "plugins":
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def setting_names(model: type[BaseModel] = Recipe, prefix: str = "") -> list[str]:
    """Every dotted key of a recipe, leaves only."""
    return refusals.setting_names(model, prefix)


__all__ = ["Recipe", "difference", "dump_recipe", "load_recipe", "locate", "parse_recipe", "shipped_recipes"]
