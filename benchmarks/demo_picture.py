"""The README's picture of a run's final table: `python benchmarks/demo_picture.py runs/demo docs/demo.svg`."""

from __future__ import annotations

import io
import re
import sys
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import MONOKAI

from isheep.cli.tables import status_table
from isheep.store.run import Run
from isheep.store.status import status


def main(run: Path, picture: Path) -> None:
    """Records the table of `isheep status` and saves it as SVG."""
    console = Console(record=True, width=100, file=io.StringIO(), highlight=False)
    console.print(status_table(status(Run.read(run))))
    drawn = console.export_svg(title="isheep run lamb --dir runs/demo", theme=MONOKAI)
    # A picture in a README loads nothing from elsewhere: the reader's own fixed-width font will do.
    picture.write_text(re.sub(r"@font-face \{.*?\}", "", drawn, flags=re.DOTALL), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
