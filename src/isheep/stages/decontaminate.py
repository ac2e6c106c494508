"""Decontamination: which pairs hold a question of a benchmark that the run is measured by; `select` drops them."""

from __future__ import annotations

from collections import Counter
from typing import Any

from isheep.evaluation.registry import open_benchmark
from isheep.filters.contamination import Hit, Questions, hits
from isheep.progress import say
from isheep.recipe import Recipe, overridden
from isheep.store.joined import CONTAMINATION, answered_pairs
from isheep.store.run import Iteration


def decontaminate(iteration: Iteration, recipe: Recipe) -> None:
    """Writes contamination.json: for each benchmark the questions held against, and the pairs that hold one.

    What a benchmark asks goes nowhere but into this comparison, and nothing of it comes back but the ids of pairs.

    Raises:
        UserError: a benchmark's data is not there any more.
    """
    if iteration.read_json(CONTAMINATION) is not None:
        return
    document: dict[str, dict[str, Any]] = {}
    if recipe.evaluate.contamination != "ignore" and recipe.evaluate.benchmarks:
        # Questions that a limit keeps from being asked are no less the benchmark's.
        whole = overridden(recipe, ["evaluate.limit=null"])
        opened = {name: open_benchmark(name, whole) for name in recipe.evaluate.benchmarks}
        texts = {name: benchmark.texts() for name, benchmark in opened.items()}
        questions = [Questions(name, texts[name], benchmark.formulaic) for name, benchmark in opened.items()]
        for name, held in zip(opened, hits(answered_pairs(iteration), questions), strict=True):
            document[name] = {"texts": len(texts[name]), "hits": [_row(hit) for hit in held]}
    iteration.write_json(CONTAMINATION, document)
    counts = Counter({name: len(found["hits"]) for name, found in document.items()})
    if total := sum(counts.values()):
        told = ", ".join(f"{name} {count}" for name, count in counts.items() if count)
        line = f"! iteration {iteration.number}: {total} pairs hold questions of benchmarks ({told})"
        say(line)


def _row(hit: Hit) -> dict[str, Any]:
    return {"id": hit.id, "item": hit.item, "shared": hit.shared}
