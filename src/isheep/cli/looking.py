"""Commands that look at runs, and change nothing in them but the report."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from isheep.cli.app import OUT, AsJson, RunDirectory, command, here, line, on_this_machine, print_json, quiet
from isheep.errors import UserError
from isheep.store.remote import is_url


@command("Look", "isheep status runs/first", "isheep status runs/first --watch")
def status(
    directory: RunDirectory,
    as_json: AsJson = False,
    live: Annotated[bool, typer.Option("--watch", help="Go on showing it until the run stands.")] = False,
) -> None:
    """Show where a run stands: counts, drop reasons, keep share, health and scores, per iteration."""
    if live and as_json:
        raise UserError("--watch --json", "a document is of one moment.", "Give one of them.")
    if live:
        _watch(on_this_machine(directory))
        return
    from isheep.cli.tables import status_table
    from isheep.store.run import Run
    from isheep.store.status import status as read_status

    found = read_status(Run.read(here(directory)))
    print_json(found) if as_json else OUT.print(status_table(found))


@command(
    "Look",
    "isheep records runs/first --kept --limit 5",
    "isheep records runs/first --iteration 2 --reason not_novel --json",
)
def records(
    directory: RunDirectory,
    iteration: Annotated[int | None, typer.Option(help="Only this iteration.")] = None,
    kept: Annotated[bool, typer.Option("--kept", help="Only what is trained on.")] = False,
    dropped: Annotated[bool, typer.Option("--dropped", help="Only what was dropped.")] = False,
    reason: Annotated[str | None, typer.Option(help="Only what this rule dropped.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most this many.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show what the model wrote, with its scores and what became of it."""
    from isheep.cli.tables import record_view
    from isheep.store.joined import find
    from isheep.store.run import Run

    if kept and dropped:
        raise UserError("--kept --dropped", "no record is both.", "Give one of them, or none.")
    wanted = True if kept else False if dropped else None
    found = find(Run.read(here(directory)), iteration=iteration, kept=wanted, reason=reason, limit=limit)
    if as_json:
        print_json([record.as_dict() for record in found])
    for record in found if not as_json else []:
        OUT.print(record_view(record))


@command("Look", "isheep compare runs/first runs/mine", "isheep compare runs/swept --json")
def compare(
    directories: Annotated[list[str], typer.Argument(metavar="DIR...", help="Runs, or sweeps.")],
    as_json: AsJson = False,
) -> None:
    """Show runs side by side, and which differences between their scores are beyond noise."""
    from isheep.cli.side_by_side import comparison
    from isheep.compare import compare as compare_runs

    found = compare_runs([here(directory) for directory in directories])
    print_json(found) if as_json else OUT.print(comparison(found))


@command("Look", "isheep report runs/first")
def report(directory: RunDirectory) -> None:
    """Write DIR/report.html: one page, no network; its figures as SVG and PNG into DIR/figures.

    DIR is a run, or a sweep, whose page shows what its settings changed.
    """
    from isheep.report import write_figures, write_report
    from isheep.report.sweep import is_sweep, write_sweep_report
    from isheep.store.run import Run

    local = here(directory)
    if is_sweep(local):
        written, figures = write_sweep_report(local)
    else:
        run = Run.read(local)
        written, figures = write_report(run), write_figures(run)
    if is_url(directory):
        from isheep.store.mirror import publish

        publish(directory, local, [written, *figures])
    line(str(written))
    if figures:
        line(f"{len(figures)} figures in {figures[0].parent}")


@command("Look", "isheep ui runs/first runs/mine")
def ui(
    directories: Annotated[
        list[Path], typer.Argument(metavar="DIR...", parser=on_this_machine, help="The directories of runs.")
    ],
    port: Annotated[int, typer.Option(min=0, max=65535, help="Where it listens; 0: any port that is free.")] = 7861,
    host: Annotated[str, typer.Option(help="Who is let in; other than this, other machines.")] = "127.0.0.1",
) -> None:
    """Show runs in a browser: progress, every record, a comparison, a chat with their models."""
    quiet()
    from isheep.workbench.server import serve

    serve(directories, port, host)
    # Threads and libraries would hold the terminal for seconds on their way out, and nothing is left to be written.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def _watch(directory: Path) -> None:
    from isheep.cli.watch import watch

    try:
        watch(directory, OUT)
    except KeyboardInterrupt:
        # Who looks on stops looking; the run has not been asked to stop, so nothing is said of going on.
        sys.exit(130)
