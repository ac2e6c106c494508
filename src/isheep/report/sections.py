"""The tables of the report, from the status document and the manifest."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from isheep.evaluation.base import judge_and_notes
from isheep.report.grid import UNKNOWN, Cell, Grid, Row, bounds, decimal, duration, figure, iteration_name
from isheep.store.joined import Joined
from isheep.store.plan import NOTES, folder_of

Iterations = Sequence[Mapping[str, Any]]

HEALTH_NAMES = {
    "keep_share": "kept, of all made",
    "near_twin_share": "near-twins of earlier kept ones",
    "twins_within_share": "with a near-twin among the others kept",
    "openings": "different openings (first word, head of the phrase behind it)",
    "openings_of_100": "different openings of 100 kept, on average",
    "response_words_median": "words in a kept response, median",
    "one_word_share": "kept responses of one word",
    "stop_share": "responses that stop by themselves",
    "unparsed_share": "assessments without a score",
    "over_threshold_share": "pairs whose scores are over the threshold",
    "scores quality entropy": "entropy of the quality scores, bits",
    "scores following entropy": "entropy of the following scores, bits",
    "scores lower entropy": "entropy of the lower score of a pair, bits",
}
TWINS_SHOWN = 12
"""Kept instructions of the whole run that are nearest to an earlier one."""
HITS_SHOWN = 10
"""Of an iteration and a benchmark; contamination.json has all."""

TOLD_ELSEWHERE = {"made", "assessed", "unparsed", "over_threshold", "kept", "threshold", "drops", "alarms"}
"""Keys of the health document that the funnel, the histograms or the list of alarms show."""


def scores(status: Mapping[str, Any]) -> list[Grid]:
    """A table for each benchmark, one row an iteration, the base first."""
    rows: Iterations = status["iterations"]
    columns: dict[str, dict[str, None]] = {}
    for row in rows:
        for benchmark, metrics in row["scores"].items():
            columns.setdefault(benchmark, {}).update(dict.fromkeys(metrics))
    grids = []
    for benchmark, metrics in columns.items():
        found = [(row["iteration"], row["scores"].get(benchmark, {})) for row in rows]
        sizes = {measured[metric].get("n") for _, measured in found for metric in metrics if metric in measured}
        common = f", n = {figure(next(iter(sizes)))}" if len(sizes) == 1 and None not in sizes else ""
        lines = [
            _score_row(number, [measured.get(metric) or {} for metric in metrics], status["best_iteration"], not common)
            for number, measured in found
        ]
        grids.append(Grid(f"{benchmark}{common}", "iteration", list(metrics), lines, stacked=True))
    return grids


def funnel(rows: Iterations) -> Grid | None:
    """From what was made to what was kept, every drop by its rule; None before anything was made."""
    rows = [row for row in rows if row["instructions"]["made"]]
    if not rows:
        return None
    made, answered = ([row[stage]["made"] for row in rows] for stage in ("instructions", "responses"))
    assessed, kept = ([row[stage] for row in rows] for stage in ("assessed", "kept"))
    lines = [
        _counts("made", made, rows, "total", "instructions"),
        *_drops(rows, "instructions", "waiting for a response", answered),
        _counts("answered", answered, rows, "total", "responses"),
        *_drops(rows, "responses", "waiting for an assessment", assessed),
        _counts("assessed", assessed, rows, "total", "assessments"),
        *_drops(rows, "selection", "waiting for the selection", kept),
        _counts("kept", kept, rows, "total", "selection"),
    ]
    return Grid("Records, and their share of all that were made", "step", _columns(rows), lines)


def protocol(document: Mapping[str, Any]) -> Grid | None:
    """By what each benchmark was measured; None before anything was."""
    lines = []
    for name, found in document.items():
        how = "; ".join(judge_and_notes(found)) or UNKNOWN
        lines.append(
            Row(name, [Cell(f"{found['library']} {found['version']}"), Cell(figure(found["items"])), Cell(how)])
        )
    columns = ["library", "items", "judge and notes"]
    return Grid("How it was measured", "benchmark", columns, lines, words=True) if lines else None


def contamination(found: Mapping[int, Mapping[str, Any]]) -> Grid | None:
    """Pairs that hold a benchmark's question, by iteration; None where nobody looked."""
    names = dict.fromkeys(name for document in found.values() for name in document)
    lines = []
    for name in names:
        counts = [document.get(name) for document in found.values()]
        size = next(count["texts"] for count in counts if count)
        cells = [
            Cell(figure(len(count["hits"])), link=f"{folder_of(number)}/contamination.json") if count else Cell(UNKNOWN)
            for number, count in zip(found, counts, strict=True)
        ]
        lines.append(Row(f"{name} ({figure(size)} questions)", cells))
    columns = [f"iteration {number}" for number in found]
    return Grid("Assessed pairs that hold a question of a benchmark", "benchmark", columns, lines) if lines else None


