"""Addresses, keys, pauses and the window, apart from any server; `test_openai` has what happens with one."""

from __future__ import annotations

import asyncio
import time
from email.utils import formatdate

import pytest

from isheep.engines import http
from isheep.errors import UserError


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://me:secret@host/v1", "a user name, a password or a query"),
        ("http://host/v1?key=secret", "a user name, a password or a query"),
        ("ftp://host", "no http or https address"),
        ("host:8000", "no http or https address"),
        ("http://host:99999", "is no address"),
        ("http://[secret", "is no address"),
    ],
)
def test_a_url_that_cannot_be_used_is_told_without_its_secret(url: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        http.api_url(url)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("http://host:8000", "http://host:8000/v1"),
        ("http://host:8000/", "http://host:8000/v1"),
        ("https://host/v1/", "https://host/v1"),
        ("https://host/api/openai", "https://host/api/openai"),
    ],
)
def test_the_url_of_the_api(given: str, used: str) -> None:
    assert http.api_url(given) == used


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("3", 3.0), ("0.5", 0.5), ("-3", 0.0), ("nan", 0.0), ("inf", 0.0), ("soon", 0.0), ("", 0.0), ("1e400", 0.0)],
)
def test_retry_after_in_seconds(header: str, seconds: float) -> None:
    assert http.retry_after(header) == seconds


def test_retry_after_as_a_date() -> None:
    assert http.retry_after(formatdate(time.time() + 100, usegmt=True)) == pytest.approx(100, abs=5)
    assert http.retry_after("Sun, 22 Nov 2020 20:00:00 GMT") == 0
    assert http.retry_after("Sun, 22 Nov 999999 20:00:00 GMT") == 0


def test_pauses_grow_and_are_never_shorter_than_the_server_asks_for() -> None:
    pauses = [[http.pause(attempt, 0) for _ in range(50)] for attempt in range(12)]
    for attempt, drawn in enumerate(pauses):
        longest = min(http.LONGEST_PAUSE_S, http.FIRST_PAUSE_S * 2**attempt)
        assert longest / 2 <= min(drawn) < max(drawn) <= longest
    assert http.pause(0, 20.0) >= 20
    assert http.pause(10_000, 0) <= http.LONGEST_PAUSE_S


def test_the_window_doubles_then_halves_once_a_round_then_grows_slowly() -> None:
    async def live() -> list[float]:
        window = http.Window(64)
        sizes = [window.size]
        entered = [await window.enter() for _ in range(8)]
        for _ in entered:
            window.widen()
        sizes.append(window.size)
        for one in entered:
            window.narrow(one)
        sizes.append(window.size)
        for _ in range(8):
            window.widen()
        sizes.append(window.size)
        return sizes

    first, doubled, halved, grown = asyncio.run(live())
    assert (first, doubled, halved) == (8, 16, 8)
    assert 8.9 < grown <= 9


def test_nobody_enters_a_full_window() -> None:
    async def live() -> list[bool]:
        window = http.Window(1)
        await window.enter()
        second = asyncio.create_task(window.enter())
        await asyncio.sleep(0)
        before = second.done()
        window.leave()
        await second
        return [before, second.done()]

    assert asyncio.run(live()) == [False, True]
