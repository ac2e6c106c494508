"""Generated text made safe to look at: what would move the cursor, reorder or hide text is shown as an escape."""

from __future__ import annotations

import unicodedata

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


def printable(text: str) -> str:
    r"""The text with every character that a terminal would act on or not show as `\x1b`, `\u202e` or `\U000e0041`.

    Line breaks and tabs stay. Not covered: letters that look like others, and piles of combining marks.
    """
    return "".join(_escape(character) if _is_hidden(character) else character for character in text)


def _is_hidden(character: str) -> bool:
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