def held_questions(found: Mapping[int, Mapping[str, Any]]) -> Grid | None:
    """The first of those pairs, and the words that they share with a question."""
    lines = [
        Row(hit["id"], [Cell(name), Cell(hit["shared"])])
        for document in found.values()
        for name, held in document.items()
        for hit in held["hits"][:HITS_SHOWN]
    ]
    return Grid("Which they are", "pair", ["benchmark", "words that both have"], lines, words=True) if lines else None


def alarms(rows: Iterations) -> list[tuple[int, str, str]]:
    """(iteration, name, what it says) of every alarm raised."""
    return [(row["iteration"], name, alarm) for row in rows for name, alarm in row["health"].get("alarms", {}).items()]


def health(rows: Iterations) -> Grid | None:
    """Every single figure of the health documents; None where there is none yet."""
    flat = {row["iteration"]: dict(_figures(row["health"], TOLD_ELSEWHERE)) for row in rows if row["health"]}
    return _by_iteration("What each iteration did to the data", flat, HEALTH_NAMES, "health.json")


def training(rows: Iterations, trained: Mapping[int, Mapping[str, Any]]) -> Grid | None:
    """Examples, steps and loss, then what else train.json (by iteration in `trained`) says; None before training."""
    flat = {
        row["iteration"]: {**row["train"], **dict(_figures(trained.get(row["iteration"], {}), set()))}
        for row in rows
        if row["train"]["examples"] is not None
    }
    return _by_iteration("Fine-tuning on the kept pairs", flat, {"loss": "loss, mean over the steps"}, "train.json")


def near_twins(made: Mapping[int, Sequence[Joined]], seeds: Mapping[str, str], twin: float) -> Grid | None:
    """The kept instructions that are nearest to one from before them, the nearest first; None where novelty was off.

    Args:
        made: by iteration.
        seeds: id -> text of the seed tasks, which instructions are held against, too.
        twin: what is nearer is marked.
    """
    texts = {one.instruction.id: one.instruction.instruction for records in made.values() for one in records}
    kept = [one.instruction for records in made.values() for one in records if one.kept]
    near = sorted((one for one in kept if one.rouge_max is not None), key=lambda one: -(one.rouge_max or 0.0))
    lines = []
    for one in near[:TWINS_SHOWN]:
        other = {**seeds, **texts}.get(one.rouge_id or "", UNKNOWN)
        likeness = one.rouge_max or 0.0
        cells = [Cell(f"{likeness:.3f}", "near-twin" if likeness > twin else ""), Cell(one.instruction), Cell(other)]
        lines.append(Row(one.id, cells))
    columns = ["ROUGE-L", "kept instruction", "the one before it that is nearest"]
    return Grid("The nearest of the kept ones", "record", columns, lines, words=True) if lines else None


def cost(rows: Iterations) -> Grid | None:
    """Time, tokens and energy of each stage, and of all; None where no stage has noted any."""
    lines = []
    for row in rows:
        for stage, one in (row.get("cost") or {}).items():
            tokens = one.get("tokens") or {}
            cells = [
                Cell(duration(one.get("seconds")), f"as in {one['from']}" if one.get("from") else ""),
                Cell(figure(tokens.get("read"))),
                Cell(figure(tokens.get("written"))),
                Cell(_energy(one.get("joules"))),
            ]
            link = f"{folder_of(row['iteration'])}/{NOTES}"
            lines.append(Row(f"{iteration_name(row['iteration'])}, {stage}", [replace(c, link=link) for c in cells]))
    columns = ["time", "tokens read", "tokens written", "energy"]
    return Grid("What each stage took", "iteration, stage", columns, [*lines, _all(rows)]) if lines else None


def _all(rows: Iterations) -> Row:
    found = spent(rows)
    cells = [duration(found["seconds"]), figure(found["read"]), figure(found["written"]), _energy(found["joules"])]
    return Row("all", [Cell(text) for text in cells], "total")


def spent(rows: Iterations) -> dict[str, float | None]:
    """Sums over all stages of seconds, tokens read and written, and joules; None where no stage knows."""
    notes = [one for row in rows for one in (row.get("cost") or {}).values()]
    flat = [{**one, **(one.get("tokens") or {})} for one in notes]
    sums: dict[str, float | None] = {}
    for name in ("seconds", "read", "written", "joules"):
        known = [one[name] for one in flat if one.get(name) is not None]
        sums[name] = sum(known) if known else None
    return sums


def _energy(joules: float | None) -> str:
    return UNKNOWN if joules is None else f"{joules / 3600:.3g} Wh"


