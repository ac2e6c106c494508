"""Requests to a server: many at once and no more than it bears, each again where it fails, and the key nowhere else."""

from __future__ import annotations

import asyncio
import email.utils
import json
import math
import os
import queue
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, Generic, TypeVar
from urllib.parse import urlsplit

import aiohttp

from isheep import drain, watchdog
from isheep.errors import Interrupted, StageError, UserError
from isheep.recipe.settings import ServerSettings
from isheep.terminal import printable

T = TypeVar("T")

ANSWER_LIMIT = 1 << 26
"""Bytes of one answer at most, unpacked: the log-probabilities of a very long prompt take a tenth of it."""

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 30.0
"""Between two tries: the pause doubles from the first to the longest."""

LONGEST_WAIT_S = 600.0
"""A server that asks to be left alone for longer than this stops the run, which a resume goes on with."""

GRACE_S = 10.0
"""Once the user asked to stop, the next answer is waited for no longer than this."""

FIRST_WINDOW = 8

BUSY = (408, 429, 503, 504, 529)
"""Statuses of a server that has too much to do."""
NOT_KNOWN = (405, 501)
"""Statuses of a server that lacks what was asked for, though the second looks like a failure."""


class Refused(Exception):
    """The server understood the request and does not do it: asking again would not help."""

    def __init__(self, status: int, said: str) -> None:
        super().__init__(f"status {status}: {said}")
        self.status, self.said = status, said


class Malformed(Exception):
    """An answer that is not what was asked for."""


class Faltered(Exception):
    """A try that came to nothing and is worth another."""

    def __init__(self, what: str, busy: bool = False, wait: float = 0.0, unreachable: bool = False) -> None:
        """`busy`: the server has too much to do; `wait`: seconds that it asked for; `unreachable`: nobody is there."""
        super().__init__(what)
        self.busy, self.wait, self.unreachable = busy, wait, unreachable


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """One request and how its answer is read."""

    path: str
    """After the url of the API; with a slash before it, after the root of the server."""
    payload: dict[str, Any] | None
    """Sent as JSON; None: a GET."""
    read: Callable[[bytes], T]
    """Raises Malformed."""
    tries: int | None = None
    """At most; None: the settings' `retries` and one."""
    timeout: float | None = None
    """Seconds; None: the settings'."""
    refused: Callable[[Refused], T] | None = None
    """What stands for the answer where the server does not do the request; None: `Refused` is raised."""


class Window:
    """How many requests may be with the server at once, as TCP finds it out.

    It doubles with every round of answers until the server first has too much, then grows by one a round; whenever the
    server has too much it halves, once for all the requests that were under way.
    """

    def __init__(self, most: int) -> None:
        self.most, self.size = most, float(min(FIRST_WINDOW, most))
        self._searching, self._halved, self._active = True, -math.inf, 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def enter(self) -> float:
        """Waits for a place, and returns when it was taken."""
        loop = asyncio.get_running_loop()
        while self._active >= int(self.size):
            place = loop.create_future()
            self._waiting.append(place)
            await place
        self._active += 1
        return loop.time()

    def leave(self) -> None:
        """Gives the place back."""
        self._active -= 1
        free = int(self.size) - self._active
        while self._waiting and free > 0:
            place = self._waiting.popleft()
            if not place.done():
                place.set_result(None)
                free -= 1

    def widen(self) -> None:
        """An answer came."""
        self.size = min(self.most, self.size + (1 if self._searching else 1 / self.size))

    def narrow(self, entered: float) -> None:
        """The server had too much to do for a request that took its place at `entered`."""
        if entered >= self._halved:
            self._searching, self._halved = False, asyncio.get_running_loop().time()
            self.size = max(1.0, self.size / 2)


