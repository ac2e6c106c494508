"""Everything that can be known before anything is spent: the settings together, the files, the model, the disk."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from isheep.check.assess import refuse_contradictions, unused_prompts
from isheep.check.engine import engine_found, refuse_device
from isheep.check.evaluate import benchmarks_found, code_let_in
from isheep.check.findings import Finding, counted, nearest_existing
from isheep.check.launch import launch_found
from isheep.check.model import assessor_found, checkpoint_of, context_found, refuse_unknown_architecture, template_found
from isheep.check.plugins import plugins_found
from isheep.check.resources import disk_found, memory_found
from isheep.check.select import rules_in_force
from isheep.check.server import ask_server
from isheep.check.settings import settings_found
from isheep.check.stop import refuse_first_metric, stop_rule
from isheep.check.trackers import trackers_found
from isheep.check.workers import refuse_workers, workers_found
from isheep.encoder import Encoder
from isheep.errors import UserError
from isheep.filters.rules import Rules
from isheep.prompts import Prompt
from isheep.prompts.tasks import NO_INPUT, marked
from isheep.recipe import Recipe, locate
from isheep.records import SeedTask
from isheep.seeds import read_seeds
from isheep.stages.assess import load_prompt, prompt_files
from isheep.stages.respond import FIELDS as PRINCIPLES
from isheep.stages.synthesize import FIELDS
from isheep.store.lock import refuse_unfit
from isheep.store.run import refuse_changed_recipe, refuse_foreign


def check(
    recipe: Recipe,
    directory: Path | None = None,
    accept_changes: bool = False,
    elsewhere: bool = False,
    model: bool = True,
) -> list[Finding]:
    """Looks at everything that a run of the recipe stands on; takes seconds and leaves nothing behind.

    Args:
        recipe: what would be run.
        directory: where; None leaves out what depends on it.
        accept_changes: whether a run of another recipe may lie there.
        elsewhere: the run will be on another machine, so this one's memory and device, and a server that may be
            reached from there alone, are not asked for.
        model: whether to look at the model and at what needs it; else nothing is fetched.

    Raises:
        UserError: the first thing that would stop the run or spoil it.
    """
    return list(_findings(recipe, directory, accept_changes, elsewhere, model))


def _findings(
    recipe: Recipe, directory: Path | None, accept_changes: bool, elsewhere: bool, model: bool
) -> Iterator[Finding]:
    """From cheap to dear: the tokenizer comes late since its library takes seconds to start, a server last."""
    yield from plugins_found(recipe)
    yield from settings_found(recipe)
    yield from launch_found(recipe, elsewhere)
    yield from trackers_found(recipe)
    refuse_contradictions(recipe)
    yield from _prompts(recipe)
    Rules.of(recipe)
    yield Finding("rules", rules_in_force(recipe))
    seeds, said = _seeds(recipe)
    yield Finding("seeds", f"{recipe.seeds.path}  {counted(len(seeds), 'task')}, {said}")
    refuse_workers(recipe.engine)
    yield Finding("engine", engine_found(recipe.engine))
    if rule := stop_rule(recipe):
        yield Finding("stop", rule)
    if directory is not None:
        yield _run_directory(recipe, directory, accept_changes)

    if not model:
        return
    checkpoint = checkpoint_of("model.path", recipe.model.path)
    yield Finding("model", f"{recipe.model.path}  {checkpoint.parameters:,} parameters")
    yield disk_found(recipe, checkpoint, directory, accept_changes)
    if not elsewhere:
        yield memory_found(recipe, checkpoint, trained=True)
    refuse_unknown_architecture(checkpoint)
    encoder = Encoder.load(checkpoint.folder, recipe.model.template)
    yield template_found(recipe, checkpoint, encoder)
    if not elsewhere:
        refuse_device(recipe)
    yield from context_found(recipe, checkpoint, encoder, seeds)
    yield from assessor_found(recipe, checkpoint, encoder)
    yield from (Finding("code", line, warning=True) for line in code_let_in(recipe.evaluate))
    for line in benchmarks_found(recipe):
        yield Finding("benchmark", line)
    refuse_first_metric(recipe)
    if not recipe.evaluate.benchmarks:
        yield Finding("benchmark", "none: nothing will be measured", warning=True)
    if recipe.engine.name == "openai" and not elsewhere:
        line, without = ask_server(recipe, checkpoint.folder, encoder)
        yield Finding("server", line)
        yield from (Finding("server", one, warning=True) for one in without)
    if recipe.engine.workers and not elsewhere:
        yield workers_found(recipe)


def _prompts(recipe: Recipe) -> Iterator[Finding]:
    Prompt.load(locate(recipe.synthesize.prompt), FIELDS)
    judging = list(prompt_files(recipe.assess).values())
    for path in judging:
        load_prompt(locate(path))
    around = [recipe.respond.principles] if recipe.respond.principles else []
    for path in around:
        Prompt.load(locate(path), PRINCIPLES)
    yield Finding("prompts", ", ".join((recipe.synthesize.prompt, *around, *judging)))
    for key in unused_prompts(recipe):
        yield Finding("prompts", f"{key} is shown to nobody at this assess.level and assess.assessor", warning=True)


def usable_seeds(recipe: Recipe) -> list[SeedTask]:
    """The seed tasks; raises UserError where they are too few, or one would break the list that synthesis shows."""
    return _seeds(recipe)[0]


def _seeds(recipe: Recipe) -> tuple[list[SeedTask], str]:
    """The same, and in words how they were read."""
    read = read_seeds(recipe.seeds)
    seeds = read.tasks
    for seed in seeds:
        if found := marked(seed.instruction, seed.input):
            key, mark = found
            alone = key == "input" and seed.input.strip().lower() == NO_INPUT
            mend = "Leave the input empty." if alone else "Take it out."
            what = f"its {key} holds `{mark}`, which the list of examples uses as a mark."
            raise UserError(f"{locate(recipe.seeds.path)}, task {seed.id}", what, mend)
    shots = recipe.synthesize.shots
    if len(seeds) < shots:
        what = f"{shots} examples are to be shown, but {recipe.seeds.path} holds {counted(len(seeds), 'task')}."
        raise UserError("synthesize.shots", what, f"Give at most {len(seeds)}, or more seed tasks.")
    return seeds, read.said


def _run_directory(recipe: Recipe, directory: Path, accept_changes: bool) -> Finding:
    """The directory as `Run.create_or_resume` will find it; nothing is created."""
    existing = nearest_existing(directory)
    reason = None
    if not existing.is_dir():
        reason = "File exists" if existing == directory.absolute() else "Not a directory"
    elif not os.access(existing, os.W_OK | os.X_OK, effective_ids=os.access in os.supports_effective_ids):
        reason = "Permission denied"
    if reason:
        raise UserError(str(directory), f"cannot be written ({reason}).", "Give another --dir or mend the rights.")
    refuse_unfit(existing)
    if not directory.is_dir():
        return Finding("directory", f"{directory}  new")
    refuse_foreign(directory)
    resumed = refuse_changed_recipe(directory, recipe, accept_changes)
    return Finding("directory", f"{directory}  {'a run to go on with' if resumed else 'empty'}")


__all__ = ["Finding", "check", "usable_seeds"]
