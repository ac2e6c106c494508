"""Health: what the iteration did to the data is written down, and what looks wrong is said aloud."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from isheep.health import Standards, health
from isheep.health.alarms import alarms
from isheep.progress import say
from isheep.recipe import Recipe
from isheep.store.joined import kept_instructions
from isheep.store.run import Iteration

FILE = "health.json"


def examine(iteration: Iteration, earlier: Sequence[Iteration], recipe: Recipe) -> None:
    """Writes health.json, unless it is there: figures over the iteration's records, and the alarms that they raise."""
    figures = iteration.read_json(FILE)
    if figures is None:
        figures = health(
            iteration.table("instructions"),
            iteration.table("responses"),
            iteration.table("assessments"),
            iteration.table("selection"),
            itertools.chain.from_iterable(map(kept_instructions, earlier)),
            Standards.of(recipe),
        )
        past_figures = [past.read_json(FILE) for past in earlier]
        figures["alarms"] = alarms([*(past for past in past_figures if past), figures])
        iteration.write_json(FILE, figures)
    for name, alarm in figures["alarms"].items():
        say(f"! iteration {iteration.number}, {name}: {alarm}")
