"""The report: one self-contained page about a run, in whatever state the run is."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from isheep import __version__
from isheep.compare import compare
from isheep.errors import StageError, UserError
from isheep.filters.rules import read_language
from isheep.filters.threshold import score_limit
from isheep.health.openings import Openings
from isheep.markup import templates
from isheep.prompts import compared_text
from isheep.recipe import dump_recipe, locate
from isheep.report import sections
from isheep.report.charts import histograms, quality_against_following, score_charts
from isheep.report.data_charts import (
    Vectors,
    health_charts,
    high_share_chart,
    length_charts,
    plane,
    plane_chart,
    sunbursts,
)
from isheep.report.drawing import Chart
from isheep.report.questions import answers
from isheep.report.samples import SAMPLED, sample
from isheep.report.verdict import verdict
from isheep.seeds import read_seeds
from isheep.stages.embed import VECTORS
from isheep.stages.evaluate import PROTOCOL
from isheep.store.files import storable, sync, write_atomic
from isheep.store.joined import CONTAMINATION, Joined, join
from isheep.store.run import MANIFEST, Run
from isheep.store.status import status, stopped

REPORT = "report.html"
FIGURES = "figures"
TEMPLATES = templates(Path(__file__).parent)

SECTIONS = {
    "scores": "Scores",
    "funnel": "Funnel",
    "health": "Health",
    "histograms": "Assessor",
    "data": "Data",
    "twins": "Near-twins",
    "contamination": "Contamination",
    "training": "Training",
    "cost": "Cost",
    "records": "Records",
    "recipe": "Recipe",
    "versions": "Versions",
    "commands": "Commands",
    "cite": "Cite",
}
"""Of the page: id -> title, in their order."""

BIBTEX = """@article{isheep2024,
  title   = {I-SHEEP: Self-Alignment of LLM from Scratch through an Iterative Self-Enhancement Paradigm},
  journal = {arXiv preprint arXiv:2408.08072},
  year    = {2024}
}"""


def write_report(run: Run) -> Path:
    """Writes DIR/report.html and returns its path. The run may be owned or opened for reading, begun or finished.

    Raises:
        StageError: the file cannot be written.
    """
    return write_page(run.directory, render(run))


def write_page(directory: Path, text: str) -> Path:
    """Puts a page into a directory under the name that reports have."""
    target = directory / REPORT
    # Readers hold no lock, so several may write this one file at once: each under a name of its own.
    own = target.with_name(f"report.{os.getpid()}.html")
    write_atomic(own, storable(text).encode())
    try:
        own.replace(target)
    except OSError as error:
        own.unlink()
        raise StageError(f"{target}: cannot be written ({error.strerror}). Mend the rights.") from error
    sync(directory)
    return target


def write_figures(run: Run) -> list[Path]:
    """Writes every figure of the page as DIR/figures/NAME.svg and NAME.png, for papers; returns their paths.

    Raises:
        StageError: a file cannot be written.
    """
    return [path for chart in _Charts.of(_Read(run)).every() for path in chart.save(run.directory / FIGURES)]


def render(run: Run) -> str:
    """The page as HTML: no script, nothing loaded from elsewhere, no text of a model that acts as markup."""
    return TEMPLATES.get_template("page.html.jinja").render(_content(_Read(run)))


class _Read:
    """A run as the page needs it, each file read once."""

    def __init__(self, run: Run) -> None:
        self.run, self.recipe = run, run.recipe
        self.status = status(run)
        self.rows: list[dict[str, Any]] = self.status["iterations"]
        self.made: dict[int, list[Joined]] = {one.number: list(join(one)) for one in run.iterations()}
        self.threshold = score_limit(run.recipe.select)

    @cached_property
    def seeds(self) -> dict[str, str]:
        """Id -> what novelty compares of the seed tasks; empty where the file has gone since."""
        try:
            found = read_seeds(self.recipe.seeds).tasks
        except (UserError, StageError):
            return {}
        return {one.id: compared_text(one.instruction, one.input, self.recipe.novelty.compare) for one in found}

    @cached_property
    def vectors(self) -> dict[int, Vectors]:
        """Of the seeds (0) and of kept pairs, by iteration; without those of which there are none."""
        found = {one.number: one.read_vectors(VECTORS) for one in self.run.iterations()}
        return {number: rows for number, rows in found.items() if len(rows)}

    @cached_property
    def openings(self) -> Openings | None:
        """By the recipe's language; None where its file has gone since."""
        try:
            return Openings(read_language(locate(self.recipe.rules.language)))
        except UserError:
            return None


