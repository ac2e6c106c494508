"""What `isheep status` and `isheep records` show on a terminal, from the same documents that `--json` prints."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table as Grid
from rich.text import Text

from isheep.intervals import UNKNOWN, score
from isheep.progress import left, sentence
from isheep.records import Assessment
from isheep.store.joined import Joined
from isheep.store.status import stopped, watched
from isheep.store.under_way import reached
from isheep.terminal import printable

REASONS_SHOWN = 4
HEALTH_SHOWN = {
    "near_twin_share": ("near-twins", ".0%"),
    "twins_within_share": ("with a twin inside", ".0%"),
    "stop_share": ("stop by themselves", ".0%"),
    "one_word_share": ("one-word answers", ".0%"),
    "response_words_median": ("median words", "g"),
}
"""Figure of health.json -> its label and format."""

METRICS_PER_TABLE = 2
"""Two stand beside each other in any terminal, and four metrics such as IFEval's make two even tables."""


def status_table(status: Mapping[str, Any], last: int | None = None, scores: bool = True) -> RenderableType:
    """Two tables with one row per iteration: what was made of what, and the scores with their 95% intervals.

    Args:
        status: the document of `isheep.store.status.status`.
        last: of how many iterations, counted from the last, the work and the alarms are there; None: of all.
        scores: whether their tables are there; the best one stands in the first line.
    """
    rows: Sequence[Mapping[str, Any]] = status["iterations"]
    shown = rows[-last:] if last else rows
    return Group(
        _headline(status), _work(shown), _alarms(shown), *(_scores(rows, status["best_iteration"]) if scores else ())
    )


def under_way(found: Mapping[str, Any]) -> str:
    """`Synthesize 1: 75/1000, 5/s, 3:05 left`, of the status document's `progress`."""
    now = reached(found)
    return printable(sentence(now, left(now))).replace("\n", " ")


