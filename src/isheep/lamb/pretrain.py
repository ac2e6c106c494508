"""lamb's pretraining: a small Llama on packed documents, Muon for the matrices and AdamW for the rest."""

from __future__ import annotations

import itertools
import math
import time
from dataclasses import dataclass

import numpy as np
import torch
import torch.distributed as dist
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from isheep.lamb.corpus import END, PAD, Corpus, Mixture
from isheep.lamb.muon import Muon


@dataclass(frozen=True)
class Shape:
    """The model; the defaults are what ships."""

    hidden: int = 128
    layers: int = 6
    heads: int = 4
    inner: int = 256
    context: int = 384


@dataclass(frozen=True)
class Phase:
    """One stretch of the pretraining, over a corpus of its own."""

    tokens: int
    mixture: Mixture
    muon_rate: float
    adam_rate: float
    score_weight: float
    """How much more the loss of a score token weighs than that of another."""
    batch: int = 16
    """Blocks per optimizer step, over all processes."""


def pack(
    tokenizer: PreTrainedTokenizerFast, corpus: Corpus, phase: Phase, context: int
) -> tuple[np.ndarray, np.ndarray]:
    """Blocks of `context` + 1 token ids (n, context + 1) and the loss weight of each, documents end to end."""
    ids: list[int] = []
    weights: list[float] = []
    documents = corpus.documents()
    while len(ids) < phase.tokens:
        batch = list(itertools.islice(documents, 1000))
        encoded = tokenizer(
            [document.text for document in batch], add_special_tokens=False, return_offsets_mapping=True, verbose=False
        )
        for document, tokens, offsets in zip(batch, encoded["input_ids"], encoded["offset_mapping"], strict=True):
            ids += tokens
            weights += [phase.score_weight if start in document.scores_at else 1.0 for start, _ in offsets]
    width = context + 1
    count = len(ids) // width
    return (
        np.array(ids[: count * width], dtype=np.int32).reshape(count, width),
        np.array(weights[: count * width], dtype=np.float32).reshape(count, width),
    )


def new_model(tokenizer: PreTrainedTokenizerFast, shape: Shape, seed: int) -> LlamaForCausalLM:
    """An untrained model of this shape."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=shape.hidden,
        intermediate_size=shape.inner,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.heads,
        max_position_embeddings=shape.context,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.convert_tokens_to_ids(END),
        eos_token_id=tokenizer.convert_tokens_to_ids(END),
        pad_token_id=tokenizer.convert_tokens_to_ids(PAD),
    )
    return LlamaForCausalLM(config)


def train(
    model: LlamaForCausalLM,
    blocks: np.ndarray,
    weights: np.ndarray,
    phase: Phase,
    seed: int,
    report_every: int = 50,
) -> None:
    """One pass over the blocks, in place. With torch.distributed running, each process takes its share of a batch."""
    rank, world = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
    model.train()
    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name]
    others = [p for name, p in model.named_parameters() if p.ndim != 2 or "embed" in name]
    optimizers = [
        Muon(matrices, lr=phase.muon_rate, weight_decay=0.01, momentum=0.95),
        torch.optim.AdamW(others, lr=phase.adam_rate, betas=(0.9, 0.95), weight_decay=0.0),
    ]
    steps = len(blocks) // phase.batch
    order = np.random.default_rng(seed).permutation(len(blocks))
    started = time.time()
    for step in range(steps):
        progress = step / steps
        scale = min(1.0, (step + 1) / 30) * (
            1.0 if progress < 0.4 else 0.5 * (1 + math.cos(math.pi * (progress - 0.4) / 0.6))
        )
        for optimizer, rate in zip(optimizers, (phase.muon_rate, phase.adam_rate), strict=True):
            optimizer.param_groups[0]["lr"] = rate * max(scale, 0.02)
        chosen = order[step * phase.batch : (step + 1) * phase.batch][rank::world]
        ids = torch.from_numpy(blocks[chosen].astype(np.int64)).to(model.device)
        weight = torch.from_numpy(weights[chosen])[:, 1:].to(model.device)
        logits = model(input_ids=ids[:, :-1], use_cache=False).logits
        losses = torch.nn.functional.cross_entropy(logits.float().transpose(1, 2), ids[:, 1:], reduction="none")
        loss = (losses * weight).sum() / weight.sum()
        torch.autograd.backward(loss)
        _average_gradients(model, world)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        if rank == 0 and (step % report_every == 0 or step == steps - 1):
            print(f"step {step + 1}/{steps} loss {loss.item():.3f} {time.time() - started:.0f} s", flush=True)
    model.eval()


def _average_gradients(model: LlamaForCausalLM, world: int) -> None:
    if world == 1:
        return
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
    dist.all_reduce(flat)
    flat /= world
    for gradient, part in zip(gradients, torch.split(flat, [g.numel() for g in gradients]), strict=True):
        gradient.copy_(part.view_as(gradient))
