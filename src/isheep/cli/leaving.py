"""Commands that take something out of a run, for other programs and people."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from isheep.cli.app import RunDirectory, command, here, line, on_this_machine


@command("Take away", "isheep export runs/first --to pairs.csv", "isheep export runs/first --all --to records.parquet")
def export(
    directory: RunDirectory,
    to: Annotated[Path, typer.Option("--to", metavar="PATH", parser=on_this_machine, help="What to write.")],
    kind: Annotated[
        str | None, typer.Option("--as", metavar="KIND", help="As what; else by the suffix: .csv, .jsonl, .parquet.")
    ] = None,
    iteration: Annotated[int | None, typer.Option(help="Only this iteration.")] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Every record, with what became of it, and its hand mark.")
    ] = False,
) -> None:
    """Write the kept pairs for other programs.

    In CSV a cell that a spreadsheet would take for a formula gets an
    apostrophe in front, and a NUL is \\x00. All others hold the texts
    as they are.
    """
    from isheep.export import Wanted
    from isheep.export import export as export_from
    from isheep.store.run import Run

    written = export_from(Run.read(here(directory)), to, kind, Wanted(iteration, everything))
    line(f"{to}: {written}")
