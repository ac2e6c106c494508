"""A model server that answers at once, so that what is measured is the client: `instant_server.py ANSWERS [--by-seed]`.

ANSWERS is a JSON file: max_tokens of a request -> list of [text, token ids] that are given out in turn, or as the
request's seed says, whatever came before. So a stage is known by its `max_tokens`. Prints its port, and answers
completions and chat completions alike until it is killed.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import sys
from pathlib import Path
from typing import Any

_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
_SEED = re.compile(rb'"seed": ?(\d+)')
_MOST = re.compile(rb'"max_(?:completion_)?tokens": ?(\d+)')

SHORT = (b"0", b"1")
"""What a client asks for that finds out what the server can."""


class Answers:
    """The answers of one stage."""

    def __init__(self, given: list[bytes], by_seed: bool) -> None:
        self._given, self._by_seed, self._turn = given, by_seed, itertools.count()

    def to(self, body: bytes) -> bytes:
        """What a request with this body gets."""
        seed = _SEED.search(body) if self._by_seed else None
        return self._given[(int(seed[1]) if seed else next(self._turn)) % len(self._given)]


class Instant(asyncio.Protocol):
    """One connection; requests may follow each other on it."""

    def __init__(self, completions: dict[bytes, Answers], chats: dict[bytes, Answers]) -> None:
        self._completions, self._chats, self._buffer = completions, chats, b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keeps what is written to."""
        if not isinstance(transport, asyncio.Transport):
            raise TypeError("the connection cannot be written to")
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answers every request that is whole."""
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = self._buffer[:end]
            found = _LENGTH.search(head)
            whole = end + 4 + (int(found[1]) if found else 0)
            if len(self._buffer) < whole:
                return
            body, self._buffer = self._buffer[end + 4 : whole], self._buffer[whole:]
            self._transport.write(self._answer(head.split(b" ", 2)[1], body))

    def _answer(self, path: bytes, body: bytes) -> bytes:
        if path == b"/v1/models":
            return response(json.dumps({"data": [{"id": "instant"}]}).encode())
        most = _MOST.search(body)
        if most is None or path not in (b"/v1/completions", b"/v1/chat/completions"):
            return response(b"{}", b"404 Not Found")
        if most[1] in SHORT:
            reason = "stop" if b'"stop_token_ids"' in body else "length"
            return response(completion("a", [5], reason))
        return (self._chats if path.endswith(b"chat/completions") else self._completions)[most[1]].to(body)


def response(body: bytes, status: bytes = b"200 OK") -> bytes:
    """A whole HTTP answer."""
    head = b"HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % (status, len(body))
    return head + body


def completion(text: str, ids: list[int], reason: str = "stop") -> bytes:
    """The body of a completion."""
    choice = {"index": 0, "text": text, "token_ids": ids, "finish_reason": reason}
    return json.dumps({"id": "1", "choices": [choice]}).encode()


def chat(text: str) -> bytes:
    """The body of a chat completion, with all that the API's own client wants to see."""
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    usage = {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120}
    about = {"id": "1", "object": "chat.completion", "created": 0, "model": "instant", "usage": usage}
    return json.dumps({**about, "choices": [choice]}).encode()


async def main() -> None:
    """Serves on a free port of the loopback."""
    answers: dict[str, list[Any]] = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    by_seed = "--by-seed" in sys.argv
    completions = {
        most.encode(): Answers([response(completion(text, ids)) for text, ids in given], by_seed)
        for most, given in answers.items()
    }
    chats = {
        most.encode(): Answers([response(chat(text)) for text, _ in given], by_seed) for most, given in answers.items()
    }
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Instant(completions, chats), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
