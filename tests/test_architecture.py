"""The page about the rooms and the tree, held against each other."""

from __future__ import annotations

import re
import tomllib
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
        if parts[0] != "lamb" and not (package and parts[:-1] in ((), ("stages",), ("evaluation",), ("store",))):
            found.add(".".join(parts[:-1] if package else parts))
    return found | {"lamb"}


def test_every_room_is_on_the_page_and_every_room_on_it_is_there() -> None:
    named = rooms()
    assert len(named) == len(set(named)) > 60
    assert set(named) | {"engines", "filters"} == modules()


def test_the_layers_of_the_page_are_in_the_order_that_is_held() -> None:
    contract = tomllib.loads((PAGE.parents[1] / "pyproject.toml").read_text(encoding="utf-8"))
    layers = contract["tool"]["importlinter"]["contracts"][0]["layers"]
    depth = {room: place for place, line in enumerate(layers) for room in line.split(" | ")}
    bands = band_of_rooms()
    assert set(bands) - {"lamb"} == set(depth)
    below = [(high, low) for high in depth for low in depth if depth[high] < depth[low]]
    assert [pair for pair in below if bands[pair[0]] > bands[pair[1]]] == []


def band_of_rooms() -> dict[str, int]:
    """Room -> how far down its part of the table stands (commands, loop, stages, work, parts, ground)."""
    table = PAGE.read_text(encoding="utf-8").partition("| layer |")[2].partition("\n\n")[0]
    bands: dict[str, int] = {}
    band = -1
    for line in table.split("\n")[2:]:
        _, layer, names, *_ = line.split("|")
        band += bool(layer.strip())
        bands |= {name.partition(".")[0]: band for name in re.findall(r"`([\w.]+)`", names)}
    return bands
