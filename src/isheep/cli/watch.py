"""`isheep status --watch`: where a run stands, as it goes on, on a terminal or as lines in a log."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator, Mapping
from itertools import product
from pathlib import Path
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.segment import Segment, SegmentLines
from rich.table import Table as Grid
from rich.text import Text

from isheep import watchdog
from isheep.cli.tables import alarms, status_table, under_way
from isheep.progress import LINE_EVERY_S
from isheep.store.run import MANIFEST, Run
from isheep.store.status import status
from isheep.terminal import printable

EVERY_S = 2.0
WORKED_SHARE = 0.1
"""Share of the time that looking may take: the tables of a long run are longer to read, on the machine that works."""
RESTART_S = 300.0
"""Seconds that a command which its watchdog started again may take until it holds the run."""
BAR_WIDTH = 40

Document = Mapping[str, Any]


def watch(directory: Path, console: Console) -> None:
    """Shows where the run stands until no process is at it any more: at once where none is.

    A terminal gets one view that changes; what is none (or cannot move its cursor) gets a line for every change, and
    the status at the end. Of a run that failed it is said why.

    Raises:
        UserError: there is no run, or not any more.
    """
    show = _live if console.is_terminal and not console.is_dumb_terminal else _lines
    document = show(directory, console)
    console.print(status_table(document))
    if document["state"] == "failed":
        console.print(printable(_last_message(Run.read(directory))), soft_wrap=True)


def _live(directory: Path, console: Console) -> Document:
    # Ended by a signal, too, a terminal wants its cursor back.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with Live(console=console, auto_refresh=False, transient=True, vertical_overflow="crop") as live:
        for document in _looks(directory):
            live.update(_fitting(document, console), refresh=True)
    return document


def _lines(directory: Path, console: Console) -> Document:
    said: set[str] = set()
    what, told = None, 0.0
    for document in _looks(directory):
        lines = [document["state"], *alarms(document["iterations"])]
        found, now = document["progress"], time.monotonic()
        if found is not None and (found["what"] != what or now - told >= LINE_EVERY_S):
            what, told = found["what"], now
            lines.append(under_way(found))
        for line in (printable(line) for line in lines if line not in said):
            console.print(line, soft_wrap=True)
        said |= set(lines)
    return document


def _looks(directory: Path) -> Iterator[Document]:
    """The status document, now and again, until the run stands."""
    left = None
    while True:
        began = time.monotonic()
        try:
            run = Run.read(directory)
            document = status(run)
        except FileNotFoundError:
            # Set aside by a change of the recipe, between two looks at the folder.
            time.sleep(EVERY_S)
            continue
        yield document
        if document["state"] == "running":
            left = None
        elif watchdog.STARTED_AGAIN not in _last_message(run):
            return
        elif left is None:
            left = began
        elif began - left > RESTART_S:
            return
        time.sleep(max(EVERY_S, (time.monotonic() - began) / WORKED_SHARE))


def _last_message(run: Run) -> str:
    """What the run's last command ended with, as it stands in the manifest."""
    manifest = run.read_json(MANIFEST)
    commands = manifest.get("commands") if isinstance(manifest, dict) else None
    return str(commands[-1].get("message") or "") if commands else ""


def _fitting(document: Document, console: Console) -> RenderableType:
    """As much as the terminal is high: of the work only the last iterations, then no tables of scores.

    One line stays free: the cursor goes there in the end, and what had been pushed off the top could not be cleared.
    """
    found = document["progress"]
    shown = tuple(_bar(found)) if found else ()
    lines: list[list[Segment]] = []
    count = len(document["iterations"])
    for scores, last in product((True, False), range(count, 0, -1)):
        view = Group(*shown, status_table({**document, "progress": None}, last, scores))
        lines = console.render_lines(view, pad=False)
        if len(lines) < console.height:
            break
    return SegmentLines(lines[: console.height - 1], new_lines=True)


def _bar(found: Mapping[str, Any]) -> Iterator[RenderableType]:
    """What is under way in words and, where its end is known, as a bar."""
    yield Text(under_way(found), style="bold", no_wrap=True, overflow="ellipsis")
    if found["total"]:
        grid = Grid.grid()  # A bar alone does not end its line.
        grid.add_row(ProgressBar(total=found["total"], completed=found["done"], width=BAR_WIDTH))
        yield grid
