"""Responses: what the model is shown, with principles around the task and without, and what stays of them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from isheep.errors import UserError
from isheep.models import Model, Models
from isheep.prompts import bare
from isheep.recipe import Recipe, overridden, parse_recipe
from isheep.records import Assessment, Instruction, Pair, Response, Selection
from isheep.stages.respond import respond
from isheep.stages.training_set import gather
from isheep.store.joined import answered_pairs
from isheep.store.run import Iteration, Run

TASKS = [("Name a hill.", ""), ("Spell the word.", "shell"), ("Tell who fell {{task}}.", "")]
PRINCIPLES = "# Header.\n---\nBe brief and honest.\n\n{{task}}\n"


@pytest.fixture
def principles(tmp_path: Path) -> Path:
    file = tmp_path / "principles.txt"
    file.write_text(PRINCIPLES)
    return file


def make(model: Path, principles: Path | None) -> Recipe:
    return parse_recipe(
        {
            "model": {"path": str(model), "dtype": "float32"},
            "respond": {"max_new_tokens": 6, "temperature": 0.0, "principles": str(principles) if principles else None},
            "engine": {"device": "cpu", "threads": 1},
        },
        "test",
    )


@pytest.fixture
def run(tiny_model: Path, tmp_path: Path) -> Iterator[Run]:
    with Run.create_or_resume(tmp_path / "run", make(tiny_model, None)) as run:
        yield run


def asked(iteration: Iteration, recipe: Recipe, number: int, tasks: Sequence[tuple[str, str]]) -> list[Response]:
    """What the weights of the base say to the tasks when they are asked as model `number`."""
    made = [Instruction(str(place), 1, place, *task, [], 0, "p") for place, task in enumerate(tasks)]
    iteration.table("instructions").append(made)
    iteration.table("instructions").close()
    with Models(recipe) as models:
        respond(iteration, recipe, Model(models, number, None))
    return iteration.table("responses").rows()


def texts(iteration: Iteration, recipe: Recipe, number: int, tasks: Sequence[tuple[str, str]]) -> list[str]:
    return [row.response for row in asked(iteration, recipe, number, tasks)]


@pytest.mark.parametrize("number", [0, 1])
def test_principles_stand_around_the_task_in_the_models_own_form(
    run: Run, tiny_model: Path, principles: Path, number: int
) -> None:
    """As if the task itself had spelled them out: bare text for the base, all of it the user's turn later on."""
    spelled = [(f"Be brief and honest.\n\n{bare(*task)}", "") for task in TASKS]
    shown = texts(run.iteration(1), make(tiny_model, principles), number, TASKS)
    assert shown == texts(run.iteration(2), make(tiny_model, None), number, spelled)
    assert shown != texts(run.iteration(3), make(tiny_model, None), number, TASKS)
    assert shown != texts(run.iteration(4), make(tiny_model, principles), 1 - number, TASKS)


def test_principles_are_in_no_pair_that_is_assessed_or_trained_on(run: Run, tiny_model: Path, principles: Path) -> None:
    recipe = make(tiny_model, principles)
    iteration = run.iteration(1)
    rows = asked(iteration, recipe, 1, TASKS)
    kept = [row.id for row in rows if row.dropped_by is None]
    assert kept
    assert list(answered_pairs(iteration)) == [
        Pair(row.id, *TASKS[int(row.id)], row.response) for row in rows if row.id in kept
    ]
    iteration.table("assessments").append([Assessment(id_, 9.0, 9.0, None, None, "base") for id_ in kept])
    iteration.table("selection").append([Selection(id_, True) for id_ in kept])
    gather(iteration, [], recipe)
    lines = [json.loads(line) for line in iteration.training_set_path.read_text(encoding="utf-8").splitlines()]
    turns = [{"role": "user", "content": bare(*TASKS[int(id_)])} for id_ in kept]
    assert [line["messages"][0] for line in lines] == turns
    assert "honest" not in iteration.training_set_path.read_text(encoding="utf-8")


def test_a_principles_file_without_its_field(run: Run, tiny_model: Path, principles: Path) -> None:
    principles.write_text("# Header.\n---\nBe brief.\n")
    with pytest.raises(UserError, match=r"It needs just \{\{task\}\}"):
        asked(run.iteration(1), make(tiny_model, principles), 0, TASKS)


def test_what_was_dropped_is_not_answered_and_a_cut_stage_goes_on_where_it_stopped(
    run: Run, tiny_model: Path, tmp_path: Path
) -> None:
    recipe = overridden(make(tiny_model, None), ["respond.temperature=1.0", "engine.batch_size=1", "engine.window=2"])
    made = [Instruction(f"i{place}", 1, place, f"Spell it {place}.", "", [], 0, "p") for place in range(6)]
    made[1] = replace(made[1], dropped_by="short", reason="3 words")

    def answer(one: Run, begun: Sequence[Response]) -> list[Response]:
        iteration = one.iteration(1)
        iteration.table("instructions").append(made)
        if begun:
            iteration.table("responses").append(begun)
        with Models(recipe) as models:
            respond(iteration, recipe, models.base)
        assert iteration.table("responses").is_done
        return iteration.table("responses").rows()

    whole = answer(run, [])
    assert [row.id for row in whole] == ["i0", "i2", "i3", "i4", "i5"]
    assert len({row.response for row in whole}) > 1
    # Marked, so that an answer that is asked for again shows.
    begun = [replace(row, reason="as it was") for row in whole[:2]]
    with Run.create_or_resume(tmp_path / "cut", recipe) as cut:
        assert answer(cut, begun) == [*begun, *whole[2:]]