class Client:
    """A session with one server, in a thread of its own; all its methods belong to the thread that made it."""

    def __init__(self, settings: ServerSettings, where: str = "engine.server") -> None:
        """Starts the thread; nothing is asked yet.

        Args:
            settings: of the server.
            where: the settings' key in the recipe, which messages name.

        Raises:
            UserError: a url or a key that cannot be used.
        """
        self._where = where
        self.url = api_url(settings.url, where)
        self._root = self.url.removesuffix("/v1")
        self._timeout, self._retries = settings.timeout, settings.retries
        self._variable, self._key = settings.key_variable, read_key(settings.key_variable)
        self._window = Window(settings.connections)
        self._met = False
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="server", daemon=True)
        self._thread.start()
        self._session = asyncio.run_coroutine_threadsafe(self._open(), self._loop).result()

    def ask(self, call: Call[T]) -> T:
        """One answer; raises as `each` does."""
        return next(self.each([call]))[1]

    def each(self, calls: Iterable[Call[T]]) -> Iterator[tuple[int, T]]:
        """(number of the call, what was read), as they finish. Pulls calls lazily, never more than may be under way.

        Left early, it drops the requests that are under way.

        Raises:
            Refused: the server does not do one of them.
            StageError: one failed in all its tries; says how at last.
            UserError: the server does not take the key, or was not there from the start.
            Interrupted: the user asked to stop and the server does not answer.
        """
        waiting = iter(enumerate(calls))
        done: queue.SimpleQueue[tuple[int, Any, Exception | None]] = queue.SimpleQueue()
        under_way: set[asyncio.Task[None]] = set()

        async def work(number: int, call: Call[T]) -> None:
            try:
                done.put((number, await self._answer(call), None))
            except Exception as error:
                done.put((number, None, error))

        def start(batch: list[tuple[int, Call[T]]]) -> None:
            for number, call in batch:
                task = self._loop.create_task(work(number, call))
                under_way.add(task)
                task.add_done_callback(under_way.discard)

        count = 0
        ended: list[tuple[int, Any, Exception | None]] = []
        try:
            while True:
                # New requests first: the server works on them while the caller works on what has ended.
                if batch := list(islice(waiting, max(0, int(self._window.size) - count))):
                    self._loop.call_soon_threadsafe(start, batch)
                    count += len(batch)
                for number, answer, error in ended:
                    if error is not None:
                        raise error
                    yield number, answer
                if count == 0:
                    return
                ended = _ended(done)
                count -= len(ended)
        finally:
            if count and not self._loop.is_closed():
                self._loop.call_soon_threadsafe(lambda: [task.cancel() for task in under_way])

    def safe(self, text: str) -> str:
        """What somebody else wrote, fit for a terminal and a log."""
        shown = text.replace(self._key, "(the key)") if self._key else text
        return printable(" ".join(shown.split()))[:300].rstrip(".") or "nothing"

    def close(self) -> None:
        """Ends the session and the thread."""
        if not self._loop.is_closed():
            asyncio.run_coroutine_threadsafe(self._shut(), self._loop).result()
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    async def _open(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=self._window.most),
            headers={"Authorization": f"Bearer {self._key}"} if self._key else None,
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    async def _shut(self) -> None:
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await self._session.close()

    async def _answer(self, call: Call[T]) -> T:
        """Tries until there is an answer, or no try is left."""
        tries = call.tries or self._retries + 1
        for attempt in range(tries):
            entered = await self._window.enter()
            watchdog.beat()
            try:
                answer = await self._send(call)
                self._window.widen()
                return answer
            except Refused as refused:
                if call.refused is None:
                    raise
                return call.refused(refused)
            except Faltered as fault:
                last = fault
                if fault.busy:
                    self._window.narrow(entered)
            finally:
                self._window.leave()
            if last.unreachable and not self._met:
                mend = f"Start the server, or mend {self._where}.url."
                raise UserError(f"{self._where}.url {self.url}", f"cannot be reached: {last}.", mend)
            if last.wait > LONGEST_WAIT_S:
                raise StageError(f"{self.url}: {last}; it asks to be left alone for {last.wait:.0f} s. Go on then.")
            if attempt < tries - 1:
                await asyncio.sleep(pause(attempt, last.wait))
        raise StageError(f"{self.url}: failed in {tries} tries, at last: {last}.")

    async def _send(self, call: Call[T]) -> T:
        """One try.

        Raises:
            Faltered, Refused, UserError: see `each`.
        """
        url = f"{self._root}{call.path}" if call.path.startswith("/") else f"{self.url}/{call.path}"
        method = "GET" if call.payload is None else "POST"
        timeout = aiohttp.ClientTimeout(total=call.timeout or self._timeout)
        try:
            # A redirect could carry the key to somebody else.
            async with self._session.request(
                method, url, json=call.payload, allow_redirects=False, timeout=timeout
            ) as answer:
                self._met = True
                status, headers, body = answer.status, answer.headers, await _body(answer)
            if 200 <= status < 300:
                if self._key and self._key.encode() in body:
                    raise Malformed("an answer that repeats the key")
                return call.read(body)
        except TimeoutError:
            raise Faltered(f"no answer within {timeout.total:g} s", busy=True) from None
        except Malformed as error:
            raise Faltered(f"it sent {error}") from None
        except (aiohttp.ClientError, OSError) as error:
            gone = isinstance(error, aiohttp.ClientConnectorError)
            raise Faltered(f"the connection failed ({self.safe(str(error))})", unreachable=gone) from None
        said = self._said(body)
        if status in (401, 403):
            what = f"takes no request without a valid key (status {status}: {said})."
            raise UserError(self.url, what, f"Put a key of this server into the environment variable {self._variable}.")
        if (status >= 500 and status not in NOT_KNOWN) or status in BUSY:
            wait = retry_after(headers.get("Retry-After", ""))
            raise Faltered(f"status {status}: {said}", busy=status in BUSY, wait=wait)
        raise Refused(status, said)

    def _said(self, body: bytes) -> str:
        """The message of an error, or the beginning of whatever the body holds."""
        text = body[: 1 << 16].decode("utf-8", "replace")
        try:
            found: Any = json.loads(text)
        except (ValueError, RecursionError):
            found = text
        for key in ("error", "message", "detail"):
            if isinstance(found, dict) and key in found:
                found = found[key]
        return self.safe(found if isinstance(found, str) else text)


