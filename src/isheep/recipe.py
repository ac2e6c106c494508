"""The recipe: everything that a run is, validated before anything is spent; defaults are the paper's."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from isheep.errors import UserError

PACKAGE_PREFIX = "package:"
"""A path that starts with this lies inside the installed isheep package."""

Share = Annotated[float, Field(gt=0, le=1)]
Count = Annotated[int, Field(ge=1)]


class Settings(BaseModel):
    """What every group of settings has in common: frozen, and no key that nobody reads."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class ModelSettings(Settings):
    """The base model."""

    path: str
    """A local directory, `package:...`, or a hub id."""
    template: str = "chatml"
    """How a trained model is spoken to: `chatml`, `carried` (the tokenizer's own) or a Jinja file."""
    dtype: Literal["float32", "bfloat16", "float16"] = "bfloat16"


class SeedSettings(Settings):
    """The tasks that people wrote."""

    path: str = "package:seeds/general.jsonl"


class SynthesizeSettings(Settings):
    """Instruction generation (paper section 3.1): sampled seeds as examples, the model continues the list."""

    prompt: str = "package:prompts/synthesize.txt"
    shots: Count = 5
    temperature: Annotated[float, Field(ge=0)] = 1.0
    top_p: Share = 0.95
    max_new_tokens: Count = 1000
    patience: Annotated[float, Field(gt=0)] = 2
    """Give up when more requests than this for each instruction wanted were sent."""


class RuleSettings(Settings):
    """The heuristic rules on instructions and responses (paper section 3.1, after Self-Instruct)."""

    language: str = "package:filters/english.yaml"
    """The word lists and scripts of the target language."""
    min_words: Annotated[int, Field(ge=0)] = 4
    max_words: Count = 150


class NoveltySettings(Settings):
    """ROUGE-L against every seed and every kept instruction of this and all earlier iterations."""

    limit: Share = 0.7
    """An instruction whose F-measure with any of them is greater than this is dropped."""
    compare: Literal["instruction", "task"] = "instruction"
    """Hold the instruction alone against the others, or together with its input."""


class RespondSettings(Settings):
    """Zero-shot responses: the bare instruction for the base model, the template for every later one."""

    temperature: Annotated[float, Field(ge=0)] = 1.0
    top_p: Share = 0.95
    max_new_tokens: Count = 1000


class AssessSettings(Settings):
    """Self-assessment (paper section 3.2): quality and instruction following, 1 to 10 each."""

    quality_prompt: str = "package:prompts/assess_quality.txt"
    following_prompt: str = "package:prompts/assess_following.txt"
    assessor: Literal["current", "base"] = "current"
    """Who judges: the iteration's own model (the paper) or the base (the authors' scripts)."""
    read: Literal["generate", "distribution"] = "generate"
    """Parse a written score, or take the expected score over the probabilities of the ten."""
    max_new_tokens: Count = 64
    temperature: Annotated[float, Field(ge=0)] = 0.0


class SelectSettings(Settings):
    """Which assessed pairs are trained on."""

    threshold: Annotated[float, Field(ge=0, lt=10)] | None = 8
    """Keep when both scores are greater; None: no score filter (the Self-Instruct baseline)."""
    random: Count | list[Count] | None = None
    """Then keep this many at random (a number, or one per iteration): the control of equal size."""
    cap: Count = 3000
    """At most this many pairs, drawn at random from what is left."""


class LoraSettings(Settings):
    """The adapter."""

    rank: Count = 8
    alpha: Count = 16
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.05


class TrainSettings(Settings):
    """Supervised fine-tuning of the base on the selected pairs (paper section 4.1)."""

    lora: LoraSettings = LoraSettings()
    learning_rate: Annotated[float, Field(gt=0)] = 5e-5
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    warmup_steps: Annotated[int, Field(ge=0)] = 20
    epochs: Annotated[float, Field(gt=0)] = 2
    steps: Count | None = None
    """A fixed number of optimizer steps in every iteration, instead of epochs."""
    batch_size: Count = 16
    """Pairs per optimizer step."""
    micro_batch_size: Count = 1
    cutoff: Count = 1024
    """Tokens per pair; a longer pair is cut from the end of its response."""
    held_out: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Share of the pairs kept aside for the evaluation loss, by which the best checkpoint is chosen."""
    evaluate_every: Count = 100
    """Optimizer steps between evaluations and checkpoints."""


class EvaluateSettings(Settings):
    """What is measured on every iteration's model, the untouched base (iteration 0) included, by the same path."""

    benchmarks: list[str] = []
    """lm-eval task names."""
    tasks: str | None = None
    """A folder with lm-eval task files of one's own."""
    limit: Count | None = None
    """At most this many items of each benchmark."""


class EngineSettings(Settings):
    """What runs the model."""

    name: Literal["transformers"] = "transformers"
    device: str = "auto"
    batch_size: Count = 32
    threads: Count | None = None
    """CPU threads; None leaves it to torch."""


