"""Tables of the report, from documents that are known."""

from __future__ import annotations

from typing import Any

from isheep.records import Instruction, Selection
from isheep.report.sections import HITS_SHOWN, contamination, cost, held_questions, near_twins, protocol, spent
from isheep.store.joined import Joined

FOUND = {
    1: {"quiz": {"texts": 1200, "hits": [{"id": f"01-{n}", "item": n, "shared": f"words {n}"} for n in range(20)]}},
    2: {"quiz": {"texts": 1200, "hits": []}, "late": {"texts": 3, "hits": []}},
}


def test_contamination_by_benchmark_and_iteration() -> None:
    grid = contamination(FOUND)
    assert grid is not None
    assert list(grid.columns) == ["iteration 1", "iteration 2"]
    assert [(row.label, [cell.text for cell in row.cells]) for row in grid.rows] == [
        ("quiz (1,200 questions)", ["20", "0"]),
        ("late (3 questions)", ["\N{EN DASH}", "0"]),
    ]
    shown = held_questions(FOUND)
    assert shown is not None
    assert len(shown.rows) == HITS_SHOWN
    assert [cell.text for cell in shown.rows[1].cells] == ["quiz", "words 1"]


def test_where_nobody_looked_there_is_no_table() -> None:
    assert contamination({}) is None
    assert held_questions({2: FOUND[2]}) is None
    assert protocol({}) is None


def test_the_protocol_names_judge_and_notes() -> None:
    judge = {"id": "j", "temperature": 0.0}
    found = {"library": "isheep", "version": "1", "items": 80, "judge": judge, "judge_prompts": {"single": "a" * 64}}
    grid = protocol(
        {"mt_bench": found, "quiz": {"library": "lm_eval", "version": "2", "items": 1200, "notes": ["odd"]}}
    )
    assert grid is not None
    cells = [[cell.text for cell in row.cells] for row in grid.rows]
    assert cells == [
        ["isheep 1", "80", "judged by j (temperature 0.0, prompt single aaaaaaaa)"],
        ["lm_eval 2", "1,200", "odd"],
    ]


def test_the_nearest_of_the_kept_ones_with_what_they_are_near_to() -> None:
    def record(id_: str, text: str, rouge: float | None, other: str | None, kept: bool = True) -> Joined:
        made = Instruction(id_, 1, 0, text, "", [], 0, "p", None, None, rouge, other)
        return Joined(made, selection=Selection(id_, kept))

    made = {
        1: [record("a", "Name a bird.", 0.5, "s1"), record("b", "Name an owl.", None, None)],
        2: [record("c", "Name a big bird.", 0.8, "a"), record("d", "Sing.", 0.9, "a", kept=False)],
    }
    grid = near_twins(made, {"s1": "Name a fish."}, 0.7)
    assert grid is not None
    assert [(row.label, [cell.text for cell in row.cells], row.cells[0].note) for row in grid.rows] == [
        ("c", ["0.800", "Name a big bird.", "Name a bird."], "near-twin"),
        ("a", ["0.500", "Name a bird.", "Name a fish."], ""),
    ]
    assert near_twins({1: made[1][1:]}, {}, 0.7) is None


def test_cost_is_summed_and_what_nobody_knows_stays_unknown() -> None:
    def note(seconds: float | None, **more: object) -> dict[str, object]:
        return {"seconds": seconds, "tokens": None, "joules": None, "from": None, **more}

    rows: list[dict[str, Any]] = [
        {"iteration": 0, "cost": {"evaluate": note(5.0, tokens={"read": 10, "written": 4})}},
        {"iteration": 1, "cost": {"train": note(None, **{"from": "other"}), "respond": note(7225.0, joules=3600.0)}},
        {"iteration": 2},
    ]
    grid = cost(rows)
    assert grid is not None
    dash = "\N{EN DASH}"
    assert {row.label: [cell.text for cell in row.cells] for row in grid.rows} == {
        "base (0), evaluate": ["5.0 s", "10", "4", dash],
        "1, train": [dash, dash, dash, dash],
        "1, respond": ["2 h 0 min", dash, dash, "1 Wh"],
        "all": ["2 h 0 min", "10", "4", "1 Wh"],
    }
    assert grid.rows[1].cells[0].note == "as in other"
    assert grid.rows[0].cells[0].link == "iteration-00/stages.json"
    assert cost(rows[2:]) is None
    assert spent(rows[2:]) == {"seconds": None, "read": None, "written": None, "joules": None}
