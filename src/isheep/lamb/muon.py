"""Muon in float32: torch's own works in bfloat16, which costs a CPU without such units a third of the training time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import torch


class Muon(torch.optim.Optimizer):
    """Momentum whose update is made orthogonal (Newton-Schulz), as `torch.optim.Muon` does it, for matrices alone.

    Matrices of one shape are worked on together. Rates are scaled by sqrt(max(1, rows / columns)), as in torch.
    """

    def __init__(
        self, matrices: Iterable[torch.Tensor], lr: float, weight_decay: float = 0.01, momentum: float = 0.95
    ) -> None:
        super().__init__(matrices, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One step from the gradients that are there."""
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[torch.Tensor]] = defaultdict(list)
            for matrix in group["params"]:
                by_shape[matrix.shape].append(matrix)
            for shape, matrices in by_shape.items():
                updates = orthogonal(torch.stack([self._momentum(matrix, group["momentum"]) for matrix in matrices]))
                rate = group["lr"] * max(1.0, shape[0] / shape[1]) ** 0.5
                for matrix, update in zip(matrices, updates, strict=True):
                    matrix.mul_(1 - group["lr"] * group["weight_decay"]).add_(update, alpha=-rate)

    def _momentum(self, matrix: torch.Tensor, momentum: float) -> torch.Tensor:
        """The gradient, looked ahead along its running mean (Nesterov)."""
        if matrix.grad is None:
            raise ValueError("a matrix has no gradient")
        state = self.state[matrix]
        if "mean" not in state:
            state["mean"] = torch.zeros_like(matrix)
        mean: torch.Tensor = state["mean"].lerp_(matrix.grad, 1 - momentum)
        return matrix.grad.lerp(mean, momentum)


def orthogonal(matrices: torch.Tensor, rounds: int = 5) -> torch.Tensor:
    """The nearest matrices with all singular values near 1 (from .5 to 1.5), [n, rows, columns]."""
    tall = matrices.shape[-2] > matrices.shape[-1]
    found: torch.Tensor = matrices.mT if tall else matrices
    found = found / found.norm(dim=(-2, -1), keepdim=True).clamp(min=1e-7)
    for _ in range(rounds):
        gram = found @ found.mT
        # The quintic whose coefficients raise small singular values fastest without throwing large ones out.
        found = 3.4445 * found + (-4.7750 * gram + 2.0315 * gram @ gram) @ found
    return found.mT if tall else found
