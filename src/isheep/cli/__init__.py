"""The commands. No logic here: each reads its arguments, calls one function and prints what it returns."""

from __future__ import annotations

import errno
import json
import logging
import os
import shlex
import sys
import traceback
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

import typer
from rich.console import Console

from isheep import watchdog
from isheep.errors import IsheepError, UserError
from isheep.progress import say
from isheep.recipe import Recipe, dump_recipe, load_recipe
from isheep.recipe.files import about_recipes
from isheep.store.remote import is_url
from isheep.store.run import Run
from isheep.terminal import SafeLines, printable

app = typer.Typer(
    help="A language model aligns itself: it writes instructions, answers and judges them, and trains on what it kept.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

RecipeWords = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[RECIPE ...] [KEY=VALUE ...]", help="A recipe (default: lamb), others laid over it, and settings."
    ),
]
RunDirectory = Annotated[str, typer.Argument(metavar="DIR", help="The directory of a run, or its URL.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]

OUT = Console(highlight=False, markup=False, emoji=False)

NO_PLACE = (errno.EACCES, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.ENOTDIR, errno.EPERM)
"""What the system says of a path that cannot be what the user gave it for."""


def _local(path: str) -> Path:
    """A path on this machine, for what is not done at a URL."""
    if is_url(path):
        raise UserError(path, "has to be a path on this machine.", "Give one (docs/storage.md says what takes a URL).")
    return Path(path)


@app.command()
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
    recipe = _recipe(words)
    _quiet()
    from isheep.cli.tables import status_table
    from isheep.loop import run as run_loop
    from isheep.report import write_report
    from isheep.store.status import status as read_status

    with _worked_on(directory) as here:
        finished = run_loop(recipe, here, after_iteration=write_report, accept_changes=accept_changes)
    OUT.print(status_table(read_status(finished)))
    _line(f"report: {directory.rstrip('/')}/report.html")


@app.command()
def sweep(
    directory: Annotated[
        Path, typer.Option("--dir", parser=_local, help="Where the runs live; the same command resumes them.")
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
    names, settings = _split(words)
    _quiet()
    from isheep.report import write_report
    from isheep.sweep import sweep as run_sweep

    for finished in run_sweep(names, settings, over or [], directory, seeds, jobs, write_report):
        _line(str(finished.directory))
    _line(f"side by side: isheep compare {directory}")


@app.command(hidden=True)
def work(directory: Annotated[Path, typer.Argument(metavar="DIR")]) -> None:
    """Help with the sweep that another process runs."""
    _quiet()
    from isheep.report import write_report
    from isheep.sweep import work as help_with

    help_with(directory, write_report)


@app.command()
def compare(
    directories: Annotated[list[str], typer.Argument(metavar="DIR...", help="Runs, or sweeps.")],
    as_json: AsJson = False,
) -> None:
    """Show runs side by side, and which differences between their scores are beyond noise."""
    from isheep.cli.side_by_side import comparison
    from isheep.compare import compare as compare_runs

    found = compare_runs([_here(directory) for directory in directories])
    _print_json(found) if as_json else OUT.print(comparison(found))


@app.command()
def status(
    directory: RunDirectory,
    as_json: AsJson = False,
    live: Annotated[bool, typer.Option("--watch", help="Go on showing it until the run stands.")] = False,
) -> None:
    """Show where a run stands: counts, drop reasons, keep share, health and scores, per iteration."""
    if live and as_json:
        raise UserError("--watch --json", "a document is of one moment.", "Give one of them.")
    if live:
        _watch(_local(directory))
        return
    from isheep.cli.tables import status_table
    from isheep.store.status import status as read_status

    found = read_status(Run.read(_here(directory)))
    _print_json(found) if as_json else OUT.print(status_table(found))


@app.command()
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

    if kept and dropped:
        raise UserError("--kept --dropped", "no record is both.", "Give one of them, or none.")
    wanted = True if kept else False if dropped else None
    found = find(Run.read(_here(directory)), iteration=iteration, kept=wanted, reason=reason, limit=limit)
    if as_json:
        _print_json([record.as_dict() for record in found])
    for record in found if not as_json else []:
        OUT.print(record_view(record))


@app.command()
def report(directory: RunDirectory) -> None:
    """Write DIR/report.html: one page, no network; its figures as SVG and PNG into DIR/figures.

    DIR is a run, or a sweep, whose page shows what its settings changed.
    """
    from isheep.report import write_figures, write_report
    from isheep.report.sweep import is_sweep, write_sweep_report

    here = _here(directory)
    if is_sweep(here):
        written, figures = write_sweep_report(here)
    else:
        run = Run.read(here)
        written, figures = write_report(run), write_figures(run)
    if is_url(directory):
        from isheep.store.mirror import publish

        publish(directory, here, [written, *figures])
    _line(str(written))
    if figures:
        _line(f"{len(figures)} figures in {figures[0].parent}")


@app.command()
def ui(
    directories: Annotated[
        list[Path], typer.Argument(metavar="DIR...", parser=_local, help="The directories of runs.")
    ],
    port: Annotated[int, typer.Option(min=0, max=65535, help="Where it listens; 0: any port that is free.")] = 7861,
    host: Annotated[str, typer.Option(help="Who is let in; other than this, other machines.")] = "127.0.0.1",
) -> None:
    """Show runs in a browser: progress, every record, a comparison, a chat with their models."""
    _quiet()
    from isheep.workbench.server import serve

    serve(directories, port, host)
    # Threads and libraries would hold the terminal for seconds on their way out, and nothing is left to be written.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


@app.command()
def export(
    directory: RunDirectory,
    to: Annotated[
        Path, typer.Option("--to", metavar="FILE", parser=_local, help="What to write: .csv, .jsonl or .parquet.")
    ],
    iteration: Annotated[int | None, typer.Option(help="Only this iteration.")] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Every record, with what became of it, and its hand mark.")
    ] = False,
) -> None:
    """Write the kept pairs as one file for other programs.

    In CSV a cell that a spreadsheet would take for a formula gets an
    apostrophe in front, and a NUL is \\x00. JSON lines and Parquet hold
    the texts as they are.
    """
    from isheep.export import export as export_records

    written = export_records(Run.read(_here(directory)), to, iteration, everything)
    _line(f"{to}: {written} {'records' if everything else 'kept pairs'}")


@app.command("eval")
def evaluate(
    model: Annotated[str, typer.Argument(metavar="MODEL_OR_DIR", help="A model, an adapter, or a run (its best).")],
    words: Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE ...]", help="Settings.")] = None,
    benchmarks: Annotated[str | None, typer.Option(help="Benchmarks, separated by commas.")] = None,
    iterations: Annotated[str | None, typer.Option(help="Of a run, separated by commas: 0,3.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most this many items of each.")] = None,
    as_json: AsJson = False,
) -> None:
    """Measure any model as the loop measures its own; what was measured before is not measured again."""
    _quiet()
    from isheep.cli.tables import scores_table
    from isheep.evaluation.base import in_words
    from isheep.measure import measure_models

    names = benchmarks.split(",") if benchmarks else None
    here = _here(model, weights=True)
    found = measure_models(here, names, limit, words or [], _numbers(iterations) if iterations else None)
    if as_json:
        _print_json(found.scores)
        return
    OUT.print(scores_table(found.scores))
    for name, protocol in found.protocols.items():
        _line(f"{name}: {in_words(protocol)}")


@app.command()
def recipes() -> None:
    """List the recipes that ship."""
    for folder, named in about_recipes().items():
        heading = f"{folder}, over any recipe: isheep run lamb NAME" if folder else "recipes: isheep run NAME"
        _line(f"{heading} --dir DIR")
        for name, about in named.items():
            _line(f"  {name:<36} {about}")


@app.command()
def show(words: RecipeWords = None) -> None:
    """Print a recipe with every default written out."""
    _line(dump_recipe(_recipe(words)).rstrip("\n"))


@app.command("check")
def check_recipe(
    words: RecipeWords = None,
    directory: Annotated[str | None, typer.Option("--dir", help="Also look at this run directory.")] = None,
) -> None:
    """Find out everything that can be known before anything is spent."""
    _quiet()
    from isheep.check import check

    recipe = _recipe(words)
    for finding in check(recipe, _here(directory, may_be_new=True) if directory is not None else None):
        mark = "!" if finding.warning else " "
        _line(f"{mark} {finding.what:<12} {finding.found}")
    _line("ready to run")


@app.command()
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
    names, settings = _split(words)
    recipe = load_recipe(names, settings)
    _quiet()
    from isheep.submit import Wishes, hand_over, prepare, script_of

    wishes = Wishes(to, nodes, gpus, gpu, time, partition, account, option or (), setup or (), address)
    job, warnings = prepare(recipe, [*names, *settings], directory, wishes, accept_changes)
    for finding in warnings:
        say(f"! {finding.what}: {finding.found}")
    if dry_run:
        sys.stdout.write(script_of(job, wishes.to))
        return
    _line(f"job {hand_over(job, wishes)}: isheep status {shlex.quote(str(directory))} --watch")


@app.command("estimate")
def estimate_run(
    words: RecipeWords = None,
    probe: Annotated[
        Path | None,
        typer.Option("--probe", metavar="DIR", help="A small run of the recipe to go by; made there if need be."),
    ] = None,
    gpu: Annotated[
        str | None, typer.Option("--gpu", metavar="NAME", help="For GPUs of this kind, such as h100.")
    ] = None,
    gpus: Annotated[
        int | None, typer.Option("--gpus", min=1, help="So many of them; else as the recipe wants.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Tell what a run will take: tokens, time, GPU-hours, memory, disk.

    Of the model, config.json is enough. Without --probe, habits of the
    model are guessed; every guess is said. Time is told by a probe, for
    this machine, or from data sheets, for the GPUs of --gpu.
    """
    recipe = _recipe(words)
    if gpus is not None and gpu is None:
        raise UserError("--gpus", "of which kind is not said.", "Give --gpu, too, such as `--gpu h100`.")
    _quiet()
    from isheep.cli.estimates import estimate_tables
    from isheep.estimate import as_document, estimate, gpus_wanted, hardware

    found = estimate(recipe, hardware(gpu, gpus or gpus_wanted(recipe)) if gpu else None, probe)
    _print_json(as_document(found)) if as_json else OUT.print(estimate_tables(found))


def _here(directory: str, *, weights: bool = False, may_be_new: bool = False) -> Path:
    """DIR as a folder on this machine: of a run at a URL what is read of it is fetched."""
    if not is_url(directory):
        return Path(directory)
    from isheep.store.mirror import fetched

    return fetched(directory, weights=weights, may_be_new=may_be_new)


def _worked_on(directory: str) -> AbstractContextManager[Path]:
    """DIR as a folder to work in; what is written there within the block is sent to the URL, if DIR is one."""
    if not is_url(directory):
        return nullcontext(Path(directory))
    from isheep.store.mirror import mirrored

    return mirrored(directory)


def main() -> NoReturn:
    """The `isheep` command: one message and an exit code for every error that is not our own fault."""
    watchdog.may_replace_process()
    _log_safely()
    try:
        app(standalone_mode=False)
    except IsheepError as error:
        say(str(error))
        if error.goes_on:
            say("The same command goes on from here.")
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        say("Stopped. The same command goes on from here.")
        sys.exit(130)
    except typer.Exit as ended:
        sys.exit(ended.exit_code)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except OSError as error:
        if error.errno not in NO_PLACE or error.filename is None:
            raise
        say(f"{error.filename}: cannot be used ({error.strerror}). Mend the path, or its rights.")
        sys.exit(UserError.exit_code)
    except Exception as error:
        if type(error).__module__.partition(".")[0] not in ("click", "typer"):
            say("".join(traceback.format_exception(error)).rstrip())
            sys.exit(1)
        error.show()  # type: ignore[attr-defined]
        sys.exit(2)
    sys.exit(0)


def _watch(directory: Path) -> None:
    from isheep.cli.watch import watch

    try:
        watch(directory, OUT)
    except KeyboardInterrupt:
        # Who looks on stops looking; the run has not been asked to stop, so nothing is said of going on.
        sys.exit(130)


def _recipe(words: list[str] | None) -> Recipe:
    return load_recipe(*_split(words))


def _split(words: list[str] | None) -> tuple[list[str], list[str]]:
    """The words before the first KEY=VALUE are recipes, each laid over those before it; the others are settings."""
    given = list(words or [])
    first = next((place for place, word in enumerate(given) if "=" in word), len(given))
    return given[:first] or ["lamb"], given[first:]


def _numbers(words: str) -> list[int]:
    try:
        return [int(word) for word in words.split(",")]
    except ValueError:
        raise UserError("--iterations", f"`{words}` is no list of numbers.", "Write it like `0,3`.") from None


def _line(text: str) -> None:
    """Prints text as it is, in lines of any length."""
    OUT.print(printable(text), soft_wrap=True)


def _print_json(document: Any) -> None:
    sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=True, allow_nan=False) + "\n")


def _quiet() -> None:
    """Libraries keep to warnings and off the network's hub; progress bars are ours."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")


def _log_safely() -> None:
    """Warnings, those of libraries among them, go to standard error; a text of a model in them moves nothing there."""
    handler = logging.StreamHandler()
    handler.setFormatter(SafeLines("%(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    logging.captureWarnings(True)


__all__ = ["app", "main"]