class Recipe(Settings):
    """One run, whole. Frozen; an unknown key is an error; every field is read by some stage (a test walks them)."""

    model: ModelSettings
    seeds: SeedSettings = SeedSettings()
    iterations: Count = 3
    size: Count = 10_000
    """Instructions that survive the rules and novelty, per iteration."""
    setting: Literal["one_base"] = "one_base"
    """What an iteration trains: the base, on the data of the last model."""
    synthesize: SynthesizeSettings = SynthesizeSettings()
    rules: RuleSettings = RuleSettings()
    novelty: NoveltySettings = NoveltySettings()
    respond: RespondSettings = RespondSettings()
    assess: AssessSettings = AssessSettings()
    select: SelectSettings = SelectSettings()
    train: TrainSettings = TrainSettings()
    evaluate: EvaluateSettings = EvaluateSettings()
    engine: EngineSettings = EngineSettings()
    seed: Annotated[int, Field(ge=0)] = 0


def locate(path: str) -> Path:
    """The file or folder that a recipe's path means: inside the package, or as the user wrote it."""
    if path.startswith(PACKAGE_PREFIX):
        return Path(__file__).parent / path.removeprefix(PACKAGE_PREFIX)
    return Path(path).expanduser()


def shipped_recipes() -> dict[str, Path]:
    """Name -> file of every recipe in the package."""
    return {file.stem: file for file in sorted(locate("package:recipes").glob("*.yaml"))}


def load_recipe(name: str, overrides: Sequence[str] = ()) -> Recipe:
    """Reads a shipped recipe by name or a YAML file by path, applies `key.key=value` overrides, validates.

    Raises:
        UserError: no such recipe, unreadable YAML, an unknown key (the nearest is offered), a wrong type or range.
    """
    shipped = shipped_recipes()
    file = shipped.get(name, Path(name))
    if not file.is_file():
        known = ", ".join(shipped)
        raise UserError(name, "no such recipe.", f"Give a YAML file or one of: {known}{_nearest(name, shipped)}")
    data = _read_yaml(file)
    for override in overrides:
        _apply(data, override)
    return parse_recipe(data, str(file) if name not in shipped else name)


def parse_recipe(data: dict[str, Any], origin: str) -> Recipe:
    """Validates a mapping; `origin` names it in the message of the UserError that lists every wrong key."""
    try:
        return Recipe.model_validate(data)
    except ValidationError as error:
        problems = "; ".join(_explain(dict(detail)) for detail in error.errors())
        raise UserError(f"recipe {origin}", problems, "") from None


def dump_recipe(recipe: Recipe) -> str:
    """The recipe as YAML with every default written out."""
    return yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def difference(old: Recipe, new: Recipe) -> list[str]:
    """One line `key: old -> new` for each setting in which two recipes differ."""
    before, after = dict(_flatten(old.model_dump())), dict(_flatten(new.model_dump()))
    return [f"{key}: {before[key]} -> {after[key]}" for key in before if before[key] != after[key]]


def _flatten(data: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in data.items():
        if isinstance(value, dict):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _read_yaml(file: Path) -> dict[str, Any]:
    try:
        data = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(str(file), f"cannot be read as YAML: {error}.", "Mend or replace the file.") from None
    if not isinstance(data, dict):
        raise UserError(str(file), "holds no settings.", "A recipe is a YAML mapping such as `model: {path: ...}`.")
    return data


def _apply(data: dict[str, Any], override: str) -> None:
    key, equals, value = override.partition("=")
    if not equals or not key:
        raise UserError(override, "is not KEY=VALUE.", "Write it like `select.threshold=7`.")
    *groups, last = key.split(".")
    for group in groups:
        inner = data.setdefault(group, {})
        if not isinstance(inner, dict):
            raise UserError(key, f"`{group}` is a value, not a group of settings.", "See `isheep show lamb`.")
        data = inner
    try:
        data[last] = yaml.safe_load(value)
    except yaml.YAMLError:
        raise UserError(key, f"the value {value!r} is not readable.", "Quote it as YAML.") from None


def setting_names(model: type[BaseModel] = Recipe, prefix: str = "") -> list[str]:
    """Every dotted key of a recipe, leaves only."""
    names: list[str] = []
    for name, field in model.model_fields.items():
        annotation = field.annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            names += setting_names(annotation, f"{prefix}{name}.")
        else:
            names.append(f"{prefix}{name}")
    return names


def _nearest(key: str, known: Sequence[str] | dict[str, Any]) -> str:
    """` (did you mean ...?)` where something known is near, by the whole key or by its last part."""
    by_last_part = [name for name in known if name.rsplit(".", 1)[-1] == key.rsplit(".", 1)[-1]]
    near = by_last_part or difflib.get_close_matches(key, list(known), n=1, cutoff=0.6)
    return f" (did you mean `{near[0]}`?)" if near else ""


def _explain(detail: dict[str, Any]) -> str:
    key = ".".join(str(part) for part in detail["loc"])
    if detail["type"] == "extra_forbidden":
        groups = [name for name, field in Recipe.model_fields.items() if _is_group(field.annotation)]
        return f"unknown setting `{key}`{_nearest(key, setting_names() + groups)}."
    if detail["type"] == "missing":
        return f"setting `{key}` is missing."
    return f"setting `{key}` = {detail['input']!r}: {detail['msg']}."


def _is_group(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel) and not get_args(annotation)


__all__ = ["Recipe", "difference", "dump_recipe", "load_recipe", "locate", "parse_recipe", "shipped_recipes"]