def alarms(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """A line for each alarm of the iterations."""
    return [
        f"! iteration {row['iteration']}, {name}: {alarm}"
        for row in rows
        for name, alarm in row["health"].get("alarms", {}).items()
    ]


def scores_table(found: Mapping[str, Mapping[str, Mapping[str, Mapping[str, Any]]]]) -> RenderableType:
    """Benchmarks and metrics, a row each, with their 95% intervals; a column for each model."""
    grid = Grid(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("benchmark", "metric"):
        grid.add_column(name, overflow="fold")
    for name in found:
        grid.add_column(Text(printable(name)), no_wrap=True)
    grid.add_column("n", justify="right")
    rows: dict[tuple[str, str], None] = {}
    for scores in found.values():
        rows |= dict.fromkeys((benchmark, metric) for benchmark, metrics in scores.items() for metric in metrics)
    for benchmark, metric in rows:
        figures = [scores.get(benchmark, {}).get(metric) for scores in found.values()]
        counts = {str(figure["n"]) for figure in figures if figure}
        cells = [benchmark, metric.replace("_", " "), *(score(figure) for figure in figures), "/".join(sorted(counts))]
        grid.add_row(*(Text(printable(cell)) for cell in cells))
    return grid


def record_view(record: Joined) -> RenderableType:
    """One generated instruction with its input, response, scores, and whether it was kept or why not."""
    grid = Grid.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    instruction, response = record.instruction, record.response
    grid.add_row("id", Text(printable(instruction.id), style="bold"))
    grid.add_row("instruction", Text(printable(instruction.instruction)))
    if instruction.input:
        grid.add_row("input", Text(printable(instruction.input)))
    if response is not None:
        cut = "" if response.finish_reason == "stop" else f"  ({printable(response.finish_reason)})"
        grid.add_row("response", Text(printable(response.response)).append(cut, style="dim"))
    if record.assessment is not None:
        grid.add_row("scores", _assessment(record.assessment))
    if record.selection is not None and record.selection.figures:
        grid.add_row("figures", Text(", ".join(record.selection.figures)))
    grid.add_row("outcome", _outcome(record))
    return Group(grid, Text())


def _headline(status: Mapping[str, Any]) -> Text:
    line = Text(str(status["state"]), style="bold")
    best, by = status["best_iteration"], watched(status)
    if best is not None and by is not None:
        benchmark, metric = by
        value = next(row["scores"][benchmark][metric] for row in status["iterations"] if row["iteration"] == best)
        line.append(f", best iteration {best}: {printable(benchmark)} {printable(metric)} {score(value)}", style="")
    found = status.get("progress")
    for more in (stopped(status), under_way(found) if found else None):
        if more is not None:
            line.append(f"\n{printable(more)}", style="")
    return line


def _work(rows: Sequence[Mapping[str, Any]]) -> Grid:
    grid = Grid(box=box.SIMPLE_HEAD, show_lines=False, pad_edge=False)
    grid.add_column("iteration", justify="right", max_width=9)
    grid.add_column("made", justify="right", no_wrap=True)
    grid.add_column("dropped", max_width=24, overflow="fold")
    grid.add_column("kept of\nassessed", no_wrap=True)
    grid.add_column("health", max_width=24, overflow="fold")
    grid.add_column("training", no_wrap=True)
    for row in rows:
        grid.add_row(
            str(row["iteration"]),
            str(row["instructions"]["made"] or UNKNOWN),
            _lines(_dropped(row)),
            _kept(row),
            _lines(_health(row["health"])),
            _lines(_training(row["train"])),
        )
    return grid


def _scores(rows: Sequence[Mapping[str, Any]], best: int | None) -> list[Grid]:
    """A table for each benchmark, split where it has more metrics than fit beside each other."""
    columns: dict[str, list[str]] = {}
    for row in rows:
        for benchmark, metrics in row["scores"].items():
            known = columns.setdefault(benchmark, [])
            known += [metric for metric in metrics if metric not in known]
    grids = []
    for benchmark, metrics in columns.items():
        for start in range(0, len(metrics), METRICS_PER_TABLE):
            grids.append(_score_grid(rows, best, benchmark, metrics[start : start + METRICS_PER_TABLE]))
    return grids


def _score_grid(rows: Sequence[Mapping[str, Any]], best: int | None, benchmark: str, metrics: Sequence[str]) -> Grid:
    items = {
        row["scores"][benchmark][m].get("n") for row in rows for m in metrics if m in row["scores"].get(benchmark, {})
    }
    size = f", n = {items.pop()}" if len(items) == 1 and None not in items else ""
    title = Text(f"{printable(benchmark)}{size}", style="bold")
    grid = Grid(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    grid.add_column("iteration", justify="right", max_width=9)
    for metric in metrics:
        grid.add_column(Text(printable(metric).replace("_", " ")), max_width=19, min_width=17)
    for row in rows:
        measured = row["scores"].get(benchmark, {})
        cells = (Text(score(measured.get(metric))) for metric in metrics)
        grid.add_row(str(row["iteration"]), *cells, style="bold" if row["iteration"] == best else "")
    return grid


def _dropped(row: Mapping[str, Any]) -> list[str]:
    counts: Counter[str] = Counter()
    for stage in ("instructions", "responses", "selection"):
        counts.update(row[stage]["dropped"])
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    lines = [f"{count} {rule}" for rule, count in ordered[:REASONS_SHOWN]]
    if len(ordered) > REASONS_SHOWN:
        rest = ordered[REASONS_SHOWN:]
        lines.append(f"{sum(count for _, count in rest)} by {len(rest)} other rule{'s' if len(rest) > 1 else ''}")
    return lines


def _kept(row: Mapping[str, Any]) -> str:
    if not row["assessed"]:
        return UNKNOWN
    unparsed = f"\n{row['unparsed']} unparsed" if row["unparsed"] else ""
    return f"{row['kept']} ({row['kept'] / row['assessed']:.0%}){unparsed}"


def _health(health: Mapping[str, Any]) -> list[str]:
    """The figures that show a run going wrong first; all of them stand in health.json and in the report."""
    return [
        f"{label} {UNKNOWN if health[key] is None else f'{health[key]:{form}}'}"
        for key, (label, form) in HEALTH_SHOWN.items()
        if key in health
    ]


def _alarms(rows: Sequence[Mapping[str, Any]]) -> Text:
    lines = alarms(rows)
    return Text("\n".join(printable(line) for line in lines) + "\n" if lines else "", style="yellow")


def _training(train: Mapping[str, Any]) -> list[str]:
    if train["examples"] is None:
        return []
    loss = UNKNOWN if train["loss"] is None else f"{train['loss']:.3f}"
    return [f"{train['examples']} pairs", f"{_figure(train['steps'])} steps", f"loss {loss}"]


def _assessment(assessment: Assessment) -> Text:
    line = Text("" if assessment.asked else "not asked for")
    for name in assessment.asked:
        value, raw = getattr(assessment, name), getattr(assessment, f"{name}_raw")
        what = (
            f"{value:.3g}" if value is not None else f"could not tell ({printable(repr(raw)) if raw else 'no answer'})"
        )
        line.append(f"{', ' if line else ''}{name} {what}")
    return line


def _outcome(record: Joined) -> Text:
    if record.kept is None:
        return Text("not decided yet")
    if record.kept:
        return Text("kept", style="green")
    reason = f": {printable(record.reason)}" if record.reason else ""
    return Text(f"dropped by {printable(record.dropped_by or 'the selection')}{reason}", style="yellow")


def _lines(lines: Sequence[str]) -> Text:
    return Text("\n".join(printable(line) for line in lines) or UNKNOWN)


def _figure(value: float | None) -> str:
    if value is None:
        return UNKNOWN
    return str(value) if isinstance(value, bool | int) else f"{value:.3g}"
