"""One generated instruction with all that is known of it."""

from __future__ import annotations

from pathlib import Path

from isheep.recipe import parse_recipe
from isheep.records import Assessment, Instruction, Response, Selection
from isheep.store.joined import Joined, join
from isheep.store.run import Run

MADE = [Instruction(f"i{n}", 1, n, f"Do {n}.", "", ["s"], 0, "p") for n in range(4)]
SHORT = Instruction("i9", 1, 9, "Do.", "", [], 0, "p", "short", "1 word")


def test_join_keeps_the_order_and_leaves_out_nothing(tmp_path: Path) -> None:
    recipe = parse_recipe({"model": {"path": str(tmp_path / "model")}}, "test")
    with Run.create_or_resume(tmp_path / "run", recipe) as run:
        iteration = run.iteration(1)
        iteration.table("instructions").append([MADE[0], SHORT, *MADE[1:]])
        iteration.table("responses").append(
            [
                Response("i2", "c", "stop", 1),
                Response("i0", "a", "stop", 1),
                Response("i1", "b", "stop", 1, "echo", "same"),
            ]
        )
        iteration.table("assessments").append([Assessment(f"i{n}", 9.0, 8.0, "9", "8", "current") for n in (0, 2)])
        iteration.table("selection").append([Selection("i0", True), Selection("i2", False, "threshold", "8 <= 8")])
        found = join(iteration)
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
