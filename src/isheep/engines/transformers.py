"""The embedded engine: any causal language model of transformers, on CPU or GPU, with a decode loop of our own."""

from __future__ import annotations

import copy
import gc
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from isheep.checkpoint import refuse_adapter
from isheep.engines.base import Completion, Engine, Request, budget
from isheep.engines.decoding import Decoding
from isheep.engines.loading import load_model, pick_device
from isheep.engines.reader import Beginning, Reader
from isheep.errors import UserError, first_line

Tokens = tuple[int, ...]

LOGITS = 1 << 26
"""Numbers in the logits of one scoring batch at most (one sequence may have more)."""

LOG_SOFTMAX = 1 << 22
"""Numbers in one float32 piece of them."""


class TransformersEngine(Engine):
    """Works through windows of requests in arrival order, in batches of `batch_size` rows that stay full.

    What is batched with what is decided by the window alone: a resumed stage that starts at the end of one repeats the
    next bit for bit on the same machine. Between other batches a row differs by float rounding only. Not covered:
    encoder-decoder models, several GPUs.
    """

    def __init__(
        self,
        model_dir: Path,
        dtype: str,
        device: str,
        batch_size: int,
        threads: int | None,
        pad_id: int,
        window: int | None = None,
    ) -> None:
        """Loads the model; `window` is the number of requests in one, a batch of them unless given.

        Raises:
            UserError: it does not load, or there is no such device.
        """
        if threads is not None:
            torch.set_num_threads(threads)
        self._folder, self._dtype, self._device = model_dir, dtype, pick_device(device)
        self._batch_size, self._window, self._pad_id = batch_size, window or batch_size, pad_id
        self._adapted: Any = None
        self._merged = False
        self._model: Any = None
        self._reader: Any = None
        self._load()

    def generate(self, requests: Iterable[Request]) -> Iterator[Completion]:
        """Completions, window by window; a prompt and its completion never exceed the model's positions.

        Raises:
            ValueError: an empty prompt.
        """
        waiting = iter(requests)
        while window := list(islice(waiting, self._window)):
            room = [(request, budget(request, self.positions)) for request in window]
            yield from (Completion(request.id, (), "length") for request, most in room if not most)
            writing = [(request, most) for request, most in room if most]
            if writing:
                yield from Decoding(self._reader, self._batch_size, writing).completions()

    def score_next(self, prompts: Sequence[Tokens], candidates: Sequence[Tokens]) -> list[list[float]]:
        """For each prompt, the log-probability of each candidate continuation (summed over its tokens).

        One forward pass a prompt reads all one-token candidates; longer ones cost their further tokens only.
        """
        if not all(candidates):
            raise ValueError("a candidate has no tokens")
        scores: list[list[float]] = [[] for _ in prompts]
        beginning = self._reader.beginning(prompts)
        order = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))
        for start in range(0, len(order), self._batch_size):
            batch = order[start : start + self._batch_size]
            table = self._score_candidates([prompts[index] for index in batch], candidates, beginning)
            for index, row in zip(batch, table, strict=True):
                scores[index] = row
        return scores

    def score_sequences(self, sequences: Sequence[Tokens]) -> list[list[float]]:
        """For each sequence of n tokens, the n - 1 log-probabilities of tokens 1..n-1 given those before."""
        scores: list[list[float]] = [[] for _ in sequences]
        for batch in self._batches(sequences, self._model.config.get_text_config().vocab_size):
            rows = self._log_probabilities([sequences[index] for index in batch])
            for index, row in zip(batch, rows, strict=True):
                scores[index] = row
        return scores

    def embed(self, sequences: Sequence[Tokens]) -> list[list[float]]:
        """For each sequence, the mean over its tokens of the last layer's hidden states."""
        vectors: list[list[float]] = [[] for _ in sequences]
        for batch in self._batches(sequences, self._model.config.get_text_config().hidden_size):
            rows = self._mean_states([sequences[index] for index in batch])
            for index, row in zip(batch, rows, strict=True):
                vectors[index] = row
        return vectors

    def use(self, adapter: Path | None) -> None:
        """Puts a PEFT adapter on the base weights, or takes it off (None).

        In float32 it is merged, which halves the time of a small model's step and rounds at the last digits; the base
        is read from disk again afterwards. In half precision merging would change answers: it stays beside the base.

        Raises:
            UserError: no adapter there, or one that does not fit the model.
        """
        if self._merged:
            self._load()
        elif self._adapted is not None:
            self._adapted.unload()
            self._adapted = None
        if adapter is not None:
            self._adapt(adapter)

    def close(self) -> None:
        """Gives the model's memory back; the engine cannot be used afterwards."""
        self._model = self._adapted = self._reader = None
        gc.collect()
        if self._device.type == "cuda":
            torch.cuda.empty_cache()

    def _load(self) -> None:
        self._model = self._adapted = self._reader = None
        self._merged = False
        self._model = load_model(self._folder, self._dtype, self._device)
        self._reader = Reader(self._model, self._pad_id, self._device)
        self.positions: int | None = getattr(self._model.config.get_text_config(), "max_position_embeddings", None)

    def _adapt(self, adapter: Path) -> None:
        from peft import PeftModel

        refuse_adapter(adapter)
        try:
            adapted = PeftModel.from_pretrained(self._model, str(adapter)).eval()
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            self._load()
            what = f"does not fit the model ({first_line(error)})."
            raise UserError(str(adapter), what, "Give an adapter of it.") from None
        if self._dtype == "float32":
            self._model, self._merged = adapted.merge_and_unload(), True
            self._reader = Reader(self._model, self._pad_id, self._device)
        else:
            self._adapted = adapted

    @torch.inference_mode()
    def _score_candidates(
        self, prompts: Sequence[Tokens], candidates: Sequence[Tokens], beginning: Beginning
    ) -> list[list[float]]:
        rows = self._reader.read(prompts, beginning)
        first = rows.logits.float().log_softmax(-1)
        scores = first[:, [candidate[0] for candidate in candidates]]
        branches: dict[Tokens, list[int]] = {}
        for number, candidate in enumerate(candidates):
            if len(candidate) > 1:
                branches.setdefault(candidate[:-1], []).append(number)
        for stem, numbers in branches.items():
            branch = replace(rows, cache=copy.deepcopy(rows.cache))
            ids = torch.tensor(stem, device=self._device).expand(len(prompts), -1)
            further = self._reader.go_on(branch, ids).float().log_softmax(-1)
            places = torch.arange(len(stem), device=self._device)
            for number in numbers:
                scores[:, number] += further[:, places, list(candidates[number][1:])].sum(-1)
        table: list[list[float]] = scores.tolist()
        return table

    def _batches(self, sequences: Sequence[Tokens], width: int) -> Iterator[list[int]]:
        """Indices of the sequences, sorted by length; no batch has more than LOGITS numbers at `width` a token."""
        batch: list[int] = []
        for index in sorted(range(len(sequences)), key=lambda index: len(sequences[index])):
            length = len(sequences[index])
            if batch and (len(batch) == self._batch_size or (len(batch) + 1) * length * width > LOGITS):
                yield batch
                batch = []
            if length > 0:
                batch.append(index)
        if batch:
            yield batch

    def _pad_right(self, sequences: Sequence[Tokens]) -> tuple[torch.Tensor, torch.Tensor]:
        width = max(map(len, sequences))
        ids = [sequence + (self._pad_id,) * (width - len(sequence)) for sequence in sequences]
        lengths = torch.tensor([[len(sequence)] for sequence in sequences], device=self._device)
        mask = torch.arange(width, device=self._device)[None] < lengths
        return torch.tensor(ids, device=self._device), mask.long()

    @torch.inference_mode()
    def _log_probabilities(self, sequences: Sequence[Tokens]) -> list[list[float]]:
        ids, mask = self._pad_right(sequences)
        logits = self._model(input_ids=ids, attention_mask=mask, use_cache=False).logits.flatten(0, 1)
        targets = ids.roll(-1, dims=1).reshape(-1, 1)
        piece = max(1, LOG_SOFTMAX // logits.shape[-1])
        parts = []
        for start in range(0, len(logits), piece):
            part = logits[start : start + piece].float()
            parts.append(part.gather(-1, targets[start : start + piece])[:, 0] - part.logsumexp(-1))
        table = torch.cat(parts).view(ids.shape).tolist()
        return [row[: len(sequence) - 1] for row, sequence in zip(table, sequences, strict=True)]

    @torch.inference_mode()
    def _mean_states(self, sequences: Sequence[Tokens]) -> list[list[float]]:
        ids, mask = self._pad_right(sequences)
        states = self._model.base_model(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
        weights = mask[..., None].float()
        means: list[list[float]] = ((states.float() * weights).sum(1) / weights.sum(1)).tolist()
        return means
