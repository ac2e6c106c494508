"""What each stage reads and what it makes, and nothing else: one table, from which the key of a stage follows.

A stage's inputs are the settings that it reads (of a file that a setting names, the content), and the content of what
earlier stages made. Stages of equal inputs are the same stage, whichever run they belong to: a sweep makes it once
(`stages.once`), and a changed recipe sets aside only what it touches (`changes`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from isheep.plugins import Kind, origin_of
from isheep.recipe import Recipe, locate, setting_names, settings_of
from isheep.recipe.plugged import used
from isheep.store.files import fingerprint

Inputs = dict[str, Any]
"""Setting, or file of an iteration (`iteration-01/instructions`) -> its value, or the hash of its content."""

NOTES = "stages.json"
"""In an iteration's folder: of each stage that has begun its key, its inputs and, once it has ended, its outputs."""

HASHED_AT_START = {"model.path": "model", "seeds.path": "seeds", "assess.assessor": "assessors"}
"""Settings of files whose hashes the run's manifest holds -> where it holds them."""

PATHS = (
    "model.template",
    "synthesize.prompt",
    "rules.language",
    "respond.principles",
    "assess.quality_prompt",
    "assess.following_prompt",
    "evaluate.tasks",
)
"""Settings that may name another file or folder: where there is one, its content counts and not its name."""

HOW = (
    "engine.",
    "train.micro_batch_size",
    "train.gradient_checkpointing",
    "train.track",
    "train.launch",
    "train.processes",
    "train.nodes",
    "evaluate.evalplus",
    "evaluate.alpaca_eval",
    "evaluate.judge.connections",
    "evaluate.judge.timeout",
    "evaluate.judge.retries",
    "evaluate.judge.key_variable",
)
"""Settings (or beginnings of their names) of how the work is done and not of what is done. In a key they count like
any other, since other batches round otherwise; but what has ended stands when they change under a run."""


@dataclass(frozen=True, slots=True)
class Reads:
    """Files of iterations that a stage reads: of its own, of the one before, or of every earlier one."""

    of: Literal["own", "last", "earlier"]
    files: tuple[str, ...]
    when: Callable[[Recipe], bool] = lambda recipe: True


@dataclass(frozen=True, slots=True)
class Stage:
    """One room of the loop."""

    settings: tuple[str, ...]
    """The keys that it reads, or whole groups of them."""
    makes: tuple[str, ...]
    """Files and folders of its iteration; one that says that the stage has ended stands last."""
    reads: tuple[Reads, ...] = ()
    counts: Mapping[str, Callable[[Recipe], Any]] = field(default_factory=dict)
    """Of these settings no more than this decides what the stage makes."""
    scratch: tuple[str, ...] = ()
    """What it leaves while it is under way."""
    when: Callable[[Recipe], bool] = lambda recipe: True
    """Whether there is such a stage."""
    plugins: tuple[Kind, ...] = ()
    """Kinds of plug-ins that work in it: of those that the recipe names, version and settings decide, too."""


PLUGGED = "plugins"
"""The setting of all plug-ins; a stage counts its own alone, as `plugins.KIND.NAME`."""
HOW_PLUGGED = f"{PLUGGED}.engines."
"""Of these an engine is how the work is done, too."""

ENGINE = ("model.path", "model.dtype", "engine", PLUGGED)
RESPOND = ("respond.principles", "respond.temperature", "respond.top_p", "respond.max_new_tokens")
RULES = ("rules", "select.threshold")
RULES_COUNT = {"select.threshold": lambda recipe: recipe.select.threshold < 0}
"""The rules look whether the threshold switches them off."""
ASKED = ("evaluate.benchmarks", "evaluate.tasks", "evaluate.data_dir", "evaluate.contamination")
"""What decides which questions pairs are held against."""
ASKED_BY_THE_WAY = (
    "evaluate.limit",
    "evaluate.evalplus",
    "evaluate.alpaca_eval",
    "evaluate.sandbox",
    "evaluate.trust_tasks",
    "model.path",
    "model.template",
)
"""What a benchmark is opened with, and what changes nothing of its questions."""
MEASURED = tuple(name for name in setting_names() if name.startswith("evaluate.") and name != "evaluate.contamination")
WEIGHTS = ("adapter", "model")
"""What a training leaves: one of the two, as `train.method` says."""
SELECTED = ("instructions", "responses", "selection")
TABLES_OF_PAIRS = ("instructions", "responses", "assessments", "selection")

