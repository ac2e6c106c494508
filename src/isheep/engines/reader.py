"""A model that reads: forward passes over rows of unequal length, what they have in common read once."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import pad

from isheep.engines.cache import is_position_free, join_caches, new_cache

Tokens = tuple[int, ...]

SHARED = 16
"""Prompts that have at least this many first tokens in common pay for them once."""


@dataclass(frozen=True, slots=True)
class Beginning:
    """The first tokens that prompts share, read once; no tokens and no cache where they share too few."""

    length: int = 0
    cache: Any = None


@dataclass(slots=True)
class Rows:
    """What has been read of some texts, side by side and padded on the left."""

    cache: Any
    mask: torch.Tensor
    """[rows, columns], 1 where a column is of the row's text."""
    positions: torch.Tensor
    """[rows], of the next token of each."""
    logits: torch.Tensor
    """[rows, vocabulary], for the next token of each."""

    def select(self, rows: torch.Tensor) -> None:
        """Keeps these rows."""
        self.cache.batch_select_indices(rows)
        self.mask, self.positions, self.logits = self.mask[rows], self.positions[rows], self.logits[rows]

    def join(self, other: Rows) -> None:
        """Puts another's rows below; columns at the left which no row of these has any more are dropped."""
        drop = int(self.mask.any(0).int().argmax())
        join_caches(self.cache, other.cache, drop)
        masks = self.mask[:, drop:], other.mask
        width = max(mask.shape[1] for mask in masks)
        self.mask = torch.cat([pad(mask, (width - mask.shape[1], 0)) for mask in masks])
        self.positions = torch.cat([self.positions, other.positions])
        self.logits = torch.cat([self.logits, other.logits])


class Reader:
    """A causal language model of transformers with a pad token; works without gradients."""

    def __init__(self, model: Any, pad_id: int, device: torch.device) -> None:
        known = inspect.signature(model.forward).parameters
        self._takes_positions, self._takes_keep = "position_ids" in known, "logits_to_keep" in known
        self._model, self._pad_id, self.device = model, pad_id, device
        self.is_position_free = is_position_free(new_cache(model.config))
        """Whether a row's columns may stand anywhere and apart, so that rows can share some and be joined."""

    @torch.inference_mode()
    def beginning(self, prompts: Sequence[Tokens]) -> Beginning:
        """What all of the prompts begin with, read; each keeps one token of its own at least."""
        shared = _common_prefix(prompts) if len(prompts) > 1 and self.is_position_free else 0
        if shared < SHARED:
            return Beginning()
        cache = new_cache(self._model.config)
        ids = torch.tensor([prompts[0][:shared]], device=self.device)
        self.forward(ids, torch.ones_like(ids), torch.arange(shared, device=self.device)[None], cache, 1)
        return Beginning(shared, cache)

    def read(self, prompts: Sequence[Tokens], beginning: Beginning) -> Rows:
        """Reads prompts that all begin so.

        Raises:
            ValueError: an empty prompt.
        """
        if not all(prompts):
            raise ValueError("a prompt has no tokens")
        shared = beginning.length
        cache = copy.deepcopy(beginning.cache) if shared else new_cache(self._model.config)
        if shared:
            cache.batch_repeat_interleave(len(prompts))
        lengths = torch.tensor([len(prompt) for prompt in prompts], device=self.device)
        width = max(map(len, prompts))
        padded = [(self._pad_id,) * (width - len(prompt)) + prompt[shared:] for prompt in prompts]
        positions = torch.arange(shared, width, device=self.device)[None] - (width - lengths)[:, None]
        mask = torch.ones(len(prompts), width, dtype=torch.long, device=self.device)
        mask[:, shared:] = positions >= shared
        logits = self.forward(torch.tensor(padded, device=self.device), mask, positions.clamp(min=0), cache, 1)
        return Rows(cache, mask, lengths, logits[:, -1])

    def go_on(self, rows: Rows, ids: torch.Tensor) -> torch.Tensor:
        """Reads the next tokens, ids [rows, columns], of each row; returns their logits [rows, columns, vocabulary]."""
        columns = ids.shape[1]
        rows.mask = pad(rows.mask, (0, columns), value=1)
        positions = rows.positions[:, None] + torch.arange(columns, device=self.device)
        logits = self.forward(ids, rows.mask, positions, rows.cache, columns)
        rows.positions, rows.logits = rows.positions + columns, logits[:, -1]
        return logits

    def forward(
        self, ids: torch.Tensor, mask: torch.Tensor, positions: torch.Tensor, cache: Any, keep: int
    ) -> torch.Tensor:
        """Logits [rows, keep, vocabulary] of the last `keep` columns; the cache grows by the columns of `ids`."""
        inputs: dict[str, Any] = {"input_ids": ids, "attention_mask": mask, "past_key_values": cache, "use_cache": True}
        if self._takes_positions:
            inputs["position_ids"] = positions
        if self._takes_keep:
            inputs["logits_to_keep"] = keep
        logits: torch.Tensor = self._model(**inputs).logits
        return logits[:, -keep:]


def _common_prefix(prompts: Sequence[Tokens]) -> int:
    """How many first tokens all prompts share; each keeps one token of its own at least."""
    first, last = min(prompts), max(prompts)
    limit = min(map(len, prompts)) - 1
    return next((place for place in range(limit) if first[place] != last[place]), limit)
