"""The peer of the embedded engine: transformers' own `generate` on batches in the order in which they arrive."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import LogitsProcessor, LogitsProcessorList

from isheep.engines import Completion, Request
from isheep.engines.loading import load_model, pick_device
from isheep.engines.sampling import Sampler
from isheep.recipe import Recipe
from isheep.stages.stream import parts


class Static:
    """Rows padded on the left; a batch is done when its longest row is. All requests sample alike."""

    def __init__(self, folder: Path, recipe: Recipe, batch_size: int, pad_id: int) -> None:
        self._device = pick_device(recipe.engine.device)
        if recipe.engine.threads is not None:
            torch.set_num_threads(recipe.engine.threads)
        self._model = load_model(folder, recipe.model.dtype, self._device)
        self._batch_size, self._pad_id = batch_size, pad_id

    def generate(self, requests: Sequence[Request], pick_as_ours: bool = False) -> list[Completion]:
        """In their order. `pick_as_ours`: by our sampler and each row's own seed, so that the tokens can be compared.

        A row gets no more than its own `max_new_tokens`: what the batch wrote beyond is not counted.
        """
        return [done for batch in parts(requests, self._batch_size) for done in self._batch(batch, pick_as_ours)]

    @torch.inference_mode()
    def _batch(self, batch: Sequence[Request], pick_as_ours: bool) -> list[Completion]:
        width = max(len(request.prompt) for request in batch)
        padding = [width - len(request.prompt) for request in batch]
        positions = self._model.config.max_position_embeddings
        budgets = [min(request.max_new_tokens, positions - len(request.prompt)) for request in batch]
        ids = [(self._pad_id,) * pad + request.prompt for pad, request in zip(padding, batch, strict=True)]
        columns = torch.arange(width, device=self._device)
        settings: dict[str, Any] = {"do_sample": False}
        if pick_as_ours:
            settings["logits_processor"] = LogitsProcessorList([_AsOurs(batch, budgets, self._device)])
        elif batch[0].temperature > 0:
            settings = {"do_sample": True, "temperature": batch[0].temperature, "top_p": batch[0].top_p, "top_k": 0}
        written = self._model.generate(
            input_ids=torch.tensor(ids, device=self._device),
            attention_mask=(columns >= torch.tensor(padding, device=self._device)[:, None]).long(),
            max_new_tokens=max(budgets),
            eos_token_id=sorted(batch[0].stop_ids) or None,
            pad_token_id=self._pad_id,
            **settings,
        )[:, width:].tolist()
        return [_cut(*row) for row in zip(batch, budgets, written, strict=True)]


class _AsOurs(LogitsProcessor):  # type: ignore[misc]
    """Leaves each row the one token that our sampler picks."""

    def __init__(self, batch: Sequence[Request], budgets: Sequence[int], device: torch.device) -> None:
        # A row that is done is still asked for tokens, which nobody reads.
        self._sampler = Sampler(batch, [max(budgets)] * len(budgets), device)

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """[rows, vocabulary] logits, all but the picked one without a chance."""
        return torch.full_like(scores, -torch.inf).scatter_(1, self._sampler.pick(scores)[:, None], 0.0)


def _cut(request: Request, budget: int, tokens: Sequence[int]) -> Completion:
    for place, token in enumerate(tokens[:budget]):
        if token in request.stop_ids:
            return Completion(request.id, tuple(tokens[:place]), "stop")
    return Completion(request.id, tuple(tokens[:budget]), "length")


def count_tokens(completions: Sequence[Completion]) -> int:
    """How many were made, stop tokens included."""
    return sum(len(done.tokens) + (done.finish_reason == "stop") for done in completions)


def share_equal(ours: Sequence[Completion], peer: Sequence[Completion]) -> float:
    """Of the completions, matched by id, how many have the same tokens and the same end."""
    theirs = {done.id: done for done in peer}
    return sum(theirs[done.id] == done for done in ours) / len(theirs)
