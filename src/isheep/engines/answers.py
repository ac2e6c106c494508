"""What a server answered, made into numbers. A server may send anything: what is not as it should be is Malformed."""

from __future__ import annotations

import json
import re
from typing import Any

from isheep.engines.http import Malformed

_TOKEN = re.compile(r"token_id:(\d{1,9})")
"""How servers spell a token that is asked for by its number."""

_ROUNDING = 1e-3
"""A log-probability may be greater than 0 by so much."""


def models(body: bytes) -> list[dict[str, Any]]:
    """The models that a server lists, each with an `id` that is text."""
    listed = _get(_document(body), "data", list)
    return [model for model in listed if isinstance(model, dict) and isinstance(model.get("id"), str)]


def choice(body: bytes) -> dict[str, Any]:
    """The only completion of an answer."""
    choices = _get(_document(body), "choices", list)
    if len(choices) != 1 or not isinstance(choices[0], dict):
        raise Malformed(f"{len(choices)} completions for one request")
    return choices[0]


def accepted(found: dict[str, Any]) -> dict[str, Any]:
    """The completion as it is: that one came says enough."""
    return found


def prompt_length(body: bytes) -> int | None:
    """How many tokens the server read, None where it does not tell."""
    usage = _document(body).get("usage")
    count = usage.get("prompt_tokens") if isinstance(usage, dict) else None
    return count if isinstance(count, int) and not isinstance(count, bool) else None


def finish_reason(found: dict[str, Any]) -> str:
    """`stop` or `length`."""
    reason = found.get("finish_reason")
    if reason not in ("stop", "length"):
        raise Malformed(f"the finish reason {str(reason)[:40]!r}")
    return str(reason)


def text(found: dict[str, Any]) -> str:
    """What was written."""
    return str(_get(found, "text", str))


def spoken(found: dict[str, Any]) -> str:
    """What was said in a conversation; empty where nothing was (a model that only thought, say)."""
    content = _get(found, "message", dict).get("content")
    if content is not None and not isinstance(content, str):
        raise Malformed("a message that is no text")
    return content or ""


def likeliest(found: dict[str, Any]) -> list[dict[str, float]] | None:
    """Of each token that was said the likeliest ones, text -> log-probability; None where the server tells none."""
    told = found.get("logprobs")
    steps = told.get("content") if isinstance(told, dict) else None
    if not isinstance(steps, list) or not steps:
        return None
    rows: list[dict[str, float]] = []
    for step in steps:
        ranked = _get(step if isinstance(step, dict) else {}, "top_logprobs", list)
        rows.append({_get(one, "token", str): _log_probability(one.get("logprob")) for one in map(_object, ranked)})
    return rows


def token_ids(found: dict[str, Any], rows: int, most: int) -> tuple[int, ...]:
    """The tokens that were written, with the stop token if it is among them.

    Args:
        found: a completion.
        rows: token ids are below it.
        most: tokens that were asked for.
    """
    ids = _get(found, "token_ids", list)
    if len(ids) > most:
        raise Malformed(f"{len(ids)} tokens where {most} were asked for")
    if not all(type(number) is int and 0 <= number < rows for number in ids):
        raise Malformed("token ids outside the vocabulary")
    return tuple(ids)


def next_tokens(found: dict[str, Any]) -> dict[int, float]:
    """Token id -> log-probability, of those that the server told about the first token that it wrote."""
    steps = _get(_get(found, "logprobs", dict), "top_logprobs", list)
    if not steps or not isinstance(steps[0], dict):
        raise Malformed("no log-probabilities")
    told = ((_TOKEN.fullmatch(name), value) for name, value in steps[0].items())
    return {int(name[1]): _log_probability(value) for name, value in told if name}


def echoed(found: dict[str, Any], count: int) -> list[float]:
    """The log-probabilities of tokens 1..count-1 of a prompt of `count` tokens that the server repeated."""
    values = _get(_get(found, "logprobs", dict), "token_logprobs", list)
    if len(values) not in (count, count + 1):
        raise Malformed(f"log-probabilities of {len(values)} tokens where the prompt has {count}")
    return [_log_probability(value) for value in values[1:count]]


def _document(body: bytes) -> dict[str, Any]:
    try:
        document: Any = json.loads(body)
    except (ValueError, RecursionError):
        raise Malformed("what is no JSON") from None
    return _object(document)


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Malformed("JSON that is no object")
    return value


def _get(document: dict[str, Any], key: str, kind: type) -> Any:
    value = document.get(key)
    if not isinstance(value, kind):
        raise Malformed(f"no `{key}`, or a wrong one")
    return value


def _log_probability(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not -1e30 < value <= _ROUNDING:
        raise Malformed("a log-probability that is none")
    return min(0.0, float(value))
