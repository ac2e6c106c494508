"""One generated instruction with all that is known of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from isheep.errors import StageError, UserError
from isheep.recipe import parse_recipe
from isheep.records import Assessment, Instruction, Pair, Response, Selection
from isheep.store.joined import (
    CONTAMINATION,
    Joined,
    answered_pairs,
    contaminated,
    find,
    join,
    kept_instructions,
    kept_pairs,
)
from isheep.store.run import Run

MADE = [Instruction(f"i{n}", 1, n, f"Do {n}.", "", ["s"], 0, "p") for n in range(4)]
SHORT = Instruction("i9", 1, 9, "Do.", "", [], 0, "p", "short", "1 word")


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    """Whose first iteration is under way, and whose second has made one instruction."""
    recipe = parse_recipe({"model": {"path": str(tmp_path / "model")}}, "test")
    with Run.create_or_resume(tmp_path / "run", recipe) as run:
        iteration = run.iteration(1)
        iteration.table("instructions").append([MADE[0], SHORT, *MADE[1:]])
        iteration.table("responses").append(
            [
                Response("i0", "a", "stop", 1),
                Response("i1", "b", "stop", 1, "echo", "same"),
                Response("i2", "c", "stop", 1),
            ]
        )
        iteration.table("assessments").append([Assessment(f"i{n}", 9.0, 8.0, "9", "8", "current") for n in (0, 2)])
        iteration.table("selection").append([Selection("i0", True), Selection("i2", False, "threshold", "8 <= 8")])
        run.iteration(2).table("instructions").append([Instruction("j0", 2, 0, "Do.", "", [], 1, "p", "short", "why")])
        run.iteration(0).write_json("scores.json", {})
        yield run


def test_join_keeps_the_order_and_leaves_out_nothing(run: Run) -> None:
    found = list(join(run.iteration(1)))
    outcomes = [(row.instruction.id, row.kept, row.dropped_by, row.reason) for row in found]
    assert outcomes == [
        ("i0", True, None, None),
        ("i9", False, "short", "1 word"),
        ("i1", False, "echo", "same"),
        ("i2", False, "threshold", "8 <= 8"),
        ("i3", None, None, None),
    ]
    assert [row.response.response if row.response else None for row in found] == ["a", None, "b", "c", None]
    assert found[3].assessment == Assessment("i2", 9.0, 8.0, "9", "8", "current")


def test_as_dict_has_every_field_and_the_whole_outcome() -> None:
    dropped = Joined(MADE[0], Response("i0", "a", "length", 3, "cut", "too long"))
    assert dropped.as_dict() == {
        "id": "i0", "iteration": 1, "index": 0, "instruction": "Do 0.", "input": "", "shot_ids": ["s"], "source": 0,
        "prompt_id": "p", "rouge_max": None, "rouge_id": None, "response": "a", "finish_reason": "length", "tokens": 3,
        "kept": False, "dropped_by": "cut", "reason": "too long",
    }  # fmt: skip
    assert Joined(MADE[0], None, Assessment("i0", 1.0, None, "1", None, "base")).as_dict()["following"] is None
    assert Joined(MADE[0], selection=Selection("i0", True, cluster=3)).as_dict()["cluster"] == 3


@pytest.fixture
def ended(tmp_path: Path) -> Iterator[Run]:
    """Two iterations: of the first two pairs are kept and two instructions dropped, the second has just begun."""
    with Run.create_or_resume(tmp_path / "run", parse_recipe({"model": {"path": "m"}}, "test")) as run:
        one = run.iteration(1)
        one.table("instructions").append([MADE[0], SHORT, *MADE[1:]])
        one.table("responses").append(
            [Response(f"i{n}", f"Done {n}.", "stop", 2, *(["echo", "same"] if n == 3 else [])) for n in range(4)]
        )
        one.table("assessments").append([Assessment(f"i{n}", 9.0, 9.0, None, None, "base") for n in range(3)])
        one.table("selection").append(
            [Selection("i0", True), Selection("i1", False, "cap", "many"), Selection("i2", True)]
        )
        run.iteration(2).table("instructions").append(
            [Instruction("j0", 2, 0, "Sing.", "", [], 1, "p", "short", "1 word")]
        )
        run.iteration(0).write_json("scores.json", {})
        yield run


def ids(records: Sequence[Joined]) -> list[str]:
    return [record.instruction.id for record in records]


def test_pairs_are_what_passed_the_rules_and_the_kept_ones_of_them(ended: Run) -> None:
    one = ended.iteration(1)
    assert list(answered_pairs(one)) == [Pair(f"i{n}", f"Do {n}.", "", f"Done {n}.") for n in range(3)]
    assert [pair.id for pair in kept_pairs(one)] == ["i0", "i2"]
    assert list(kept_instructions(one)) == [MADE[0], MADE[2]]
    assert not list(answered_pairs(ended.iteration(2)))
    assert not list(kept_instructions(ended.iteration(2)))


def test_answers_in_another_order_than_their_instructions_are_not_lost_in_silence(run: Run) -> None:
    run.iteration(2).table("responses").append([Response("nobody", "a", "stop", 1)])
    run.iteration(1).table("responses").append([Response("i9", "late", "stop", 1)])
    for number, left in ((1, "i9"), (2, "nobody")):
        with pytest.raises(StageError, match=f"responses: {left} is no instruction's, or not in their order"):
            list(answered_pairs(run.iteration(number)))


def test_what_holds_a_question_is_told_with_every_benchmark(ended: Run) -> None:
    assert contaminated(ended.iteration(1)) == {}
    hits = {"arc": ["i0"], "lamb": [], "piqa": ["i2", "i0"]}
    held = {
        name: {"texts": 9, "hits": [{"id": one, "item": 3, "shared": "a b"} for one in found]}
        for name, found in hits.items()
    }
    ended.iteration(1).write_json(CONTAMINATION, held)
    assert contaminated(ended.iteration(1)) == {
        "i0": "holds a question of arc, piqa",
        "i2": "holds a question of piqa",
    }


def test_records_are_found_by_iteration_outcome_and_reason(ended: Run) -> None:
    assert ids(find(ended)) == ["i0", "i9", "i1", "i2", "i3", "j0"]
    assert ids(find(ended, iteration=2)) == ["j0"]
    assert ids(find(ended, iteration=1, limit=2)) == ["i0", "i9"]
    assert ids(find(ended, kept=True)) == ["i0", "i2"]
    assert ids(find(ended, kept=False)) == ["i9", "i1", "i3", "j0"]
    assert ids(find(ended, reason="short")) == ["i9", "j0"]
    assert ids(find(ended, reason="short", iteration=1)) == ["i9"]
    assert ids(find(ended, kept=True, reason="short")) == []


def test_what_is_not_there_to_be_found_is_told_with_what_is(ended: Run) -> None:
    for number in (0, 7):
        with pytest.raises(UserError) as caught:
            find(ended, iteration=number)
        assert caught.value.where == "--iteration"
        assert caught.value.what == f"{ended.directory} has no records of iteration {number}."
        assert caught.value.mend == "It has: 1, 2."
    with pytest.raises(UserError) as caught:
        find(ended, reason="shrot")
    assert str(caught.value) == "--reason: no rule 'shrot' dropped anything here. These did: cap, echo, short."


def test_a_run_that_has_just_begun_has_no_records_yet(tmp_path: Path) -> None:
    with Run.create_or_resume(tmp_path / "run", parse_recipe({"model": {"path": "m"}}, "test")) as run:
        assert find(run) == []
        with pytest.raises(UserError, match="It has: none yet"):
            find(run, iteration=1)
