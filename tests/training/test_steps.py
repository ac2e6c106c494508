"""A lean training step is the step that padding, a mask and every logit would give."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    GPT2Config,
    LlamaConfig,
    MambaConfig,
    MixtralConfig,
    PreTrainedConfig,
    Qwen2Config,
)
from trl import SFTConfig

from isheep.encoder import IGNORED
from isheep.meter import Meter
from isheep.training.steps import SparseDropout, Trainer, collator, quicken_dropout
from tests.conftest import BuildTokenizer

SIZES: dict[str, Any] = {
    "vocab_size": 300,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "pad_token_id": 3,
    "initializer_range": 0.3,
}
CONFIGS: dict[str, PreTrainedConfig] = {
    "llama": LlamaConfig(**SIZES),
    "qwen2, a window": Qwen2Config(**SIZES, use_sliding_window=True, sliding_window=4, max_window_layers=0),
    "gemma2, capped logits": AutoConfig.for_model("gemma2", **SIZES, head_dim=8, final_logit_softcapping=2.0),
    "granite, scaled logits": AutoConfig.for_model("granite", **SIZES, logits_scaling=4.0),
    "gpt2, learned positions": GPT2Config(
        vocab_size=300, n_embd=32, n_layer=2, n_head=4, initializer_range=0.3, resid_pdrop=0, attn_pdrop=0, embd_pdrop=0
    ),
    "mixtral, experts": MixtralConfig(
        **SIZES, num_local_experts=4, router_aux_loss_coef=0.5, output_router_logits=True
    ),
    "mamba, no attention": MambaConfig(vocab_size=300, hidden_size=32, num_hidden_layers=2, pad_token_id=3),
}
ROWS = [
    {"input_ids": [*range(10, 22)], "labels": [*[IGNORED] * 5, *range(15, 22)]},
    {"input_ids": [40, 41, 42], "labels": [IGNORED, 41, 42]},
    {"input_ids": [*range(60, 67)], "labels": [*[IGNORED] * 6, 66]},
]


def build(config: PreTrainedConfig, attention: str | None = None) -> Any:
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(config, attn_implementation=attention)


def make_trainer(model: Any, folder: Path, tokenizer: Any) -> Trainer:
    arguments = SFTConfig(
        output_dir=str(folder),
        dataset_kwargs={"skip_prepare_dataset": True},
        max_length=None,
        gradient_checkpointing=False,
        per_device_train_batch_size=3,
        bf16=False,
        use_cpu=True,
        report_to="none",
    )
    rows = Dataset.from_list(ROWS)
    return Trainer(
        model=model, args=arguments, train_dataset=rows, data_collator=collator(3), processing_class=tokenizer
    )


@pytest.mark.parametrize(
    ("name", "attention"),
    [
        *((name, "eager") for name in CONFIGS if not name.startswith("mamba")),
        ("llama", "sdpa"),
        *[(next(reversed(CONFIGS)), None)],
    ],
)
def test_loss_and_gradients_are_those_of_every_logit_of_masked_rows(
    tmp_path: Path, build_tokenizer: BuildTokenizer, name: str, attention: str | None
) -> None:
    reference, model = build(CONFIGS[name], attention), build(CONFIGS[name], attention)
    batch = collator(3)(ROWS)
    expected = reference(**batch).loss
    expected.backward()
    trainer = make_trainer(model, tmp_path, build_tokenizer())
    trainer.current_gradient_accumulation_steps = 1
    learned = sum(label != IGNORED for row in ROWS for label in row["labels"][1:])
    loss = trainer.training_step(trainer.model, batch, num_items_in_batch=learned)
    assert float(loss) == pytest.approx(expected.item(), rel=1e-5)
    gradients = {name: one.grad for name, one in model.named_parameters()}
    for name, one in reference.named_parameters():
        assert one.grad is not None
        torch.testing.assert_close(gradients[name], one.grad, rtol=1e-4, atol=1e-6)


def test_a_pair_loses_the_same_alone_and_beside_longer_ones(tmp_path: Path, build_tokenizer: BuildTokenizer) -> None:
    trainer = make_trainer(build(CONFIGS["llama"], "sdpa"), tmp_path, build_tokenizer())

    def total(rows: list[dict[str, list[int]]]) -> float:
        return float(trainer.compute_loss(trainer.model, collator(3)(rows), num_items_in_batch=1).detach())

    assert total(ROWS) == pytest.approx(sum(total([row]) for row in ROWS), rel=1e-5)


def test_dropout_drops_its_share_anywhere_and_keeps_the_mean() -> None:
    torch.manual_seed(0)
    dropout, count = SparseDropout(0.05), 200_000
    found = dropout(torch.ones(count))
    assert found.unique().tolist() == [0.0, pytest.approx(1 / 0.95)]
    dropped = found == 0
    # Five standard deviations: of the count, and of how often two neighbours go together.
    assert int(dropped.sum()) == pytest.approx(10_000, abs=5 * 97.5)
    assert int((dropped[1:] & dropped[:-1]).sum()) == pytest.approx(500, abs=5 * 22.4)
    halves = dropped.view(2, -1).sum(1).tolist()
    assert halves == [pytest.approx(5_000, abs=5 * 69)] * 2


def test_the_first_and_the_last_number_are_dropped_as_often_as_others() -> None:
    torch.manual_seed(0)
    dropout, draws = SparseDropout(0.3), 2_000
    counts = sum((dropout(torch.ones(7)) == 0).int() for _ in range(draws))
    assert isinstance(counts, torch.Tensor)
    assert counts.tolist() == [pytest.approx(600, abs=5 * 20.5)] * 7


def test_dropout_passes_the_gradient_of_what_stayed_and_rests_outside_training() -> None:
    dropout, states = SparseDropout(0.5), torch.randn(4, 5, 6, requires_grad=True)
    torch.manual_seed(0)
    found = dropout(states)
    found.sum().backward()
    assert states.grad is not None
    assert torch.equal(found.detach(), states.detach() * states.grad)
    torch.manual_seed(0)
    assert torch.equal(dropout(states), found)
    assert dropout.eval()(states) is states
    assert dropout.train()(torch.ones(8, dtype=torch.bfloat16)).dtype == torch.bfloat16


def test_every_dropout_that_drops_is_quickened() -> None:
    model = build(
        GPT2Config(vocab_size=300, n_embd=32, n_layer=2, n_head=4, resid_pdrop=0.2, attn_pdrop=0, embd_pdrop=0)
    )
    before = [module for module in model.modules() if isinstance(module, torch.nn.Dropout) and module.p > 0]
    quicken_dropout(model)
    after = [module.share for module in model.modules() if isinstance(module, SparseDropout)]
    assert after == [0.2] * len(before) == [0.2] * 4
    assert not [one for one in model.modules() if isinstance(one, torch.nn.Dropout) and one.p > 0]


def test_what_is_collated_counts_as_read_and_padding_does_not() -> None:
    with Meter() as meter:
        collator(3)(ROWS)
        spent = meter.spent()
    assert (spent.read, spent.written) == (sum(len(row["input_ids"]) for row in ROWS), 0)
