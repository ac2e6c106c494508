"""A model server that answers late, wrongly, half or not at all."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from tests.data import LAMB
from tests.engines.served import Fault, Served, serve
from tests.faults.command import Command
from tests.faults.scene import Journey, Suite

KINDS: dict[str, Fault] = {
    "answers half": Fault(half=True),
    "hangs up": Fault(drop=True),
    "answers what is no JSON": Fault(body=b"<html>It works!</html>"),
    "answers without a choice": Fault(body=json.dumps({"choices": []}).encode()),
    "answers nothing": Fault(body=b""),
    "fails with status 500": Fault(status=500, body=b"boom \x1b[31m"),
    "is too busy (status 429)": Fault(status=429, headers={"Retry-After": "0.2"}),
    "answers late": Fault(late=25.0),
}
EVERY = 29
"""Of so many requests one is struck."""


def _settings(port: int) -> list[str]:
    url = f"engine.server.url=http://127.0.0.1:{port}/v1"
    return ["engine.name=openai", "iterations=1", url, "engine.server.timeout=20", "engine.server.connections=8"]


def answers(suite: Suite, count: int) -> None:
    """Every so many requests struck by one kind of fault; all are tried again."""
    with _server() as (served, port):
        for kind, fault in list(KINDS.items())[:count]:
            journey = Journey(suite, f"server-{kind.replace(' ', '-')}", _settings(port))
            suite.reference(journey.settings)
            struck: list[int] = []

            def strike(number: int, payload: dict[str, Any], fault: Fault = fault, struck: list[int] = struck) -> Any:
                if number % EVERY or len(struck) == 5:
                    return None
                struck.append(number)
                return fault

            served.faults = strike
            ended = journey.go()
            served.faults = lambda number, payload: None
            journey.check(kind, ended, [0])
            for _ in struck:
                journey.strike(f"server {kind}", stage="any")
            journey.end()


def gone(suite: Suite, count: int) -> None:
    """A server that goes away in the middle of a run and comes back when the command is given again."""
    with ExitStack() as stack:
        _, port = stack.enter_context(_server())
        settings = [*_settings(port), "engine.server.retries=1"]
        suite.reference(settings)
        stack.close()
        journey = Journey(suite, "server-gone", settings)
        for number in range(count):
            with _server(port):
                command = Command(journey.words, journey.log)
                time.sleep(2.0 + number)
            ended = command.wait()
            if ended.code != 0:
                journey.check("server gone", ended, [2, 3], f"127.0.0.1:{port}")
                journey.strike("server goes away", ended)
        with _server(port):
            journey.end()


@contextmanager
def _server(port: int = 0) -> Iterator[tuple[Served, int]]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        taken = port or free.getsockname()[1]
    with serve(LAMB, port=taken) as served:
        yield served, taken
