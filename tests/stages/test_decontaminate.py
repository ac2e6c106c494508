"""Pairs that hold a benchmark's question on their way through the stages."""

from __future__ import annotations

from pathlib import Path

import pytest

from isheep.models import Models
from isheep.recipe import Recipe, load_recipe
from isheep.records import Assessment, Instruction, Response
from isheep.stages.decontaminate import decontaminate
from isheep.stages.select import select
from isheep.store.joined import contaminated
from isheep.store.run import Run

OWN = ("evaluate.tasks=package:lamb/benchmark", "evaluate.benchmarks=[lamb]")
TEXTS = [("Say the last word of this list: owl, bee.", "bee"), ("Name a bird.", "owl")]


def recipe_for(*settings: str) -> Recipe:
    return load_recipe("lamb", [*OWN, *settings])


def first_iteration(directory: Path, recipe: Recipe, held: str) -> Run:
    """A run whose first iteration has assessed some pairs, one of which asks a question of the benchmark."""
    run = Run.create_or_resume(directory, recipe)
    iteration = run.iteration(1)
    asked = [held, *(text for text, _ in TEXTS)]
    ids = [f"01-{place:06d}-a" for place in range(len(asked))]
    rows = [
        Instruction(id_, 1, place, text, "", [], 0, "p", None, None, None, None)
        for place, (id_, text) in enumerate(zip(ids, asked, strict=True))
    ]
    iteration.table("instructions").append(rows)
    iteration.table("responses").append([Response(id_, "owl", "stop", 1, None, None) for id_ in ids])
    iteration.table("assessments").append([Assessment(id_, 9.0, 9.0, "9", "9", "base") for id_ in ids])
    for name in ("instructions", "responses", "assessments"):
        iteration.table(name).close()
    return run


@pytest.fixture(scope="module")
def question() -> str:
    from isheep.evaluation.registry import open_benchmark

    return open_benchmark("lamb", recipe_for()).texts()[5]


@pytest.mark.parametrize(("setting", "kept", "found"), [("drop", 2, 1), ("report", 3, 1), ("ignore", 3, 0)])
def test_a_pair_that_asks_a_question_of_the_benchmark(
    setting: str, kept: int, found: int, question: str, tmp_path: Path
) -> None:
    recipe = recipe_for(f"evaluate.contamination={setting}")
    with first_iteration(tmp_path / "run", recipe, question) as run, Models(recipe) as models:
        iteration = run.iteration(1)
        decontaminate(iteration, recipe)
        assert contaminated(iteration) == ({"01-000000-a": "holds a question of lamb"} if found else {})
        select(iteration, recipe, models.base)
        rows = iteration.table("selection").rows()
    assert sum(row.kept for row in rows) == kept
    if setting == "drop":
        assert (rows[0].dropped_by, rows[0].reason) == ("contamination", "holds a question of lamb")


def test_without_benchmarks_there_is_nothing_to_hold_against(question: str, tmp_path: Path) -> None:
    recipe = recipe_for("evaluate.benchmarks=[]")
    with first_iteration(tmp_path / "run", recipe, question) as run:
        decontaminate(run.iteration(1), recipe)
        assert run.iteration(1).read_json("contamination.json") == {}
