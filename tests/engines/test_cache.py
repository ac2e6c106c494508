"""The cache that grows in place holds what transformers' own holds."""

from __future__ import annotations

import torch
from transformers import LlamaConfig, MistralConfig
from transformers.cache_utils import DynamicLayer

from isheep.engines.cache import SPARE, GrowingLayer, is_position_free, new_cache


def test_growing_layer_holds_what_a_copying_one_does() -> None:
    growing, copying = GrowingLayer(), DynamicLayer()
    torch.manual_seed(0)
    for columns in (5, 1, 1, SPARE, 1, 2 * SPARE, 1):
        keys, values = torch.randn(3, 2, columns, 4), torch.randn(3, 2, columns, 4)
        seen, expected = growing.update(keys, values), copying.update(keys, values)
        assert torch.equal(seen[0], expected[0])
        assert torch.equal(seen[1], expected[1])
        assert growing.get_seq_length() == copying.get_seq_length()


def test_rows_are_selected_and_repeated() -> None:
    layer = GrowingLayer()
    first = torch.arange(3.0).view(3, 1, 1, 1)
    layer.update(first, -first)
    layer.batch_select_indices(torch.tensor([2, 0]))
    layer.batch_repeat_interleave(2)
    keys, values = layer.update(torch.full((4, 1, 1, 1), 9.0), torch.full((4, 1, 1, 1), 8.0))
    assert keys[:, 0, :, 0].tolist() == [[2, 9], [2, 9], [0, 9], [0, 9]]
    assert values[:, 0, :, 0].tolist() == [[-2, 8], [-2, 8], [0, 8], [0, 8]]


def test_only_full_attention_layers_grow_in_place() -> None:
    full = LlamaConfig(num_hidden_layers=2)
    sliding = MistralConfig(num_hidden_layers=2, sliding_window=8)
    assert is_position_free(new_cache(full))
    assert not is_position_free(new_cache(sliding))