@dataclass(frozen=True, slots=True)
class _Charts:
    """The figures of the page, by where they stand."""

    scores: Sequence[Chart]
    health: Sequence[Chart]
    histograms: Sequence[Chart]
    squares: Sequence[Chart]
    data: Sequence[Chart]
    sunbursts: Sequence[Chart]

    @classmethod
    def of(cls, read: _Read) -> _Charts:
        """All that this run has anything to show in."""
        high = high_share_chart(read.rows)
        found = plane(read.vectors)
        return cls(
            scores=score_charts(read.status),
            health=health_charts(read.rows),
            histograms=histograms(read.made, read.threshold),
            squares=quality_against_following(read.made, read.threshold),
            data=[*([high] if high else []), *([plane_chart(found)] if found else []), *length_charts(read.made)],
            sunbursts=sunbursts(read.made, read.openings) if read.openings else [],
        )

    def every(self) -> list[Chart]:
        """One after the other."""
        groups = (self.scores, self.health, self.histograms, self.squares, self.data, self.sunbursts)
        return [chart for group in groups for chart in group]


def _content(read: _Read) -> dict[str, Any]:
    run, rows, found = read.run, read.rows, read.status
    charts = _Charts.of(read)
    manifest = run.read_json(MANIFEST) or {}
    protocol = run.iteration(0).read_json(PROTOCOL) or {}
    samples = [sample(run.recipe.seed, number, records) for number, records in read.made.items()]
    name = run.directory.resolve().name
    return {
        "name": name,
        "shell_name": shlex.quote(name),
        "state": found["state"],
        "written": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "wanted": run.recipe.iterations,
        "begun": rows[-1]["iteration"],
        "verdict": verdict(found),
        "stopped": stopped(found),
        "answers": answers(found, compare([run.directory])["progress"], protocol, run.directory),
        "vectors_of": ", ".join(
            f"{len(rows)} {'seed tasks' if number == 0 else f'pairs of iteration {number}'}"
            for number, rows in read.vectors.items()
        ),
        "sections": list(SECTIONS.items()),
        "first_charts": charts.scores[:1],
        "score_charts": charts.scores,
        "health_charts": charts.health,
        "histograms": charts.histograms,
        "squares": charts.squares,
        "data_charts": charts.data,
        "sunbursts": charts.sunbursts,
        "score_grids": sections.scores(found),
        "protocol": sections.protocol(protocol),
        "funnel": sections.funnel(rows),
        **_contamination(read),
        "alarms": sections.alarms(rows),
        "health": sections.health(rows),
        "twins": sections.near_twins(read.made, read.seeds, run.recipe.health.twin),
        "threshold": read.threshold,
        "training": sections.training(rows, _trained(read)),
        "cost": sections.cost(rows),
        "samples": [one for one in samples if one.parts],
        "sampled": SAMPLED,
        "seed": run.recipe.seed,
        "recipe": dump_recipe(run.recipe),
        "versions": sections.versions(manifest),
        "inputs": sections.inputs(manifest),
        "commands": sections.commands(manifest),
        "version": __version__,
        "bibtex": BIBTEX,
    }


def _contamination(read: _Read) -> dict[str, Any]:
    held = {one.number: document for one in read.run.iterations() if (document := one.read_json(CONTAMINATION))}
    return {
        "contamination": sections.contamination(held),
        "held_questions": sections.held_questions(held),
        "contaminated_dropped": read.recipe.evaluate.contamination == "drop",
    }


def _trained(read: _Read) -> Mapping[int, Mapping[str, Any]]:
    numbers = [row["iteration"] for row in read.rows]
    return {number: read.run.iteration(number).read_json("train.json") or {} for number in numbers}


__all__ = ["render", "write_figures", "write_page", "write_report"]
