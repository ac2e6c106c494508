"""An engine on a server of the OpenAI kind: whatever serves the model, over HTTP, with as many requests as it bears."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from isheep.checkpoint import read_checkpoint, refuse_adapter
from isheep.encoder import Encoder
from isheep.engines import answers
from isheep.engines.base import Completion, Engine, NoLogProbabilities, Request, budget
from isheep.engines.http import Call, Client, Refused
from isheep.engines.probe import CHOSEN, COMPLETIONS, LOADERS, NEUTRAL, SEED_MASK, TOP, Abilities, probe
from isheep.errors import StageError, UserError
from isheep.recipe.settings import ServerSettings
from isheep.store.files import fingerprint

Tokens = tuple[int, ...]

STOP_STRINGS = 4
"""As many as every server takes."""

UNLOAD_S = 10.0
"""Seconds that taking an adapter off may last: the run does not depend on it."""

HOW_TO_SERVE = "VLLM_ALLOW_RUNTIME_LORA_UPDATING=True vllm serve MODEL --enable-lora --max-lora-rank RANK"


class OpenAIEngine(Engine):
    """Requests go as token ids where the server takes them, answers come back so where it tells them, else as text.

    A completion is that of the request's seed as far as the server heeds seeds. Not covered: chat completions, so a
    server that has nothing else cannot be used; vectors of the last layer; text that spells special tokens, on a server
    that takes only text.
    """

    def __init__(self, model_dir: Path, settings: ServerSettings, encoder: Encoder) -> None:
        """Finds out what the server can.

        Args:
            model_dir: the folder of the model that it serves.
            settings: where it is.
            encoder: the model's.

        Raises:
            UserError: nobody is there, the key is wrong, or it serves no such model.
        """
        checkpoint = read_checkpoint(model_dir)
        self._rows = checkpoint.rows or len(encoder.tokenizer)
        self._encoder, self._begin = encoder, len(encoder.plain(""))
        self._client = Client(settings)
        try:
            self.abilities: Abilities = probe(self._client, settings.model, encoder)
        except BaseException:
            self._client.close()
            raise
        lengths = [length for length in (checkpoint.positions, self.abilities.max_length) if length is not None]
        # Where an echo goes with a further token, that needs a place too.
        self.positions: int | None = min(lengths) - (self.abilities.echo or 0) if lengths else None
        self._base: dict[str, Any] = {"model": self.abilities.model}
        self._served, self._adapter = self._base, ""  # The adapter's name at the server; none is on.

    def generate(self, requests: Iterable[Request]) -> Iterator[Completion]:
        """Completions as they finish; a prompt and its completion never exceed the model's positions.

        Raises:
            ValueError: an empty prompt.
            StageError: the server failed in every try, or refuses a request.
        """
        full: list[Completion] = []

        def calls() -> Iterator[Call[Completion]]:
            for request in requests:
                if most := budget(request, self.positions):
                    payload = self._payload(request.prompt, most) | self._sampling(request)
                    yield Call(COMPLETIONS, payload, partial(self._completion, request, most))
                else:
                    full.append(Completion(request.id, (), "length"))

        for _, completion in self._each(calls()):
            yield completion
            yield from _taken(full)
        yield from full

    def score_next(self, prompts: Sequence[Tokens], candidates: Sequence[Tokens]) -> list[list[float]]:
        """For each prompt, the log-probability of each candidate continuation (summed over its tokens).

        One-token candidates are read from a single step where the server tells them; all others cost an echo each.

        Raises:
            NoLogProbabilities: the server gives none, or not those of a prompt.
        """
        if not all(candidates) or not all(prompts):
            raise ValueError("a candidate or a prompt has no tokens")
        self._demand_scores()
        known: list[dict[Tokens, float]] = [{} for _ in prompts]
        for index, told in self._steps(prompts, sorted({one[0] for one in candidates if len(one) == 1})):
            known[index].update({(token,): value for token, value in told.items()})
        wanted = dict.fromkeys(candidates)
        missing = [(index, one) for index in range(len(prompts)) for one in wanted if one not in known[index]]
        rows = self.score_sequences([prompts[index] + one for index, one in missing])
        for (index, one), row in zip(missing, rows, strict=True):
            known[index][one] = sum(row[-len(one) :])
        return [[of[one] for one in candidates] for of in known]

    def score_sequences(self, sequences: Sequence[Tokens]) -> list[list[float]]:
        """For each sequence of n tokens, the n - 1 log-probabilities of tokens 1..n-1 given those before.

        Raises:
            NoLogProbabilities: the server does not tell those of a prompt.
        """
        self._demand_scores()
        scores: list[list[float]] = [[] for _ in sequences]
        places = [place for place, sequence in enumerate(sequences) if len(sequence) > 1]
        echo = {"echo": True, "logprobs": 1, "temperature": 0.0}

        # vLLM keeps a place for a token that nobody asked for: a text that fills the model is echoed without its last.
        most = self.positions if self.abilities.step == "chosen" else None
        full = [place for place in places if len(sequences[place]) == most]
        told = {place: sequences[place][:-1] if place in full else sequences[place] for place in places}

        def calls() -> Iterator[Call[list[float]]]:
            for sequence in told.values():
                payload = self._payload(sequence, self.abilities.echo or 0) | echo
                yield Call(COMPLETIONS, payload, partial(self._echo, len(sequence)))

        for number, row in self._each(calls()):
            scores[places[number]] = row
        for place in full:
            ((_, last),) = self._steps([told[place]], sequences[place][-1:])
            scores[place].append(last[sequences[place][-1]])
        return scores

    def embed(self, sequences: Sequence[Tokens]) -> list[list[float]]:
        """Raises UserError: no server of this kind gives the mean state of a causal model's last layer."""
        what = "cannot give the vectors that the density filter and shots drawn by clusters need."
        raise UserError("engine.name openai", what, "Choose another engine, or leave them out.")

    def use(self, adapter: Path | None) -> None:
        """Has the server load a PEFT adapter and asks it from then on, or goes back to the base (None).

        Raises:
            UserError: no adapter there, or the server cannot load it.
        """
        self._unload()
        if adapter is None:
            return
        refuse_adapter(adapter)
        kind = self.abilities.adapters
        if kind is None:
            what = "does not load adapters, so a trained model cannot be asked there."
            raise UserError(self._client.url, what, f"Start it so: {HOW_TO_SERVE}")
        # Named by its content, so that neither another run nor another iteration answers in its place.
        name = f"isheep-{str(fingerprint(adapter))[:24]}"
        payload = {"lora_name": name, "lora_path": str(adapter.absolute())}
        try:
            self._client.ask(Call(LOADERS[kind], payload, bytes, tries=2))
        except Refused as refused:
            if name not in self._listed():
                what = f"does not load the adapter {adapter} ({refused})."
                mend = f"It has to find the folder under this path, and to be started so: {HOW_TO_SERVE}"
                raise UserError(self._client.url, what, mend) from None
        self._adapter = name
        self._served = {"model": name} if kind == "vllm" else {**self._base, "lora_path": name}

    def close(self) -> None:
        """Takes the adapter off and ends the session; the engine cannot be used afterwards."""
        try:
            self._unload()
        finally:
            self._client.close()

    def _each(self, calls: Iterable[Call[Any]]) -> Iterator[tuple[int, Any]]:
        try:
            yield from self._client.each(calls)
        except Refused as refused:
            # An adapter is gone where the server was started anew; a resumed run loads it again.
            raise StageError(f"{self._client.url}: refuses a request ({refused}).") from None

    def _payload(self, prompt: Tokens, most: int) -> dict[str, Any]:
        return {**self._served, "prompt": self._prompt(prompt), "max_tokens": most}

    def _prompt(self, prompt: Tokens) -> list[int] | str:
        if self.abilities.tokens_in:
            return list(prompt)
        doubled = self.abilities.adds_begin and prompt[: self._begin] == self._encoder.plain("")
        return self._encoder.spell(prompt[self._begin :] if doubled else prompt)

    def _sampling(self, request: Request) -> dict[str, Any]:
        able = self.abilities
        settings: dict[str, Any] = {
            "temperature": request.temperature,
            "top_p": request.top_p,
            "seed": request.seed if able.wide_seeds else request.seed & SEED_MASK,
        }
        if able.neutral:
            settings |= NEUTRAL
        if able.tokens_out:
            settings["return_token_ids"] = True
        if able.stop_ids:
            return settings | {"stop_token_ids": sorted(request.stop_ids), "ignore_eos": True}
        if request.stop_ids:
            settings["stop"] = [self._encoder.spell((number,)) for number in sorted(request.stop_ids)][:STOP_STRINGS]
        return settings

    def _completion(self, request: Request, most: int, body: bytes) -> Completion:
        found = answers.choice(body)
        reason = answers.finish_reason(found)
        if self.abilities.tokens_out:
            tokens = answers.token_ids(found, self._rows, most)
        else:
            tokens = self._encoder.plain(answers.text(found))[self._begin :]
        end = next((place for place, token in enumerate(tokens) if token in request.stop_ids), None)
        if end is not None:
            tokens, reason = tokens[:end], "stop"
        return Completion(request.id, tokens, reason)

    def _steps(self, prompts: Sequence[Tokens], firsts: Sequence[int]) -> Iterator[tuple[int, dict[int, float]]]:
        """(Number of the prompt, token id -> log-probability), as far as the server tells them in one step."""
        step = self.abilities.step
        if step is None or not firsts:
            return
        named = {"return_tokens_as_token_ids": True, "temperature": 0.0}
        asked: list[dict[str, Any]] = [{"logprobs": TOP}]
        if step == "chosen":
            pieces = [list(firsts[start : start + CHOSEN]) for start in range(0, len(firsts), CHOSEN)]
            asked = [{"logprobs": len(piece), "logprob_token_ids": piece} for piece in pieces]
        calls = (
            Call(COMPLETIONS, self._payload(prompt, 1) | named | more, self._next_tokens)
            for prompt in prompts
            for more in asked
        )
        for number, told in self._each(calls):
            yield number // len(asked), told

    def _next_tokens(self, body: bytes) -> dict[int, float]:
        return answers.next_tokens(answers.choice(body))

    def _echo(self, count: int, body: bytes) -> list[float]:
        return answers.echoed(answers.choice(body), count)

    def _demand_scores(self) -> None:
        if not self.abilities.scores:
            what = "gives no log-probabilities of a prompt's tokens (`echo` with `logprobs`, prompts as token ids)."
            raise NoLogProbabilities(self._client.url, what, "vLLM's server does.")

    def _listed(self) -> list[str]:
        return [str(model["id"]) for model in self._client.ask(Call("models", None, answers.models))]

    def _unload(self) -> None:
        if not self._adapter or self.abilities.adapters is None:
            return
        path = LOADERS[self.abilities.adapters].replace("load", "unload")
        with contextlib.suppress(Refused, StageError, UserError):
            self._client.ask(Call(path, {"lora_name": self._adapter}, bytes, tries=1, timeout=UNLOAD_S))
        self._served, self._adapter = self._base, ""


def _taken(completions: list[Completion]) -> Iterator[Completion]:
    """All of them, out of the list."""
    while completions:
        yield completions.pop(0)
