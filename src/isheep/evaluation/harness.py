"""lm-eval asks, our engine answers: the one adapter between the two. Importing it imports lm-eval (seconds)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from lm_eval.api.model import LM
from lm_eval.models.utils import normalize_gen_kwargs
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

from isheep import drain
from isheep.engines import Request
from isheep.errors import UserError
from isheep.evaluation.rounds import Generation, generate
from isheep.models import Model
from isheep.progress import bar
from isheep.terminal import printable

Tokens = tuple[int, ...]
Pair = tuple[Tokens, Tokens]
"""A context and its continuation."""

AT_ONCE = 256
"""Pairs that are scored in one call of the engine."""

WINDOW = 2048
"""Tokens of a window over a long text, for a model that knows no limit."""


class Answer(str):
    """A completion's text, which knows whether it was cut off before the model stopped."""

    cut: bool = False


class Harness(LM):  # type: ignore[misc]
    """A model of ours as lm-eval wants it.

    Generation: a zero-shot text is an instruction and is asked as the loop asks it (`Model.ask`); few-shot texts, and
    such as break off at a colon (`Answer:`), are continued by the base as they stand. With `as_written` every model
    continues every text, as in lm-eval's own backends. Likelihoods are of plain text, for every model alike. A prompt
    with no room for an answer gets none, and the start of too long a context is left out of a likelihood. Not covered:
    images, and few-shot examples as turns of their own.
    """

    def __init__(self, model: Model, tasks: Mapping[str, Any], seed: int, as_written: bool = False) -> None:
        """`tasks`: the lm-eval tasks by name; `seed` decides the answers of tasks that sample."""
        super().__init__()
        self._model, self._tasks, self._seed, self._as_written = model, tasks, seed, as_written
        tokenizer = model.encoder.tokenizer
        self._begin = model.encoder.plain("")
        starts = (*self._begin, tokenizer.bos_token_id, tokenizer.eos_token_id, model.encoder.turn_end_id)
        self._prefix: int = next(start for start in starts if start is not None)

    def generate_until(self, requests: list[Any]) -> list[str]:
        """The answers, each up to a stop token, to one of its task's strings or to its task's number of tokens."""
        generations = [self._generation(request) for request in requests]
        generate(self._model, generations, self._seed)
        return [_answer(generation) for generation in generations]

    def loglikelihood(self, requests: list[Any]) -> list[tuple[float, bool]]:
        """Log-probability of each continuation, and, where its task asks, whether greedy decoding would write it."""
        pairs = [self._pair(*request.args) for request in requests]
        sums = self._score(pairs)
        asked = [index for index, request in enumerate(requests) if self._wants_greedy(request.task_name)]
        greedy = self._greedy(pairs, asked)
        return [(total, index in greedy) for index, total in enumerate(sums)]

    def loglikelihood_rolling(self, requests: list[Any]) -> list[float]:
        """Log-probability of each whole text, every token given as much before it as the model's window holds."""
        window = (self._model.engine.positions or WINDOW + 1) - 1
        pairs: list[Pair] = []
        owners: list[int] = []
        for owner, request in enumerate(requests):
            ids = list(self._model.encoder.plain(request.args[0])[len(self._begin) :])
            for part in get_rolling_token_windows(ids, self._prefix, max_seq_len=window, context_len=1):
                context, continuation = make_disjoint_window(part)
                pairs.append((tuple(context), tuple(continuation)))
                owners.append(owner)
        totals = [0.0] * len(requests)
        for owner, score in zip(owners, self._score(pairs), strict=True):
            totals[owner] += score
        return totals

    def mean_losses(self, texts: Sequence[str]) -> list[float | None]:
        """The mean loss of each text's tokens but the first, as the model reads them; None of fewer than two tokens."""
        positions = self._model.engine.positions
        sequences = [
            self._model.encoder.plain(text)[-positions:] if positions else self._model.encoder.plain(text)
            for text in texts
        ]
        losses: list[float | None] = [None] * len(texts)
        with bar(f"Evaluate {self._model.name}", len(texts)) as advance:
            for indices in _chunks(sorted(range(len(texts)), key=lambda index: len(sequences[index]))):
                rows = self._model.engine.score_sequences([sequences[index] for index in indices])
                for index, row in zip(indices, rows, strict=True):
                    losses[index] = -sum(row) / len(row) if row else None
                advance(len(indices))
        return losses

    def _generation(self, request: Any) -> Generation:
        text, wanted = request.args
        settings = normalize_gen_kwargs(wanted)
        shots = self._tasks[request.task_name].get_config("num_fewshot")
        continues = self._as_written or (not self._model.trained and (shots or text.rstrip().endswith(":")))
        return Generation(
            self._model.encoder.plain(text) if continues else self._model.ask(text.strip()),
            most=settings["max_gen_toks"],
            until=[end for end in settings["until"] if end],
            temperature=float(settings.get("temperature", 0.0)) if settings["do_sample"] else 0.0,
            top_p=float(settings.get("top_p") or 1.0),
        )

    def _pair(self, context: str, continuation: str) -> Pair:
        """Ids of both; white space between them belongs to the continuation, where most tokenizers have it."""
        stem = context.rstrip()
        continuation = context[len(stem) :] + continuation
        encoder = self._model.encoder
        before = encoder.plain(stem) if stem else (self._prefix,)
        whole = encoder.plain(stem + continuation)
        if stem and whole[: len(before)] == before and len(whole) > len(before):
            after = whole[len(before) :]
        else:
            after = encoder.plain(continuation)[len(self._begin) :]
        return self._fit(before, after)

    def _fit(self, before: Tokens, after: Tokens) -> Pair:
        """The end of both that the model has positions for, at least one token of the context."""
        positions = self._model.engine.positions
        if positions is None:
            return before, after
        after = after[-(positions - 1) :]
        return before[-(positions - len(after)) :], after

    def _score(self, pairs: Sequence[Pair]) -> list[float]:
        """Log-probability of each continuation.

        One-token continuations of one context (A, B, C, D) are read from a single forward pass.
        """
        sums = [0.0] * len(pairs)
        single: dict[Tokens, list[int]] = {}
        longer: list[int] = []
        for index, (before, after) in enumerate(pairs):
            if len(after) == 1:
                single.setdefault(before, []).append(index)
            else:
                longer.append(index)
        with bar(f"Evaluate {self._model.name}", len(pairs)) as advance:
            for contexts in _chunks(sorted(single, key=len)):
                candidates = sorted({pairs[index][1] for context in contexts for index in single[context]})
                table = self._model.engine.score_next(contexts, candidates)
                for context, row in zip(contexts, table, strict=True):
                    of = dict(zip(candidates, row, strict=True))
                    for index in single[context]:
                        sums[index] = of[pairs[index][1]]
                    advance(len(single[context]))
            for indices in _chunks(sorted(longer, key=lambda index: sum(map(len, pairs[index])))):
                rows = self._model.engine.score_sequences([pairs[index][0] + pairs[index][1] for index in indices])
                for index, row in zip(indices, rows, strict=True):
                    count = len(pairs[index][1])
                    sums[index] = sum(row[-count:]) if count else 0.0
                advance(len(indices))
        return sums

    def _greedy(self, pairs: Sequence[Pair], asked: Iterable[int]) -> set[int]:
        """Those of the asked pairs whose continuation is what greedy decoding writes."""
        requests = (Request(str(index), pairs[index][0], len(pairs[index][1]), frozenset()) for index in asked)
        completions = self._model.engine.generate(requests)
        return {int(one.id) for one in completions if one.tokens == pairs[int(one.id)][1]}

    def _wants_greedy(self, name: str) -> bool:
        """Whether a task may look at the greedy flag; plain multiple choice, the bulk of all, does not."""
        task = self._tasks[name]
        metrics = {metric.get("metric") for metric in task.get_config("metric_list") or ()}
        plain = task.get_config("output_type") == "multiple_choice" and task.get_config("process_results") is None
        return not plain or "exact_match" in metrics


