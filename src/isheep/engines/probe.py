"""What a server can do, found out by asking: a request of one token for each thing, before anything is spent."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from isheep.encoder import Encoder
from isheep.engines import answers
from isheep.engines.http import Call, Client, Malformed, Refused
from isheep.errors import UserError

T = TypeVar("T")
Choice = dict[str, Any]
Loader = Literal["vllm", "sglang"]

COMPLETIONS = "completions"
TEXT = "1, 2, 3, 4,"
"""What is asked to be continued; any text would do."""

TOP = 20
"""Likeliest tokens of a step, as many as a server usually tells at most."""
CHOSEN = 128
"""Tokens of one's own choice in a request at most (vLLM's limit)."""

NEUTRAL: dict[str, Any] = {"top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0}
"""Sampling as the request says and no other way: some servers have defaults of their own, or take the model's."""

WIDE_SEED, SEED_MASK = (1 << 63) - 1, (1 << 31) - 1

LOADERS: dict[Loader, str] = {"vllm": "load_lora_adapter", "sglang": "/load_lora_adapter"}
"""Where each kind of server loads an adapter."""


@dataclass(frozen=True, slots=True)
class Abilities:
    """Of one server and the model that it serves."""

    model: str
    """The server's name for it."""
    max_length: int | None
    """Tokens of a prompt and its completion together, None where the server does not tell."""
    tokens_in: bool
    """Takes prompts as token ids; else only as text."""
    adds_begin: bool
    """Puts the beginning token before a text by itself."""
    tokens_out: bool
    """Tells the ids of what it wrote."""
    stop_ids: bool
    """Stops at token ids, and at nothing else; else at strings, and at the model's own end."""
    neutral: bool
    """Takes the settings of NEUTRAL."""
    wide_seeds: bool
    """Takes seeds of 63 bits; else of 31."""
    step: Literal["chosen", "top"] | None
    """Tells the log-probabilities of the next token: of chosen ones, or of the likeliest."""
    echo: int | None
    """Tells those of the prompt's tokens, in a request for so many further tokens; None: it does not."""
    adapters: Loader | None
    """Loads adapters while it runs, and by whose way."""

    @property
    def scores(self) -> bool:
        """Whether the log-probability of any text can be had."""
        return self.tokens_in and self.echo is not None


def probe(client: Client, model: str | None, encoder: Encoder) -> Abilities:
    """Asks the server, a dozen requests at most.

    Args:
        client: to the server.
        model: the server's name for it; None for the only one that it serves.
        encoder: the model's.

    Raises:
        UserError: it serves no such model, or does not complete text.
    """
    name, max_length = _choose(client, model)
    return _Probe(client, name, encoder).abilities(max_length)


