"""Checkpoints of random weights, made on the spot in build/checkpoints: no model hub can be reached from everywhere."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from shutil import rmtree

import torch
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM
from transformers.utils import logging

from isheep.recipe import locate

FOLDER = Path(__file__).parents[1] / "build" / "checkpoints"

SHAPES: Mapping[str, tuple[int, int, int, int, int, int]] = {
    "tiny": (64, 2, 160, 4, 2, 1_024),
    "30m": (512, 8, 1_376, 8, 4, 8_192),
    "0.36b": (960, 32, 2_560, 15, 5, 49_152),
    "0.5b": (896, 24, 4_864, 14, 2, 151_936),
    "7b": (3_584, 28, 18_944, 28, 4, 152_064),
}
"""Name -> hidden size, layers, width of the MLP, heads, heads of keys and values, vocabulary; the last three are the
shapes of SmolLM2-360M, Qwen2.5-0.5B and Qwen2.5-7B."""

SPREAD = 4.5
"""Standard deviation of the logits: about as few tokens come into question as with a trained model."""


def random_checkpoint(name: str, dtype: torch.dtype) -> Path:
    """The folder of a Llama of that shape with lamb's tokenizer, whose ids are the first of its vocabulary."""
    folder = FOLDER / f"{name}-{str(dtype).removeprefix('torch.')}"
    if folder.is_dir():
        return folder
    logging.disable_progress_bar()
    hidden, layers, width, heads, key_heads, vocabulary = SHAPES[name]
    tokenizer = AutoTokenizer.from_pretrained(str(locate("package:lamb/model")))
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=hidden,
        intermediate_size=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=key_heads,
        max_position_embeddings=2_048,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=tokenizer.pad_token_id,
        dtype=dtype,
    )
    torch.manual_seed(0)
    default = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        model = LlamaForCausalLM(config)
    torch.set_default_dtype(default)
    with torch.no_grad():
        model.model.norm.weight.fill_(SPREAD / config.initializer_range / math.sqrt(hidden))
    # Renamed when whole: what a kill left half written is not taken for a checkpoint.
    unfinished = folder.with_suffix(".tmp")
    rmtree(unfinished, ignore_errors=True)
    model.save_pretrained(unfinished)
    tokenizer.save_pretrained(unfinished)
    return unfinished.rename(folder)
