"""Ends that nobody can catch, ends that ask, and processes that stand still or meet each other."""

from __future__ import annotations

import signal
import time
from functools import partial
from pathlib import Path

from tests.faults.command import Command
from tests.faults.injected import At, Signal, stand_still
from tests.faults.scene import STAGES, Journey, Suite

STOPPED = "stopped by the user; everything finished so far is kept"
GOES_ON = "The same command goes on from here."


def durable_steps(suite: Suite, count: int) -> None:
    """SIGKILL before a random step that makes something last, again and again until the run has ended."""
    left, number = count, 0
    while left:
        journey = Journey(suite, f"durable-{number}")
        number += 1
        for _ in range(min(left, 25)):
            ended = journey.go(Signal(At(None, suite.rng.randint(1, 45))))
            if ended.code == 0:
                break
            journey.check("SIGKILL", ended, [-9])
            journey.strike("SIGKILL before a durable step", ended)
            left -= 1
        journey.end()


def moments(suite: Suite, count: int, number: signal.Signals) -> None:
    """A signal at a random moment of every stage, `count` times each."""
    longest = {"synthesize": 2.0, "respond": 1.0, "train": 2.0, "evaluate": 1.0, "assess": 0.6}
    for turn in range(count):
        journey = Journey(suite, f"{number.name}-{turn}")
        for stage in STAGES:
            at = At(stage, seconds=suite.rng.uniform(0, longest.get(stage, 0.05)))
            ended = journey.go(Signal(at, number))
            if number == signal.SIGKILL:
                journey.check(stage, ended, [-9])
            elif ended.code != 0:
                journey.check(stage, ended, [130], STOPPED, GOES_ON)
            journey.strike(f"{number.name} at a random moment", ended, stage)
        journey.end()


def sleeps(suite: Suite, count: int) -> None:
    """A machine that sleeps: stopped for longer than the watchdog's patience, and awake again."""
    for turn in range(count):
        journey = Journey(suite, f"sleep-{turn}", ["watch.patience=8"])
        command = Command(journey.words, journey.log)
        time.sleep(suite.rng.uniform(1.5, 6))
        for _ in range(3):
            command.signal(signal.SIGSTOP)
            journey.strike("stopped for 10 s, as by a laptop's lid")
            time.sleep(10)
            command.signal(signal.SIGCONT)
            time.sleep(1.5)
        ended = command.wait()
        journey.check("after sleep", ended, [0])
        if "no progress" in ended.said:
            suite.failures.append(f"{journey.name}: the watchdog took sleep for standing still")
        journey.end()


PATIENCE = 30
"""Seconds. What is started again has everything to import, which takes some on a busy machine."""


def still(suite: Suite, count: int) -> None:
    """An engine, and a training, that stand still: ended and started again, and given up in the end."""
    for stage in ("synthesize", "assess", "train")[:count]:
        journey = Journey(suite, f"still-{stage}", [f"watch.patience={PATIENCE}", "watch.restarts=1"])
        ended = journey.go(partial(stand_still, stage))
        journey.strike(f"{'training' if stage == 'train' else 'engine'} stands still", ended, stage)
        said = f"has made no progress for {PATIENCE} s (watch.patience); started again, 1 of 1"
        journey.check("standing still", ended, [0], said)
        journey.end()
    journey = Journey(suite, "still-always", [f"watch.patience={PATIENCE}", "watch.restarts=0"])
    ended = journey.go(partial(stand_still, "synthesize"))
    journey.strike("engine stands still", ended, "synthesize")
    journey.check("given up", ended, [3], "given up after 0 restarts", GOES_ON)
    journey.end()


def met(suite: Suite, count: int) -> None:
    """A second command on a run that a first one holds."""
    journey = Journey(suite, "met")
    for stage in STAGES[:count]:
        first = Command(journey.words, journey.log, Signal(At(stage, seconds=0.3), signal.SIGSTOP))
        deadline = time.monotonic() + 60
        while not _is_stopped(first.pid) and not first.ended and time.monotonic() < deadline:
            time.sleep(0.05)
        second = Journey(suite, "met-second", directory=journey.directory).go()
        journey.check("second process", second, [2], f"{journey.directory}: is in use by process {first.pid}")
        journey.strike("a second process on the run", second, stage)
        first.signal(signal.SIGCONT)
        first.signal(signal.SIGKILL)
        first.wait()
    journey.end()


def _is_stopped(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0] == "T"
    except FileNotFoundError:
        return False
