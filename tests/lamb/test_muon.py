"""Muon against torch's own, which is the reference in bfloat16."""

from __future__ import annotations

import torch

from isheep.lamb.muon import Muon, orthogonal


def test_singular_values_come_near_one() -> None:
    matrices = torch.randn(3, 40, 12, generator=torch.Generator().manual_seed(0))
    values = torch.linalg.svdvals(orthogonal(matrices))
    assert values.min() > 0.5
    assert values.max() < 1.5


def test_steps_are_those_of_torch() -> None:
    """Up to the rounding of bfloat16."""
    generator = torch.Generator().manual_seed(1)
    start = [torch.randn(16, 16, generator=generator), torch.randn(32, 16, generator=generator)]
    ours, theirs = ([torch.nn.Parameter(matrix.clone()) for matrix in start] for _ in range(2))
    optimizers = [
        Muon(ours, lr=0.02, weight_decay=0.01, momentum=0.95),
        torch.optim.Muon(theirs, lr=0.02, weight_decay=0.01, momentum=0.95),
    ]
    for _ in range(3):
        for first, second in zip(ours, theirs, strict=True):
            first.grad = second.grad = torch.randn(first.shape, generator=generator)
        for optimizer in optimizers:
            optimizer.step()
    for first, second, begun in zip(ours, theirs, start, strict=True):
        moved = (second - begun).norm()
        assert (first - second).norm() < 0.03 * moved
