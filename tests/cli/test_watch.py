"""`isheep status --watch` in a real terminal and in a pipe, beside a real run that is being written."""

from __future__ import annotations

import fcntl
import io
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from isheep.cli.watch import _fitting
from isheep.store.lock import Lock
from isheep.store.run import LOCK, MANIFEST, Run
from isheep.store.status import status
from isheep.store.under_way import PROGRESS
from tests.cli.conftest import ISHEEP, Finished, isheep, quiet

RUN = ("lamb", "iterations=1", "size=48", "train.steps=8", "evaluate.limit=20")
ROWS, COLUMNS = 24, 80
ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
HIDDEN, SHOWN = "\x1b[?25l", "\x1b[?25h"
PATIENCE_S = 120


class Terminal:
    """A pseudo-terminal of 80 columns and 24 lines with a command in it."""

    def __init__(self, *words: str | Path) -> None:
        self._own, other = pty.openpty()
        fcntl.ioctl(other, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        env = {key: value for key, value in quiet().items() if key not in ("COLUMNS", "LINES")} | {"TERM": "xterm"}
        self.process = subprocess.Popen(
            [ISHEEP, *map(str, words)],
            stdin=other,
            stdout=other,
            stderr=other,
            env=env,
            start_new_session=True,
            # What runs in the background of a script ignores Ctrl-C, and so would its children.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        os.close(other)
        self.text = ""

    def until(self, what: str) -> None:
        """Reads until the text is there."""
        end = time.monotonic() + PATIENCE_S
        while what not in self.text:
            assert self._more(end), f"{what!r} never came: {self.text[-2000:]}"

    def end(self) -> int:
        """Reads to the end; the exit code."""
        end = time.monotonic() + PATIENCE_S
        while self._more(end):
            pass
        os.close(self._own)
        return self.process.wait(timeout=10)

    def _more(self, end: float) -> bool:
        ready, _, _ = select.select([self._own], [], [], max(0.0, end - time.monotonic()))
        if not ready:
            self.process.kill()
            raise AssertionError(f"nothing more came: {self.text[-2000:]}")
        try:
            piece = os.read(self._own, 65536)
        except OSError:  # Linux says so where the last writer has gone.
            return False
        self.text += piece.decode(errors="replace")
        return bool(piece)


def frames(text: str) -> list[list[str]]:
    """The views one after the other: each begins where the cursor went up to the first line of the one before."""
    return [ESCAPE.sub("", frame).replace("\r", "").split("\n") for frame in re.split(r"(?:\x1b\[1A\x1b\[2K)+", text)]


@pytest.fixture
def begun(tmp_path: Path) -> Iterator[tuple[Path, subprocess.Popen[bytes]]]:
    """A run that is under way."""
    process = subprocess.Popen(
        [ISHEEP, "run", *RUN, "--dir", str(tmp_path / "run")],
        env=quiet(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while not (tmp_path / "run" / PROGRESS).exists():
        assert process.poll() is None
        time.sleep(0.05)
    yield tmp_path / "run", process
    process.kill()
    process.wait()


def test_a_terminal_sees_the_run_go_on_to_its_end(begun: tuple[Path, subprocess.Popen[bytes]]) -> None:
    directory, process = begun
    terminal = Terminal("status", directory, "--watch")
    assert terminal.end() == 0
    assert process.wait(timeout=PATIENCE_S) == 0
    views = frames(terminal.text)
    assert len(views) > 2
    assert max(len(line) for view in views for line in view) <= COLUMNS
    assert max(map(len, views[:-1])) <= ROWS, "a view that is higher than the terminal cannot be redrawn"
    seen = {found for view in views for line in view for found in re.findall(r"^(\w+ [\w-]+): \d+/\d+", line)}
    assert len(seen) >= 2, seen
    assert any("━" in line and set(line.strip()) <= set("━╸╺") for view in views[:-1] for line in view)
    assert terminal.text.index(HIDDEN) < terminal.text.rindex(SHOWN)
    assert "finished" in views[-1][0]
    assert "Traceback" not in terminal.text


def test_who_stops_looking_does_not_stop_the_run(begun: tuple[Path, subprocess.Popen[bytes]]) -> None:
    directory, process = begun
    for stop in (signal.SIGINT, signal.SIGTERM):
        terminal = Terminal("status", directory, "--watch")
        terminal.until("running")
        os.kill(terminal.process.pid, stop)
        assert terminal.end() == 130
        assert terminal.text.count(HIDDEN) == terminal.text.count(SHOWN) == 1
        assert "Traceback" not in terminal.text
        assert "goes on from here" not in terminal.text
    assert process.wait(timeout=PATIENCE_S) == 0


def test_a_pipe_gets_lines_without_any_escape(begun: tuple[Path, subprocess.Popen[bytes]]) -> None:
    directory, process = begun
    ended = isheep("status", directory, "--watch")
    assert ended.returncode == process.wait(timeout=PATIENCE_S) == 0
    lines = ended.stdout.splitlines()
    assert lines[0] == "running"
    assert "\x1b" not in ended.stdout
    found = [line.partition(":")[0] for line in lines if re.match(r"(Evaluate|Synthesize|Respond|Assess|Train) ", line)]
    assert len(set(found)) >= 2, ended.stdout
    assert ended.stdout.endswith(_status(directory))


def test_a_run_that_stands_is_shown_once(finished: Finished) -> None:
    directory = finished(0)
    assert isheep("status", directory, "--watch").stdout == "finished\n" + _alarms(directory) + _status(directory)
    terminal = Terminal("status", directory, "--watch")
    assert terminal.end() == 0
    assert "finished, best iteration" in terminal.text


def test_a_run_that_its_watchdog_starts_again_is_waited_for(finished: Finished, tmp_path: Path) -> None:
    recipe = Run.read(finished(0)).recipe
    Run.create_or_resume(tmp_path / "run", recipe).release()
    manifest = json.loads((tmp_path / "run" / MANIFEST).read_text())
    command = {"argv": [], "started": "", "ended": "", "outcome": "failed", "message": "no progress; started again, 1"}
    (tmp_path / "run" / MANIFEST).write_text(json.dumps({**manifest, "commands": [command]}))
    terminal = Terminal("status", tmp_path / "run", "--watch")
    terminal.until("failed")
    time.sleep(3)
    assert terminal.process.poll() is None
    lock = Lock(tmp_path / "run" / LOCK)
    terminal.until("running")
    (tmp_path / "run" / MANIFEST).write_text(json.dumps({**manifest, "commands": [{**command, "message": "gone"}]}))
    lock.release()
    assert terminal.end() == 0
    assert terminal.text.rstrip().endswith("gone"), "why it failed"


@pytest.mark.parametrize("height", [5, 12, 24, 40, 100])
def test_a_view_is_never_higher_than_the_terminal(finished: Finished, height: int) -> None:
    now = {"what": "Train 2", "done": 3, "total": 8, "rate": 1.5, "at": ""}
    document = {**status(Run.read(finished(0))), "progress": now}
    console = Console(file=io.StringIO(), width=COLUMNS, height=height)
    lines = console.render_lines(_fitting(document, console))
    assert 4 <= len(lines) < height
    text = ["".join(segment.text for segment in line).strip() for line in lines]
    assert text[0] == "Train 2: 3/8, 1.5/s, 0:03 left"
    assert ("prompt level strict" in " ".join(text)) == (height >= 40)


def test_what_progress_says_does_nothing_to_a_terminal(finished: Finished, tmp_path: Path) -> None:
    with Run.create_or_resume(tmp_path / "run", Run.read(finished(0)).recipe):
        hostile = {"what": "Judge \x1b[2J\u202e\n" + "x" * 200, "done": 1, "total": 2, "rate": 1e-9, "at": "\x1b[2J"}
        (tmp_path / "run" / PROGRESS).write_text(json.dumps(hostile))
        terminal = Terminal("status", tmp_path / "run", "--watch")
        terminal.until("Judge")
        terminal.until("running")
        os.kill(terminal.process.pid, signal.SIGINT)
        assert terminal.end() == 130
        shown = isheep("status", tmp_path / "run")
    assert "\x1b[2J" not in terminal.text
    assert "Judge \\x1b[2J\\u202e " in shown.stdout
    assert max(len(line) for view in frames(terminal.text) for line in view) <= COLUMNS


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--watch", "--json"), "--watch --json: a document is of one moment. Give one of them."),
        (("--watch",), "is not a run (it has no recipe.yaml)"),
    ],
)
def test_what_cannot_be_watched(tmp_path: Path, words: tuple[str, ...], message: str) -> None:
    ended = isheep("status", tmp_path, *words)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert message in ended.stderr


def _status(directory: Path) -> str:
    return isheep("status", directory).stdout


def _alarms(directory: Path) -> str:
    document = json.loads(isheep("status", directory, "--json").stdout)
    return "".join(
        f"! iteration {row['iteration']}, {name}: {text}\n"
        for row in document["iterations"]
        for name, text in row["health"].get("alarms", {}).items()
    )
