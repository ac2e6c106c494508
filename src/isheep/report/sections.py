"""The tables of the report, from the status document and the manifest."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from isheep.evaluation.base import judge_and_notes
from isheep.report.grid import UNKNOWN, Cell, Grid, Row, bounds, decimal, figure, iteration_name

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
        grids.append(Grid(f"{benchmark}{common}", "iteration", list(metrics), lines))
    return grids


def funnel(rows: Iterations) -> Grid | None:
    """From what was made to what was kept, every drop by its rule; None before anything was made."""
    rows = [row for row in rows if row["instructions"]["made"]]
    if not rows:
        return None
    lines = [_counts("made", [row["instructions"]["made"] for row in rows], rows, "total")]
    lines += _drops(rows, "instructions", "waiting for a response", [row["responses"]["made"] for row in rows])
    lines.append(_counts("answered", [row["responses"]["made"] for row in rows], rows, "total"))
    lines += _drops(rows, "responses", "waiting for an assessment", [row["assessed"] for row in rows])
    lines.append(_counts("assessed", [row["assessed"] for row in rows], rows, "total"))
    lines += _drops(rows, "selection", "waiting for the selection", [row["kept"] for row in rows])
    lines.append(_counts("kept", [row["kept"] for row in rows], rows, "total"))
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
        cells = [Cell(figure(len(count["hits"])) if count else UNKNOWN) for count in counts]
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
    return _by_iteration("What each iteration did to the data", flat, HEALTH_NAMES)


def training(rows: Iterations, trained: Mapping[int, Mapping[str, Any]]) -> Grid | None:
    """Examples, steps and loss, then what else train.json (by iteration in `trained`) says; None before training."""
    flat = {
        row["iteration"]: {**row["train"], **dict(_figures(trained.get(row["iteration"], {}), set()))}
        for row in rows
        if row["train"]["examples"] is not None
    }
    return _by_iteration("Fine-tuning on the kept pairs", flat, {"loss": "loss, mean over the steps"})


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
            Cell(decimal(one["value"]) if told else UNKNOWN, f"{bounds(one)} {size}".strip() if told else size)
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
    lines = [_counts(f"dropped by {rule}", [one.get(rule, 0) for one in dropped], rows, "drop") for rule in rules]
    left = [n - sum(one.values()) - after for n, one, after in zip(entered, dropped, passed, strict=True)]
    if any(count > 0 for count in left):
        lines.append(_counts(waiting, left, rows, "drop"))
    return lines


def _counts(label: str, counts: Sequence[int], rows: Iterations, kind: str) -> Row:
    shares = [count / row["instructions"]["made"] for count, row in zip(counts, rows, strict=True)]
    cells = [
        Cell(figure(count), f"{share:.1%}" if count else "", share) for count, share in zip(counts, shares, strict=True)
    ]
    return Row(label, cells, kind)


def _by_iteration(caption: str, flat: Mapping[int, Mapping[str, Any]], names: Mapping[str, str]) -> Grid | None:
    keys = dict.fromkeys(key for figures in flat.values() for key in figures)
    if not keys:
        return None
    lines = [
        Row(
            names.get(key, key.replace("_", " ")),
            [Cell(figure(figures.get(key), key)) for figures in flat.values()],
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
        seconds = int((datetime.fromisoformat(ended) - datetime.fromisoformat(started)).total_seconds())
    except (TypeError, ValueError):
        return UNKNOWN
    hours, rest = divmod(seconds, 3600)
    minutes, seconds = divmod(rest, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds} s" if minutes else f"{seconds} s"
