"""Servers of ours: other hosts, other origins and whoever lacks the token are refused, over a real socket, too."""

from __future__ import annotations

import asyncio
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from aiohttp import web

from isheep.guard import HEADER, LOOPBACK, Guard, Message, Receive, Scope, Send, cookie_name, new_token
from tests.browser import CHROMIUM, NEEDS_BROWSER
from tests.serving import served

PORT = 8123
TOKEN = "what-only-the-user-has-0123456789-ABCxyz"  # noqa: S105  # the same for every worker of a test run
COOKIE = cookie_name(PORT)


def header(token: str = TOKEN) -> Any:
    """The token as a request's header."""
    return {HEADER: token}


@dataclass
class Counter:
    """An application that remembers who reached it."""

    reached: list[str] = field(default_factory=list)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.reached.append(f"{scope.get('method', scope['type'])} {scope['path']}")
        if scope["type"] == "websocket":
            await send({"type": "websocket.accept"})
            return
        own = [(b"content-type", b"text/plain"), (b"set-cookie", b"own=1")]
        await send({"type": "http.response.start", "status": 200, "headers": own})
        await send({"type": "http.response.body", "body": b"reached"})


def asked(
    method: str = "GET", path: str = "/", query: str = "", kind: str = "http", port: int = PORT, **headers: Any
) -> tuple[list[Message], Counter]:
    """What a guarded application answers to a request, `host` aside to one of its own pages."""
    application, told = Counter(), list[Message]()
    guard = Guard(application, TOKEN, port, names=["box.lan"], spends=["/chat"])

    async def send(message: Message) -> None:
        told.append(message)

    async def receive() -> Message:
        return {"type": "http.request", "body": b""}

    given = {"host": f"{LOOPBACK}:{port}", **{name.replace("_", "-"): value for name, value in headers.items()}}
    encoded = [(name.encode(), value.encode("utf-8", "surrogateescape")) for name, value in given.items()]
    scope = {"type": kind, "method": method, "path": path, "query_string": query.encode(), "headers": encoded}
    if kind == "websocket":
        del scope["method"]
    asyncio.run(guard(scope, receive, send))
    return told, application


def is_refused(answer: tuple[list[Message], Counter]) -> bool:
    told, application = answer
    refused = told[0].get("status") == 403 or told[0]["type"] == "websocket.close"
    assert refused != bool(application.reached)
    return refused


@pytest.mark.parametrize(
    "host", ["evil.example", f"evil.example:{PORT}", "127.0.0.1:1", "127.0.0.1", "", f"127.0.0.1:{PORT}.evil.example"]
)
def test_a_host_name_that_was_made_to_lead_here_is_refused(host: str) -> None:
    assert is_refused(asked(host=host))


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]", "LOCALHOST", "box.lan"])
def test_the_loopback_and_the_names_that_the_user_gave_are_answered(host: str) -> None:
    assert not is_refused(asked(host=f"{host}:{PORT}"))
    assert is_refused(asked(host=host))
    assert not is_refused(asked(host=host, port=80))


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://127.0.0.1:1", "http://localhost", "", "file://", "nonsense"]
)
@pytest.mark.parametrize("token", ["", TOKEN])
def test_a_page_of_another_origin_is_refused_with_or_without_the_token(origin: str, token: str) -> None:
    for method in ("GET", "POST"):
        assert is_refused(asked(method, origin=origin, **header(token)))
    assert is_refused(asked(kind="websocket", origin=origin, **header(token)))


def test_what_another_page_shows_without_an_origin_is_refused_and_a_link_is_not() -> None:
    for site in ("cross-site", "same-site"):
        assert is_refused(asked(sec_fetch_site=site, sec_fetch_mode="no-cors", **header()))
        assert not is_refused(asked(sec_fetch_site=site, sec_fetch_mode="navigate"))
    assert not is_refused(asked(sec_fetch_site="same-origin", sec_fetch_mode="cors"))


def test_reading_needs_no_token_but_for_paths_that_spend() -> None:
    for method in ("GET", "HEAD", "OPTIONS"):
        assert not is_refused(asked(method, origin=f"http://localhost:{PORT}"))
        assert is_refused(asked(method, path="/chat/stream"))
        assert not is_refused(asked(method, path="/chat/stream", **header()))


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "TRACE", "post", "CONNECT"])
@pytest.mark.parametrize("wrong", ["", TOKEN[:-1], f"{TOKEN}x", TOKEN.swapcase(), "\udcff"])
def test_what_changes_needs_the_token(method: str, wrong: str) -> None:
    assert is_refused(asked(method))
    assert is_refused(asked(method, **header(wrong)))
    assert is_refused(asked(method, cookie=f"{COOKIE}={wrong}"))
    assert not is_refused(asked(method, **header()))
    assert not is_refused(asked(method, cookie=f"other=1; {COOKIE}={TOKEN}"))


