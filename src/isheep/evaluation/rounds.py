"""Answers that end at strings, out of an engine that only knows tokens to stop at: in rounds of growing length."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from isheep import drain
from isheep.engines import Completion, Request
from isheep.models import Model
from isheep.progress import Advance, bar
from isheep.seeding import derive_seed

FIRST_ROUND = 32
"""Tokens after which an answer that its task ends at a string is first looked at; then twice as many, and so on."""


@dataclass
class Generation:
    """An answer in the making."""

    prompt: tuple[int, ...]
    most: int
    """Tokens."""
    until: list[str] = field(default_factory=list)
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None
    """Of its first round; None: one that follows from its place."""
    tokens: tuple[int, ...] = ()
    text: str = ""
    over: bool = False
    cut: bool = False
    """It ended before the model stopped."""

    def next_length(self, round_length: int) -> int:
        """How many tokens to ask for next; only strings to stop at need a look in between."""
        left = self.most - len(self.tokens)
        return min(left, round_length) if self.until else left

    def take(self, completion: Completion, asked: int, text: str) -> None:
        """Adds tokens; `text` is that of all of them."""
        ends = [place for place in (text.find(end) for end in self.until) if place >= 0]
        stopped = bool(ends) or completion.finish_reason == "stop"
        self.text = text[: min(ends)] if ends else text
        self.over = stopped or len(self.tokens) >= self.most or len(completion.tokens) < asked
        self.cut = self.over and not stopped


def generate(model: Model, generations: Sequence[Generation], seed: int) -> None:
    """Brings each to its end: a stop token, one of its strings or its number of tokens.

    Raises:
        Interrupted: the user asked to stop.
    """
    with bar(f"Evaluate {model.name}", len(generations)) as advance:
        pending = sorted(range(len(generations)), key=lambda index: len(generations[index].prompt))
        length = FIRST_ROUND
        while pending:
            _round(model, generations, pending, length, seed, advance)
            pending = [index for index in pending if not generations[index].over]
            length *= 2


def _round(
    model: Model, generations: Sequence[Generation], pending: Sequence[int], length: int, seed: int, advance: Advance
) -> None:
    """Every pending answer gets up to `length` more tokens."""
    engine, encoder = model.engine, model.encoder
    requests = (_request(model, index, generations[index], length, seed) for index in pending)
    for completion in engine.generate(requests):
        drain.stop_here()
        generation = generations[int(completion.id)]
        asked = generation.next_length(length)
        generation.tokens += completion.tokens
        generation.take(completion, asked, encoder.decode(generation.tokens))
        advance(int(generation.over))


def _request(model: Model, index: int, generation: Generation, length: int, seed: int) -> Request:
    place, written = derive_seed(seed, "evaluate", index, len(generation.tokens)), bool(generation.tokens)
    return Request(
        id=str(index),
        prompt=generation.prompt + generation.tokens,
        max_new_tokens=generation.next_length(length),
        stop_ids=model.encoder.stop_ids,
        temperature=generation.temperature,
        top_p=generation.top_p,
        seed=place if generation.seed is None or written else generation.seed,
    )
