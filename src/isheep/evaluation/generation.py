"""A model's written answers to a benchmark's questions, for the benchmarks that no other library asks for us."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from isheep import drain
from isheep.engines import Request
from isheep.models import Model
from isheep.progress import bar


@dataclass(frozen=True, slots=True)
class Prompt:
    """What the model goes on with, and how."""

    ids: tuple[int, ...]
    temperature: float = 0.0
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Written:
    """What it wrote."""

    text: str
    cut: bool
    """It had no room to end."""


def write(model: Model, prompts: Sequence[Prompt], max_new_tokens: int) -> list[Written]:
    """The answers in the order of their prompts; one that leaves no room for an answer gets an empty one.

    Raises:
        Interrupted: the user asked to stop.
    """
    encoder, written = model.encoder, [Written("", True)] * len(prompts)
    requests = (
        Request(str(place), one.ids, max_new_tokens, encoder.stop_ids, one.temperature, seed=one.seed)
        for place, one in enumerate(prompts)
    )
    with bar(f"Evaluate {model.name}", len(prompts)) as advance:
        for completion in model.engine.generate(requests):
            drain.stop_here()
            text = encoder.decode(completion.tokens)
            written[int(completion.id)] = Written(text, completion.finish_reason != "stop")
            advance(1)
    return written
