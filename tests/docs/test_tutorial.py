"""The tutorial's commands as they are written, in their order, in one empty folder and a real shell."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.pages import DOCS, Fence, fences

BIN = Path(sys.executable).parent
TUTORIAL = DOCS / "tutorial.md"
INTERRUPT = "^C"
NUMBER = r"[\d.]*\d"
PATIENCE_S = 600
"""For one command, on a machine that does other things, too."""


def steps(page: Path) -> Iterator[tuple[str, str, list[str]]]:
    """What the page has the reader do: language, what to type, and the lines that it shows of the output."""
    for fence in fences(page):
        if fence.language in ("bash", "python"):
            yield fence.language, fence.text, []
        elif fence.language == "console":
            yield from _typed(fence)


def _typed(fence: Fence) -> Iterator[tuple[str, str, list[str]]]:
    for part in re.split(r"^\$ ", fence.text, flags=re.MULTILINE)[1:]:
        command, *shown = part.splitlines()
        yield "bash", command, shown


def expected_status(command: str, shown: list[str]) -> int:
    """0, unless the page says otherwise, or stops the command by Ctrl-C."""
    said = re.search(r"# exits with (\d+)$", command)
    if said:
        return int(said[1])
    return 130 if INTERRUPT in shown else 0


def as_pattern(line: str) -> str:
    """A line as the page shows it: `...` is any text, a number any number, space any space."""
    parts = re.split(rf"(\.\.\.|{NUMBER})", " ".join(line.split()))
    return "".join(
        {"...": ".*"}.get(part) or (NUMBER if re.fullmatch(NUMBER, part) else re.escape(part)) for part in parts
    )


def missing(shown: list[str], output: str) -> str | None:
    """The first line that the page shows and the output does not have, in this order; None if it has all."""
    lines = [" ".join(line.split()) for line in output.splitlines()]
    for wanted in filter(lambda line: line.strip() not in ("", "...", INTERRUPT), shown):
        pattern = re.compile(as_pattern(wanted))
        while lines and not pattern.search(lines[0]):
            lines.pop(0)
        if not lines:
            return wanted
        lines.pop(0)
    return None


def run_to_the_interrupt(process: subprocess.Popen[str], before: str) -> str:
    """What the process says; it is interrupted, as by Ctrl-C, once it has said the line that the page shows before."""
    assert process.stdout is not None
    said: list[str] = []
    for line in process.stdout:
        said.append(line)
        if before and re.search(as_pattern(before), " ".join(line.split())):
            os.killpg(process.pid, signal.SIGINT)
            before = ""
    return "".join(said)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("flock")


def do(language: str, text: str, shown: list[str], folder: Path) -> tuple[int, str]:
    """The exit status and the output of one step."""
    command = [sys.executable, "-c", text] if language == "python" else ["bash", "-euo", "pipefail", "-c", text]
    environment = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", "COLUMNS": "80", "HF_HUB_OFFLINE": "1"}
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    if INTERRUPT in shown:
        output = run_to_the_interrupt(process, shown[shown.index(INTERRUPT) - 1])
        return process.wait(PATIENCE_S), output
    output, _ = process.communicate(timeout=PATIENCE_S)
    return process.returncode, output


def test_the_tutorial_does_what_it_says(folder: Path) -> None:
    assert not list(folder.iterdir())
    for language, text, shown in steps(TUTORIAL):
        began = time.monotonic()
        status, output = do(language, text, shown, folder)
        print(f"{time.monotonic() - began:6.1f} s  {text.splitlines()[0]}")
        assert status == expected_status(text, shown), f"{text}\n{output}"
        assert missing(shown, output) is None, f"{text}\nsaid:\n{output}"
        if language == "python":
            assert output.strip(), text


@pytest.mark.parametrize(
    ("shown", "output", "first"),
    [
        (["Train 1: 60/60, ..."], "Train 1: 60/60, 7.9/s, 0:07 in all\n", None),
        (["0   .043 [.027, .067]"], "  0   .051 [.033,   .07]\n", None),
        (["...", "kept", "dropped"], "dropped\nkept\n", "dropped"),
        (["ready to run"], "not ready\n", "ready to run"),
        (["runs/first/report.html"], "runs/first/report-html\n", "runs/first/report.html"),
    ],
)
def test_what_a_page_shows_is_looked_for(shown: list[str], output: str, first: str | None) -> None:
    assert missing(shown, output) == first
