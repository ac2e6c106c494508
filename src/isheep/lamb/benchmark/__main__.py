"""Draws a benchmark: `python -m isheep.lamb.benchmark --draw 3 --items 2000 --to FILE` writes the one that ships."""

from __future__ import annotations

import argparse
from pathlib import Path

from isheep.lamb.benchmark import SHIPPED_DRAW, SHIPPED_ITEMS, draw, write


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m isheep.lamb.benchmark", description=__doc__)
    parser.add_argument("--draw", type=int, default=SHIPPED_DRAW, help="another number, other items")
    parser.add_argument("--items", type=int, default=SHIPPED_ITEMS)
    parser.add_argument("--to", type=Path, required=True, help="file to write (JSON lines)")
    arguments = parser.parse_args()
    write(draw(arguments.draw, arguments.items), arguments.to)


if __name__ == "__main__":
    main()
