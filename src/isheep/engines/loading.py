"""Base models from disk, for generating and for training alike."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM
from transformers.utils import logging as transformers_logging

from isheep.errors import UserError


def pick_device(name: str) -> torch.device:
    """The device that a recipe's `engine.device` means; `auto` is the GPU where there is one."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError("engine.device", f"`{name}` cannot be used ({reason}).", "Give auto, cpu or cuda.") from None
    return device


def load_model(folder: Path, dtype: str, device: torch.device) -> Any:
    """A causal language model of transformers in `dtype`, ready to infer; code of the folder's own is never run.

    Raises:
        UserError: the folder holds no such model.
    """
    transformers_logging.disable_progress_bar()
    try:
        model = AutoModelForCausalLM.from_pretrained(
            str(folder), dtype=getattr(torch, dtype), trust_remote_code=False, local_files_only=True
        )
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(
            str(folder), f"does not load as a model ({reason}).", "Give a folder with config.json and safetensors."
        ) from None
    return model.to(device).eval().requires_grad_(False)
