"""No text that a model wrote reaches the terminal as anything but visible characters."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isheep.terminal import printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, é, 羊, 🐑, ❤\ufe0f", "plain, é, 羊, 🐑, ❤\ufe0f"),
        ("line\nbreak\ttab", "line\nbreak\ttab"),
        ("\x1b[2J\x1b]0;title\x07", r"\x1b[2J\x1b]0;title\x07"),
        ("over\rwrite\x08", r"over\x0dwrite\x08"),
        ("\x9b31m\x7f\x00", r"\x9b31m\x7f\x00"),
        ("ab\u202ecd\u2066\u200f", r"ab\u202ecd\u2066\u200f"),
        ("zero\u200bwidth\u200d\ufeff\u00ad", r"zero\u200bwidth\u200d\ufeff\xad"),
        ("line\u2028sep\u2029", r"line\u2028sep\u2029"),
        ("lone \ud800", r"lone \ud800"),
        ("tag \U000e0041 selector \U000e0101 \ufe00", r"tag \U000e0041 selector \U000e0101 \ufe00"),
        ("blank \u3164\u2800\u115f", r"blank \u3164\u2800\u115f"),
        ("private \ue000 unassigned \U000fffff", r"private \ue000 unassigned \U000fffff"),
    ],
)
def test_printable(text: str, shown: str) -> None:
    assert printable(text) == shown


@given(st.lists(st.integers(0, 0x10FFFF).map(chr)).map("".join))
def test_nothing_that_acts_or_hides_is_left(text: str) -> None:
    shown = printable(text)
    shown.encode("utf-8")
    assert not [c for c in shown if unicodedata.category(c) in {"Cc", "Cf", "Cs", "Zl", "Zp"} and c not in "\n\t"]
    assert printable(shown) == shown
