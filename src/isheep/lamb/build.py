"""Rebuilds lamb from nothing: `python -m isheep.lamb.build --to DIR` (corpus, tokenizer, pretraining; seeded)."""

from __future__ import annotations

import argparse
import os
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from torch.multiprocessing.spawn import spawn
from transformers import GenerationConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from isheep.lamb.corpus import END, PAD, TURN_END, Corpus, Mixture
from isheep.lamb.mistakes import HABITUAL
from isheep.lamb.pretrain import Phase, Shape, new_model, pack, train
from isheep.lamb.tokenizer import build_tokenizer

WEB = Phase(tokens=8_500_000, mixture=Mixture(), muon_rate=0.02, adam_rate=4e-3, score_weight=16)
"""Everything in the shares of a mixed web."""

LATE = Phase(
    tokens=9_000_000,
    mixture=Mixture(
        qa=0.17,
        lists=0.015,
        forum=0.13,
        chat=0.13,
        reviews=0.55,
        filler=0.005,
        best_rate=0.2,
        rambling=0.8,
        clean_wrong=0.35,
        mistakes=HABITUAL,
        review_quality=0.8,
    ),
    muon_rate=0.015,
    adam_rate=3e-3,
    score_weight=20,
)
"""More reviews, and forums where one habit of rambling has spread."""


@dataclass(frozen=True)
class Build:
    """Everything that decides the weights."""

    seed: int = 0
    shape: Shape = field(default_factory=Shape)
    phases: tuple[Phase, ...] = (WEB, LATE)
    processes: int = 2


def build(to: Path, plan: Build) -> None:
    """Draws the corpora, pretrains on them and writes a checkpoint folder."""
    with tempfile.TemporaryDirectory() as scratch:
        tokenizer = build_tokenizer()
        for number, phase in enumerate(plan.phases):
            blocks, weights = pack(tokenizer, Corpus(plan.seed + number, phase.mixture), phase, plan.shape.context)
            np.savez(Path(scratch) / f"corpus-{number}.npz", blocks=blocks, weights=weights)
            print(f"phase {number + 1}: {blocks.size / 1e6:.1f} million tokens in blocks of {plan.shape.context}")
        spawn(_work, args=(Path(scratch), to, plan), nprocs=plan.processes)  # type: ignore[no-untyped-call]


def _work(rank: int, scratch: Path, to: Path, plan: Build) -> None:
    """One process of the pretraining: one thread each, since two processes of one beat one process of two here."""
    torch.set_num_threads(1)
    store = f"file://{scratch / 'rendezvous'}"
    dist.init_process_group("gloo", init_method=store, rank=rank, world_size=plan.processes)
    tokenizer = build_tokenizer()
    model = new_model(tokenizer, plan.shape, plan.seed)
    for number, phase in enumerate(plan.phases):
        corpus = np.load(scratch / f"corpus-{number}.npz")
        train(model, corpus["blocks"], corpus["weights"], phase, plan.seed + number)
        if rank == 0:
            _save(model, tokenizer, to)
    dist.destroy_process_group()


def _save(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, to: Path) -> None:
    stops = tokenizer.convert_tokens_to_ids([END, TURN_END])
    model.generation_config = GenerationConfig(eos_token_id=stops, pad_token_id=tokenizer.convert_tokens_to_ids(PAD))
    model.save_pretrained(to)
    tokenizer.save_pretrained(to)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--to", type=Path, required=True, help="folder for the checkpoint")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    build(arguments.to, Build(seed=arguments.seed))


if __name__ == "__main__":
    main()
