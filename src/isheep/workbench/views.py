"""What the pages show, as HTML in which every text is escaped and no character is hidden; templates lie beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from isheep.compare import between
from isheep.errors import IsheepError, first_line
from isheep.intervals import UNKNOWN, score
from isheep.markup import templates
from isheep.recipe import difference
from isheep.store.status import stopped, watched
from isheep.workbench.agreement import Agreement, agreement
from isheep.workbench.life import life, prompts_of
from isheep.workbench.opened import Opened
from isheep.workbench.talk import Conversation

COUNTED = ("made", "assessed", "unparsed", "kept")
"""Of the health figures those that stand among the counts."""


def progress(runs: Sequence[Opened]) -> str:
    """Where each run stands now; one that does not read says so in its place."""
    shown = []
    for one in runs:
        try:
            shown.append(_progress(one))
        except (IsheepError, OSError) as error:
            shown.append({"name": one.name, "error": said(error)})
    return _render("progress", runs=shown)


def record(one: Opened, id_: str) -> str:
    """A record's whole life."""
    blocks = life(one, id_)
    return problem(f"There is no record {id_} in {one.name}.") if blocks is None else _render("life", blocks=blocks)


def prompts(one: Opened, id_: str) -> str:
    """What its models were shown; nothing where there is no such record."""
    blocks = prompts_of(one, id_)
    return _render("life", blocks=blocks) if blocks else ""


def marks(one: Opened) -> str:
    """How hand marks and scores agree."""
    found: Agreement = agreement(one.catalog, one.marks())
    return _render("agreement", found=found, auc=_figure(found.auc))


def side_by_side(first: tuple[Opened, int], second: tuple[Opened, int]) -> str:
    """Two iterations: what was made of what, health, and scores with their differences."""
    sides = [_side(one, number) for one, number in (first, second)]
    table = between((first[0].run, first[1]), (second[0].run, second[1]))
    scores = [
        {
            "benchmark": row["benchmark"],
            "metric": row["metric"].replace("_", " "),
            "values": [score(one) for one in row["scores"]],
            "difference": _signed(row["difference"]),
            "beyond": row["difference"] and row["difference"]["beyond_noise"],
            "verdict": _verdict(row["difference"]),
        }
        for row in table
    ]
    names = [side["name"] for side in sides]
    counts, health = _beside(sides, "counts"), _beside(sides, "health")
    settings = difference(first[0].run.recipe, second[0].run.recipe)
    alarms = [(side["name"], alarm) for side in sides for alarm in side["alarms"]]
    return _render(
        "compare", names=names, counts=counts, health=health, alarms=alarms, scores=scores, settings=settings
    )


def chat(conversation: Conversation | None) -> str:
    """The answers beside each other."""
    answers = [] if conversation is None else [{**asdict(one), "name": one.name} for one in conversation.answers]
    return _render("chat", answers=answers, error="" if conversation is None else conversation.error)


def problem(text: str) -> str:
    """One line that says what is wrong."""
    return _render("problem", text=text)


def note(text: str) -> str:
    """One line in passing."""
    return _render("note", text=text)


def said(error: Exception) -> str:
    """An error in a line."""
    if isinstance(error, OSError) and not isinstance(error, IsheepError):
        return f"{error.filename or 'The run'}: {error.strerror or first_line(error)}."
    return str(error)


def _progress(one: Opened) -> dict[str, Any]:
    found = one.status()
    state = found["state"]
    by = watched(found)
    rows = [
        {
            "iteration": row["iteration"],
            "best": row["iteration"] == found["best_iteration"],
            "made": _count(row["instructions"]["made"]),
            "answered": _count(row["responses"]["made"]),
            "assessed": _count(row["assessed"]),
            "kept": _kept(row),
            "score": score(row["scores"].get(by[0], {}).get(by[1])) if by else UNKNOWN,
            "alarms": list(row["health"].get("alarms", {}).values()),
        }
        for row in found["iterations"]
    ]
    return {
        "name": one.name,
        "error": "",
        "state": state,
        "bar": one.bar(),
        "of": found["recipe"]["iterations"],
        "watched": f"{by[0]} {by[1].replace('_', ' ')}" if by else "watched score",
        "stopped": stopped(found) or "",
        "failure": one.failure() if state == "failed" else "",
        "rows": rows,
    }


def _kept(row: Mapping[str, Any]) -> str:
    if not row["assessed"]:
        return UNKNOWN
    return f"{row['kept']:,} ({row['kept'] / row['assessed']:.0%})"


def _side(one: Opened, number: int) -> dict[str, Any]:
    rows = one.status()["iterations"]
    row = rows[number] if number < len(rows) else None
    name = f"{one.name}, {f'iteration {number}' if number else 'the base'}"
    if row is None:
        return {"name": name, "counts": {}, "health": {}, "alarms": []}
    counts = {
        "instructions made": _count(row["instructions"]["made"]),
        "responses": _count(row["responses"]["made"]),
        "assessed": _count(row["assessed"]),
        "unparsed": str(row["unparsed"]) if row["assessed"] else UNKNOWN,
        "kept of assessed": _kept(row),
    }
    for stage in ("instructions", "responses", "selection"):
        counts |= {f"dropped by {rule}": f"{count:,}" for rule, count in row[stage]["dropped"].items()}
    counts |= {f"training: {key}": _figure(row["train"][key]) for key in ("examples", "steps", "loss")}
    health = {
        key.replace("_", " "): f"{value:.1%}" if key.endswith("share") else _figure(value)
        for key, value in row["health"].items()
        if key not in COUNTED and (isinstance(value, int | float) or value is None)
    }
    return {"name": name, "counts": counts, "health": health, "alarms": list(row["health"].get("alarms", {}).values())}


def _beside(sides: Sequence[Mapping[str, Any]], key: str) -> list[tuple[str, list[str]]]:
    names = dict.fromkeys(name for side in sides for name in side[key])
    return [(name, [side[key].get(name, UNKNOWN) for side in sides]) for name in names]


def _verdict(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return "not measured in both"
    if found["beyond_noise"] is None:
        return "nothing to tell noise by"
    return "beyond noise" if found["beyond_noise"] else f"within noise{found['note']}"


def _signed(found: Mapping[str, Any] | None) -> str:
    if found is None or found["value"] is None:
        return UNKNOWN
    return f"{'+' if found['value'] > 0 else ''}{score(found)}"


def _count(value: int) -> str:
    return f"{value:,}" if value else UNKNOWN


def _figure(value: float | None) -> str:
    if value is None:
        return UNKNOWN
    return f"{value:,}" if isinstance(value, int) else f"{value:.3g}"


def _render(name: str, **content: Any) -> str:
    return _ENVIRONMENT.get_template(f"{name}.html.jinja").render(content)


_ENVIRONMENT = templates(Path(__file__).parent)
