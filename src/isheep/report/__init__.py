"""The report: one self-contained page about a run, in whatever state the run is."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from isheep.errors import StageError
from isheep.filters.threshold import score_limit
from isheep.recipe import dump_recipe
from isheep.report import sections
from isheep.report.charts import histograms, score_charts
from isheep.report.samples import SAMPLED, sample
from isheep.report.verdict import verdict
from isheep.stages.evaluate import PROTOCOL
from isheep.store.files import storable, sync, write_atomic
from isheep.store.joined import CONTAMINATION, join
from isheep.store.run import MANIFEST, Run
from isheep.store.status import status, stopped
from isheep.terminal import printable

REPORT = "report.html"


def write_report(run: Run) -> Path:
    """Writes DIR/report.html and returns its path. The run may be owned or opened for reading, begun or finished.

    Raises:
        StageError: the file cannot be written.
    """
    target = run.directory / REPORT
    # Readers hold no lock, so several may write this one file at once: each under a name of its own.
    own = target.with_name(f"report.{os.getpid()}.html")
    write_atomic(own, storable(render(run)).encode())
    try:
        own.replace(target)
    except OSError as error:
        own.unlink()
        raise StageError(f"{target}: cannot be written ({error.strerror}). Mend the rights.") from error
    sync(run.directory)
    return target


def render(run: Run) -> str:
    """The page as HTML: no script, nothing loaded from elsewhere, no text of a model that acts as markup."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        finalize=_finalize,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html.jinja").render(_content(run))


def _finalize(value: Any) -> Any:
    """Everything that the template prints, before it is escaped."""
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _content(run: Run) -> dict[str, Any]:
    found = status(run)
    rows = found["iterations"]
    made = {iteration.number: join(iteration) for iteration in run.iterations()}
    samples = [sample(run.recipe.seed, number, records) for number, records in made.items()]
    manifest = run.read_json(MANIFEST) or {}
    held = {one.number: document for one in run.iterations() if (document := one.read_json(CONTAMINATION))}
    trained = {row["iteration"]: run.iteration(row["iteration"]).read_json("train.json") or {} for row in rows}
    return {
        "name": run.directory.resolve().name,
        "state": found["state"],
        "written": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "wanted": run.recipe.iterations,
        "begun": rows[-1]["iteration"],
        "verdict": verdict(found),
        "stopped": stopped(found),
        "score_charts": score_charts(found),
        "score_grids": sections.scores(found),
        "protocol": sections.protocol(run.iteration(0).read_json(PROTOCOL) or {}),
        "funnel": sections.funnel(rows),
        "contamination": sections.contamination(held),
        "held_questions": sections.held_questions(held),
        "contaminated_dropped": run.recipe.evaluate.contamination == "drop",
        "alarms": sections.alarms(rows),
        "health": sections.health(rows),
        "histograms": histograms(made, score_limit(run.recipe.select)),
        "threshold": score_limit(run.recipe.select),
        "training": sections.training(rows, trained),
        "samples": [one for one in samples if one.parts],
        "sampled": SAMPLED,
        "seed": run.recipe.seed,
        "recipe": dump_recipe(run.recipe),
        "versions": sections.versions(manifest),
        "inputs": sections.inputs(manifest),
        "commands": sections.commands(manifest),
    }


__all__ = ["render", "write_report"]
