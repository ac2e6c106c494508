"""One sampling step for a whole batch, in which no row depends on its neighbours."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn.functional import pad

from isheep.engines.base import Request

HEAD = 128
"""Most probable tokens that are looked at before the whole vocabulary is sorted."""


class Sampler:
    """Picks each row's next token by inverse CDF from uniforms that its seed alone decides, drawn up front."""

    def __init__(self, requests: Sequence[Request], budgets: Sequence[int], device: torch.device) -> None:
        """`budgets`: for each request, how many tokens it may get at most."""
        self._temperature = torch.tensor(
            [[request.temperature or 1.0] for request in requests], dtype=torch.float32, device=device
        )
        self._top_p = torch.tensor([[request.top_p] for request in requests], dtype=torch.float64, device=device)
        self._greedy = torch.tensor([request.temperature == 0 for request in requests], device=device)
        self._uniforms = _uniforms(requests, budgets).to(device)
        self._picked = torch.zeros(len(requests), 1, dtype=torch.long, device=device)
        self._note_kinds()

    def select(self, rows: torch.Tensor) -> None:
        """Keeps these rows."""
        self._temperature, self._top_p = self._temperature[rows], self._top_p[rows]
        self._greedy, self._uniforms, self._picked = self._greedy[rows], self._uniforms[rows], self._picked[rows]
        self._note_kinds()

    def join(self, other: Sampler) -> None:
        """Puts another's rows below."""
        width = max(self._uniforms.shape[1], other._uniforms.shape[1])
        tables = [pad(one._uniforms, (0, width - one._uniforms.shape[1])) for one in (self, other)]
        self._uniforms = torch.cat(tables)
        self._temperature = torch.cat([self._temperature, other._temperature])
        self._top_p = torch.cat([self._top_p, other._top_p])
        self._greedy = torch.cat([self._greedy, other._greedy])
        self._picked = torch.cat([self._picked, other._picked])
        self._note_kinds()

    def pick(self, logits: torch.Tensor) -> torch.Tensor:
        """The next token of each row from logits [rows, vocabulary]; a row picks as often as its budget at most."""
        best = logits.argmax(-1)
        if self._all_greedy:
            return best
        probabilities = (logits.float() / self._temperature).softmax(-1)
        # A row that has ended goes on with the batch for a while, and what it picks then is read by nobody.
        uniforms = self._uniforms.gather(1, self._picked.clamp(max=self._uniforms.shape[1] - 1))
        self._picked = self._picked + 1
        if self._all_nucleus:
            sampled = _nucleus(probabilities, uniforms, self._top_p)
        elif self._any_nucleus:
            nucleus = _nucleus(probabilities, uniforms, self._top_p)
            sampled = torch.where(self._top_p[:, 0] < 1, nucleus, _whole(probabilities, uniforms))
        else:
            sampled = _whole(probabilities, uniforms)
        return torch.where(self._greedy, best, sampled)

    def _note_kinds(self) -> None:
        nucleus = self._top_p < 1
        self._all_greedy = bool(self._greedy.all())
        self._all_nucleus, self._any_nucleus = bool(nucleus.all()), bool(nucleus.any())


def _uniforms(requests: Sequence[Request], budgets: Sequence[int]) -> torch.Tensor:
    """[rows, longest budget] numbers in [0, 1); rows that sample nothing hold zeros."""
    table = torch.zeros(len(requests), max(budgets, default=0), dtype=torch.float64)
    generator = torch.Generator()
    for row, (request, budget) in enumerate(zip(requests, budgets, strict=True)):
        if request.temperature > 0:
            generator.manual_seed(request.seed)
            table[row, :budget] = torch.rand(budget, generator=generator, dtype=torch.float64)
    return table


def _whole(probabilities: torch.Tensor, uniforms: torch.Tensor) -> torch.Tensor:
    cumulative = probabilities.cumsum(-1, dtype=torch.float64)
    places = torch.searchsorted(cumulative, uniforms * cumulative[:, -1:], right=True)
    return places[:, 0].clamp(max=probabilities.shape[-1] - 1)


def _nucleus(probabilities: torch.Tensor, uniforms: torch.Tensor, top_p: torch.Tensor) -> torch.Tensor:
    """From the smallest set of most probable tokens whose probabilities sum to `top_p` at least.

    A full sort is dear; each row is content with its HEAD most probable tokens where these reach `top_p`.
    """
    head = min(HEAD, probabilities.shape[-1])
    ordered, tokens = probabilities.topk(head)
    enough = ordered.sum(-1, dtype=torch.float64) >= top_p[:, 0]
    if head == probabilities.shape[-1] or bool(enough.all()):
        return _from_ordered(ordered, tokens, uniforms, top_p)
    sorted_all, all_tokens = probabilities.sort(stable=True, dim=-1, descending=True)
    return torch.where(
        enough,
        _from_ordered(ordered, tokens, uniforms, top_p),
        _from_ordered(sorted_all, all_tokens, uniforms, top_p),
    )


def _from_ordered(
    ordered: torch.Tensor, tokens: torch.Tensor, uniforms: torch.Tensor, top_p: torch.Tensor
) -> torch.Tensor:
    cumulative = ordered.cumsum(-1, dtype=torch.float64)
    last = torch.searchsorted(cumulative, top_p).clamp(max=ordered.shape[-1] - 1)
    places = torch.searchsorted(cumulative, uniforms * cumulative.gather(-1, last), right=True)
    picked: torch.Tensor = tokens.gather(-1, torch.minimum(places, last))[:, 0]
    return picked
