"""A web application on the loopback, in a thread of its own: the servers that tests ask live so."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

from aiohttp import web


@contextmanager
def served(
    application: Callable[[], web.Application],
    port: int = 0,
    beside: Callable[[], Coroutine[Any, Any, None]] | None = None,
) -> Iterator[str]:
    """Serves what `application` makes, while `beside` works in the same loop.

    Args:
        application: called in the loop's thread.
        port: of the loopback; 0: a free one.
        beside: ended with the server.

    Yields:
        Its url, which ends with `/v1`.
    """
    loop, ready, stop, urls = asyncio.new_event_loop(), threading.Event(), asyncio.Event(), list[str]()

    async def live() -> None:
        runner = web.AppRunner(application(), access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        urls.append(f"http://127.0.0.1:{runner.addresses[0][1]}/v1")
        worker = asyncio.create_task(beside()) if beside else None
        ready.set()
        await stop.wait()
        if worker:
            worker.cancel()
        await runner.cleanup()

    thread = threading.Thread(target=loop.run_until_complete, args=(live(),), daemon=True)
    thread.start()
    if not ready.wait(60):
        raise RuntimeError("the server did not start")
    try:
        yield urls[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