class _Probe:
    def __init__(self, client: Client, model: str, encoder: Encoder) -> None:
        self._client, self._model, self._encoder = client, model, encoder
        self._ids = list(encoder.plain(TEXT))
        self._prompt: list[int] | str = self._ids

    def abilities(self, max_length: int | None) -> Abilities:
        """All of them; raises UserError where the server completes neither token ids nor text."""
        tokens_in = self._can({}, answers.accepted) is not None
        adds_begin = False if tokens_in else self._text_prompts()
        tokens_out, stop_ids = self._stops()
        return Abilities(
            model=self._model,
            max_length=max_length,
            tokens_in=tokens_in,
            adds_begin=adds_begin,
            tokens_out=tokens_out,
            stop_ids=stop_ids,
            neutral=self._can(NEUTRAL, answers.accepted) is not None,
            wide_seeds=self._can({"seed": WIDE_SEED}, answers.accepted) is not None,
            step=self._step() if tokens_in else None,
            echo=self._echo() if tokens_in else None,
            adapters=self._adapters(),
        )

    def _call(self, more: Mapping[str, Any], read: Callable[[bytes], T]) -> Call[T]:
        payload = {"model": self._model, "prompt": self._prompt, "max_tokens": 1, "temperature": 0.0, **more}
        return Call(COMPLETIONS, payload, read)

    def _can(self, more: Mapping[str, Any], read: Callable[[Choice], T]) -> T | None:
        """What was read of a completion; None where it is refused, or comes without what was asked for."""

        def found(body: bytes) -> T | None:
            choice = answers.choice(body)
            try:
                return read(choice)
            except Malformed:
                return None

        try:
            return self._client.ask(self._call(more, found))
        except Refused:
            return None

    def _text_prompts(self) -> bool:
        """Goes over to text, and returns whether the server puts the beginning token before it by itself."""
        begin = len(self._encoder.plain(""))
        self._prompt = self._encoder.spell(self._ids[begin:])
        try:
            self._client.ask(self._call({}, answers.choice))
            count = self._client.ask(self._call({}, answers.prompt_length))
        except Refused as refused:
            what = f"does not complete text with the model {self._model} ({refused})."
            raise UserError(self._client.url, what, "Give the url of a server that has /v1/completions.") from None
        # A server that does not tell does as its tokenizer says, which is the model's.
        return begin > 0 and count != len(self._ids) - begin

    def _stops(self) -> tuple[bool, bool]:
        """Whether token ids come back, and whether a token stops when, and only when, its id is given."""
        free = {"ignore_eos": True, "return_token_ids": True}
        reason = self._can(free, answers.finish_reason)
        ids = self._can(free, lambda choice: answers.token_ids(choice, 1 << 31, 1))
        tokens_out = ids is not None
        if ids is None:
            text = self._can(free, answers.text) or ""
            ways = (text, text.strip(), f" {text.strip()}")
            ids = tuple({number for way in ways for number in self._encoder.plain(way)})
        stopped = self._can({**free, "stop_token_ids": list(ids)}, answers.finish_reason)
        return tokens_out, (reason, stopped) == ("length", "stop")

    def _step(self) -> Literal["chosen", "top"] | None:
        named = {"return_tokens_as_token_ids": True}
        chosen = sorted(set(self._ids))[:2]
        told = self._can({**named, "logprobs": len(chosen), "logprob_token_ids": chosen}, answers.next_tokens)
        if told and told.keys() >= set(chosen):
            return "chosen"
        return "top" if self._can({**named, "logprobs": TOP}, answers.next_tokens) else None

    def _echo(self) -> int | None:
        for further in (0, 1):
            asked = {"echo": True, "logprobs": 1, "max_tokens": further}
            if self._can(asked, lambda choice: answers.echoed(choice, len(self._ids))):
                return further
        return None

    def _adapters(self) -> Loader | None:
        """Asks each loader to load nothing: one that is there says that something is missing."""
        for kind, path in LOADERS.items():
            try:
                self._client.ask(Call(path, {}, bytes))
            except Refused as refused:
                if refused.status in (400, 422):
                    return kind
        return None


def _choose(client: Client, wanted: str | None) -> tuple[str, int | None]:
    """The server's name for the model, and its longest text."""
    try:
        listed = client.ask(Call("models", None, answers.models))
    except Refused as refused:
        if wanted is None:
            what = f"does not list its models ({refused})."
            raise UserError(client.url, what, "Give engine.server.model, the server's name for the model.") from None
        return wanted, None
    # An adapter that a server lists has the model that it belongs to as its parent.
    lengths = {model["id"]: model.get("max_model_len") for model in listed if not model.get("parent")}
    name = next(iter(lengths), None) if wanted is None else wanted
    if name not in lengths or (wanted is None and len(lengths) > 1):
        names = client.safe(", ".join(lengths)) if lengths else "no model"
        what = f"is {'not given' if wanted is None else wanted}, and {client.url} serves {names}."
        raise UserError("engine.server.model", what, "Give the name of the one whose folder model.path is.")
    length = lengths[name]
    return str(name), length if type(length) is int and length > 0 else None
