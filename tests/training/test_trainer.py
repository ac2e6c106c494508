"""How a training is cut into batches is no matter of what is learned, nor is memory that does not suffice."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import LlamaForCausalLM

from isheep.encoder import Encoder
from isheep.errors import StageError
from isheep.training.examples import Example, read_examples
from isheep.training.trainer import Outcome, Training
from tests.stages.test_train import ROWS, make_recipe

STILL: dict[str, Any] = {"steps": 12, "lora": {"dropout": 0.0}, "batch_size": 4, "learning_rate": 1e-3}
"""Without dropout, whose numbers are drawn for each micro-batch."""
MADE_BEFORE_IT_FAILS = 9 + 2 * 1
"""Forward passes at four pairs at once: nine steps and, at steps 4 and 8, an evaluation of two pairs."""


@pytest.fixture
def examples(tiny_model: Path, tmp_path: Path, encoder: Encoder) -> list[Example]:
    file = tmp_path / "set.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return read_examples(file, encoder, 1_000)


class Memory:
    """A device that holds no more than so many rows once so many forward passes were made."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, rows: int, after: int = 0, message: str | None = None) -> None:
        self.passes: list[int] = []
        forward = LlamaForCausalLM.forward

        @functools.wraps(forward)
        def limited(model: Any, input_ids: Any = None, **inputs: Any) -> Any:
            if len(input_ids) > rows and len(self.passes) >= after:
                raise RuntimeError(message) if message else torch.OutOfMemoryError("CUDA out of memory.")
            self.passes.append(len(input_ids))
            return forward(model, input_ids, **inputs)

        monkeypatch.setattr(LlamaForCausalLM, "forward", limited)


def trained(
    model: Path, folder: Path, encoder: Encoder, examples: list[Example], micro: int, **settings: Any
) -> tuple[Outcome, dict[str, torch.Tensor]]:
    """Twelve steps of four pairs."""
    recipe = make_recipe(model, **{**STILL, "micro_batch_size": micro, **settings})
    outcome = Training(recipe, encoder, folder, 1, "Train 1").run((examples * 3)[:48], examples[:2])
    return outcome, load_file(outcome.checkpoint / "adapter_model.safetensors")


def assert_the_same(
    one: tuple[Outcome, dict[str, torch.Tensor]], other: tuple[Outcome, dict[str, torch.Tensor]]
) -> None:
    """But for rounding."""
    assert other[0].loss == pytest.approx(one[0].loss, rel=1e-4)
    assert other[0].evaluation_loss == pytest.approx(one[0].evaluation_loss, rel=1e-4)
    assert other[0].kept_step == one[0].kept_step
    torch.testing.assert_close(other[1], one[1], rtol=1e-3, atol=1e-5)


def test_micro_batches_decide_nothing(
    tiny_model: Path, tmp_path: Path, encoder: Encoder, examples: list[Example]
) -> None:
    whole = trained(tiny_model, tmp_path / "whole", encoder, examples, 4)
    assert_the_same(whole, trained(tiny_model, tmp_path / "single", encoder, examples, 1))


def test_activations_computed_twice_decide_nothing(
    tiny_model: Path, tmp_path: Path, encoder: Encoder, examples: list[Example]
) -> None:
    kept, twice = (
        trained(tiny_model, tmp_path / str(again), encoder, examples, 4, gradient_checkpointing=again)
        for again in (False, True)
    )
    assert_the_same(kept, twice)


@pytest.mark.parametrize("message", [None, "[enforce fail] DefaultCPUAllocator: can't allocate memory: 9 bytes."])
def test_too_little_memory_halves_the_micro_batch_until_it_fits(
    tiny_model: Path,
    tmp_path: Path,
    encoder: Encoder,
    examples: list[Example],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    message: str | None,
) -> None:
    undisturbed = trained(tiny_model, tmp_path / "undisturbed", encoder, examples, 4)
    memory = Memory(monkeypatch, rows=1, message=message)
    assert_the_same(undisturbed, trained(tiny_model, tmp_path / "halved", encoder, examples, 4))
    assert set(memory.passes) == {1}
    said = capsys.readouterr().err
    assert "! Train 1: out of memory; going on from the last checkpoint with 2 of the 4 pairs of a step at once" in said
    assert "with 1 of the 4 pairs" in said


def test_what_was_trained_before_memory_ran_out_is_not_trained_again(
    tiny_model: Path, tmp_path: Path, encoder: Encoder, examples: list[Example], monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed = trained(tiny_model, tmp_path / "undisturbed", encoder, examples, 4)
    memory = Memory(monkeypatch, rows=2, after=MADE_BEFORE_IT_FAILS)
    assert_the_same(undisturbed, trained(tiny_model, tmp_path / "halved", encoder, examples, 4))
    # Steps 9 to 12 in two halves each, and the last evaluation.
    assert len(memory.passes) == MADE_BEFORE_IT_FAILS + 4 * 2 + 1


def test_a_single_pair_that_does_not_fit_is_told_with_what_to_change(
    tiny_model: Path, tmp_path: Path, encoder: Encoder, examples: list[Example], monkeypatch: pytest.MonkeyPatch
) -> None:
    Memory(monkeypatch, rows=0)
    with pytest.raises(StageError, match=r"out of memory with a single pair at once\. Lower train\.cutoff"):
        trained(tiny_model, tmp_path / "run", encoder, examples, 4)


def test_another_failure_is_not_taken_for_memory(
    tiny_model: Path, tmp_path: Path, encoder: Encoder, examples: list[Example], monkeypatch: pytest.MonkeyPatch
) -> None:
    Memory(monkeypatch, rows=0, message="shapes do not match")
    with pytest.raises(RuntimeError, match="shapes do not match"):
        trained(tiny_model, tmp_path / "run", encoder, examples, 4)
