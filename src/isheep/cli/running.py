"""Commands that work: the loop, sweeps of it, its evaluation on any model, a cluster that runs it."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from isheep.cli.app import (
    OUT,
    AsJson,
    RecipeWords,
    command,
    here,
    line,
    on_this_machine,
    print_json,
    quiet,
    recipe_of,
    split,
    worked_on,
)
from isheep.errors import UserError
from isheep.progress import say


@command(
    "Run", "isheep run lamb --dir runs/first", "isheep run my.yaml iterations=5 select.threshold=7 --dir runs/mine"
)
def run(
    directory: Annotated[
        str, typer.Option("--dir", help="Where the run lives, a URL too; the same command resumes it.")
    ],
    words: RecipeWords = None,
    accept_changes: Annotated[
        bool, typer.Option("--accept-changes", help="Go on with other settings; what they touch is set aside.")
    ] = False,
) -> None:
    """Run the loop, or go on with it: the same command resumes."""
    recipe = recipe_of(words)
    quiet()
    from isheep.cli.tables import status_table
    from isheep.loop import run as run_loop
    from isheep.report import write_report
    from isheep.store.status import status as read_status

    with worked_on(directory) as here:
        finished = run_loop(recipe, here, after_iteration=write_report, accept_changes=accept_changes)
    OUT.print(status_table(read_status(finished)))
    line(f"report: {directory.rstrip('/')}/report.html")


@command("Run", "isheep sweep lamb --over select.threshold=0,4,8 --seeds 3 --dir runs/swept")
def sweep(
    directory: Annotated[
        Path, typer.Option("--dir", parser=on_this_machine, help="Where the runs live; the same command resumes them.")
    ],
    words: RecipeWords = None,
    over: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE,VALUE", help="A setting and the values that it takes; may be given again."),
    ] = None,
    seeds: Annotated[int | None, typer.Option(min=1, help="Each run with so many seeds.")] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Processes that work at the same time.")] = 1,
) -> None:
    """Run every combination of some values; what is equal in the runs is made once."""
    names, settings = split(words)
    quiet()
    from isheep.report import write_report
    from isheep.sweep import sweep as run_sweep

    for finished in run_sweep(names, settings, over or [], directory, seeds, jobs, write_report):
        line(str(finished.directory))
    line(f"side by side: isheep compare {directory}")


@command("Run", hidden=True)
def work(directory: Annotated[Path, typer.Argument(metavar="DIR")]) -> None:
    """Help with the sweep that another process runs."""
    quiet()
    from isheep.report import write_report
    from isheep.sweep import work as help_with

    help_with(directory, write_report)


@command("Run", "isheep submit my.yaml --dir runs/mine --time 12:00:00 --dry-run")
def submit(
    directory: Annotated[Path, typer.Option("--dir", help="Where the run lives, for every machine of the cluster.")],
    words: RecipeWords = None,
    to: Annotated[Literal["slurm", "ray"], typer.Option(help="Who runs it.")] = "slurm",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the script, and nothing else happens.")] = False,
    time: Annotated[
        str | None, typer.Option(metavar="HH:MM:SS", help="At a stretch; the job comes back for the rest.")
    ] = None,
    nodes: Annotated[int | None, typer.Option(min=1, help="Machines.")] = None,
    gpus: Annotated[int | None, typer.Option(min=0, help="GPUs on each of them.")] = None,
    gpu: Annotated[
        str | None, typer.Option("--gpu", metavar="NAME", help="Of this kind, such as h100: its time is worked out.")
    ] = None,
    partition: Annotated[str | None, typer.Option(help="Slurm's.")] = None,
    account: Annotated[str | None, typer.Option(help="Slurm's.")] = None,
    option: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY[=VALUE]", help="Any other of sbatch: constraint=h100, mem=64G; may be given again."),
    ] = None,
    setup: Annotated[
        list[str] | None,
        typer.Option(metavar="LINE", help="Shell before the run: 'module load cuda'; may be given again."),
    ] = None,
    address: Annotated[str | None, typer.Option(help="Of the Ray cluster (http://HEAD:8265).")] = None,
    accept_changes: Annotated[
        bool, typer.Option("--accept-changes", help="Go on with other settings; what they touch is set aside.")
    ] = False,
) -> None:
    """Have a cluster run it, in a script that asks for what the recipe needs.

    The job stops in good order when its time is up or its place is
    wanted, goes back into the queue, and goes on from there.
    """
    from isheep.recipe import load_recipe

    names, settings = split(words)
    recipe = load_recipe(names, settings)
    quiet()
    from isheep.submit import Wishes, hand_over, prepare, script_of

    wishes = Wishes(to, nodes, gpus, gpu, time, partition, account, option or (), setup or (), address)
    job, warnings = prepare(recipe, [*names, *settings], directory, wishes, accept_changes)
    for finding in warnings:
        say(f"! {finding.what}: {finding.found}")
    if dry_run:
        sys.stdout.write(script_of(job, wishes.to))
        return
    line(f"job {hand_over(job, wishes)}: isheep status {shlex.quote(str(directory))} --watch")


@command(
    "Run",
    "isheep eval runs/first --iterations 0,2 --limit 200",
    "isheep eval path/to/a/model --benchmarks arc_easy",
    name="eval",
)
def evaluate(
    model: Annotated[str, typer.Argument(metavar="MODEL_OR_DIR", help="A model, an adapter, or a run (its best).")],
    words: Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE ...]", help="Settings.")] = None,
    benchmarks: Annotated[str | None, typer.Option(help="Benchmarks, separated by commas.")] = None,
    iterations: Annotated[str | None, typer.Option(help="Of a run, separated by commas: 0,3.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most this many items of each.")] = None,
    as_json: AsJson = False,
) -> None:
    """Measure any model as the loop measures its own; what was measured before is not measured again."""
    quiet()
    from isheep.cli.tables import scores_table
    from isheep.evaluation.base import in_words
    from isheep.measure import measure_models

    names = benchmarks.split(",") if benchmarks else None
    local = here(model, weights=True)
    found = measure_models(local, names, limit, words or [], _numbers(iterations) if iterations else None)
    if as_json:
        print_json(found.scores)
        return
    OUT.print(scores_table(found.scores))
    for name, protocol in found.protocols.items():
        line(f"{name}: {in_words(protocol)}")


def _numbers(words: str) -> list[int]:
    try:
        return [int(word) for word in words.split(",")]
    except ValueError:
        raise UserError("--iterations", f"`{words}` is no list of numbers.", "Write it like `0,3`.") from None
