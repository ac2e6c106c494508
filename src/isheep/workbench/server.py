"""The workbench on a socket: uvicorn under our guard, with nothing of gradio reachable that the pages do not need."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from isheep.errors import UserError
from isheep.guard import LOOPBACK, QUERY, Application, Guard, Message, Receive, Scope, Send, new_token
from isheep.progress import say

PORT = 7861

SETTINGS = {
    "GRADIO_ANALYTICS_ENABLED": "False",
    "GRADIO_RUN_HISTORY": "False",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_OFFLINE": "1",
}
"""Set before gradio is imported: it asks nobody for anything."""

PAGES = frozenset({"/", "/theme.css", "/favicon.ico", "/manifest.json", "/config"})
FOLDERS = ("/assets/", "/static/", "/gradio_api/queue/", "/gradio_api/heartbeat/")
CALLS = frozenset(
    {f"/gradio_api/{name}" for name in ("startup-events", "cancel", "reset", "app_id", "theme.css", "info")}
)
"""All that the pages ask for. Files by path, uploads, proxies, documentation and the rest of gradio are not there."""


class Narrow:
    """An ASGI application around gradio's: the paths above and no other, and a policy that browsers hold.

    Scripts run when they come from here or carry the answer's own number, so markup that found its way into a page
    runs nothing. `unsafe-eval` is what gradio's HTML component makes its template with; it evaluates no text of ours.
    """

    def __init__(self, application: Application) -> None:
        self._application = application

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request, or says that there is nothing."""
        if scope["type"] == "lifespan":
            await self._application(scope, receive, send)
            return
        path = scope["path"]
        if scope["type"] != "http" or not (path in PAGES or path in CALLS or path.startswith(FOLDERS)) or ".." in path:
            await _nothing(scope, send)
            return
        await self._application(scope, receive, _Page(send).send if path == "/" else send)


class _Page:
    """Holds an answer back until it is whole, and puts the number of its scripts into it."""

    def __init__(self, send: Send) -> None:
        self._send, self._body = send, b""
        self._start: Message = {}

    async def send(self, message: Message) -> None:
        """Takes a message of the application."""
        if message["type"] == "http.response.start":
            self._start = message
            return
        self._body += message.get("body", b"")
        if message.get("more_body"):
            return
        number = secrets.token_urlsafe(16)
        body = self._body.replace(b"<script", f'<script nonce="{number}"'.encode())
        own = (b"content-length", b"content-security-policy")
        headers = [one for one in self._start["headers"] if one[0].lower() not in own]
        headers += [(b"content-length", str(len(body)).encode()), (b"content-security-policy", _policy(number))]
        await self._send({**self._start, "headers": headers})
        await self._send({"type": "http.response.body", "body": body})


def _policy(number: str) -> bytes:
    scripts = f"script-src 'self' 'nonce-{number}' 'unsafe-eval'"
    rest = (
        "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; worker-src 'self' blob:"
    )
    none = "object-src 'none'; form-action 'none'; base-uri 'self'; frame-ancestors 'none'"
    return f"default-src 'self'; {scripts}; {rest}; {none}".encode()


async def _nothing(scope: Scope, send: Send) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008})
        return
    headers = [(b"content-type", b"text/plain; charset=utf-8")]
    await send({"type": "http.response.start", "status": 404, "headers": headers})
    await send({"type": "http.response.body", "body": b"There is nothing here.\n"})


def serve(directories: Sequence[Path], port: int = PORT, host: str = LOOPBACK) -> None:
    """Serves the workbench until Ctrl-C.

    Args:
        directories: of the runs.
        port: 0 for any that is free.
        host: the address to listen at; another than the loopback lets other machines in that have the token.

    Raises:
        UserError: gradio is not installed, a directory is no run, or the port is taken.
    """
    if find_spec("gradio") is None:
        raise UserError("isheep ui", "needs gradio, which is not installed.", "Install it: pip install 'isheep[ui]'.")
    from isheep.workbench.opened import open_all
    from isheep.workbench.talk import Talk

    runs = open_all(directories)
    os.environ |= SETTINGS
    listening = _listen(host, port)
    port = listening.getsockname()[1]
    token, talk = new_token(), Talk()
    names = () if host == LOOPBACK else _names(host)
    guarded = Guard(application(runs, talk), token, port, names=names, spends=("/",))
    at = names[0] if names else LOOPBACK
    say(f"The workbench is at http://{at}:{port}/?{QUERY}={token}\nWho has this link sees the runs. Ctrl-C ends it.")
    try:
        _run(guarded, listening)
    finally:
        talk.stop()
        talk.close()


def application(runs: Any, talk: Any) -> Application:
    """The pages without the guard."""
    import gradio
    from fastapi import FastAPI

    from isheep.workbench.app import build, css, theme

    outer = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    mounted = gradio.mount_gradio_app(
        outer,
        build(runs, talk),
        path="/",
        footer_links=[],
        run_history=False,
        show_error=False,
        ssr_mode=False,
        enable_monitoring=False,
        mcp_server=False,
        pwa=False,
        theme=theme(),
        css=css(),
    )
    return Narrow(mounted)


def _run(guarded: Application, listening: socket.socket) -> None:
    import uvicorn

    config = uvicorn.Config(guarded, log_level="critical", access_log=False, ws="none", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)

    def end(number: int, frame: object) -> None:
        # At once: what a page still waits for is nobody's loss.
        server.should_exit = server.force_exit = True

    server.handle_exit = end
    server.run(sockets=[listening])


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.socket(family)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind((host, port))
        made.listen()
    except OSError as error:
        made.close()
        what = f"cannot be listened at ({error.strerror})."
        raise UserError(
            f"{host}:{port}", what, "Give another --port, or 0 for any that is free; or mend --host."
        ) from None
    return made


def _names(host: str) -> tuple[str, ...]:
    """By which others may reach a server that listens there: of every address, those that this machine goes by."""
    if host not in ("0.0.0.0", "::"):  # noqa: S104  # compared, not listened at
        return (f"[{host}]" if ":" in host else host,)
    own = socket.gethostname()
    try:
        found = [str(one[4][0]) for one in socket.getaddrinfo(own, None)]
    except OSError:
        found = []
    return tuple(dict.fromkeys([own, *(f"[{one}]" if ":" in one else one for one in found)]))
