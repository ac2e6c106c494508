"""Which pairs an iteration's model is trained on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from isheep.recipe import Recipe, parse_recipe
from isheep.records import Assessment, Instruction, Response, Selection
from isheep.stages.training_set import gather, nothing_kept
from isheep.store.run import Iteration, Run


def make(model: Path, setting: str) -> Recipe:
    return parse_recipe({"model": {"path": str(model)}, "setting": setting}, "test")


@pytest.fixture
def iterations(tiny_model: Path, tmp_path: Path) -> Iterator[list[Iteration]]:
    """Three iterations; of the three pairs of each the first was not selected and the last has an input."""
    with Run.create_or_resume(tmp_path / "run", make(tiny_model, "one_base")) as run:
        for number in (1, 2, 3):
            ids = [f"{number}-{place}" for place in range(3)]
            tables: dict[str, list[Any]] = {
                "instructions": [
                    Instruction(id_, number, place, f"Do {id_}.", "with this" * (place == 2), [], 0, "p")
                    for place, id_ in enumerate(ids)
                ],
                "responses": [Response(id_, f"Done {id_}.", "stop", 2) for id_ in ids],
                "assessments": [Assessment(id_, 9.0, 9.0, None, None, "base") for id_ in ids],
                "selection": [Selection(id_, place > 0) for place, id_ in enumerate(ids)],
            }
            for name, rows in tables.items():
                run.iteration(number).table(name).append(rows)
        yield [run.iteration(number) for number in (1, 2, 3)]


def lines(iteration: Iteration) -> list[Any]:
    return [json.loads(line) for line in iteration.training_set_path.read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize(
    ("setting", "ids"),
    [
        ("one_base", ["3-1", "3-2"]),
        ("one_last", ["3-1", "3-2"]),
        ("total_base", ["1-1", "1-2", "2-1", "2-2", "3-1", "3-2"]),
    ],
)
def test_the_setting_says_whose_pairs(
    iterations: list[Iteration], tiny_model: Path, setting: str, ids: list[str]
) -> None:
    *earlier, last = iterations
    gather(last, earlier, make(tiny_model, setting))
    assert [line["id"] for line in lines(last)] == ids


def test_a_line_is_a_conversation_of_the_bare_pair(iterations: list[Iteration], tiny_model: Path) -> None:
    gather(iterations[0], [], make(tiny_model, "direct"))
    assert lines(iterations[0])[1] == {
        "id": "1-2",
        "messages": [
            {"role": "user", "content": "Do 1-2.\nwith this"},
            {"role": "assistant", "content": "Done 1-2."},
        ],
    }


def test_a_training_set_that_is_there_stays(iterations: list[Iteration], tiny_model: Path) -> None:
    iterations[0].write_training_set([{"id": "mine", "messages": []}])
    gather(iterations[0], [], make(tiny_model, "one_base"))
    assert [line["id"] for line in lines(iterations[0])] == ["mine"]


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        (["unparsed", "unparsed", "threshold"], "(unparsed 2, threshold 1). Set `assess.read` to distribution"),
        (["perplexity"], "(perplexity 1). Raise `select.perplexity.limit`, and"),
        (["no_perplexity"], "(no_perplexity 1). Read what they dropped (`isheep records --dropped`)"),
        ([], "(there were no pairs). Look at what the rules dropped"),
    ],
)
def test_what_to_do_depends_on_what_dropped_the_most(rules: list[str], words: str) -> None:
    message = nothing_kept(2, [Selection(str(place), False, rule) for place, rule in enumerate(rules)])
    assert message.startswith(f"iteration 2 kept nothing to train on {words}")
    assert "--accept-changes" in message
