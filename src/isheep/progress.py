"""How far a long stage is: a bar on stderr, or a plain line now and then where stderr is no terminal."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console
from rich.progress import BarColumn, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from rich.text import Text

from isheep import watchdog
from isheep.secrecy import without_secrets
from isheep.terminal import printable

CONSOLE = Console(stderr=True, markup=False, emoji=False)
"""The one console for everything that is no result, so that a log line and a bar do not write into each other."""

LINE_EVERY_S = 15.0
TOLD_EVERY_S = 1.0
"""Seconds between two tellings of what one bar has done; of its beginning and its end is always told."""

Advance = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far what is under way is."""

    what: str
    done: int
    total: int | None
    """None where nobody knows."""
    rate: float | None
    """Things per second of this command; None while nothing is done."""


Tell = Callable[[Progress], None]
_tell: Tell | None = None

Hear = Callable[[str], None]
_hear: Hear | None = None


def say(message: str) -> None:
    """Prints a message of one line or several, none of which a terminal acts upon or breaks, and no secret in them."""
    if _hear is not None:
        _hear(message)
    lines = "\n".join(printable(line) for line in without_secrets(message).split("\n"))
    CONSOLE.print(lines, highlight=False, soft_wrap=True)


@contextmanager
def told_to(tell: Tell) -> Iterator[None]:
    """Within the block `tell` is told what is under way, too: as each bar begins and ends, and now and then between."""
    global _tell
    before, _tell = _tell, tell
    try:
        yield
    finally:
        _tell = before


@contextmanager
def heard_by(hear: Hear) -> Iterator[None]:
    """Within the block `hear` is told what is said, too."""
    global _hear
    before, _hear = _hear, hear
    try:
        yield
    finally:
        _hear = before


@contextmanager
def bar(what: str, total: int | None, done: int = 0, console: Console = CONSOLE) -> Iterator[Advance]:
    """Shows what is done, how many of `total` (None: unknown), the rate per second and the time left.

    Args:
        what: the stage, such as `Synthesize 1`.
        total: how many there will be, those of an earlier command included.
        done: how many an earlier command made; they do not count for the rate.
        console: where to; stderr unless told.

    Yields:
        A function that is called with the number of things just done.
    """
    what = printable(what)
    shown = _rich_bar if console.is_terminal else _line_bar
    with watchdog.under_way(what), _told(what, total, done) as note, shown(what, total, done, console) as show:

        def advance(number: int) -> None:
            watchdog.beat()
            show(number)
            note(number)

        yield advance


@contextmanager
def _told(what: str, total: int | None, done: int) -> Iterator[Advance]:
    """Tells `_tell`, where there is one, what the bar shows."""
    told = _Told(what, total, done)
    try:
        yield told.advance
    finally:
        told.tell()


class _Told:
    """What a bar has done, for who is told of it."""

    def __init__(self, what: str, total: int | None, done: int) -> None:
        self._what, self._total = what, total
        self._before = self._done = done
        self._start = time.monotonic()
        self.tell()

    def advance(self, number: int) -> None:
        self._done += number
        if time.monotonic() - self._last >= TOLD_EVERY_S:
            self.tell()

    def tell(self) -> None:
        self._last = time.monotonic()
        if _tell is not None:
            rate = _per_second(self._done - self._before, self._last - self._start)
            _tell(Progress(self._what, self._done, self._total, rate))


@contextmanager
def _line_bar(what: str, total: int | None, done: int, console: Console) -> Iterator[Advance]:
    lines = _Lines(what, total, done, console)
    try:
        yield lines.advance
    finally:
        lines.end()


@contextmanager
def _rich_bar(what: str, total: int | None, done: int, console: Console) -> Iterator[Advance]:
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        _Count(),
        _Rate(),
        TimeRemainingColumn(compact=True),
    )
    # stdout stays as it is: it may be a pipe that takes JSON.
    with Bars(*columns, console=console, redirect_stdout=False) as bars:
        task = bars.add_task(what, total=total, completed=done)
        yield lambda number: bars.advance(task, number)


class _Count(ProgressColumn):
    """`done/total`."""

    def render(self, task: Task) -> Text:
        return Text(_count(int(task.completed), None if task.total is None else int(task.total)))


class _Rate(ProgressColumn):
    """Things per second; nothing before it is known."""

    def render(self, task: Task) -> Text:
        return Text(_rate(task.finished_speed or task.speed))


class _Lines:
    """The same figures as plain lines: one each `LINE_EVERY_S` seconds, and a last one."""

    def __init__(self, what: str, total: int | None, done: int, console: Console) -> None:
        self._what, self._total, self._console = what, total, console
        self._before = self._done = done
        self._start = self._last = time.monotonic()

    def advance(self, number: int) -> None:
        self._done += number
        now = time.monotonic()
        if now - self._last >= LINE_EVERY_S:
            self._last = now
            self._print(now, ended=False)

    def end(self) -> None:
        self._print(time.monotonic(), ended=True)

    def _print(self, now: float, *, ended: bool) -> None:
        made, seconds = self._done - self._before, now - self._start
        rate = _per_second(made, seconds)
        reached = Progress(self._what, self._done, self._total, rate)
        line = sentence(reached, f"{clock(seconds)} in all" if ended else left(reached))
        self._console.print(Text(line), soft_wrap=True)


def sentence(reached: Progress, then: str = "") -> str:
    """`Synthesize 1: 75/1000, 5/s, ` and then."""
    parts = (f"{reached.what}: {_count(reached.done, reached.total)}", _rate(reached.rate), then)
    return ", ".join(part for part in parts if part)


def left(reached: Progress) -> str:
    """`3:05 left`; empty where that cannot be told."""
    if not reached.rate or reached.total is None:
        return ""
    return f"{clock(max(0.0, (reached.total - reached.done) / reached.rate))} left"


def clock(seconds: float) -> str:
    """`1:05` or `2:01:05`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def _count(done: int, total: int | None) -> str:
    return str(done) if total is None else f"{done}/{total}"


def _per_second(made: int, seconds: float) -> float | None:
    return made / seconds if made and seconds > 0 else None


def _rate(rate: float | None) -> str:
    return "" if rate is None else f"{rate:.3g}/s" if rate < 100 else f"{rate:.0f}/s"