STAGES: dict[str, Stage] = {
    "synthesize": Stage(
        plugins=("engines",),
        settings=(*ENGINE, "model.template", "seeds", "size", "synthesize", *RULES, "novelty", "seed"),
        counts=RULES_COUNT,
        reads=(
            Reads("last", WEIGHTS),
            Reads("earlier", ("instructions",)),
            Reads("earlier", TABLES_OF_PAIRS, when=lambda recipe: recipe.synthesize.shots_from == "mixed"),
        ),
        makes=("shots.json", "instructions"),
    ),
    "respond": Stage(
        plugins=("engines",),
        settings=(*ENGINE, "model.template", *RESPOND, *RULES, "seed"),
        counts=RULES_COUNT,
        reads=(Reads("last", WEIGHTS), Reads("own", ("instructions",))),
        makes=("responses",),
    ),
    "assess": Stage(
        plugins=("engines", "assessors"),
        settings=(*ENGINE, "model.template", "assess", "seed"),
        reads=(Reads("last", WEIGHTS), Reads("own", ("instructions", "responses"))),
        makes=("assessments",),
    ),
    "decontaminate": Stage(
        plugins=("benchmarks",),
        settings=(*ASKED, *ASKED_BY_THE_WAY, PLUGGED),
        counts=dict.fromkeys(ASKED_BY_THE_WAY, lambda recipe: None),
        reads=(Reads("own", ("instructions", "responses")),),
        makes=("contamination.json",),
    ),
    "select": Stage(
        plugins=("engines", "filters"),
        settings=(*ENGINE, "model.template", "select", "assess.level", "evaluate.contamination", "seed"),
        reads=(
            Reads("last", WEIGHTS),
            Reads("own", ("instructions", "responses", "assessments", "contamination.json")),
        ),
        makes=("selection",),
    ),
    "examine": Stage(
        settings=(
            "health.twin",
            "novelty.compare",
            "novelty.tokenizer",
            "select.filters",
            "select.threshold",
            "assess.level",
            "rules.language",
        ),
        reads=(
            Reads("own", TABLES_OF_PAIRS),
            Reads("earlier", ("instructions", "selection", "health.json")),
        ),
        makes=("health.json",),
    ),
    "embed": Stage(
        plugins=("engines",),
        settings=(*ENGINE, "model.template", "seeds", "health.vectors", "seed"),
        reads=(Reads("own", SELECTED),),
        makes=("vectors.parquet",),
    ),
    "gather": Stage(
        settings=("setting",),
        counts={"setting": lambda recipe: None},
        reads=(
            Reads("own", SELECTED),
            Reads("earlier", SELECTED, when=lambda recipe: recipe.setting == "total_base"),
        ),
        makes=("training-set.jsonl",),
    ),
    "draw": Stage(
        plugins=("engines", "assessors"),
        settings=(*ENGINE, "model.template", *RESPOND, "respond.draws", "assess", *RULES, "seed"),
        counts=RULES_COUNT,
        reads=(Reads("last", WEIGHTS), Reads("own", SELECTED)),
        makes=("alternatives",),
        scratch=("draws",),
        when=lambda recipe: recipe.respond.draws > 1,
    ),
    "train": Stage(
        settings=("model", "train", "engine.device", "engine.threads", "setting", "seed"),
        # A training under way goes on with another number of processes.
        counts=dict.fromkeys(("setting", "train.track", "train.processes", "train.nodes"), lambda recipe: None),
        reads=(
            Reads("own", ("training-set.jsonl",)),
            Reads("last", WEIGHTS, when=lambda recipe: recipe.setting == "one_last"),
        ),
        makes=("train.json", *WEIGHTS),
        scratch=("checkpoints",),
    ),
    "evaluate": Stage(
        plugins=("engines", "benchmarks"),
        settings=(*ENGINE, "model.template", *MEASURED, "seed"),
        reads=(Reads("own", WEIGHTS),),
        makes=("evaluation", "scores.json"),
    ),
}
"""In the order in which an iteration goes through them."""


