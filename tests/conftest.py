"""Tiny random checkpoints with a tokenizer of our own, for edges that no real model shows all of; a small real run."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, settings
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from isheep.encoder import Encoder

# How long an example takes is the machine's affair, and others may be at work on it.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")

BuildTokenizer = Callable[..., Any]

MAIN = [sys.executable, "-c", "from isheep.cli import main; main()"]
SMALL = ("lamb", "iterations=2", "size=40", "train.steps=12", "evaluate.limit=20", "novelty.limit=0.8")
SPECIALS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<pad>", "<s>")


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What was measured or judged before, on this machine or in an earlier test run, is not taken for today's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ISHEEP_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def build_tokenizer() -> BuildTokenizer:
    """Builds a byte-level tokenizer: ids 0.. are `specials`, then the 256 bytes in sorted order, then `he` and `ll`."""

    def build(
        specials: tuple[str, ...] = SPECIALS, template: str | None = None, begin: bool = False, **roles: str | None
    ) -> Any:
        vocabulary = {token: number for number, token in enumerate(specials)}
        for byte in sorted(pre_tokenizers.ByteLevel.alphabet()):
            vocabulary[byte] = len(vocabulary)
        for pair in ("he", "ll"):
            vocabulary[pair] = len(vocabulary)
        tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[("h", "e"), ("l", "l")]))
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in specials])
        if begin:
            tokenizer.post_processor = processors.TemplateProcessing(
                single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", vocabulary["<s>"])]
            )
        names = {"eos_token": "<|endoftext|>", "pad_token": "<pad>", "bos_token": "<s>" if begin else None, **roles}
        fast = PreTrainedTokenizerFast(
            tokenizer_object=tokenizer,
            clean_up_tokenization_spaces=False,
            **{name: token for name, token in names.items() if token is not None},
        )
        fast.chat_template = template
        return fast

    return build


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory, build_tokenizer: BuildTokenizer) -> Path:
    """A folder with a random Llama of two layers (float32) and the tokenizer above."""
    folder = tmp_path_factory.mktemp("tiny-model")
    tokenizer = build_tokenizer()
    tokenizer.save_pretrained(folder)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        tie_word_embeddings=True,
        initializer_range=0.3,
        bos_token_id=None,
        eos_token_id=0,
        pad_token_id=3,
    )
    torch.manual_seed(0)
    LlamaForCausalLM(config).save_pretrained(folder)
    assert AutoTokenizer.from_pretrained(folder)("he")["input_ids"] == [len(SPECIALS) + 256]
    return folder


@pytest.fixture(scope="session")
def encoder(tiny_model: Path) -> Encoder:
    """The tiny model's, with the template that a trained one is spoken to with."""
    return Encoder.load(tiny_model, "chatml")


def environment() -> dict[str, str]:
    """One thread, no hub."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "NO_COLOR": "1"}


@pytest.fixture(scope="session")
def lamb_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a finished run; whoever changes it copies it first."""
    directory = tmp_path_factory.mktemp("small") / "lamb"
    command = [*MAIN, "run", *SMALL, "--dir", str(directory)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, env=environment())
    assert ended.returncode == 0, ended.stderr
    return directory