class Written(LM):  # type: ignore[misc]
    """Answers that somebody has written already, for tasks that generate."""

    def __init__(self, answers: Mapping[str, str]) -> None:
        """`answers`: by prompt."""
        super().__init__()
        self._answers = answers

    def generate_until(self, requests: list[Any]) -> list[str]:
        """The answers to the prompts; raises UserError for one that has none."""
        for request in requests:
            if request.args[0] not in self._answers:
                what = f"has no answer to `{printable(request.args[0][:80])}` of {request.task_name}."
                raise UserError("the answers", what, "Give one for every prompt, or a --limit.")
        return [self._answers[request.args[0]] for request in requests]

    def loglikelihood(self, requests: list[Any]) -> list[tuple[float, bool]]:
        """Raises UserError: written answers have no likelihoods."""
        what = f"{requests[0].task_name} wants likelihoods, which only a model has."
        raise UserError("the answers", what, "Leave it out, or measure the model that wrote them.")

    def loglikelihood_rolling(self, requests: list[Any]) -> list[float]:
        """Raises UserError, too."""
        return [score for score, _ in self.loglikelihood(requests)]


def _answer(generation: Generation) -> Answer:
    answer = Answer(generation.text)
    answer.cut = generation.cut
    return answer


def _chunks(items: Iterable[Any]) -> Iterator[list[Any]]:
    """Runs of at most AT_ONCE items; the user may stop between two."""
    rest = iter(items)
    while chunk := list(islice(rest, AT_ONCE)):
        drain.stop_here()
        yield chunk
