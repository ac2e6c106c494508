"""Everything that can be known before anything is spent: the settings together, the files, the model, the disk."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from shutil import disk_usage

from isheep.check_assess import refuse_contradictions, refuse_no_room, unused_prompts
from isheep.check_engine import engine_found
from isheep.check_evaluate import benchmarks_found
from isheep.check_select import quotas, refuse_filters, rules_in_force
from isheep.check_server import ask_server, refuse_without_model
from isheep.check_settings import pairs_before, principles_room, refuse_iterations, refuse_method, without_effect
from isheep.check_stop import stop_rule
from isheep.checkpoint import Checkpoint, read_checkpoint
from isheep.errors import UserError
from isheep.filters.rules import Rules
from isheep.hub import model_folder
from isheep.prompts import NO_INPUT, Prompt, list_tasks, mark_in, next_task
from isheep.recipe import Recipe, locate
from isheep.records import SeedTask
from isheep.run import refuse_changed_recipe, refuse_foreign
from isheep.seeds import load_seeds
from isheep.stages.assess import load_prompt, prompt_files
from isheep.stages.respond import FIELDS as PRINCIPLES
from isheep.text import Encoder

TOKEN_BYTES = 4
"""Bytes of text that one token stands for, on average and generously."""
DISTRIBUTION_TOKENS = 40
"""As long is the record of the probabilities of the ten scores."""
NUMBER_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
SAVED_NUMBER_BYTES = 4
"""What is trained is float32 whatever the model's dtype, and so are adapters as they are saved."""
CHECKPOINTS = 3
"""Checkpoints that lie on disk at once while training: the best, the newest and the one that is being written."""
CHECKPOINT_COPIES = 3
"""Numbers in a checkpoint for each that is trained: itself and the two moments of the optimizer."""
TRAINING_COPIES = CHECKPOINT_COPIES + 1
"""The same in memory, with the gradient."""
RESERVE = 64 * 2**20
"""Bytes for scores, health, reports, logs and the small change of many files."""

MEMINFO = Path("/proc/meminfo")

EXAMPLES = ("examples",)
"""The fields of the synthesis prompt."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What was looked at, and what was found there."""

    what: str
    found: str
    warning: bool = False
    """Not certain to fail, but worth a thought before starting."""


def check(recipe: Recipe, directory: Path | None = None, accept_changes: bool = False) -> list[Finding]:
    """Looks at everything that a run of the recipe stands on; takes seconds and writes nothing.

    Args:
        recipe: what would be run.
        directory: where; None leaves out what depends on it.
        accept_changes: whether a run of another recipe may lie there.

    Raises:
        UserError: the first thing that would stop the run or spoil it.
    """
    return list(_findings(recipe, directory, accept_changes))


def _findings(recipe: Recipe, directory: Path | None, accept_changes: bool) -> Iterator[Finding]:
    """From cheap to dear: the tokenizer comes late since its library takes seconds to start, a server last."""
    yield from _settings(recipe)
    refuse_contradictions(recipe)
    yield from _prompts(recipe)
    Rules.of(recipe)
    yield Finding("rules", rules_in_force(recipe))
    seeds = _seeds(recipe)
    yield Finding("seeds", f"{recipe.seeds.path}  {_count(len(seeds), 'task')}")
    yield Finding("engine", engine_found(recipe.engine))
    if rule := stop_rule(recipe):
        yield Finding("stop", rule)
    if directory is not None:
        yield _run_directory(recipe, directory, accept_changes)
    checkpoint = _model("model.path", recipe.model.path)
    yield Finding("model", f"{recipe.model.path}  {checkpoint.parameters:,} parameters")
    yield _disk(recipe, checkpoint, directory)
    yield _memory(recipe, checkpoint, trained=True)
    _refuse_unknown_architecture(checkpoint)
    encoder = Encoder.load(checkpoint.folder, recipe.model.template)
    yield _tokens(recipe, checkpoint, encoder)
    yield from _context(recipe, checkpoint, encoder, seeds)
    yield from _assessor(recipe, checkpoint, encoder)
    for line in benchmarks_found(recipe):
        yield Finding("benchmark", line)
    if not recipe.evaluate.benchmarks:
        yield Finding("benchmark", "none: nothing will be measured", warning=True)
    if recipe.engine.name == "openai":
        line, without = ask_server(recipe, checkpoint.folder, encoder)
        yield Finding("server", line)
        yield from (Finding("server", one, warning=True) for one in without)


