"""Who may ask a server of ours: this machine's own pages, and only with a token for what changes or spends.

A page of another site can send requests to a server on the loopback, and a host name of its own can be made to lead
there. So a guard stands before every application: it looks at Host and Origin, and at a token that only the user has.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qs, urlsplit

LOOPBACK = "127.0.0.1"
"""Where a server of ours listens unless it is told otherwise: nobody else's machine reaches it."""
LOCAL_NAMES = (LOOPBACK, "localhost", "[::1]")
OTHERS = ("cross-site", "same-site")
"""What browsers say of requests that another origin's page sends; a link that the user follows is no such request."""
READING = frozenset({"GET", "HEAD", "OPTIONS"})
HEADER, QUERY = "x-isheep-token", "token"
"""Where the token may stand besides a cookie: in a header, or in the link with which the user comes first."""

ANSWERS = {
    "content-security-policy": "frame-ancestors 'none'",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}
"""Headers of every answer: no page of others shows ours, and the link with the token is told to nobody."""

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]


def new_token() -> str:
    """A token that nobody can guess, for one life of a server."""
    return secrets.token_urlsafe(32)


def cookie_name(port: int) -> str:
    """The cookie of the token. Browsers keep cookies of one host together whatever the port, and servers apart so."""
    return f"isheep_token_{port}"


class Guard:
    """An ASGI application around another one, which it lets nobody reach who may not.

    Refuses, with status 403 (WebSockets: before they are accepted): another Host than those it answers to, another
    Origin, and, without the token, every method but GET, HEAD and OPTIONS, every WebSocket, and paths that spend.
    """

    def __init__(
        self, application: Application, token: str, port: int, names: Iterable[str] = (), spends: Iterable[str] = ()
    ) -> None:
        """Guards an application.

        Args:
            application: ASGI 3.
            token: see `new_token`.
            port: on which the server listens.
            names: host names by which others may reach it, where the user said so; the loopback's always may.
            spends: beginnings of paths that want the token even for reading.
        """
        self._application, self._token, self._spends = application, token, tuple(spends)
        self._cookie = cookie_name(port)
        self._hosts = {f"{name}:{port}" for name in (*LOCAL_NAMES, *names)}
        if port in (80, 443):
            self._hosts |= {*LOCAL_NAMES, *names}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request, or hands it on."""
        if scope["type"] not in ("http", "websocket"):
            await self._application(scope, receive, send)
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        linked = parse_qs(scope.get("query_string", b"").decode("latin-1")).get(QUERY, [""])[-1]
        if why := self._refusal(scope, headers, linked):
            await _refuse(scope, why, send)
            return
        cookie = f"{self._cookie}={self._token}; HttpOnly; SameSite=Strict; Path=/" if self._is_token(linked) else None
        await self._application(scope, receive, _with_headers(send, cookie))

    def _refusal(self, scope: Scope, headers: Mapping[str, str], linked: str) -> str | None:
        if headers.get("host", "").lower() not in self._hosts:
            return "This server does not answer to that host name."
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc.lower() not in self._hosts:
            return "Pages of another origin may not ask this server."
        # Of what a page merely shows or fetches blindly browsers tell no origin, but that it is another site's.
        if headers.get("sec-fetch-site") in OTHERS and headers.get("sec-fetch-mode") != "navigate":
            return "Pages of another origin may not ask this server."
        reads = scope["type"] == "http" and scope["method"] in READING
        if reads and not scope["path"].startswith(self._spends or ("\0",)):
            return None
        if any(
            map(self._is_token, (headers.get(HEADER, ""), _cookie(headers.get("cookie", ""), self._cookie), linked))
        ):
            return None
        return "This needs the token: open the link that the command printed."

    def _is_token(self, given: str) -> bool:
        # In a time that tells nothing of how much of it is right.
        return secrets.compare_digest(given.encode("utf-8", "surrogatepass"), self._token.encode())


def _cookie(header: str, name: str) -> str:
    try:
        found = SimpleCookie(header).get(name)
    except CookieError:
        return ""
    return found.value if found is not None else ""


async def _refuse(scope: Scope, why: str, send: Send) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008, "reason": why})
        return
    headers = [(b"content-type", b"text/plain; charset=utf-8"), *_encoded(ANSWERS)]
    await send({"type": "http.response.start", "status": 403, "headers": headers})
    await send({"type": "http.response.body", "body": f"{why}\n".encode()})


def _with_headers(send: Send, cookie: str | None) -> Send:
    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = list(message.get("headers", ()))
            own = {name.lower() for name, _ in headers}
            headers += [one for one in _encoded(ANSWERS) if one[0] not in own]
            message["headers"] = [*headers, *([(b"set-cookie", cookie.encode())] if cookie else [])]
        await send(message)

    return sent


def _encoded(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.encode(), value.encode()) for name, value in headers.items()]
