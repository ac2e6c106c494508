"""The embedded engine: any causal language model of transformers, on CPU or GPU, with a decode loop of our own."""

from __future__ import annotations

import copy
import gc
import inspect
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch

from isheep.engines.base import Completion, Request
from isheep.engines.cache import is_position_free, new_cache
from isheep.engines.loading import load_model, pick_device
from isheep.engines.sampling import Sampler
from isheep.errors import UserError

Tokens = tuple[int, ...]

SHARED_PREFIX = 16
"""Prompts that have at least this many first tokens in common pay for them once a batch."""

COMPACT = 8
"""Finished rows leave the batch when they make up at least one in this many."""

LOGITS = 1 << 26
"""Numbers in the logits of one scoring batch at most (one sequence may have more)."""

LOG_SOFTMAX = 1 << 22
"""Numbers in one float32 piece of them."""


class TransformersEngine:
    """Runs batches of `batch_size` requests in arrival order; what a batch holds is decided by that order alone.

    So a resumed stage that starts at a batch boundary repeats it bit for bit on the same machine. Between different
    batches a row differs by float rounding only. Not covered: encoder-decoder models, several GPUs.
    """

    def __init__(
        self, model_dir: Path, dtype: str, device: str, batch_size: int, threads: int | None, pad_id: int
    ) -> None:
        """Loads the model.

        Raises:
            UserError: it does not load, or there is no such device.
        """
        if threads is not None:
            torch.set_num_threads(threads)
        self._folder, self._dtype, self._device = model_dir, dtype, pick_device(device)
        self._batch_size, self._pad_id = batch_size, pad_id
        self._adapted: Any = None
        self._merged = False
        self._model: Any = None
        self._load()

    def generate(self, requests: Iterable[Request]) -> Iterator[Completion]:
        """Completions, batch by batch; a prompt and its completion never exceed the model's positions.

        Raises:
            ValueError: an empty prompt.
        """
        waiting = iter(requests)
        while batch := list(islice(waiting, self._batch_size)):
            yield from self._complete(batch)

    def score_next(self, prompts: Sequence[Tokens], candidates: Sequence[Tokens]) -> list[list[float]]:
        """For each prompt, the log-probability of each candidate continuation (summed over its tokens).

        One forward pass a prompt reads all one-token candidates; longer ones cost their further tokens only.
        """
        if not all(candidates):
            raise ValueError("a candidate has no tokens")
        scores: list[list[float]] = [[] for _ in prompts]
        order = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))
        for start in range(0, len(order), self._batch_size):
            batch = order[start : start + self._batch_size]
            table = self._score_candidates([prompts[index] for index in batch], candidates)
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
        self._model = self._adapted = None
        gc.collect()
        if self._device.type == "cuda":
            torch.cuda.empty_cache()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _load(self) -> None:
        self._model = self._adapted = None
        self._merged = False
        self._model = load_model(self._folder, self._dtype, self._device)
        known = inspect.signature(self._model.forward).parameters
        self._takes_positions, self._takes_keep = "position_ids" in known, "logits_to_keep" in known
        self.positions: int | None = getattr(self._model.config.get_text_config(), "max_position_embeddings", None)

    def _adapt(self, adapter: Path) -> None:
        from peft import PeftModel

        if not (adapter / "adapter_config.json").is_file():
            raise UserError(str(adapter), "holds no adapter.", "Give a folder with adapter_config.json.")
        try:
            adapted = PeftModel.from_pretrained(self._model, str(adapter)).eval()
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            self._load()
            reason = str(error).strip().splitlines()[0]
            raise UserError(str(adapter), f"does not fit the model ({reason}).", "Give an adapter of it.") from None
        if self._dtype == "float32":
            self._model, self._merged = adapted.merge_and_unload(), True
        else:
            self._adapted = adapted

    def _forward(self, ids: torch.Tensor, mask: torch.Tensor, positions: torch.Tensor, cache: Any, keep: int) -> Any:
        """Logits [rows, keep, vocabulary] of the last `keep` columns; the cache grows by the columns of `ids`."""
        inputs: dict[str, Any] = {"input_ids": ids, "attention_mask": mask, "past_key_values": cache, "use_cache": True}
        if self._takes_positions:
            inputs["position_ids"] = positions
        if self._takes_keep:
            inputs["logits_to_keep"] = keep
        return self._model(**inputs).logits[:, -keep:]

    def _prefill(self, prompts: Sequence[Tokens], room: int) -> tuple[torch.Tensor, Any, torch.Tensor, torch.Tensor]:
        """Reads the prompts: last logits [rows, vocabulary], cache, mask with `room` free columns, next positions."""
        if not all(prompts):
            raise ValueError("a prompt has no tokens")
        cache = new_cache(self._model.config)
        shared = _common_prefix(prompts) if len(prompts) > 1 and is_position_free(cache) else 0
        if shared < SHARED_PREFIX:
            shared = 0
        else:
            ids = torch.tensor([prompts[0][:shared]], device=self._device)
            self._forward(ids, torch.ones_like(ids), torch.arange(shared, device=self._device)[None], cache, 1)
            cache.batch_repeat_interleave(len(prompts))
        lengths = torch.tensor([len(prompt) for prompt in prompts], device=self._device)
        width = max(map(len, prompts))
        ids = torch.tensor(
            [(self._pad_id,) * (width - len(prompt)) + prompt[shared:] for prompt in prompts], device=self._device
        )
        columns = torch.arange(shared, width, device=self._device)
        positions = columns[None] - (width - lengths)[:, None]
        mask = torch.ones(len(prompts), width + room, dtype=torch.long, device=self._device)
        mask[:, shared:width] = positions >= shared
        logits = self._forward(ids, mask[:, :width], positions.clamp(min=0), cache, 1)
        return logits[:, -1], cache, mask, lengths

    @torch.inference_mode()
    def _complete(self, requests: Sequence[Request]) -> list[Completion]:
        budgets = [self._budget(request) for request in requests]
        texts: list[list[int]] = [[] for _ in requests]
        stopped = [False] * len(requests)
        rows = [index for index, budget in enumerate(budgets) if budget > 0]
        if rows:
            self._decode([requests[row] for row in rows], [budgets[row] for row in rows], rows, texts, stopped)
        return [
            Completion(request.id, tuple(text), "stop" if stop else "length")
            for request, text, stop in zip(requests, texts, stopped, strict=True)
        ]

    def _decode(
        self,
        requests: Sequence[Request],
        budgets: Sequence[int],
        rows: list[int],
        texts: list[list[int]],
        stopped: list[bool],
    ) -> None:
        """Fills `texts` and `stopped` at the places `rows`; row i of the batch works at rows[i] until it has ended."""
        logits, cache, mask, positions = self._prefill([request.prompt for request in requests], max(budgets))
        sampler = Sampler(requests, budgets, self._device)
        work = list(zip(rows, (request.stop_ids for request in requests), budgets, strict=True))
        live = [True] * len(work)
        width = mask.shape[1] - max(budgets)
        for step in range(max(budgets)):
            picked = sampler.pick(logits, step)
            for place, token in enumerate(picked.tolist()):
                if not live[place]:
                    continue
                row, stop_ids, budget = work[place]
                if token in stop_ids:
                    stopped[row], live[place] = True, False
                else:
                    texts[row].append(token)
                    live[place] = len(texts[row]) < budget
            count = sum(live)
            if count == 0:
                return
            if (len(live) - count) * COMPACT >= len(live):
                kept = [place for place, alive in enumerate(live) if alive]
                index = torch.tensor(kept, device=self._device)
                cache.batch_select_indices(index)
                sampler.select(index)
                picked, mask, positions = picked[index], mask[index], positions[index]
                work, live = [work[place] for place in kept], [True] * count
            width += 1
            logits = self._forward(picked[:, None], mask[:, :width], positions[:, None], cache, 1)[:, -1]
            positions = positions + 1

    def _budget(self, request: Request) -> int:
        """Tokens that the request may get: the model has no position for more."""
        if self.positions is None:
            return request.max_new_tokens
        return max(0, min(request.max_new_tokens, self.positions - len(request.prompt)))

    @torch.inference_mode()
    def _score_candidates(self, prompts: Sequence[Tokens], candidates: Sequence[Tokens]) -> list[list[float]]:
        longest = max(map(len, candidates), default=1)
        logits, cache, mask, positions = self._prefill(prompts, longest - 1)
        width = mask.shape[1] - (longest - 1)
        first = logits.float().log_softmax(-1)
        scores = first[:, [candidate[0] for candidate in candidates]]
        branches: dict[Tokens, list[int]] = {}
        for number, candidate in enumerate(candidates):
            if len(candidate) > 1:
                branches.setdefault(candidate[:-1], []).append(number)
        for stem, numbers in branches.items():
            length = len(stem)
            ids = torch.tensor(stem, device=self._device).expand(len(prompts), -1)
            steps = positions[:, None] + torch.arange(length, device=self._device)
            branch = copy.deepcopy(cache)
            further = self._forward(ids, mask[:, : width + length], steps, branch, length).float().log_softmax(-1)
            for number in numbers:
                places = torch.arange(length, device=self._device)
                scores[:, number] += further[:, places, list(candidates[number][1:])].sum(-1)
        rows: list[list[float]] = scores.tolist()
        return rows

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


def _common_prefix(prompts: Sequence[Tokens]) -> int:
    """How many first tokens all prompts share; each keeps one token of its own at least."""
    first, last = min(prompts), max(prompts)
    limit = min(map(len, prompts)) - 1
    return next((place for place in range(limit) if first[place] != last[place]), limit)
