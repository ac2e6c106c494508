"""Which weights a training changes (`train.method`): how the model comes to it, and what of it is kept."""

from __future__ import annotations

import json
from pathlib import Path
from shutil import copyfile
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors import SafetensorError

from isheep.checkpoint import refuse_adapter
from isheep.encoder import Encoder
from isheep.engines.loading import load_model
from isheep.errors import StageError, UserError, first_line
from isheep.hub import is_hub_id, model_folder
from isheep.recipe import Recipe
from isheep.recipe.settings import LoraSettings


def trained_model(recipe: Recipe, device: torch.device, start: Path | None) -> Any:
    """The model to train: with an adapter on it, or all of its weights.

    Args:
        recipe: the run's.
        device: where it trains.
        start: a folder that an earlier training left, to train on from; None begins with the base.

    Raises:
        UserError: the adapter to train on from has another shape than the recipe's.
    """
    folder, method, settings = model_folder(recipe.model.path), recipe.train.method, recipe.train.lora
    if method == "full":
        # A step changes a weight by less than half precision can add to it. Autocast computes in the recipe's dtype.
        return load_model(start or folder, "float32", device).requires_grad_(True)
    model = load_model(folder, recipe.model.dtype, device, in_four_bits=method == "qlora")
    # ZeRO-3 keeps small weights whole, all of one dtype, and the precise copy of each in its optimizer.
    precise = recipe.train.launch != "deepspeed"
    if start is not None:
        return _adapted(model, start, settings, precise)
    adapter = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )
    return get_peft_model(model, adapter, autocast_adapter_dtype=precise)


def keep(checkpoint: Path, folder: Path, recipe: Recipe, encoder: Encoder) -> None:
    """Writes what the iteration leaves: an adapter, or a whole model with its tokenizer, in the recipe's dtype.

    Raises:
        StageError: it cannot be written.
    """
    try:
        if recipe.train.method == "full":
            load_model(checkpoint, recipe.model.dtype, torch.device("cpu")).save_pretrained(folder)
            encoder.tokenizer.save_pretrained(folder)
        else:
            _copy_adapter(checkpoint, folder, recipe.model.path)
    except (OSError, SafetensorError) as error:
        what = f"{folder.parent}: the weights cannot be written ({first_line(error)})."
        raise StageError(f"{what} Make room or mend the rights.") from error


def _adapted(model: Any, start: Path, settings: LoraSettings, precise: bool) -> Any:
    """The model with a saved adapter on it, ready to be trained on; UserError for a pickle, or another shape."""
    refuse_adapter(start)
    config = LoraConfig.from_pretrained(str(start))
    for key, saved, wanted in (("rank", config.r, settings.rank), ("alpha", config.lora_alpha, settings.alpha)):
        if saved != wanted:
            what = f"is {wanted}, but setting `one_last` trains the adapter of {start} on, whose {key} is {saved}."
            raise UserError(f"train.lora.{key}", what, f"Give {saved}, or another setting.")
    config.inference_mode, config.lora_dropout = False, settings.dropout
    return PeftModel.from_pretrained(
        model, str(start), is_trainable=True, config=config, autocast_adapter_dtype=precise
    )


def _copy_adapter(checkpoint: Path, folder: Path, base: str) -> None:
    """The weights and their configuration, whose sets PEFT writes in another order each time."""
    copyfile(checkpoint / "adapter_model.safetensors", folder / "adapter_model.safetensors")
    config = json.loads((checkpoint / "adapter_config.json").read_text(encoding="utf-8"))
    config["target_modules"].sort()
    if is_hub_id(base):
        # PEFT writes where the model lay in the hub's cache, which is elsewhere on other machines.
        config["base_model_name_or_path"] = base
    text = json.dumps(config, indent=2, sort_keys=True, ensure_ascii=False)
    (folder / "adapter_config.json").write_text(text + "\n", encoding="utf-8")