def most_pairs(recipe: Recipe) -> int:
    """The most pairs that an iteration can train on, those held out included."""
    return min([recipe.size, *quotas(recipe).values()])


def disk_needed(recipe: Recipe, checkpoint: Checkpoint) -> int:
    """Bytes that a whole run writes, from above.

    RESERVE + iterations x (records + weights) + the checkpoints of one training, where
    records = 2 (table and training set) x TOKEN_BYTES x size x (tokens of a request, of a response and of each score
    that is asked for, all at their limits), and with total_base as much again for each pair of an earlier iteration in
    a training set; weights = an adapter in float32, or the whole model in its dtype, and
    checkpoints = CHECKPOINTS x CHECKPOINT_COPIES x SAVED_NUMBER_BYTES x the numbers that are trained.
    """
    written = recipe.assess.max_new_tokens if recipe.assess.read == "generate" else DISTRIBUTION_TOKENS
    tokens = recipe.synthesize.max_new_tokens + recipe.respond.max_new_tokens + len(recipe.assess.questions) * written
    records = 2 * TOKEN_BYTES * recipe.size * tokens
    weights = trained = SAVED_NUMBER_BYTES * checkpoint.adapter_parameters(recipe.train.lora.rank)
    if recipe.train.method == "full":
        trained = SAVED_NUMBER_BYTES * checkpoint.parameters
        weights = NUMBER_BYTES[recipe.model.dtype] * checkpoint.parameters
    again = sum(pairs_before(recipe, most_pairs(recipe), number + 1) for number in range(recipe.iterations))
    records_again = TOKEN_BYTES * again * tokens
    checkpoints = CHECKPOINTS * CHECKPOINT_COPIES * trained
    return RESERVE + recipe.iterations * (records + weights) + records_again + checkpoints


