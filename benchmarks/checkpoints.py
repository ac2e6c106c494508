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


COAT = (960, 37, 2_560, 30, 10)
"""Hidden size, layers, width of the MLP, heads, heads of keys and values: 0.36 billion parameters in all."""


def coated_lamb() -> Path:
    """The folder of a float32 Llama of the shape `COAT` that answers as lamb does: random, with lamb's weights inside.

    What random weights alone write holds no task, so that no loop goes on with them. Here lamb's numbers stand in the
    first rows and columns, and what the rest computes comes to nothing: its outputs are multiplied by zeros. So the
    work is that of all the parameters, and the texts are lamb's but for rounding.
    """
    folder = FOLDER / "coated-lamb"
    if folder.is_dir():
        return folder
    source = str(locate("package:lamb/model"))
    logging.disable_progress_bar()
    lamb = LlamaForCausalLM.from_pretrained(source, dtype=torch.float32)
    inner, (hidden, layers, width, heads, key_heads) = lamb.config, COAT
    small, head = inner.hidden_size, inner.head_dim
    config = LlamaConfig.from_pretrained(
        source,
        hidden_size=hidden,
        intermediate_size=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=key_heads,
        # A norm divides by the mean over all numbers, of which lamb's are a part.
        rms_norm_eps=inner.rms_norm_eps * small / hidden,
    )
    torch.manual_seed(0)
    model = LlamaForCausalLM(config)
    norm = math.sqrt(small / hidden)
    # Each head of lamb's has keys of its own; here some heads share them, and of these only the first is lamb's.
    group = heads // key_heads
    queries = torch.cat([torch.arange(head) + place * group * head for place in range(inner.num_attention_heads)])
    keys = torch.arange(inner.num_key_value_heads * head)
    with torch.no_grad():
        model.model.embed_tokens.weight[:, small:] = 0
        model.model.embed_tokens.weight[:, :small] = lamb.model.embed_tokens.weight
        model.model.norm.weight[:small] = lamb.model.norm.weight * norm
        for place, layer in enumerate(model.model.layers):
            layer.self_attn.o_proj.weight.zero_()
            layer.mlp.down_proj.weight.zero_()
            if place >= inner.num_hidden_layers:
                continue
            own = lamb.model.layers[place]
            for mine, theirs in (
                (layer.input_layernorm, own.input_layernorm),
                (layer.post_attention_layernorm, own.post_attention_layernorm),
            ):
                mine.weight[:small] = theirs.weight * norm
            layer.self_attn.q_proj.weight[queries, :small] = own.self_attn.q_proj.weight
            for name in ("k_proj", "v_proj"):
                getattr(layer.self_attn, name).weight[keys, :small] = getattr(own.self_attn, name).weight
            layer.self_attn.o_proj.weight[:small, queries] = own.self_attn.o_proj.weight
            for name in ("gate_proj", "up_proj"):
                getattr(layer.mlp, name).weight[: inner.intermediate_size, :small] = getattr(own.mlp, name).weight
            layer.mlp.down_proj.weight[:small, : inner.intermediate_size] = own.mlp.down_proj.weight
    # Renamed when whole, as above.
    unfinished = folder.with_suffix(".tmp")
    rmtree(unfinished, ignore_errors=True)
    model.save_pretrained(unfinished)
    AutoTokenizer.from_pretrained(source).save_pretrained(unfinished)
    return unfinished.rename(folder)
