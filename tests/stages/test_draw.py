"""Further responses to kept instructions: the model, rules and assessor of the first, and seeds of their own."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from isheep.models import Model, Models
from isheep.recipe import Recipe, overridden, parse_recipe
from isheep.records import Alternative, Assessment, Instruction, Pair, Response, Selection
from isheep.stages.assess import Judge
from isheep.stages.draw import draw
from isheep.stages.once import Once
from isheep.stages.respond import respond
from isheep.store.plan import NOTES
from isheep.store.run import Iteration, Run

KEPT = ("i0", "i2", "i5")
SHORT = "# One line.\n---\nHow good is {{response}} for {{instruction}} {{input}}?\n"

Drawn = Callable[..., Run]


@pytest.fixture
def recipe(tiny_model: Path, tmp_path: Path) -> Recipe:
    prompt = tmp_path / "prompt.txt"
    prompt.write_text(SHORT)
    settings = {
        "model": {"path": str(tiny_model), "dtype": "float32"},
        "respond": {"max_new_tokens": 12, "draws": 4},
        "assess": {
            "read": "distribution",
            "quality_prompt": str(prompt),
            "following_prompt": str(prompt),
            "max_new_tokens": 4,
        },
        "engine": {"device": "cpu", "batch_size": 2, "window": 1, "threads": 1},
    }
    return parse_recipe(settings, "test")


@pytest.fixture
def run_of(tmp_path: Path) -> Iterator[Drawn]:
    """`run_of(recipe)`: an owned run whose iteration 1 kept three of six pairs."""
    made: list[Run] = []

    def make(recipe: Recipe) -> Run:
        run = Run.create_or_resume(tmp_path / f"run-{len(made)}", recipe)
        made.append(run)
        for name, rows in tables().items():
            run.iteration(1).table(name).append(rows)
            run.iteration(1).table(name).close()
        return run

    yield make
    for run in made:
        run.release()


def tables() -> dict[str, list[Any]]:
    tasks = [Instruction(f"i{n}", 1, n, f"Name {n} birds.", "in Peru" * (n % 2), [], 0, "p") for n in range(6)]
    return {
        "instructions": tasks,
        "responses": [Response(task.id, "An owl.", "stop", 2) for task in tasks],
        "assessments": [Assessment(task.id, 5.0, 5.0, None, None, "base") for task in tasks],
        "selection": [Selection(task.id, task.id in KEPT) for task in tasks],
    }


def drawn(run: Run, recipe: Recipe) -> list[Alternative]:
    with Models(recipe) as models:
        draw(run.iteration(1), recipe, models.base)
    return alternatives(run.iteration(1))


def alternatives(iteration: Iteration) -> list[Alternative]:
    return iteration.table("alternatives").rows()


def test_each_kept_instruction_is_answered_again_with_other_seeds_and_judged(recipe: Recipe, run_of: Drawn) -> None:
    run = run_of(recipe)
    rows = drawn(run, recipe)
    assert [(row.id, row.draw) for row in rows] == [(id_, number) for id_ in KEPT for number in (1, 2, 3)]
    assert len({row.response for row in rows}) > len(KEPT)
    assert not (run.iteration(1).path / "draws").exists()
    tasks = {one.id: one for one in tables()["instructions"]}
    again = [replace(tasks[row.id], id=f"{row.id}/{row.draw}") for row in rows]
    with Run.create_or_resume(run.directory.parent / "asked", recipe) as asked, Models(recipe) as models:
        one = asked.iteration(1)
        one.table("instructions").append(again)
        respond(one, recipe, models.base)
        answers = one.table("responses").rows()
        passed = [row for row in answers if row.dropped_by is None]
        pairs = [
            Pair(task.id, task.instruction, task.input, row.response)
            for task, row in zip(again, answers, strict=True)
            if row in passed
        ]
        scores = {row.id: row for row in Judge(1, recipe, models.base)(pairs)}
    assert passed
    for row, answer in zip(rows, answers, strict=True):
        names = [field.name for field in fields(Response) if field.name != "id"]
        assert [getattr(row, name) for name in names] == [getattr(answer, name) for name in names]
        told = scores.get(answer.id)
        # What is read together with what decides the last digits.
        expected = (told.quality, told.following) if told else (None, None)
        assert (row.quality, row.following) == pytest.approx(expected, abs=1e-4)


def test_what_a_rule_drops_stays_and_is_not_judged(recipe: Recipe, run_of: Drawn) -> None:
    # One token may be none that shows.
    cut = overridden(recipe, ["respond.max_new_tokens=1", "respond.draws=40", "engine.window=8"])
    rows = drawn(run_of(cut), cut)
    dropped = [row for row in rows if row.dropped_by is not None]
    assert 0 < len(dropped) < len(rows)
    assert all(row.reason and row.quality_raw is None and row.quality is None for row in dropped)
    assert all(row.quality_raw and row.following_raw for row in rows if row.dropped_by is None)


@pytest.mark.parametrize("assessed", [0, 4])
def test_a_cut_stage_goes_on_where_it_stopped(recipe: Recipe, run_of: Drawn, assessed: int) -> None:
    whole = drawn(run_of(recipe), recipe)
    cut = run_of(recipe).iteration(1)
    # Marked, so that what is done again shows.
    marked = [replace(row, finish_reason="as it was") for row in whole[:4]]
    before = [
        Response(f"{row.id}/{row.draw}", row.response, row.finish_reason, row.tokens, row.dropped_by, row.reason)
        for row in [*marked, *(whole[4:] if assessed else [])]
    ]
    cut.table("draws").append(before)
    if assessed:
        cut.table("draws").close()
        cut.table("alternatives").append(marked[:assessed])
    with Models(recipe) as models:
        draw(cut, recipe, models.base)
    assert alternatives(cut) == [*marked, *whole[4:]]
    assert cut.table("alternatives").is_done
    assert not cut.table("draws").path.exists()


def test_a_stage_that_has_ended_does_nothing_but_clear_away(recipe: Recipe, run_of: Drawn) -> None:
    run = run_of(recipe)
    rows = drawn(run, recipe)
    (run.iteration(1).path / "draws").mkdir()
    with Models(recipe) as models:
        draw(run.iteration(1), recipe, models.base)
        assert models._engine is None
    assert alternatives(run.iteration(1)) == rows
    assert not (run.iteration(1).path / "draws").exists()


def test_another_model_judges_after_the_last_was_drawn(
    recipe: Recipe, run_of: Drawn, tiny_model: Path, tmp_path: Path
) -> None:
    shutil.copytree(tiny_model, tmp_path / "other")
    judged = overridden(recipe, [f"assess.assessor={tmp_path / 'other'}"])
    assert drawn(run_of(judged), judged) == drawn(run_of(recipe), recipe)


def test_one_response_to_an_instruction_leaves_no_trace(recipe: Recipe, run_of: Drawn) -> None:
    alone = overridden(recipe, ["respond.draws=1"])
    run = run_of(alone)
    before = sorted(path.name for path in run.iteration(1).path.rglob("*"))
    with Models(alone) as models:
        Once(run).do(draw, run.iteration(1), alone, Model(models, 0, None))
    assert sorted(path.name for path in run.iteration(1).path.rglob("*")) == before
    again = run_of(recipe)
    with Models(recipe) as models:
        Once(again).do(draw, again.iteration(1), recipe, models.base)
    assert list(again.iteration(1).read_json(NOTES) or {}) == ["draw"]
    assert (again.iteration(1).read_json(NOTES) or {})["draw"]["tokens"]["written"] > 0