def _settings(recipe: Recipe) -> Iterator[Finding]:
    """Settings that are each right and together wrong."""
    refuse_iterations(recipe)
    refuse_filters(recipe)
    refuse_without_model(recipe)
    refuse_method(recipe)
    train = recipe.train
    if train.batch_size % train.micro_batch_size:
        raise UserError(
            "train.micro_batch_size",
            f"{train.micro_batch_size} does not divide train.batch_size {train.batch_size}.",
            "Give a divisor of it.",
        )
    if train.steps is not None and train.warmup_steps >= train.steps:
        raise UserError(
            "train.warmup_steps",
            f"{train.warmup_steps} leaves nothing of train.steps {train.steps}: the learning rate would only rise.",
            f"Give less than {train.steps}.",
        )
    pairs = most_pairs(recipe)
    held_out = int(pairs * train.held_out)
    if train.held_out and not held_out:
        raise UserError(
            "train.held_out",
            f"{train.held_out} of at most {_count(pairs, 'pair')} is none to evaluate on.",
            f"Give 0 to hold nothing out, or raise it or one of {', '.join(('size', *quotas(recipe)))}.",
        )
    trained = pairs - held_out
    steps = train.steps or -(-trained * train.epochs // train.batch_size)
    yield Finding("training", f"at most {trained} pairs, {steps:.0f} steps of {train.batch_size} in each iteration")
    if before := pairs_before(recipe, pairs, recipe.iterations):
        yield Finding("training", f"with total_base up to {before} pairs of earlier iterations more in the last one")
    for found in without_effect(recipe):
        yield Finding("settings", found, warning=True)
    if train.warmup_steps >= steps:
        yield Finding("training", f"all {steps:.0f} steps lie within train.warmup_steps {train.warmup_steps}", True)


def _prompts(recipe: Recipe) -> Iterator[Finding]:
    Prompt.load(locate(recipe.synthesize.prompt), EXAMPLES)
    judging = list(prompt_files(recipe.assess).values())
    for path in judging:
        load_prompt(locate(path))
    around = [recipe.respond.principles] if recipe.respond.principles else []
    for path in around:
        Prompt.load(locate(path), PRINCIPLES)
    yield Finding("prompts", ", ".join((recipe.synthesize.prompt, *around, *judging)))
    for key in unused_prompts(recipe):
        yield Finding("prompts", f"{key} is shown to nobody at this assess.level and assess.assessor", warning=True)


def _seeds(recipe: Recipe) -> list[SeedTask]:
    """The seed tasks, enough of them and none that would break the list that synthesis shows."""
    file = locate(recipe.seeds.path)
    seeds = load_seeds(file)
    for seed in seeds:
        for key, text in (("instruction", seed.instruction), ("input", seed.input)):
            if marker := mark_in(text):
                mend = "Leave the input empty." if text.strip().lower() == NO_INPUT else "Take it out."
                what = f"its {key} holds `{marker}`, which the list of examples uses as a mark."
                raise UserError(f"{file}, task {seed.id}", what, mend)
    shots = recipe.synthesize.shots
    if len(seeds) < shots:
        what = f"{shots} examples are to be shown, but {recipe.seeds.path} holds {_count(len(seeds), 'task')}."
        raise UserError("synthesize.shots", what, f"Give at most {len(seeds)}, or more seed tasks.")
    return seeds


def _run_directory(recipe: Recipe, directory: Path, accept_changes: bool) -> Finding:
    """The directory as `Run.create_or_resume` will find it; nothing is created."""
    existing = _nearest_existing(directory)
    reason = None
    if not existing.is_dir():
        reason = "File exists" if existing == directory.absolute() else "Not a directory"
    elif not os.access(existing, os.W_OK | os.X_OK, effective_ids=os.access in os.supports_effective_ids):
        reason = "Permission denied"
    if reason:
        raise UserError(str(directory), f"cannot be written ({reason}).", "Give another --dir or mend the rights.")
    if not directory.is_dir():
        return Finding("directory", f"{directory}  new")
    refuse_foreign(directory)
    resumed = refuse_changed_recipe(directory, recipe, accept_changes)
    return Finding("directory", f"{directory}  {'a run to go on with' if resumed else 'empty'}")


def _model(key: str, path: str, words: Sequence[str] = ()) -> Checkpoint:
    """What the folder under a key holds; `words` are what the key takes beside a folder."""
    return read_checkpoint(model_folder(path, key, words))


def _assessor(recipe: Recipe, checkpoint: Checkpoint, encoder: Encoder) -> Iterator[Finding]:
    """Whoever judges, the run's own model or another one, which is looked at as the run's own is."""
    settings = recipe.assess
    if settings.other_model is not None and settings.questions:
        checkpoint = _model("assess.assessor", settings.other_model, ("current", "base", "random"))
        yield Finding("assessor", f"{settings.other_model}  {checkpoint.parameters:,} parameters")
        yield _memory(recipe, checkpoint)
        _refuse_unknown_architecture(checkpoint)
        encoder = Encoder.load(checkpoint.folder, None)
        _refuse_tokens_outside(checkpoint, encoder)
    elif settings.assessor == "random" and settings.questions:
        yield Finding("assessor", "random: the scores will mean nothing, which spoils the run on purpose", warning=True)
    refuse_no_room(recipe, checkpoint, encoder)


def _disk(recipe: Recipe, checkpoint: Checkpoint, directory: Path | None) -> Finding:
    needed = disk_needed(recipe, checkpoint)
    if directory is None:
        return Finding("disk", f"a run writes at most {_size(needed)}")
    there = sum(file.stat().st_size for file in directory.rglob("*") if file.is_file()) if directory.is_dir() else 0
    needed = max(needed - there, RESERVE)
    place = _nearest_existing(directory)
    free = disk_usage(place).free
    if free < needed:
        what = f"too little disk: {_size(free)} are free at {place}, the run may write {_size(needed)}."
        raise UserError(str(directory), what, "Make room, give another --dir, or lower size or iterations.")
    return Finding("disk", f"{_size(free)} free, the run writes at most {_size(needed)}")


def _memory(recipe: Recipe, checkpoint: Checkpoint, trained: bool = False) -> Finding:
    """A warning only: on a GPU the weights lie elsewhere, and which device is there only torch can tell."""
    needed = checkpoint.parameters * NUMBER_BYTES[recipe.model.dtype]
    available = _available_memory()
    found = f"the weights take {_size(needed)} in {recipe.model.dtype}"
    if trained and recipe.train.method == "full":
        needed = checkpoint.parameters * TRAINING_COPIES * SAVED_NUMBER_BYTES
        found += f", training all of them {_size(needed)}"
    if available is None:
        return Finding("memory", found)
    if available < needed:
        return Finding("memory", f"{found}, more than the {_size(available)} available (fine on a GPU)", warning=True)
    return Finding("memory", f"{found}, {_size(available)} are available")


def _refuse_unknown_architecture(checkpoint: Checkpoint) -> None:
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    kind = checkpoint.config["model_type"]
    if kind not in CONFIG_MAPPING_NAMES:
        what = f"the installed transformers knows no model_type `{kind}`."
        raise UserError(str(checkpoint.folder / "config.json"), what, "Update transformers, or choose another model.")


def _tokens(recipe: Recipe, checkpoint: Checkpoint, encoder: Encoder) -> Finding:
    names = _refuse_tokens_outside(checkpoint, encoder)
    stops = ", ".join(names[number] for number in sorted(encoder.stop_ids))
    return Finding("template", f"{recipe.model.template}  stops at {stops}, pads with {names[encoder.pad_id]}")


def _refuse_tokens_outside(checkpoint: Checkpoint, encoder: Encoder) -> dict[int, str]:
    """Every token that isheep puts in by itself has to have a row in the embedding; they are returned with names."""
    rows = checkpoint.rows
    turn_end, pad = encoder.turn_end_id, encoder.pad_id
    roles = {turn_end: "turn end", pad: "pad token", **dict.fromkeys(encoder.stop_ids - {turn_end}, "end of text")}
    names = {number: f"{encoder.tokenizer.convert_ids_to_tokens(number)} ({number})" for number in roles}
    for number, role in roles.items():
        if rows is not None and number >= rows:
            what = f"its {role} {names[number]} lies outside the model's {rows} embedding rows."
            raise UserError(str(checkpoint.folder), what, "Choose another template, or resize and train the embedding.")
    return names


def _context(recipe: Recipe, checkpoint: Checkpoint, encoder: Encoder, seeds: list[SeedTask]) -> Iterator[Finding]:
    """The longest list of examples with the continuation after it, against the vocabulary and the model's context."""
    shots = recipe.synthesize.shots
    longest = sorted(seeds, key=lambda seed: -len(seed.instruction + seed.input))[:shots]
    examples = list_tasks([(seed.instruction, seed.input) for seed in longest]) + next_task(shots + 1)
    prompt = Prompt.load(locate(recipe.synthesize.prompt), EXAMPLES).render(examples=examples)
    ids = encoder.plain(prompt)
    rows, positions = checkpoint.rows, checkpoint.positions
    if rows is not None and max(ids) >= rows:
        what = f"its tokenizer writes token {max(ids)}, which lies outside the model's {rows} embedding rows."
        raise UserError(str(checkpoint.folder), what, "Take the tokenizer and the weights from the same model.")
    if positions is None:
        return
    for name, wanted in (("synthesize", recipe.synthesize), ("respond", recipe.respond)):
        if wanted.max_new_tokens >= positions:
            what = f"{wanted.max_new_tokens} leaves no room for a prompt in the model's {positions} tokens."
            raise UserError(f"{name}.max_new_tokens", what, f"Give less than {positions}.")
    needed = len(ids) + recipe.synthesize.max_new_tokens
    found = f"the longest list of examples with its continuation takes {needed} of the model's {positions} tokens"
    yield Finding("context", found, warning=needed > positions)
    if tight := principles_room(recipe, checkpoint, encoder, seeds):
        yield Finding("context", tight, warning=True)


def _nearest_existing(directory: Path) -> Path:
    path = directory.absolute()
    return next(place for place in (path, *path.parents) if place.exists())


def _available_memory() -> int | None:
    """Bytes, None where the system does not tell."""
    try:
        found = re.search(r"^MemAvailable:\s+(\d+) kB", MEMINFO.read_text(encoding="ascii"), re.MULTILINE)
    except OSError:
        return None
    return int(found[1]) * 1024 if found else None


def _size(count: int) -> str:
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
