"""The paper's tables and figures in miniature: `python benchmarks/reproduction.py [KEY=VALUE ...] --dir DIR`.

Runs every row of tables 2, 3 and 4 and of figures 2a, 2b and 3 on lamb, for each seed, and writes docs/reproduction.md
whole. Rows share the stages that are equal in them. The same command goes on where it was stopped; over finished runs
it writes the document and nothing else.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from reproduction_document import document
from reproduction_evidence import Evidence, Row

from isheep.check import check
from isheep.compare import Variant
from isheep.errors import UserError
from isheep.recipe import Recipe, load_recipe
from isheep.stages.once import SWEEP
from isheep.store.files import DONE
from isheep.store.manifest import refuse_changed_inputs
from isheep.store.run import MANIFEST, RECIPE, Run, refuse_changed_recipe
from isheep.store.status import status

THRESHOLDS = (-1, 0, 1, 2, 4, 6, 8, 9)
"""Those of the paper; the recipe's own comes between them."""
SIZES = (0.5, 2, 3)
"""Data sizes, of the recipe's."""
UNJUDGED = ("assess.level=none", "select.threshold=0")
TO = Path(__file__).parents[1] / "docs" / "reproduction.md"


@dataclass(frozen=True, slots=True)
class Job:
    """One run: a row with a seed."""

    row: Row
    seed: int
    directory: Path
    recipe: Recipe
    command: tuple[str, ...]


def main() -> None:
    """Runs what is missing, then writes."""
    given = _arguments()
    try:
        rows = chosen(rows_of(load_recipe("lamb", given.settings)), given.rows)
        jobs = [_job(row, seed, given.dir, given.settings) for row in rows.values() for seed in given.seeds]
        run_all(jobs, given.jobs)
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
    evidence = Evidence(rows, dict(_variants(rows, jobs)), given.settings)
    given.to.write_text(document(evidence, given.rows), encoding="utf-8")
    print(given.to)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dir", type=Path, required=True, help="where the runs lie")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--jobs", type=int, default=2, help="runs at the same time, a core each")
    parser.add_argument("--rows", nargs="+", metavar="ROW", help="only these rows, for a try")
    parser.add_argument("--to", type=Path, default=TO, help="the document (default: docs/reproduction.md)")
    parser.add_argument("settings", nargs="*", metavar="KEY=VALUE", help="settings of every run")
    return parser.parse_args()


def rows_of(recipe: Recipe) -> dict[str, Row]:
    """Every row by its name, in the order in which they are run; sizes are multiples of the recipe's.

    Rows are settings and not the recipes of `isheep recipes`, which settings of every run would override. They change
    what those change (a test holds them against each other).
    """
    size, own = recipe.size, recipe.select.threshold
    rows = [
        Row("ours", "ours", ()),
        Row("self-instruct", "Self-Instruct", ("iterations=1", *UNJUDGED)),
        Row("dromedary", "Dromedary", ("iterations=1", *UNJUDGED, "respond.principles=package:lamb/principles.txt")),
        Row("one-last", "one_last", ("setting=one_last",)),
        Row("total-base", "total_base", ("setting=total_base",)),
        *(
            Row(f"direct-{n}x", f"direct, {n} x {size:,}", ("setting=direct", "iterations=1", f"size={n * size}"))
            for n in (2, 3)
        ),
        Row("prompt-simple", "scores, simple standard", ("assess.variant=simple",)),
        Row("prompt-icl", "scores, ICL", ("assess.variant=icl",)),
        Row("filter-perplexity", "perplexity", (*UNJUDGED, "select.filters=[perplexity,cap]")),
        Row("filter-density", "density", (*UNJUDGED, "select.filters=[density,cap]", "select.density.keep=random")),
        Row(
            "filter-density-perplexity",
            "density + perplexity",
            (*UNJUDGED, "select.filters=[density,cap]", "select.density.keep=lowest_perplexity"),
        ),
        Row("assess-none", "level none", UNJUDGED),
        Row("assess-quality", "level quality", ("assess.level=quality",)),
        Row("assess-following", "level following", ("assess.level=following",)),
        *(
            Row(
                f"threshold-{value}".replace("--", "-minus-"),
                f"threshold {value}",
                (f"select.threshold={value}",),
                value,
            )
            for value in THRESHOLDS
            if value != own
        ),
        *(Row(f"size-{n:g}x", f"size {n * size:,.0f}", (f"size={n * size:.0f}",), n) for n in SIZES),
    ]
    return {row.name: row for row in rows}


