from __future__ import annotations

from pathlib import Path

from isheep.estimate.shape import shape_of
from isheep.recipe import load_recipe
from tests.estimate.conftest import drafted_in


def test_config_json_tells_what_the_weights_tell(drafted: Path) -> None:
    whole, found = shape_of(load_recipe("lamb")), shape_of(load_recipe("lamb", [f"model.path={drafted}"]))
    assert (whole.drafted, found.drafted) == (False, True)
    assert found.checkpoint.parameters == whole.checkpoint.parameters
    assert found.checkpoint.adapter_parameters(8) == whole.checkpoint.adapter_parameters(8)
    assert found.weights == whole.weights == 4 * whole.checkpoint.parameters
    assert (found.layers, found.hidden, found.inner, found.vocabulary) == (6, 128, 256, 550)
    # Keys and values of four heads of 32 numbers in six layers.
    assert found.cached == whole.cached == 2 * 6 * 4 * 32


def test_a_large_one_is_counted_without_being_made(tmp_path: Path) -> None:
    folder = drafted_in(
        tmp_path / "large",
        model_type="qwen2",
        architectures=["Qwen2ForCausalLM"],
        hidden_size=8192,
        intermediate_size=24576,
        num_hidden_layers=80,
        num_attention_heads=64,
        num_key_value_heads=64,
        head_dim=128,
        vocab_size=152_064,
        max_position_embeddings=32_768,
        tie_word_embeddings=False,
    )
    shape = shape_of(load_recipe("paper", [f"model.path={folder}"]))
    assert round(shape.checkpoint.parameters / 1e9, 1) == 72.3
    assert shape.number == 2
