"""Tables of the report, from documents that are known."""

from __future__ import annotations

from isheep.report.sections import HITS_SHOWN, contamination, held_questions, protocol

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
