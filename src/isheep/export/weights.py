"""A run's model as a folder that loads without isheep: its adapter, or a whole model with the adapter merged in."""

from __future__ import annotations

import json
from pathlib import Path
from shutil import copyfile
from typing import Any

from isheep.checkpoint import ADAPTER, ADAPTER_CONFIG, NUMBER_BYTES, read_checkpoint, refuse_adapter
from isheep.encoder import Encoder
from isheep.errors import UserError
from isheep.export import Wanted
from isheep.export.card import CARD, Model, base_name, model_card
from isheep.export.folders import new_folder, refuse_folder, refuse_no_disk
from isheep.hub import model_folder
from isheep.store.files import storable, write_atomic, write_json
from isheep.store.run import Run
from isheep.store.status import status, watched

MERGE = "merge.json"
"""In the folder of a merged model: how far it is from base and adapter."""


def export_adapter(run: Run, to: Path, wanted: Wanted) -> str:
    """A PEFT adapter, with the tokenizer, template and stop tokens that it was trained with.

    Raises:
        UserError: no such model, one that was trained whole, a folder that is not empty, or no room.
        StageError: the folder cannot be written.
    """
    number, why = chosen_iteration(run, wanted.iteration)
    weights = run.iteration(number).weights_path
    if _is_whole(weights):
        what = "the run trained every weight (train.method full), so there is no adapter."
        raise UserError("--as adapter", what, "Give --as merged, which is the whole model.")
    if wanted.dtype is not None:
        raise UserError("--dtype", "an adapter is copied as it was trained.", "Leave it out, or give --as merged.")
    refuse_folder(to)
    refuse_adapter(weights)
    refuse_no_disk(to, (weights / ADAPTER).stat().st_size)
    path = run.recipe.model.path
    encoder = Encoder.load(model_folder(path, weights=False), run.recipe.model.template)
    with new_folder(to) as folder:
        copyfile(weights / ADAPTER, folder / ADAPTER)
        config = json.loads((weights / ADAPTER_CONFIG).read_text(encoding="utf-8"))
        # Where the base lies on this machine is nobody's affair, and found nowhere else.
        config["base_model_name_or_path"] = base_name(path)
        write_json(folder / ADAPTER_CONFIG, config)
        _finish(run, folder, encoder, Model("adapter", number, None))
    return f"adapter of iteration {number}{why}, on {base_name(path)}"


def export_merged(run: Run, to: Path, wanted: Wanted) -> str:
    """A whole model of transformers: the adapter merged into the base, or what a full training left.

    Raises:
        UserError: no such model, a folder that is not empty, a base in fewer than 16 bits, or no room.
        NotTheSame: the merged model is not what base and adapter are.
        StageError: the folder cannot be written.
    """
    number, why = chosen_iteration(run, wanted.iteration)
    weights, recipe = run.iteration(number).weights_path, run.recipe
    refuse_folder(to)
    if _is_whole(weights):
        if wanted.dtype not in (None, recipe.model.dtype):
            what = f"the run's model stands in {recipe.model.dtype}, and is copied as it is."
            raise UserError("--dtype", what, "Leave it out.")
        files = [file for file in weights.iterdir() if file.is_file()]
        refuse_no_disk(to, sum(file.stat().st_size for file in files))
        encoder = Encoder.load(weights, recipe.model.template)
        with new_folder(to) as folder:
            for file in files:
                copyfile(file, folder / file.name)
            _finish(run, folder, encoder, Model("merged", number, None))
        return f"model of iteration {number}{why}, as the full training left it"
    base = model_folder(recipe.model.path)
    encoder = Encoder.load(base, recipe.model.template)
    with new_folder(to) as folder:
        found = _merge(run, number, base, encoder, wanted.dtype or recipe.model.dtype, folder)
        _finish(run, folder, encoder, Model("merged", number, found))
    after = found["after_cast"]
    agree = f"of {found['positions']} positions {after['agree']:.1%} agree on the next token ({MERGE})"
    gap = f"a logit differs from base and adapter by {after['largest']:.3g} at most"
    how = f"merged into {found['base']} in float32, now {found['dtype']}"
    return f"model of iteration {number}{why}, {how}: {gap} (the largest is {found['largest_logit']:.3g}); {agree}"


def chosen_iteration(run: Run, wanted: int | None) -> tuple[int, str]:
    """The iteration whose model is meant and, where none is named, why it is this one.

    Raises:
        UserError: it has no model of its own.
    """
    found = status(run)
    by, best = watched(found), found["best_iteration"]
    trained = [one.number for one in run.iterations() if one.number and one.weights_path.is_dir()]
    have = f"those that have one are {', '.join(map(str, trained))}." if trained else "none has one yet."
    mend = "Give --iteration of those." if trained else "Let the run train one first."
    number = best if wanted is None else wanted
    if number is None:
        raise UserError("--iteration", f"nothing was measured that would say which model is the best; {have}", mend)
    if number == 0:
        why = "iteration 0 is the untouched base" if wanted == 0 else "the best iteration is 0, the untouched base"
        raise UserError("--iteration", f"{why}, of which the run has no model of its own; {have}", mend)
    if number not in trained:
        raise UserError("--iteration", f"iteration {number} has no model; {have}", mend)
    return int(number), "" if wanted is not None or by is None else f", the best by {'/'.join(by)}"


def _is_whole(weights: Path) -> bool:
    return (weights / "config.json").is_file()


def _merge(run: Run, number: int, base: Path, encoder: Encoder, dtype: str, folder: Path) -> dict[str, Any]:
    # torch and what stands on it are needed by this alone.
    from isheep.export.merging import merge, probes_of, refuse_no_memory, refuse_quantized

    checkpoint = read_checkpoint(base)
    refuse_quantized(checkpoint)
    refuse_no_disk(folder, checkpoint.parameters * NUMBER_BYTES[dtype])
    refuse_no_memory(checkpoint)
    probes = probes_of(run, number, encoder, checkpoint.positions)
    found = merge(base, run.iteration(number).weights_path, dtype, probes, _generation(encoder), folder)
    about = {"iteration": number, "base": base_name(run.recipe.model.path), "method": run.recipe.train.method}
    document = {**about, **found}
    write_json(folder / MERGE, document)
    return document


def _finish(run: Run, folder: Path, encoder: Encoder, model: Model) -> None:
    """What both kinds have beside their weights."""
    encoder.save(folder)
    _generation(encoder).save_pretrained(folder)
    write_atomic(folder / CARD, storable(model_card(run, model)).encode())


def _generation(encoder: Encoder) -> Any:
    """generation_config.json: it stops where the run's engine does, and changes no likelihoods, as that does not."""
    from transformers import GenerationConfig

    return GenerationConfig(eos_token_id=sorted(encoder.stop_ids), pad_token_id=encoder.pad_id)
