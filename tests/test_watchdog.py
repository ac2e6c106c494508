"""Work that stands still: the process ends and the same command takes its place, so often and no more."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

PATIENCE_S = 1.0

COMMAND = """
import sys, threading, time
from pathlib import Path
from isheep import watchdog
from isheep.progress import bar, say

lives, what, restarts = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
lives.write_text(lives.read_text() + "x" if lives.exists() else "x")
watchdog.may_replace_process()
with watchdog.on({patience}, restarts, say):
    watchdog.on_restart(lambda why: (lives.parent / "told").write_text(why))
    if what == "outside":
        time.sleep(2.5 * {patience})
    with bar("Work 1", 9) as advance:
        for step in range(9):
            if what == "always" or (what == "once" and len(lives.read_text()) == 1):
                threading.Event().wait()
            if what == "child":
                import subprocess
                child = subprocess.Popen(["sleep", "600"])
                (lives.parent / f"child-{{len(lives.read_text())}}").write_text(str(child.pid))
                threading.Event().wait()
            time.sleep({patience} / 3)
            advance(1)
print("done")
"""


def command(folder: Path, what: str, restarts: int = 2) -> subprocess.Popen[str]:
    program = COMMAND.format(patience=PATIENCE_S)
    words = [sys.executable, "-c", program, str(folder / "lives"), what, str(restarts)]
    environment = {name: value for name, value in os.environ.items() if name != "ISHEEP_RESTARTS"}
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def test_work_that_goes_on_is_left_alone(tmp_path: Path) -> None:
    process = command(tmp_path, "slow")
    output, said = process.communicate(timeout=60)
    assert (process.returncode, output) == (0, "done\n"), said
    assert (tmp_path / "lives").read_text() == "x"


def test_time_between_two_works_does_not_count(tmp_path: Path) -> None:
    process = command(tmp_path, "outside")
    assert process.communicate(timeout=60)[0] == "done\n"
    assert (tmp_path / "lives").read_text() == "x"


def test_what_stands_still_once_is_started_again_and_says_where_it_stood(tmp_path: Path) -> None:
    process = command(tmp_path, "once")
    output, said = process.communicate(timeout=60)
    assert (process.returncode, output) == (0, "done\n"), said
    assert (tmp_path / "lives").read_text() == "xx"
    why = "Work 1 has made no progress for 1 s (watch.patience); started again, 1 of 2"
    assert why in said
    assert "threading.py" in said
    assert (tmp_path / "told").read_text() == why


def test_what_always_stands_still_is_given_up(tmp_path: Path) -> None:
    process = command(tmp_path, "always")
    output, said = process.communicate(timeout=60)
    assert (process.returncode, output) == (3, ""), said
    assert (tmp_path / "lives").read_text() == "xxx"
    assert "given up after 2 restarts" in said
    assert said.endswith("The same command goes on from here.\n")


def test_children_end_with_it(tmp_path: Path) -> None:
    process = command(tmp_path, "child", restarts=1)
    process.communicate(timeout=60)
    for life in (1, 2):
        child = int((tmp_path / f"child-{life}").read_text())
        with pytest.raises(ProcessLookupError):
            os.kill(child, 0)


def test_a_process_that_was_stopped_did_not_stand_still(tmp_path: Path) -> None:
    process = command(tmp_path, "slow")
    deadline = time.monotonic() + 30
    while not (tmp_path / "lives").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGSTOP)
    time.sleep(2.5 * PATIENCE_S)
    process.send_signal(signal.SIGCONT)
    assert process.communicate(timeout=60)[0] == "done\n"
    assert (tmp_path / "lives").read_text() == "x"


def test_a_program_that_calls_the_loop_is_not_replaced(tmp_path: Path) -> None:
    program = COMMAND.format(patience=0.2).replace("watchdog.may_replace_process()", "").replace("/ 3", "* 2")
    words = [sys.executable, "-c", program, str(tmp_path / "lives"), "slow", "2"]
    assert subprocess.run(words, capture_output=True, text=True, timeout=60, check=True).stdout == "done\n"
    assert (tmp_path / "lives").read_text() == "x"
