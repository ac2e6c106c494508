"""What can be known of the models before anything is spent: their folders, their tokens, room for prompts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from isheep.check.assess import refuse_no_room
from isheep.check.findings import Finding
from isheep.check.resources import memory_found
from isheep.check.settings import principles_room
from isheep.checkpoint import Checkpoint, read_checkpoint
from isheep.encoder import Encoder
from isheep.errors import UserError
from isheep.hub import model_folder
from isheep.prompts import Prompt
from isheep.prompts.tasks import list_tasks, next_task
from isheep.recipe import Recipe, locate
from isheep.records import SeedTask
from isheep.stages.synthesize import FIELDS


def checkpoint_of(key: str, path: str, words: Sequence[str] = ()) -> Checkpoint:
    """What the folder under a key holds; `words` are what the key takes beside a folder."""
    return read_checkpoint(model_folder(path, key, words))


def assessor_found(recipe: Recipe, checkpoint: Checkpoint, encoder: Encoder) -> Iterator[Finding]:
    """Whoever judges, the run's own model or another one, which is looked at as the run's own is."""
    settings = recipe.assess
    if settings.other_model is not None and settings.questions:
        checkpoint = checkpoint_of("assess.assessor", settings.other_model, ("current", "base", "random"))
        yield Finding("assessor", f"{settings.other_model}  {checkpoint.parameters:,} parameters")
        yield memory_found(recipe, checkpoint)
        refuse_unknown_architecture(checkpoint)
        encoder = Encoder.load(checkpoint.folder, None)
        refuse_tokens_outside(checkpoint, encoder)
    elif settings.plugin is not None:
        return
    elif settings.assessor == "random" and settings.questions:
        yield Finding("assessor", "random: the scores will mean nothing, which spoils the run on purpose", warning=True)
    refuse_no_room(recipe, checkpoint, encoder)


def refuse_unknown_architecture(checkpoint: Checkpoint) -> None:
    """Raises UserError where the installed transformers does not know the kind of model."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    kind = checkpoint.config["model_type"]
    if kind not in CONFIG_MAPPING_NAMES:
        what = f"the installed transformers knows no model_type `{kind}`."
        raise UserError(str(checkpoint.folder / "config.json"), what, "Update transformers, or choose another model.")


def template_found(recipe: Recipe, checkpoint: Checkpoint, encoder: Encoder) -> Finding:
    """The template with its stop tokens and its pad; raises UserError for one that the model has no row for."""
    names = refuse_tokens_outside(checkpoint, encoder)
    stops = ", ".join(names[number] for number in sorted(encoder.stop_ids))
    return Finding("template", f"{recipe.model.template}  stops at {stops}, pads with {names[encoder.pad_id]}")


def refuse_tokens_outside(checkpoint: Checkpoint, encoder: Encoder) -> dict[int, str]:
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


def context_found(recipe: Recipe, checkpoint: Checkpoint, encoder: Encoder, seeds: list[SeedTask]) -> Iterator[Finding]:
    """The longest list of examples with the continuation after it, against the vocabulary and the model's context."""
    shots = recipe.synthesize.shots
    longest = sorted(seeds, key=lambda seed: -len(seed.instruction + seed.input))[:shots]
    examples = list_tasks([(seed.instruction, seed.input) for seed in longest]) + next_task(shots + 1)
    prompt = Prompt.load(locate(recipe.synthesize.prompt), FIELDS).render(examples=examples)
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
