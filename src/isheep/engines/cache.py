"""A key-value cache that grows in place, where transformers' own copies all of itself at every step."""

from __future__ import annotations

from typing import Any

import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

SPARE = 64
"""Columns kept free at least when the buffers grow."""


class GrowingLayer(DynamicLayer):  # type: ignore[misc]
    """Keys and values of one layer, [batch, heads, seen, width]: views of buffers that have room to spare."""

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Appends the new columns and returns all that was seen so far."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            self._buffers = [key_states[:, :, :0], value_states[:, :, :0]]
        seen = self.get_seq_length()
        end = seen + key_states.shape[-2]
        if end > self._buffers[0].shape[-2]:
            self._buffers = [self._grown(buffer, seen, end) for buffer in self._buffers]
        for buffer, states in zip(self._buffers, (key_states, value_states), strict=True):
            buffer[:, :, seen:end] = states
        self._show(end)
        return self.keys, self.values

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        """Keeps these rows of the batch."""
        seen = self.get_seq_length()
        self._buffers = [buffer.index_select(0, indices) for buffer in self._buffers]
        self._show(seen)

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Makes `repeats` rows of each."""
        seen = self.get_seq_length()
        self._buffers = [buffer.repeat_interleave(repeats, dim=0) for buffer in self._buffers]
        self._show(seen)

    def join(self, other: GrowingLayer, drop: int) -> None:
        """Puts another's rows below, the last columns of both side by side, after taking off its first `drop` columns.

        What one of them has no column for is zeros, for a mask to hide (anything else might be no number).
        """
        seen, added = self.get_seq_length() - drop, other.get_seq_length()
        width, count = max(seen, added), len(self.keys)
        theirs = (other.keys, other.values)
        buffers = []
        for mine, new in zip((self.keys, self.values), theirs, strict=True):
            _, heads, _, size = mine.shape
            buffer = mine.new_zeros(count + len(new), heads, width + SPARE, size)
            buffer[:count, :, width - seen : width] = mine[:, :, drop:]
            buffer[count:, :, width - added : width] = new
            buffers.append(buffer)
        self._buffers = buffers
        self._show(width)

    def _show(self, end: int) -> None:
        self.keys, self.values = (buffer[:, :, :end] for buffer in self._buffers)

    @staticmethod
    def _grown(buffer: torch.Tensor, seen: int, needed: int) -> torch.Tensor:
        batch, heads, _, width = buffer.shape
        grown = buffer.new_empty(batch, heads, needed + max(SPARE, needed // 4), width)
        grown[:, :, :seen] = buffer[:, :, :seen]
        return grown


def new_cache(config: Any) -> Any:
    """An empty cache for a model; its full-attention layers grow in place, others are transformers' own."""
    cache = DynamicCache(config=config)
    cache.layers = [GrowingLayer() if type(layer) is DynamicLayer else layer for layer in cache.layers]
    return cache


def join_caches(cache: Any, other: Any, drop: int) -> None:
    """Puts another cache's rows below; both are position free. See `GrowingLayer.join`."""
    for layer, new in zip(cache.layers, other.layers, strict=True):
        layer.join(new, drop)


def is_position_free(cache: Any) -> bool:
    """Whether every layer looks at all columns that the mask shows, wherever padding lies between them."""
    return bool(cache.layers) and all(isinstance(layer, GrowingLayer) for layer in cache.layers)