def api_url(url: str, where: str = "engine.server") -> str:
    """The url up to and with `/v1`, which is added where there is no path; `where` is its settings' key.

    Raises:
        UserError: no url of a server, or one with a password or a query in it; it is not repeated then.
    """
    mend = "Give one like http://127.0.0.1:8000/v1."
    try:
        parts = urlsplit(url)
        if "@" in parts.netloc or parts.query or parts.fragment:
            what = "holds a user name, a password or a query, which would be written into the run."
            mend = f"Leave them out; a key belongs into the environment variable {where}.key_variable."
            raise UserError(f"{where}.url", what, mend)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0:
            raise UserError(f"{where}.url", f"{url} is no http or https address.", mend)
    except ValueError:
        raise UserError(f"{where}.url", "is no address.", mend) from None
    return url.rstrip("/") if parts.path.strip("/") else f"{parts.scheme}://{parts.netloc}/v1"


def read_key(variable: str) -> str | None:
    """The key in that environment variable, None where it is unset or empty; raises UserError if it is no key."""
    key = os.environ.get(variable, "").strip()
    if not (key.isascii() and key.isprintable()):
        what = "holds characters that no key has."
        raise UserError(f"environment variable {variable}", what, "Set it to the key alone.")
    return key or None


def retry_after(header: str) -> float:
    """Seconds that a `Retry-After` header asks for, as a number or as a date; 0 where it does not tell."""
    try:
        seconds = float(header)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(header).timestamp() - time.time()
        except (ValueError, OverflowError):
            return 0.0
    return max(0.0, seconds) if math.isfinite(seconds) else 0.0


def pause(attempt: int, wait: float) -> float:
    """Seconds before the next try: longer each time, and never the same for all who failed together."""
    longest: float = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(attempt, 30))
    # S311: no secret: clients that failed together part again.
    return max(wait, longest / 2) + random.random() * longest / 2  # noqa: S311


async def _body(answer: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for chunk in answer.content.iter_any():
        body += chunk
        if len(body) > ANSWER_LIMIT:
            raise Malformed(f"more than {ANSWER_LIMIT >> 20} MiB")
    return bytes(body)


def _ended(done: queue.SimpleQueue[T]) -> list[T]:
    """All that have ended, at least one; only once the user asked to stop, the time that it may take is bounded."""
    found: list[T] = []
    left = GRACE_S
    while not found:
        try:
            found.append(done.get(timeout=1.0))
        except queue.Empty:
            left -= drain.wanted()
            if left <= 0:
                what = "stopped by the user while the server did not answer; everything finished so far is kept"
                raise Interrupted(what) from None
    while not done.empty():
        found.append(done.get())
    return found
