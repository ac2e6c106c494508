"""What the sampler draws, row by row."""

from __future__ import annotations

import pytest
import torch

from isheep.engines.base import Request
from isheep.engines.sampling import HEAD, Sampler

CPU = torch.device("cpu")


def make_request(seed: int, temperature: float = 1.0, top_p: float = 1.0) -> Request:
    return Request(str(seed), (1,), 4, frozenset(), temperature, top_p, seed)


def draw(requests: list[Request], logits: torch.Tensor, step: int = 0) -> list[int]:
    sampler = Sampler(requests, [4] * len(requests), CPU)
    for _ in range(step):
        sampler.pick(logits)
    picked: list[int] = sampler.pick(logits).tolist()
    return picked


def frequencies(probabilities: list[float], temperature: float, top_p: float, rows: int = 20_000) -> torch.Tensor:
    requests = [make_request(seed, temperature, top_p) for seed in range(rows)]
    picked = draw(requests, torch.tensor([probabilities] * rows).log())
    return torch.tensor(picked).bincount(minlength=len(probabilities)) / rows


@pytest.mark.parametrize(
    ("temperature", "top_p", "expected"),
    [
        (1.0, 1.0, [0.12, 0.5, 0.08, 0.3]),
        (0.5, 1.0, [0.0144 / 0.3608, 0.25 / 0.3608, 0.0064 / 0.3608, 0.09 / 0.3608]),
        (1.0, 0.79, [0.0, 0.625, 0.0, 0.375]),
        (1.0, 0.85, [0.12 / 0.92, 0.5 / 0.92, 0.0, 0.3 / 0.92]),
        (1.0, 0.3, [0.0, 1.0, 0.0, 0.0]),
    ],
)
def test_frequencies_are_the_probabilities(temperature: float, top_p: float, expected: list[float]) -> None:
    seen = frequencies([0.12, 0.5, 0.08, 0.3], temperature, top_p)
    assert seen.tolist() == pytest.approx(expected, abs=0.015)
    assert [share == 0 for share in seen.tolist()] == [share == 0 for share in expected]


def test_greedy_row_takes_the_highest_logit_whatever_its_seed() -> None:
    logits = torch.tensor([[0.0, 3.0, 2.9]]).repeat(50, 1)
    assert draw([make_request(seed, temperature=0.0) for seed in range(50)], logits) == [1] * 50


def test_steps_and_seeds_draw_differently_and_again_the_same() -> None:
    requests = [make_request(seed) for seed in range(8)]
    logits = torch.zeros(8, 1000)
    first, second = draw(requests, logits), draw(requests, logits, step=1)
    assert len(set(first)) > 6
    assert first != second
    assert draw(requests, logits) == first


def test_row_does_not_depend_on_the_kinds_of_its_neighbours() -> None:
    torch.manual_seed(0)
    flat, peaked = torch.zeros(4 * HEAD), torch.zeros(4 * HEAD)
    peaked[7] = 12.0
    kinds = [(0.0, 1.0), (1.0, 1.0), (1.0, 0.9), (0.7, 0.9)]
    requests = [make_request(seed, *kind) for seed, kind in enumerate(kinds * 2)]
    logits = torch.stack([flat + torch.randn(4 * HEAD)] * 4 + [peaked + torch.randn(4 * HEAD)] * 4)
    together = draw(requests, logits)
    assert together == [draw([request], row[None])[0] for request, row in zip(requests, logits, strict=True)]


def test_flat_distribution_reaches_beyond_the_head_of_the_order() -> None:
    logits = torch.linspace(0, -0.1, 4 * HEAD).repeat(500, 1)
    picked = draw([make_request(seed, top_p=0.9) for seed in range(500)], logits)
    assert max(picked) > 3 * HEAD
    assert max(picked) < 4 * HEAD * 0.92


def test_rows_keep_their_own_randomness_whoever_leaves_and_comes() -> None:
    logits = torch.zeros(4, 1000)
    expected = {seed: [draw([make_request(seed)], logits[:1], step)[0] for step in range(4)] for seed in range(6)}
    sampler = Sampler([make_request(seed) for seed in range(4)], [4] * 4, CPU)
    assert sampler.pick(logits).tolist() == [expected[seed][0] for seed in range(4)]
    sampler.select(torch.tensor([3, 1]))
    assert sampler.pick(logits[:2]).tolist() == [expected[3][1], expected[1][1]]
    sampler.join(Sampler([make_request(4), make_request(5)], [2, 3], CPU))
    assert sampler.pick(logits).tolist() == [expected[3][2], expected[1][2], expected[4][0], expected[5][0]]
