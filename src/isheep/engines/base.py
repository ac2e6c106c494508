"""The engine protocol: token ids in, token ids and log-probabilities out, with any library behind it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self

from isheep.errors import UserError

PIECE = 256
"""Texts that are scored or embedded between two looks at whether the user wants to stop, for each worker."""


@dataclass(frozen=True, slots=True)
class Request:
    """One completion to make. `seed` alone decides its randomness, whatever it is batched with."""

    id: str
    """Under which its completion comes back."""
    prompt: tuple[int, ...]
    """Token ids, one at least."""
    max_new_tokens: int
    """More are not generated."""
    stop_ids: frozenset[int]
    """Generation ends at the first of these; it is not part of the completion."""
    temperature: float = 0.0
    """0 is greedy."""
    top_p: float = 1.0
    """Tokens are sampled from the likeliest that have this share of the probability."""
    seed: int = 0
    """Between 0 and 2^63 - 1."""


@dataclass(frozen=True, slots=True)
class Completion:
    """What became of the request of the same id."""

    id: str
    """The request's."""
    tokens: tuple[int, ...]
    """Without the prompt and without the stop token."""
    finish_reason: str
    """`stop` (a stop id came) or `length`."""


class NoLogProbabilities(UserError):
    """The engine can generate and not score."""


class Engine(Protocol):
    """A model ready to generate and score. Context manager: leaving it gives the memory back."""

    positions: int | None
    """How many tokens a prompt and its completion may have together; None where the model knows no limit."""

    workers: int = 1
    """Windows, or pieces of a list, that it works on at the same time: a list should be as many times as long."""

    def generate(self, requests: Iterable[Request]) -> Iterator[Completion]:
        """Completions as they finish, in any order. Pulls `requests` lazily, never more than it can work on."""
        ...

    def score_next(
        self, prompts: Sequence[tuple[int, ...]], candidates: Sequence[tuple[int, ...]]
    ) -> list[list[float]]:
        """For each prompt, the log-probability of each candidate continuation (summed over its tokens).

        Raises:
            NoLogProbabilities: it cannot, which holds for `score_sequences` too; even where there is no prompt.
        """
        ...

    def score_sequences(self, sequences: Sequence[tuple[int, ...]]) -> list[list[float]]:
        """For each sequence of n tokens, the n - 1 log-probabilities of tokens 1..n-1 given those before."""
        ...

    def embed(self, sequences: Sequence[tuple[int, ...]]) -> list[list[float]]:
        """For each sequence, the mean over its tokens of the last layer's hidden states."""
        ...

    def use(self, adapter: Path | None) -> None:
        """Puts a PEFT adapter on the base weights, or takes it off (None)."""
        ...

    def close(self) -> None:
        """Gives the model's memory back; the engine cannot be used afterwards."""
        ...

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def budget(request: Request, positions: int | None) -> int:
    """Tokens that the request may get: a model has no position for more (0: not for a single one).

    Raises:
        ValueError: an empty prompt.
    """
    if not request.prompt:
        raise ValueError("a prompt has no tokens")
    if positions is None:
        return request.max_new_tokens
    return max(0, min(request.max_new_tokens, positions - len(request.prompt)))
