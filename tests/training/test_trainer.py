"""How a training is cut into batches is no matter of what is learned, nor is memory that does not suffice."""

from __future__ import annotations

import functools
import json
import resource
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import LlamaForCausalLM

from isheep.encoder import Encoder
from isheep.errors import StageError
from isheep.training.examples import Example, read_examples
from isheep.training.steps import Trainer
from isheep.training.trainer import Outcome, Training
from isheep.training.watching import broken
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


def steps(*losses: float) -> list[tuple[int, float]]:
    return list(enumerate(losses, start=1))


@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_breaks_a_training(loss: float) -> None:
    found = broken(steps(2.0, 1.9, loss))
    assert found is not None
    assert found.why == f"its loss is {loss} at step 3"
    # The weights of step 2 gave it; those of step 1 gave a loss that is one.
    assert found.good_until == 1


def test_a_loss_that_doubles_and_rises_by_a_nat_over_five_steps_breaks_a_training() -> None:
    assert broken(steps(*[2.0] * 5, *[4.1] * 5)) is not None
    assert broken(steps(*[2.0] * 5, *[3.9] * 5)) is None
    assert broken(steps(*[0.1] * 5, *[0.9] * 5)) is None
    assert broken(steps(*[2.0] * 5, 1.0, 1.0, 1.0, 1.0, 9.0)) is None
    found = broken(steps(*[2.0] * 7, *[5.0] * 5))
    assert found is not None
    assert found.good_until == 6


@pytest.mark.parametrize("held_out", [0, 2])
def test_a_training_that_breaks_ends_with_its_last_good_checkpoint(
    tiny_model: Path,
    tmp_path: Path,
    encoder: Encoder,
    examples: list[Example],
    monkeypatch: pytest.MonkeyPatch,
    held_out: int,
    capfd: pytest.CaptureFixture[str],
) -> None:
    compute = Trainer.compute_loss

    @functools.wraps(compute)
    def broken_from_step_10(trainer: Any, *args: Any, **kwargs: Any) -> Any:
        loss = compute(trainer, *args, **kwargs)
        return loss * float("nan") if trainer.state.global_step >= 9 and trainer.model.training else loss

    recipe = make_recipe(tiny_model, **STILL, evaluate_every=3)
    monkeypatch.setattr(Trainer, "compute_loss", broken_from_step_10)
    outcome = Training(recipe, encoder, tmp_path, 1, "Train 1").run((examples * 3)[:48], examples[:held_out])
    assert outcome.stopped == "its loss is nan at step 10"
    assert outcome.steps == 10
    assert outcome.kept_step in ({3, 6, 9} if held_out else {6})
    weights = load_file(outcome.checkpoint / "adapter_model.safetensors")
    assert all(torch.isfinite(tensor).all() for tensor in weights.values())
    assert f"the checkpoint of step {outcome.kept_step} is kept" in capfd.readouterr().err


def test_a_checkpoint_that_was_cut_later_is_not_gone_on_from(
    tiny_model: Path, tmp_path: Path, encoder: Encoder, examples: list[Example], caplog: pytest.LogCaptureFixture
) -> None:
    whole = trained(tiny_model, tmp_path / "whole", encoder, examples, 4)
    trained(tiny_model, tmp_path / "cut", encoder, examples, 4)
    last = tmp_path / "cut" / "checkpoint-12"
    (last / "optimizer.pt").write_bytes((last / "optimizer.pt").read_bytes()[:100])
    again = trained(tiny_model, tmp_path / "cut", encoder, examples, 4)
    assert "checkpoint-12 is not whole, it was cut or damaged" in caplog.text
    assert_the_same(whole, again)


def test_a_checkpoint_that_cannot_be_written_says_so(
    tiny_model: Path, tmp_path: Path, encoder: Encoder, examples: list[Example]
) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, before[1]))
    try:
        with pytest.raises(StageError, match=r"the checkpoint of step 4 cannot be written \(.*Make room or mend"):
            trained(tiny_model, tmp_path, encoder, examples, 4, evaluate_every=4)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