def inputs(name: str, number: int, recipe: Recipe, hashes: Mapping[str, Any], directory: Path) -> Inputs:
    """Everything that a stage of an iteration is made from.

    Args:
        name: a key of `STAGES`.
        number: of the iteration.
        recipe: the run's.
        hashes: those of the model, the assessors and the seed file, as the manifest holds them.
        directory: of the run.
    """
    files = {file: fingerprint(directory / file) for file in files_read(name, number, recipe)}
    return {"stage": name, "iteration": number, **setting_inputs(name, recipe, hashes), **files}


def setting_inputs(name: str, recipe: Recipe, hashes: Mapping[str, Any]) -> Inputs:
    """Of these inputs the settings alone, the content of files that they name in place of the name."""
    found = {key: _content(key, value, hashes) for key, value in settings_read(name, recipe).items()}
    return found | _plugged(name, recipe)


def settings_read(name: str, recipe: Recipe) -> dict[str, Any]:
    """The settings that a stage reads, and of each what counts; those of plug-ins aside."""
    stage = STAGES[name]
    return {
        key: stage.counts[key](recipe) if key in stage.counts else value
        for key, value in settings_of(recipe).items()
        if key != PLUGGED and any(key == one or key.startswith(f"{one}.") for one in stage.settings)
    }


def key_of(found: Inputs) -> str:
    """A short name for these inputs, the same wherever they are the same."""
    text = json.dumps(found, sort_keys=True, ensure_ascii=True)
    return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()


def files_read(name: str, number: int, recipe: Recipe) -> list[str]:
    """The files of iterations that a stage reads, as paths in the run directory."""
    return list(dict.fromkeys(_files_read(name, number, recipe)))


def files_made(name: str, number: int, *, scratch: bool = False) -> list[str]:
    """The files that a stage makes, as paths in the run directory; on demand also what it leaves under way."""
    stage = STAGES[name]
    return [f"{folder_of(number)}/{file}" for file in (*stage.makes, *(stage.scratch if scratch else ()))]


def folder_of(number: int) -> str:
    """The name of an iteration's folder."""
    return f"iteration-{number:02d}"


def outputs(name: str, number: int, directory: Path) -> dict[str, str | None]:
    """What the stage made: file -> hash of its content, None where there is none."""
    made = zip(STAGES[name].makes, files_made(name, number), strict=True)
    return {file: fingerprint(directory / path) for file, path in made}


def changed(before: Inputs, now: Inputs, *, ended: bool) -> list[str]:
    """The inputs in which a stage as it was begun differs from the stage as it would be now.

    A setting that only one of the two knows is no difference: it came or went with a version of isheep, and a new one
    has a default that leaves things as they were. In a stage that has ended, how it was done is none either.
    """
    known = before.keys() & now.keys() | {name for name in before.keys() ^ now.keys() if "/" in name}
    differing = sorted(name for name in known if before.get(name) != now.get(name))
    return [name for name in differing if not (ended and name.startswith((*HOW, HOW_PLUGGED)))]


def _plugged(name: str, recipe: Recipe) -> Inputs:
    """The plug-ins that work in a stage: whose they are, in which version, and with which settings."""
    named = used(recipe)
    return {
        f"{PLUGGED}.{kind}.{one}": {"from": origin_of(kind, one), "settings": recipe.plugins.get(one, {})}
        for kind in STAGES[name].plugins
        for one in named[kind]
    }


def _files_read(name: str, number: int, recipe: Recipe) -> Iterator[str]:
    for reads in STAGES[name].reads:
        if not reads.when(recipe):
            continue
        numbers = {"own": range(number, number + 1), "last": range(number - 1, number), "earlier": range(1, number)}
        for one in numbers[reads.of]:
            # Iteration 0 is the base, of which there are no files but the model's own.
            if one > 0:
                yield from (f"{folder_of(one)}/{file}" for file in reads.files)


def _content(key: str, value: Any, hashes: Mapping[str, Any]) -> Any:
    """A setting's value; where it names a file, the hash of the content (which alone decides)."""
    if not isinstance(value, str):
        return value
    if key in HASHED_AT_START:
        known = hashes.get(HASHED_AT_START[key])
        known = known.get(value) if key == "assess.assessor" and known else known
        return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest() if known else value
    return (fingerprint(locate(value)) or value) if key in PATHS else value
