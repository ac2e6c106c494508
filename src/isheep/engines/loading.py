"""Base models from disk, for generating and for training alike."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, BitsAndBytesConfig
from transformers.utils import logging as transformers_logging

from isheep.errors import UserError, first_line


def pick_device(name: str) -> torch.device:
    """The device that a recipe's `engine.device` means; `auto` is the GPU where there is one."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        what = f"`{name}` cannot be used ({first_line(error)})."
        raise UserError("engine.device", what, "Give auto, cpu or cuda.") from None
    return device


def load_model(folder: Path, dtype: str, device: torch.device, in_four_bits: bool = False) -> Any:
    """A causal language model of transformers in `dtype`, ready to infer; no code of the folder's own, no pickle.

    In four bits (bitsandbytes; NF4, its constants quantized too) the linear layers hold half a byte a weight and
    compute in `dtype`, as QLoRA does.

    Raises:
        UserError: the folder holds no such model.
    """
    transformers_logging.disable_progress_bar()
    number = getattr(torch, dtype)
    quantized: dict[str, Any] = {}
    if in_four_bits:
        settings = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=number,
        )
        quantized = {"quantization_config": settings, "device_map": {"": device}}
    try:
        model, told = AutoModelForCausalLM.from_pretrained(
            str(folder),
            dtype=number,
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
            output_loading_info=True,
            **quantized,
        )
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        what = f"does not load as a model ({first_line(error)})."
        raise UserError(str(folder), what, "Give a folder with config.json and safetensors.") from None
    if missing := sorted(told["missing_keys"]):
        # The library would go on with chance in their place.
        what = f"does not hold all weights that its config.json asks for ({missing[0]}, {len(missing)} in all)."
        raise UserError(str(folder), what, "Take both from the same model, or copy it again.")
    for module in model.modules() if in_four_bits else ():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            # Processors that compute in bfloat16 would repack the weights between two steps of a training, for which
            # layers of less than a block are too small, and from which no gradient is known to come right.
            module.support_avx512bf16_for_cpu = False
    placed = model if in_four_bits else model.to(device)
    return placed.eval().requires_grad_(False)