def versions(manifest: Mapping[str, Any]) -> Grid:
    """What the run began with."""
    lines = [Row(name, [Cell(figure(version))]) for name, version in (manifest.get("versions") or {}).items()]
    machine = manifest.get("machine") or {}
    if machine.get("memory"):
        machine = {**machine, "memory": f"{machine['memory'] / 2**30:.1f} GiB"}
    lines += [Row(name, [Cell(figure(value))]) for name, value in machine.items()]
    return Grid("Versions and machine", "what", ["version or value"], lines, words=True)


def inputs(manifest: Mapping[str, Any]) -> Grid:
    """The files that the run depends on, by hash."""
    judges = {
        f"assessor {path}: {name}": value
        for path, files in (manifest.get("assessors") or {}).items()
        for name, value in files.items()
    }
    files = {**(manifest.get("model") or {}), **judges, "seed file": manifest.get("seeds")}
    lines = [Row(name, [Cell(figure(value))]) for name, value in files.items() if value]
    return Grid("Model and seed files", "file", ["SHA-256"], lines, words=True)


def commands(manifest: Mapping[str, Any]) -> Grid:
    """Every command that worked on the run, with its time and end."""
    lines = []
    for command in manifest.get("commands") or []:
        message = str(command.get("message") or "")
        changed = command.get("versions") or {}
        note = "; ".join([message] * bool(message) + [f"{name} is now {figure(v)}" for name, v in changed.items()])
        cells = [
            Cell(shlex.join(str(word) for word in command.get("argv") or [])),
            Cell(_took(command.get("started"), command.get("ended"))),
            Cell(str(command.get("outcome") or "no end noted"), note),
        ]
        started = str(command.get("started") or UNKNOWN).replace("T", " ").removesuffix("+00:00")
        lines.append(Row(started, cells))
    return Grid("Commands", "started", ["command", "took", "outcome"], lines, words=True)


def _score_row(number: int, measured: Sequence[Mapping[str, Any]], best: int | None, with_size: bool) -> Row:
    cells = []
    for one in measured:
        size = f"n = {figure(one['n'])}" if with_size and one.get("n") is not None else ""
        told = one.get("value") is not None
        cells.append(
            Cell(
                decimal(one["value"]) if told else UNKNOWN,
                f"{bounds(one)} {size}".strip() if told else size,
                link=f"{folder_of(number)}/scores.json" if told else "",
            )
        )
    name = iteration_name(number)
    return Row(f"{name}, best" if number == best else name, cells, "best" if number == best else "")


def _drops(rows: Iterations, stage: str, waiting: str, passed: Sequence[int]) -> list[Row]:
    """A row for each rule of the stage, the most frequent first, and one for what waits behind it, if anything."""
    dropped = [row[stage]["dropped"] for row in rows]
    entered = [row["assessed"] if stage == "selection" else row[stage]["made"] for row in rows]
    rules = sorted(
        {rule for one in dropped for rule in one}, key=lambda rule: (-sum(one.get(rule, 0) for one in dropped), rule)
    )
    lines = [
        _counts(f"dropped by {rule}", [one.get(rule, 0) for one in dropped], rows, "drop", stage) for rule in rules
    ]
    left = [n - sum(one.values()) - after for n, one, after in zip(entered, dropped, passed, strict=True)]
    if any(count > 0 for count in left):
        lines.append(_counts(waiting, left, rows, "drop", stage))
    return lines


def _counts(label: str, counts: Sequence[int], rows: Iterations, kind: str, table: str) -> Row:
    cells = []
    for count, row in zip(counts, rows, strict=True):
        share = count / row["instructions"]["made"]
        link = f"{folder_of(row['iteration'])}/{table}/" if count else ""
        cells.append(Cell(figure(count), f"{share:.1%}" if count else "", share, link))
    return Row(label, cells, kind)


def _by_iteration(
    caption: str, flat: Mapping[int, Mapping[str, Any]], names: Mapping[str, str], file: str
) -> Grid | None:
    keys = dict.fromkeys(key for figures in flat.values() for key in figures)
    if not keys:
        return None
    lines = [
        Row(
            names.get(key, key.replace("_", " ")),
            [
                Cell(figure(figures.get(key), key), link=f"{folder_of(number)}/{file}" if key in figures else "")
                for number, figures in flat.items()
            ],
        )
        for key in keys
    ]
    return Grid(caption, "figure", [f"iteration {number}" for number in flat], lines)


def _figures(document: Mapping[str, Any], without: set[str], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every single value of nested mappings, by the path to it; lists are left out."""
    for key, value in document.items():
        if key in without and not prefix:
            continue
        if isinstance(value, Mapping):
            yield from _figures(value, without, f"{prefix}{key} ")
        elif not isinstance(value, list):
            yield f"{prefix}{key}", value


def _columns(rows: Iterations) -> list[str]:
    return [f"iteration {row['iteration']}" for row in rows]


def _took(started: Any, ended: Any) -> str:
    try:
        return duration((datetime.fromisoformat(ended) - datetime.fromisoformat(started)).total_seconds())
    except (TypeError, ValueError):
        return UNKNOWN