def chosen(rows: Mapping[str, Row], names: Sequence[str] | None) -> dict[str, Row]:
    """The rows of these names, all without any; raises UserError for a name that is none."""
    for name in names or ():
        if name not in rows:
            raise UserError("--rows", f"there is no row `{name}`.", f"The rows are {', '.join(rows)}.")
    return {name: row for name, row in rows.items() if not names or name in names}


def run_all(jobs: Sequence[Job], at_once: int) -> None:
    """Runs what has not ended, so many at once; raises UserError before the first where a row cannot be run.

    Exits with 3 when a run failed, after the others.
    """
    left = [job for job in jobs if not has_ended(job.directory, job.recipe)]
    for job in left:
        if job.seed == jobs[0].seed:
            check(job.recipe, job.directory)
    for job in left:
        job.directory.parent.mkdir(parents=True, exist_ok=True)
        # Runs that lie beside a sweep.json share what is equal in them.
        (job.directory.parent / SWEEP).touch()
    with ThreadPoolExecutor(at_once) as pool:
        # Seed by seed within a row, so that runs at the same time do not begin with the same work.
        futures = [pool.submit(_run, job) for job in left]
        try:
            ended = [future.result() for future in futures]
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    if not all(ended):
        print(f"{ended.count(False)} of {len(jobs)} runs stopped; the same command goes on.", file=sys.stderr)
        sys.exit(3)


def has_ended(directory: Path, recipe: Recipe) -> bool:
    """Whether nothing is left to do in a run: it is finished, or kept nothing to train on.

    Raises:
        UserError: the run that is there was begun with other settings or another lamb.
    """
    if not (directory / RECIPE).is_file():
        return False
    refuse_changed_recipe(directory, recipe)
    run = Run.read(directory)
    manifest = run.read_json(MANIFEST)
    if manifest is None:
        return False
    refuse_changed_inputs(manifest, recipe)
    return (directory / DONE).is_file() or kept_nothing(run)


def kept_nothing(run: Run) -> bool:
    """Whether the run came to its end in an iteration whose filters left no pair."""
    last = run.iterations()[-1:]
    selections = [iteration.table("selection") for iteration in last]
    return any(table.is_done and not any(table.columns("kept")["kept"]) for table in selections)


def _job(row: Row, seed: int, directory: Path, settings: Sequence[str]) -> Job:
    place = directory / f"{row.name}-{seed}"
    words = (*settings, *row.settings, f"seed={seed}")
    return Job(row, seed, place, load_recipe("lamb", words), ("run", "lamb", *words, "--dir", str(place)))


def _run(job: Job) -> bool:
    """Whether the run came to an end, which it does where it kept nothing, too."""
    command = [str(Path(sys.executable).with_name("isheep")), *job.command]
    # S603: our own command, settings that stand above.
    ended = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    is_right = ended.returncode == 0 or has_ended(job.directory, job.recipe)
    print(f"{'ok  ' if is_right else 'FAIL'} isheep {' '.join(job.command)}", file=sys.stderr, flush=True)
    if not is_right:
        print(ended.stderr[-2000:], file=sys.stderr, flush=True)
    return is_right


def _variants(rows: Mapping[str, Row], jobs: Sequence[Job]) -> Iterator[tuple[str, Variant]]:
    """Of each row its runs, in the order of the seeds."""
    for name, row in rows.items():
        runs = [Run.read(job.directory) for job in jobs if job.row == row]
        yield name, Variant(row.label, runs, [status(run) for run in runs])


if __name__ == "__main__":
    main()
