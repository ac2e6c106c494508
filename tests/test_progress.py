"""A bar where a person looks on, quiet lines where none does, and never a word on stdout."""

from __future__ import annotations

import io
import time

import pytest
from rich.console import Console

from isheep.progress import Progress, bar, clock, told_to


def plain() -> tuple[Console, io.StringIO]:
    out = io.StringIO()
    return Console(file=out, width=40), out


class Clock:
    """Stands in for the machine's clock."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now)


def test_plain_lines_say_what_how_many_rate_and_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, (console, out) = Clock(monkeypatch), plain()
    with bar("Synthesize [1] with a name longer than the line", 1000, console=console) as advance:
        for _ in range(8):
            clock.now += 5
            advance(25)
    assert out.getvalue().splitlines() == [
        "Synthesize [1] with a name longer than the line: 75/1000, 5/s, 3:05 left",
        "Synthesize [1] with a name longer than the line: 150/1000, 5/s, 2:50 left",
        "Synthesize [1] with a name longer than the line: 200/1000, 5/s, 0:40 in all",
    ]


def test_what_an_earlier_command_made_does_not_count_for_the_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, (console, out) = Clock(monkeypatch), plain()
    with bar("Respond 1", 1000, done=900, console=console) as advance:
        clock.now += 20
        advance(10)
    assert out.getvalue().splitlines() == [
        "Respond 1: 910/1000, 0.5/s, 3:00 left",
        "Respond 1: 910/1000, 0.5/s, 0:20 in all",
    ]


def test_an_unknown_total_and_a_stage_that_does_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, (console, out) = Clock(monkeypatch), plain()
    with bar("Evaluate 0", None, console=console) as advance:
        clock.now += 30
        advance(4000)
    with bar("Nothing", 0, console=console):
        pass
    assert out.getvalue().splitlines() == [
        "Evaluate 0: 4000, 133/s",
        "Evaluate 0: 4000, 133/s, 0:30 in all",
        "Nothing: 0/0, 0:00 in all",
    ]


def test_the_last_line_is_written_when_the_stage_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, (console, out) = Clock(monkeypatch), plain()
    with pytest.raises(KeyboardInterrupt), bar("Train 1", 10, console=console) as advance:  # noqa: PT012
        clock.now += 2
        advance(4)
        raise KeyboardInterrupt
    assert out.getvalue() == "Train 1: 4/10, 2/s, 0:02 in all\n"


def test_a_terminal_gets_a_bar_with_counts_and_rate() -> None:
    out = io.StringIO()
    console = Console(file=out, width=100, force_terminal=True, color_system=None)
    with bar("Assess [2]", 40, done=10, console=console) as advance:
        for _ in range(30):
            advance(1)
    last = out.getvalue().rsplit("Assess [2]", 1)[1]
    assert "40/40" in last
    assert "/s" in last
    assert "\x1b[" in last


def test_it_goes_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    with bar("Synthesize 1", 2) as advance:
        advance(2)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("Synthesize 1: 2/2")


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0, "0:00"), (59.6, "1:00"), (65, "1:05"), (3600, "1:00:00"), (7265, "2:01:05")]
)
def test_clock(seconds: float, shown: str) -> None:
    assert clock(seconds) == shown


def test_who_is_told_hears_of_every_beginning_and_end_and_once_a_second_between(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock, (console, _) = Clock(monkeypatch), plain()
    heard: list[Progress] = []
    with told_to(heard.append), bar("Respond 1", 100, done=40, console=console) as advance:
        for _ in range(20):
            clock.now += 0.25
            advance(1)
    assert heard == [
        Progress("Respond 1", 40, 100, None),
        *(Progress("Respond 1", 40 + 4 * second, 100, 4.0) for second in range(1, 6)),
        Progress("Respond 1", 60, 100, 4.0),
    ]


def test_nobody_is_told_after_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    Clock(monkeypatch)
    outer: list[Progress] = []
    inner: list[Progress] = []
    with told_to(outer.append):
        with pytest.raises(KeyboardInterrupt), told_to(inner.append):
            raise KeyboardInterrupt
        with bar("Evaluate 0", None, console=plain()[0]) as advance:
            advance(3)
    with bar("Nothing", 0, console=plain()[0]):
        pass
    assert inner == []
    assert outer == [Progress("Evaluate 0", 0, None, None), Progress("Evaluate 0", 3, None, None)]


def test_the_end_is_told_when_the_stage_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    Clock(monkeypatch)
    heard: list[Progress] = []
    with pytest.raises(KeyboardInterrupt), told_to(heard.append), bar("Train 1", 9, console=plain()[0]) as advance:  # noqa: PT012
        advance(4)
        raise KeyboardInterrupt
    assert heard[-1] == Progress("Train 1", 4, 9, None)
