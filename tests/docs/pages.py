"""The documentation as tests read it: its pages, and what is fenced in them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]

_FENCE = re.compile(
    r"^(?P<indent> *)```(?P<language>\w*)[^\n]*\n(?P<text>.*?)^(?P=indent)```$", re.MULTILINE | re.DOTALL
)


@dataclass(frozen=True, slots=True)
class Fence:
    """A fenced block of a page."""

    language: str
    text: str


def fences(page: Path) -> Iterator[Fence]:
    """In their order."""
    for found in _FENCE.finditer(page.read_text(encoding="utf-8")):
        lines = (line.removeprefix(found["indent"]) for line in found["text"].splitlines())
        yield Fence(found["language"], "\n".join(lines))


def prose(page: Path) -> str:
    """The page without what is fenced in it."""
    return _FENCE.sub("", page.read_text(encoding="utf-8"))
