"""What a fine-tuning step costs: `python benchmarks/sft.py [--json] [--models lamb qwen2-30m] [--dtypes float32 ...]`.

Our trainer beside TRL's own: its padded batches in random order, and its packing. The same LoRA, optimizer, learning
rate and dtype on both sides, the same pairs, as many real tokens (give or take a step), and no activation computed
twice on either side unless the row says so. Two models: lamb with tasks of its world, and a random Qwen2 of 30 million
parameters with pairs of random lengths (log-normal, 64 tokens on average) whose tokens follow Zipf's law.

Real tokens (padding not counted) per CPU-second of one thread, loading and saving included; medians of three. The loss
is that of pairs held out, after training.
"""

from __future__ import annotations

import random
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig, PeftModel
from side import REPEATS, Row, compared, cpu_seconds, measured, parser, show
from transformers import Qwen2Config, Qwen2ForCausalLM
from trl import SFTConfig, SFTTrainer

from isheep.encoder import IGNORED, Encoder
from isheep.engines.loading import load_model
from isheep.lamb.world import OPERATIONS, sample_task
from isheep.prompts import bare
from isheep.recipe import Recipe, locate, parse_recipe
from isheep.training.examples import Example, training_order
from isheep.training.trainer import Training

PAIRS, HELD_OUT = 1_024, 128
BATCH = 16
LONGEST = 512
PACKED = 1_024
"""Tokens of a packed row: about as many as BATCH pairs have."""
PACKAGES = ("torch", "transformers", "trl", "peft")


@dataclass(frozen=True, slots=True)
class Subject:
    """A model with what it is trained on."""

    name: str
    folder: Path
    steps: int
    learning_rate: float
    training: Sequence[Example]
    held_out: Sequence[Example]


@dataclass(frozen=True, slots=True)
class Trained:
    """What a training came to: real tokens per CPU-second, and the loss on the pairs held out."""

    rate: float
    loss: float


PEERS: dict[str, tuple[dict[str, Any], str]] = {
    "TRL, padded": ({"per_device_train_batch_size": BATCH, "gradient_checkpointing": False}, "3x"),
    "TRL, packed": (
        {"per_device_train_batch_size": 1, "packing": True, "max_length": PACKED, "gradient_checkpointing": False},
        "1.15x",
    ),
    "TRL, padded, its default of activations computed twice": ({"per_device_train_batch_size": BATCH}, ""),
}
"""Name -> what is set, and the goal. Batch size, LoRA and learning rate aside, the rest is TRL's default."""


def main() -> None:
    """Measures, then prints."""
    arguments = parser(__doc__)
    arguments.add_argument("--models", nargs="+", default=list(SUBJECTS), choices=list(SUBJECTS))
    arguments.add_argument("--dtypes", nargs="+", default=["float32", "bfloat16"])
    arguments.add_argument("--peers", nargs="+", default=list(PEERS), choices=list(PEERS))
    given = arguments.parse_args()
    torch.set_num_threads(1)
    # The peers print their progress, where the one document belongs.
    with tempfile.TemporaryDirectory() as scratch, redirect_stdout(sys.stderr):
        rows = [
            row
            for name in given.models
            for dtype in given.dtypes
            for row in against_peers(SUBJECTS[name](Path(scratch)), dtype, given.peers)
        ]
    show(rows, given.json)


def against_peers(subject: Subject, dtype: str, peers: Sequence[str]) -> Iterator[Row]:
    """Our rate beside that of each peer, and the losses."""
    ours = [train_ours(subject, dtype) for _ in range(REPEATS)]
    for peer in peers:
        settings, goal = PEERS[peer]
        theirs = [train_with_trl(subject, dtype, settings) for _ in range(REPEATS)]
        losses = ", ".join(f"{median(one.loss for one in side):.3f}" for side in (ours, theirs))
        yield compared(
            f"{subject.name}, {dtype}, against {peer} (losses {losses})",
            measured([one.rate for one in ours]),
            measured([one.rate for one in theirs]),
            "real tokens per CPU-s",
            goal,
            PACKAGES,
            more_is_better=True,
        )


def train_ours(subject: Subject, dtype: str) -> Trained:
    """The loop's own training."""
    recipe = recipe_for(subject, dtype)
    encoder = Encoder.load(locate("package:lamb/model"), "chatml")
    order = training_order([len(example.ids) for example in subject.training], subject.steps, BATCH, seed=1)
    examples = [subject.training[index] for index in order]
    with tempfile.TemporaryDirectory() as folder:
        training = Training(recipe, encoder, Path(folder), 1, "Train")
        seconds = cpu_seconds(lambda: training.run(examples, []))
        base = load_model(subject.folder, dtype, torch.device("cpu"))
        model = PeftModel.from_pretrained(base, str(Path(folder) / f"checkpoint-{subject.steps}"))
        return Trained(tokens_of(examples) / seconds, held_out_loss(model, subject))


