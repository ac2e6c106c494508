"""Generated text made safe: to look at (what would move the cursor, reorder or hide text is an escape), and to keep."""

from __future__ import annotations

import logging
import unicodedata
from pathlib import Path

_HIDDEN_CATEGORIES = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
_KEPT = {"\n", "\t"}
_HIDDEN_RANGES = (
    (0x034F, 0x034F),  # combining grapheme joiner
    (0x115F, 0x1160),  # Hangul fillers, here and below
    (0x17B4, 0x17B5),  # Khmer vowels that have no shape
    (0x180B, 0x180F),  # Mongolian selectors
    (0x2800, 0x2800),  # blank Braille
    (0x3164, 0x3164),
    (0xFE00, 0xFE0E),  # variation selectors, all but the one that common emoji carry
    (0xFFA0, 0xFFA0),
    (0xE0100, 0xE01EF),
)
"""Letters and marks by category, nothing on the screen."""
_LAST_LINES, _LINE = 12, 200
"""Of what a process said before it ended: lines, and characters of each."""


def printable(text: str) -> str:
    r"""The text with every character that a terminal would act on or not show as `\x1b`, `\u202e` or `\U000e0041`.

    Line breaks and tabs stay. Not covered: letters that look like others, and piles of combining marks.
    """
    return text.translate({ord(character): _escape(character) for character in set(text) if is_hidden(character)})


def last_said(log: Path, who: str) -> str:
    """The end of a sentence about a process that ended: where all that it said is, and the last of it; or nothing."""
    text = log.read_text(encoding="utf-8", errors="replace")
    lines = [line for line in text.splitlines() if line.strip(" -=")][-_LAST_LINES:]
    told = "".join(f"\n  {printable(line[:_LINE])}" for line in lines)
    return f"; all that {who} said is in {log}, at last:{told}" if told else ""


class SafeLines(logging.Formatter):
    """Log lines, and the tracebacks below them, as `printable` shows them."""

    def format(self, record: logging.LogRecord) -> str:
        """The line of a record."""
        return printable(super().format(record))


def storable(text: str) -> str:
    """The text as UTF-8 can hold it: halves of a pair are joined, a lone surrogate becomes U+FFFD, NULs stay."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def is_hidden(character: str) -> bool:
    """Whether it acts on a terminal or shows nothing there; line breaks and tabs do not count."""
    if character in _KEPT:
        return False
    code = ord(character)
    return unicodedata.category(character) in _HIDDEN_CATEGORIES or any(
        first <= code <= last for first, last in _HIDDEN_RANGES if code >= 0x034F
    )


def _escape(character: str) -> str:
    code = ord(character)
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"
