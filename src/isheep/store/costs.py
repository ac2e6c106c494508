"""What each stage of a run cost, as its notes say."""

from __future__ import annotations

from typing import Any

from isheep.meter import Cost
from isheep.store.files import read_json
from isheep.store.plan import NOTES, STAGES
from isheep.store.run import Iteration, Run


def costs(run: Run) -> list[dict[str, Any]]:
    """A row for every stage that has begun, in the order of the work.

    Each has `iteration`, `stage`, `seconds`, `tokens` (`read` and `written`), `joules`, and `from`: the run of a sweep
    that made the stage, which then has no cost of its own. None is what nobody can tell: notes of older versions, a
    machine without counters of energy.
    """
    return [
        {"iteration": iteration.number, "stage": stage, **cost}
        for iteration in run.iterations()
        for stage, cost in costs_of(iteration).items()
    ]


def costs_of(iteration: Iteration) -> dict[str, dict[str, Any]]:
    """Stage -> `seconds`, `tokens`, `joules` and `from`, of one iteration."""
    notes = read_json(iteration.path / NOTES, writable=False)
    found = {}
    for stage in STAGES:
        note = notes.get(stage) if isinstance(notes, dict) else None
        if isinstance(note, dict):
            maker = note.get("from")
            found[stage] = {**Cost.of(note).noted(), "from": maker if isinstance(maker, str) else None}
    return found