def test_a_websocket_needs_the_token() -> None:
    assert is_refused(asked(kind="websocket"))
    assert not is_refused(asked(kind="websocket", cookie=f"{COOKIE}={TOKEN}"))


def test_a_server_on_another_port_has_a_cookie_of_its_own() -> None:
    other = f"{cookie_name(PORT + 1)}={TOKEN}"
    assert is_refused(asked("POST", cookie=other))
    assert not is_refused(asked("POST", cookie=f"{other}x; {COOKIE}={TOKEN}"))


def test_the_first_link_leaves_a_cookie_that_no_other_site_and_no_script_can_use() -> None:
    told, _ = asked(query=f"token={TOKEN}")
    cookies = [value.decode() for name, value in told[0]["headers"] if name == b"set-cookie"]
    assert cookies == ["own=1", f"{COOKIE}={TOKEN}; HttpOnly; SameSite=Strict; Path=/"]
    told, _ = asked(query="token=wrong")
    assert [value for name, value in told[0]["headers"] if name == b"set-cookie"] == [b"own=1"]


def test_every_answer_keeps_other_pages_out() -> None:
    for answer in (asked(), asked(host="evil.example")):
        headers = dict(answer[0][0]["headers"])
        assert headers[b"x-content-type-options"] == b"nosniff"
        assert headers[b"referrer-policy"] == b"no-referrer"
        assert headers[b"content-security-policy"] == b"frame-ancestors 'none'"


def test_tokens_are_long_and_never_the_same() -> None:
    assert len({new_token() for _ in range(100)}) == 100
    assert all(len(new_token()) >= 40 for _ in range(10))


@dataclass
class Running:
    """A guarded application on a real socket."""

    url: str
    application: Counter


@pytest.fixture
def running() -> Iterator[Running]:
    counter = Counter()
    guards: list[Guard] = []

    async def bridge(request: web.Request) -> web.Response:
        told: list[Any] = []

        async def send(message: Message) -> None:
            told.append(message)

        async def receive() -> Message:
            return {"type": "http.request", "body": await request.read()}

        scope = {
            "type": "http",
            "method": request.method,
            "path": request.path,
            "query_string": request.query_string.encode(),
            "headers": [(name.lower().encode(), value.encode()) for name, value in request.headers.items()],
        }
        await guards[0](scope, receive, send)
        headers = {name.decode(): value.decode() for name, value in told[0]["headers"]}
        return web.Response(status=told[0]["status"], body=told[1]["body"], headers=headers)

    def application() -> web.Application:
        made = web.Application()
        made.router.add_route("*", "/{path:.*}", bridge)
        return made

    with served(application) as url:
        guards.append(Guard(counter, TOKEN, int(url.rpartition(":")[2].partition("/")[0])))
        yield Running(url.removesuffix("/v1"), counter)


def status_of(url: str, method: str, **headers: str) -> int:
    request = Request(url, method=method, headers=headers)  # noqa: S310  # ours
    try:
        with urlopen(request, timeout=30) as answer:  # noqa: S310  # ours
            return int(answer.status)
    except HTTPError as error:
        return error.code


def test_over_a_socket(running: Running) -> None:
    assert status_of(running.url, "GET") == 200
    assert status_of(running.url, "GET", Host="evil.example") == 403
    assert status_of(running.url, "GET", Origin="http://evil.example") == 403
    assert status_of(running.url, "POST") == 403
    assert status_of(running.url, "POST", **header()) == 200
    assert status_of(running.url, "POST", Origin="http://evil.example", **header()) == 403
    assert running.application.reached == ["GET /", "POST /"]


PAGE = """<script>
const asks = [fetch('URL/', {method: 'POST', mode: 'no-cors'}), fetch('URL/chat?token=guess', {mode: 'no-cors'}),
              fetch('URL/', {method: 'POST', headers: {'x-isheep-token': 'guess'}})];
Promise.allSettled(asks).then(() => { document.title = 'asked'; });
</script>"""


@NEEDS_BROWSER
def test_a_page_of_another_origin_in_a_browser_reaches_nothing(running: Running, tmp_path: Path) -> None:
    done = threading.Event()

    async def page(request: web.Request) -> web.Response:
        done.set()
        return web.Response(text=PAGE.replace("URL", running.url), content_type="text/html")

    def elsewhere() -> web.Application:
        made = web.Application()
        made.router.add_get("/{path:.*}", page)
        return made

    with served(elsewhere) as url:
        options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}", "--dump-dom"]
        command = [str(CHROMIUM), *options, "--virtual-time-budget=5000", url]
        shown = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout
    assert done.is_set()
    assert "<title>asked</title>" in shown
    assert running.application.reached == []
