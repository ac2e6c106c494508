"""A judge's server of the OpenAI kind: answers `/v1/chat/completions` by a rule, over real HTTP, and counts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from tests.serving import served

NAME, KEY = "the-judge", "sk-a-secret-key"


@dataclass(frozen=True, slots=True)
class Reply:
    """What the server sends."""

    text: str | None = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | None = None
    """Sent as it is."""
    likeliest: dict[str, float] | None = None
    """Of the first token, where the request asks for it."""


Rule = Callable[[int, dict[str, Any]], Reply]
"""(number of the request, its payload) -> the reply."""


class JudgeServer:
    """The running server, as tests see it."""

    def __init__(self, rule: Rule, key: str | None) -> None:
        self.rule, self.url, self._key = rule, "", key
        self.requests: list[dict[str, Any]] = []
        """Payloads of what was to be judged; the single tokens that show that a judge is there are left out."""
        self.probes = 0

    async def answer(self, request: web.Request) -> web.Response:
        payload = await request.json()
        if self._key and request.headers.get("Authorization") != f"Bearer {self._key}":
            return _error(401, f"Incorrect API key provided: {request.headers.get('Authorization')}.")
        if payload["model"] != NAME:
            return _error(404, f"The model `{payload['model']}` does not exist.")
        probe = payload["messages"][-1]["content"] == "Say yes."
        number = len(self.requests)
        if probe:
            self.probes += 1
        else:
            self.requests.append(payload)
        reply = self.rule(-1 if probe else number, payload)
        if reply.body is not None or reply.status != 200:
            return web.Response(status=reply.status, headers=reply.headers, body=reply.body or b"")
        choice: dict[str, Any] = {"index": 0, "finish_reason": "stop"}
        choice["message"] = {"role": "assistant", "content": reply.text}
        if reply.likeliest is not None and payload.get("logprobs"):
            top = [{"token": token, "logprob": value} for token, value in reply.likeliest.items()]
            choice["logprobs"] = {"content": [{"token": top[0]["token"], "logprob": 0.0, "top_logprobs": top}]}
        return web.json_response({"object": "chat.completion", "choices": [choice]})


def _error(status: int, message: str) -> web.Response:
    return web.json_response({"error": {"message": message}}, status=status)


@contextmanager
def judging(rule: Rule, key: str | None = None) -> Iterator[JudgeServer]:
    """Serves in a thread of its own; yields the server, which listens on `url`."""
    server = JudgeServer(rule, key)

    def application() -> web.Application:
        made = web.Application(client_max_size=1 << 26)
        made.router.add_post("/v1/chat/completions", server.answer)
        return made

    with served(application) as server.url:
        yield server


def judged_by(server: JudgeServer, *settings: str) -> list[str]:
    """The settings with which the server judges, and more of `evaluate.judge`."""
    own = [f"evaluate.judge.{setting}" for setting in settings]
    return [f"evaluate.judge.url={server.url}", f"evaluate.judge.model={NAME}", *own]
