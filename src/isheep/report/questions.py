"""What a reader asks once the verdict is read, each with the answer that the run's own files give."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from isheep.intervals import UNKNOWN, score
from isheep.report.grid import duration, figure
from isheep.report.sections import Iterations, alarms, spent
from isheep.store.plan import folder_of
from isheep.store.status import watched


@dataclass(frozen=True, slots=True)
class Answer:
    """A question, what the run's files say to it, and the section (an id of the page) that says more."""

    question: str
    answer: str
    more: str


def answers(
    status: Mapping[str, Any],
    progress: Sequence[Mapping[str, Any]],
    protocol: Mapping[str, Any],
    directory: Path,
) -> list[Answer]:
    """The questions that can be answered of a run in this state.

    Args:
        status: the document of `isheep.store.status.status`.
        progress: of `isheep.compare.compare` on this run: iterations against the base and the one before, item by item.
        protocol: by what the base was measured.
        directory: of the run.
    """
    rows: Iterations = status["iterations"]
    return [
        *_on_what(status, protocol),
        *_luck(status, progress),
        *_elsewhere(rows, status["best_iteration"]),
        *_why(rows),
        *_more(rows, progress, watched(status)),
        *_price(rows),
        *_use(status["best_iteration"], directory),
    ]


def _on_what(status: Mapping[str, Any], protocol: Mapping[str, Any]) -> Iterator[Answer]:
    chosen = watched(status)
    how = protocol.get(chosen[0]) if chosen else None
    if chosen and how:
        said = f"{figure(how['items'])} items of {chosen[0]}, answered by every model in the same way "
        said += f"({how['library']} {how['version']}). "
        said += (
            "The loop never sees them: what it writes, judges and trains on comes from the model and the seed tasks."
        )
        yield Answer("On what was it measured?", said, "scores")


def _luck(status: Mapping[str, Any], progress: Sequence[Mapping[str, Any]]) -> Iterator[Answer]:
    best, chosen = status["best_iteration"], watched(status)
    found = [
        one
        for one in progress
        if chosen == (one["benchmark"], one["metric"]) and best and one["iterations"] == [0, best]
    ]
    if found and found[0]["low"] is not None:
        one = found[0]
        beyond = "which is beyond noise" if one["beyond_noise"] else "which noise alone could give"
        said = f"Item by item iteration {best} has {score(one)} more than the base, {beyond}. "
        said += f"This is one run with one seed ({status['recipe'].get('seed', UNKNOWN)}); another seed gives another "
        said += "figure, and `isheep sweep ... --seeds 3` says by how much."
        yield Answer("Could it be luck?", said, "scores")


def _elsewhere(rows: Iterations, best: int | None) -> Iterator[Answer]:
    if not best:
        return
    pairs = [
        (f"{benchmark} {metric}", before, after)
        for benchmark, metrics in rows[0]["scores"].items()
        for metric, before in metrics.items()
        if (after := rows[best]["scores"].get(benchmark, {}).get(metric, {})).get("high") is not None
        and before.get("low") is not None
    ]
    if len(pairs) < 2:
        return
    worse = [
        f"{name} ({score(before)} to {score(after)})" for name, before, after in pairs if after["high"] < before["low"]
    ]
    said = f"Of {len(pairs)} measured figures {len(worse)} fell beyond their intervals: {'; '.join(worse)}."
    if not worse:
        said = f"None of the {len(pairs)} figures that were measured fell below the base beyond its interval."
    yield Answer("Did it lose anything?", said, "scores")


def _why(rows: Iterations) -> Iterator[Answer]:
    told = [row for row in rows if row["health"]]
    if not told:
        return
    made, kept = (
        sum(row[what]["made"] if what == "instructions" else row[what] for row in told)
        for what in ("instructions", "kept")
    )
    said = f"The model wrote {figure(made)} instructions and kept {figure(kept)} pairs to train on"
    shares = [row["health"].get("over_threshold_share") for row in told]
    if len(told) > 1 and None not in (shares[0], shares[-1]):
        said += (
            f"; the share of pairs whose scores are over the threshold went from {shares[0]:.0%} to {shares[-1]:.0%}"
        )
    raised = alarms(rows)
    names = ", ".join(dict.fromkeys(name.replace("_", " ") for _, name, _ in raised))
    said += (
        f". {len(raised)} alarm{'s were' if len(raised) != 1 else ' was'} raised: {names}." if raised else ". No alarm."
    )
    yield Answer("What did it learn from, and does that look healthy?", said, "health")


def _more(rows: Iterations, progress: Sequence[Mapping[str, Any]], chosen: tuple[str, str] | None) -> Iterator[Answer]:
    last = len(rows) - 1
    found = [
        one
        for one in progress
        if chosen == (one["benchmark"], one["metric"]) and one["iterations"] == [last - 1, last] and last > 1
    ]
    if found:
        yield Answer("Would more iterations help?", f"The last step says: {found[0]['words']}.", "scores")


def _price(rows: Iterations) -> Iterator[Answer]:
    found = spent(rows)
    if found["seconds"] is not None:
        said = f"{duration(found['seconds'])} of this machine"
        if found["written"] is not None:
            said += f", {figure(found['written'])} tokens written and {figure(found['read'])} read"
        if found["joules"] is not None:
            said += f", {found['joules'] / 3600:.3g} Wh"
        yield Answer("What did it cost?", f"{said}.", "cost")


def _use(best: int | None, directory: Path) -> Iterator[Answer]:
    if best:
        weights = next((name for name in ("model", "adapter") if (directory / folder_of(best) / name).is_dir()), None)
        if weights:
            path = f"{folder_of(best)}/{weights}"
            said = f"`{path}` beside this page; `isheep eval {shlex.quote(directory.name)}` measures it again."
            yield Answer("Which model do I take?", said, "commands")
    elif best == 0:
        yield Answer("Which model do I take?", "The base: no iteration is better on the watched metric.", "scores")
