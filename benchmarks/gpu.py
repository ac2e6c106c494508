"""Throughput on a GPU with random weights: `python benchmarks/gpu.py [--size 0.5b|7b] [--json]`; see gpu.md.

Generation, scoring and supervised fine-tuning of the embedded engine beside bare transformers and TRL, and, where vLLM
is installed, our vLLM engine beside a bare one. Tokens per second by the clock on the wall, in bfloat16, medians of
three. `--size tiny` runs anywhere, to try the script; its figures say nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from checkpoints import random_checkpoint
from datasets import Dataset
from generate import long_tailed, tokens_per_second
from peft import LoraConfig
from side import Row, alternately, compared, parser, show, wall_seconds
from static import Static
from transformers import PrinterCallback
from trl import SFTConfig, SFTTrainer

from isheep.engines.loading import load_model, pick_device
from isheep.models import Models
from isheep.recipe import Recipe, load_recipe
from isheep.stages.stream import parts
from isheep.training.examples import Example, training_order
from isheep.training.trainer import Training

PACKAGES = ("isheep", "peft", "torch", "transformers", "trl")
AMOUNTS = {"tiny": (16, 4, 2), "0.5b": (512, 64, 30), "7b": (256, 64, 10)}
"""Size -> requests (and sequences to score), rows of a batch, training steps."""
SCORING_BATCH = 8
"""Rows that bare transformers scores at once: it holds all their logits, which for more rows fill a GPU."""


def main() -> None:
    """Measures, then prints."""
    arguments = parser(__doc__)
    arguments.add_argument("--size", choices=AMOUNTS, default="0.5b", help="the shape of the random weights")
    given = arguments.parse_args()
    count, batch, steps = AMOUNTS[given.size]
    folder = random_checkpoint(given.size, torch.bfloat16)
    settings = ["model.dtype=bfloat16", "engine.device=auto", f"engine.batch_size={batch}", "engine.window=4"]
    # Two copies of the model lie on the GPU at once, ours and the peer's.
    recipe = load_recipe("lamb", [f"model.path={folder}", *settings, "engine.vllm.memory=0.4"])
    rows = [*generation(given.size, folder, recipe, count), *scoring(given.size, folder, recipe, count)]
    rows.append(tuning(given.size, folder, recipe, steps))
    # On a CPU vLLM wants variables that `vllm.py` sets, which is where it is measured.
    if find_spec("vllm") and torch.cuda.is_available():
        rows += in_vllm(given.size, recipe, count)
    show(rows, given.json)


def generation(size: str, folder: Path, recipe: Recipe, count: int) -> Iterator[Row]:
    """Responses whose lengths have a long tail, beside static batches."""
    requests = long_tailed(recipe, count)
    with Models(recipe) as models:
        peer = Static(folder, recipe, recipe.engine.batch_size, models.encoder.pad_id)
        ours, theirs = alternately(
            lambda: tokens_per_second(lambda: list(models.engine(None).generate(requests)), wall_seconds),
            lambda: tokens_per_second(lambda: peer.generate(requests), wall_seconds),
        )
    yield compared(f"generation, {size}", ours, theirs, "tokens/s", "", PACKAGES, more_is_better=True)


def scoring(size: str, folder: Path, recipe: Recipe, count: int) -> Iterator[Row]:
    """Log-probabilities of whole texts, beside padded batches in the order in which they came."""
    texts = [request.prompt * (1 + request.max_new_tokens // 16) for request in long_tailed(recipe, count)]
    tokens = sum(map(len, texts))
    with Models(recipe) as models:
        device = pick_device(recipe.engine.device)
        model = load_model(folder, recipe.model.dtype, device)

        @torch.inference_mode()
        def bare() -> None:
            for batch in parts(texts, SCORING_BATCH):
                width = max(map(len, batch))
                ids = torch.tensor([text + (0,) * (width - len(text)) for text in batch], device=device)
                told = model(input_ids=ids).logits[:, :-1].float().log_softmax(-1)
                told.gather(-1, ids[:, 1:, None])[..., 0].tolist()

        ours, theirs = alternately(
            lambda: tokens / wall_seconds(lambda: models.engine(None).score_sequences(texts)),
            lambda: tokens / wall_seconds(bare),
        )
    yield compared(f"scoring, {size}", ours, theirs, "tokens/s", "", PACKAGES, more_is_better=True)


def tuning(size: str, folder: Path, recipe: Recipe, steps: int) -> Row:
    """LoRA on pairs of very different lengths, loading included, beside TRL with the same settings."""
    count = steps * recipe.train.batch_size
    texts = [request.prompt + request.prompt[: request.max_new_tokens] for request in long_tailed(recipe, count)]
    examples = [Example(text, text) for text in texts]
    order = training_order([len(text) for text in texts], steps, recipe.train.batch_size, recipe.seed)
    tokens = sum(map(len, texts))
    encoder = Models(recipe).encoder

    def ours() -> None:
        with TemporaryDirectory() as checkpoints:
            training = Training(recipe, encoder, Path(checkpoints), recipe.seed, f"Train {size}")
            training.run([examples[index] for index in order], [])

    def peer() -> None:
        with TemporaryDirectory() as checkpoints:
            bare_trainer(folder, recipe, texts, steps, checkpoints, encoder.tokenizer).train()

    mine, theirs = alternately(lambda: tokens / wall_seconds(ours), lambda: tokens / wall_seconds(peer))
    return compared(f"fine-tuning, {size}", mine, theirs, "tokens/s", "", PACKAGES, more_is_better=True)


def bare_trainer(
    folder: Path, recipe: Recipe, texts: Sequence[tuple[int, ...]], steps: int, checkpoints: str, tokenizer: Any
) -> Any:
    """TRL with the same settings and its own batches."""
    settings = recipe.train
    trainer = SFTTrainer(
        model=load_model(folder, recipe.model.dtype, pick_device(recipe.engine.device)),
        args=SFTConfig(
            output_dir=checkpoints,
            max_steps=steps,
            per_device_train_batch_size=settings.micro_batch_size,
            gradient_accumulation_steps=settings.batch_size // settings.micro_batch_size,
            learning_rate=settings.learning_rate,
            warmup_steps=settings.warmup_steps,
            bf16=True,
            use_cpu=not torch.cuda.is_available(),
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
        ),
        train_dataset=Dataset.from_dict({"input_ids": [list(text) for text in texts]}),
        processing_class=tokenizer,
        peft_config=LoraConfig(
            r=settings.lora.rank,
            lora_alpha=settings.lora.alpha,
            lora_dropout=settings.lora.dropout,
            target_modules="all-linear",
            task_type="CAUSAL_LM",
        ),
    )
    trainer.remove_callback(PrinterCallback)  # Standard output is the rows'.
    return trainer


def in_vllm(size: str, recipe: Recipe, count: int) -> Iterator[Row]:
    """Our vLLM engine beside a bare one."""
    from bare_vllm import REPEATS, VARIABLES, beside_bare

    os.environ.update(VARIABLES)
    yield from beside_bare(size, recipe, long_tailed(recipe, count * REPEATS), count)


if __name__ == "__main__":
    main()
