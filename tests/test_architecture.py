"""The page about the rooms and the tree, held against each other."""

from __future__ import annotations

import re
from pathlib import Path

import isheep

SOURCE = Path(isheep.__file__).parent
PAGE = Path(__file__).parents[1] / "docs" / "architecture.md"


def rooms() -> list[str]:
    """The modules in the table, in its order."""
    table = PAGE.read_text(encoding="utf-8").partition("| layer |")[2].partition("\n\n")[0]
    return [name for line in table.split("\n")[2:] for name in re.findall(r"`([\w.]+)`", line.split("|")[2])]


def modules() -> set[str]:
    """Every module but the world of lamb, which is one room, and packages that hold nothing themselves."""
    found = set()
    for file in SOURCE.rglob("*.py"):
        parts = file.relative_to(SOURCE).with_suffix("").parts
        package = parts[-1] == "__init__"
        if parts[0] != "lamb" and not (package and parts[:-1] in ((), ("stages",), ("evaluation",))):
            found.add(".".join(parts[:-1] if package else parts))
    return found | {"lamb"}


def test_every_room_is_on_the_page_and_every_room_on_it_is_there() -> None:
    named = rooms()
    assert len(named) == len(set(named)) > 60
    assert set(named) | {"engines", "filters"} == modules()