def train_with_trl(subject: Subject, dtype: str, settings: dict[str, Any]) -> Trained:
    """TRL's trainer as its users call it, with input ids and labels of ours."""
    recipe = recipe_for(subject, dtype)
    tokenizer = Encoder.load(locate("package:lamb/model"), "chatml").tokenizer
    rows = [{"input_ids": list(example.ids), "labels": list(example.labels)} for example in subject.training]
    with tempfile.TemporaryDirectory() as folder:
        arguments = SFTConfig(
            output_dir=folder,
            max_steps=subject.steps,
            learning_rate=subject.learning_rate,
            lr_scheduler_type="constant",
            bf16=dtype == "bfloat16",
            use_cpu=True,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            seed=1,
            **settings,
        )
        made: list[Any] = []

        def work() -> None:
            lora = recipe.train.lora
            adapter = LoraConfig(
                r=lora.rank, lora_alpha=lora.alpha, lora_dropout=lora.dropout, target_modules="all-linear"
            )
            trainer = SFTTrainer(
                model=load_model(subject.folder, dtype, torch.device("cpu")),
                args=arguments,
                train_dataset=Dataset.from_list(rows),
                processing_class=tokenizer,
                peft_config=adapter,
            )
            trainer.train()
            made.append(trainer)

        seconds = cpu_seconds(work)
        (trainer,) = made
        tokens = max(row.get("num_tokens", 0) for row in trainer.state.log_history)
        return Trained(tokens / seconds, held_out_loss(trainer.model, subject))


def recipe_for(subject: Subject, dtype: str) -> Recipe:
    """The paper's, with the model and the steps of the subject."""
    train = {"steps": subject.steps, "warmup_steps": 0, "schedule": "constant", "learning_rate": subject.learning_rate}
    sizes = {"batch_size": BATCH, "micro_batch_size": BATCH, "held_out": 0.0, "evaluate_every": subject.steps}
    model = {"path": str(subject.folder), "dtype": dtype}
    return parse_recipe({"model": model, "train": {**train, **sizes}, "engine": {"device": "cpu", "threads": 1}}, "")


def tokens_of(examples: Sequence[Example]) -> int:
    """Real ones."""
    return sum(len(example.ids) for example in examples)


@torch.inference_mode()
def held_out_loss(model: Any, subject: Subject) -> float:
    """Mean over the learned tokens of the pairs held out, each pair alone, without dropout."""
    model.eval()
    total, count = 0.0, 0
    for example in subject.held_out:
        labels = torch.tensor(example.labels[1:])
        logits = model(input_ids=torch.tensor([example.ids])).logits[0, :-1].float()
        total += float(torch.nn.functional.cross_entropy(logits, labels, ignore_index=IGNORED, reduction="sum"))
        count += int((labels != IGNORED).sum())
    return total / count


def lamb(scratch: Path) -> Subject:
    """The embedded model with tasks of its world, rightly answered."""
    folder = locate("package:lamb/model")
    encoder, draw = Encoder.load(folder, "chatml"), random.Random(0)  # noqa: S311  # it has to repeat, no secret
    examples = []
    for _ in range(PAIRS + HELD_OUT):
        task = sample_task(draw, draw.choice(OPERATIONS))
        ask = {"role": "user", "content": bare(task.instruction, task.input)}
        examples.append(Example(*encoder.supervised([ask, {"role": "assistant", "content": task.expected}])))
    return Subject("lamb", folder, 50, 1e-3, examples[:PAIRS], examples[PAIRS:])


def qwen2(scratch: Path) -> Subject:
    """Thirty million random numbers, nearly half of them the embedding, as in small models."""
    folder = scratch / "qwen2-30m"
    config = Qwen2Config(
        vocab_size=32_000,
        hidden_size=384,
        intermediate_size=1_152,
        num_hidden_layers=9,
        num_attention_heads=6,
        num_key_value_heads=2,
        max_position_embeddings=2_048,
        tie_word_embeddings=True,
    )
    torch.manual_seed(0)
    Qwen2ForCausalLM(config).save_pretrained(folder)
    draw = random.Random(0)  # noqa: S311  # it has to repeat, no secret
    ids = range(10, config.vocab_size)
    weights = [1 / (place + 1) for place in range(len(ids))]
    examples = []
    for _ in range(PAIRS + HELD_OUT):
        asked, answered = (min(2 + int(draw.lognormvariate(mean, 0.9)), LONGEST // 2) for mean in (2.5, 3.1))
        tokens = tuple(draw.choices(ids, weights, k=asked + answered))
        examples.append(Example(tokens, (*[IGNORED] * asked, *tokens[asked:])))
    return Subject("qwen2-30m", folder, 4, 1e-3, examples[:PAIRS], examples[PAIRS:])


SUBJECTS: dict[str, Callable[[Path], Subject]] = {"lamb": lamb, "qwen2-30m": qwen2}


if __name__ == "__main__":
    main()
