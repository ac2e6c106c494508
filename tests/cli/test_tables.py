"""What a person sees of a run: every figure, in 100 columns, and no text that acts on the terminal."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console, RenderableType

from isheep.cli.tables import record_view, status_table
from isheep.records import Assessment, Instruction, Response, Selection
from isheep.store.joined import Joined


def shown(what: RenderableType, width: int = 100) -> list[str]:
    console = Console(file=io.StringIO(), width=width, force_terminal=False)
    console.print(what)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    return [line.rstrip() for line in text.splitlines()]


def measured(value: float, n: int = 400) -> dict[str, Any]:
    return {"value": value, "low": value - 0.03, "high": value + 0.03, "n": n}


def row(number: int, **changes: Any) -> dict[str, Any]:
    return {
        "iteration": number,
        "instructions": {"made": 0, "dropped": {}},
        "responses": {"made": 0, "dropped": {}},
        "assessed": 0,
        "unparsed": 0,
        "kept": 0,
        "selection": {"dropped": {}},
        "health": {},
        "train": {"examples": None, "steps": None, "loss": None},
        "scores": {},
        **changes,
    }


BASE = row(0, scores={"lamb": {"strict": measured(0.5)}})
FULL = row(
    1,
    instructions={"made": 1234, "dropped": {"novelty": 321, "short": 40, "image": 3}},
    responses={"made": 870, "dropped": {"empty": 11, "short": 5}},
    assessed=854,
    unparsed=3,
    kept=427,
    selection={"dropped": {"threshold": 424, "unparsed": 3}},
    health={
        "keep_share": 0.5,
        "near_twin_share": 0.02,
        "stop_share": None,
        "one_word_share": 0.375,
        "response_words_median": 13.0,
        "histogram": [1, 2],
        "alarms": {"short_responses": "half as long"},
    },
    train={"examples": 384, "steps": 200, "loss": 0.51234},
    scores={"lamb": {"strict": measured(0.801)}},
)


def status(*rows: dict[str, Any], best: int | None = None, **changes: Any) -> dict[str, Any]:
    return {"recipe": {}, "state": "finished", "best_iteration": best, "iterations": list(rows), **changes}


def test_every_figure_of_an_iteration_is_shown() -> None:
    lines = shown(status_table(status(BASE, FULL, best=1)))
    assert lines[0] == "finished, best iteration 1: lamb strict .801 [.771, .831]"
    start = next(index for index, line in enumerate(lines) if line.strip().startswith("1 "))
    cells = [" ".join(line.split()) for line in lines[start : start + 5]]
    assert cells == [
        "1 1234 424 threshold 427 (50%) near-twins 2% 384 pairs",
        "321 novelty 3 unparsed stop by themselves - 200 steps",
        "45 short one-word answers 38% loss 0.512",
        "11 empty median words 13",
        "6 by 2 other rules",
    ]
    assert "! iteration 1, short_responses: half as long" in lines
    assert " ".join(lines[start - 1].split()) == "0 - - - - -"
    assert "lamb, n = 400" in lines
    assert "         1   .801 [.771, .831]" in lines
    assert "         0   .500 [.470, .530]" in lines


def test_why_the_loop_stopped_stands_under_the_state() -> None:
    ended = {"recipe": {"iterations": 4}, "stopped": {"iteration": 1, "why": "lamb strict gained nothing."}}
    lines = shown(status_table(status(BASE, FULL, best=1, **ended)))
    assert lines[0].startswith("finished, best iteration 1")
    assert lines[1] == "The loop stopped after iteration 1 of 4: lamb strict gained nothing."


def test_the_tables_fit_in_100_columns() -> None:
    metrics = {f"prompt_level_strict_accuracy_{index}": measured(0.5) for index in range(9)}
    wide = row(
        10,
        instructions={"made": 9_999_999, "dropped": {"a_rule_with_a_very_long_name_indeed": 1_000_000}},
        assessed=9_999_999,
        kept=9_999_999,
        health={"a_figure_with_a_very_long_name_indeed": 0.123456},
        train={"examples": 3000, "steps": 10_000, "loss": 12.3456},
        scores={"a-benchmark": metrics, "another": {"acc": measured(0.5, 1), "acc_norm": measured(0.5, 2)}},
    )
    assert max(map(len, shown(status_table(status(BASE, FULL, best=1)), width=300))) <= 100
    lines = shown(status_table(status(BASE, wide, best=0)))
    assert max(map(len, lines)) <= 100
    text = "\n".join(lines)
    assert "\u2026" not in text
    assert text.count(".500 [.470, .530]") == 2 + 9 + 2
    assert "9999999 (100%)" in text
    assert "a-benchmark, n = 400" in text
    assert "another\n" in text


def test_a_run_without_scores_has_a_state_and_one_table() -> None:
    lines = shown(status_table(status(row(0), state="running")))
    assert lines[0] == "running"
    assert sum("iteration" in line for line in lines) == 1


@pytest.mark.parametrize(
    ("assessment", "line"),
    [
        (Assessment("a", None, 7.0, None, "7||", "base"), "following 7"),
        (Assessment("a", None, 7.0, "", "7||", "base"), "quality could not tell (no answer), following 7"),
        (Assessment("a", None, None, None, None, "none"), "not asked for"),
    ],
)
def test_a_score_that_was_not_asked_for_is_not_told_as_unread(assessment: Assessment, line: str) -> None:
    assert f"scores       {line}" in shown(record_view(Joined(MADE, assessment=assessment)))


MADE = Instruction("01-000001-aa", 1, 1, "Say [bold]x[/bold].\x1b[31m\u202e", "an input", [], 0, "p")


def test_a_record_shows_all_that_is_known_and_no_escapes_or_markup() -> None:
    record = Joined(
        MADE,
        Response("a", "One\nline \x07more", "length", 9),
        Assessment("a", 8.25, None, "8", "I say\x1bhigh", "base"),
        Selection("a", False, "threshold", "quality 6 <= 8"),
    )
    assert shown(record_view(record)) == [
        "id           01-000001-aa",
        r"instruction  Say [bold]x[/bold].\x1b[31m\u202e",
        "input        an input",
        "response     One",
        r"             line \x07more  (length)",
        r"scores       quality 8.25, following could not tell ('I say\x1bhigh')",
        "outcome      dropped by threshold: quality 6 <= 8",
        "",
    ]


def test_what_the_selection_computed_is_shown() -> None:
    lines = shown(record_view(Joined(MADE, selection=Selection("a", True, None, None, 12.345, 3.5, 12345))))
    assert "figures      perplexity of the response 12.35, perplexity of the pair 3.5, cluster 12345" in lines
    lines = shown(record_view(Joined(MADE, selection=Selection("a", True, cluster=0))))
    assert "figures      cluster 0" in lines
    lines = shown(record_view(Joined(MADE, selection=Selection("a", True))))
    assert not any(line.startswith("figures") for line in lines)


@pytest.mark.parametrize(
    ("record", "outcome"),
    [
        (Joined(MADE), "outcome      not decided yet"),
        (Joined(MADE, Response("a", "x", "stop", 1), None, Selection("a", True)), "outcome      kept"),
        (Joined(MADE, Response("a", "x", "stop", 1, "echo", None)), "outcome      dropped by echo"),
    ],
)
def test_outcome(record: Joined, outcome: str) -> None:
    assert outcome in shown(record_view(record))


def test_a_lone_surrogate_in_a_rule_name_does_not_stop_the_table() -> None:
    odd = row(
        1, instructions={"made": 1, "dropped": {"odd\ud800\x1b[2J": 1}}, scores={"b\x1b": {"m\u202e": measured(0.5)}}
    )
    text = "\n".join(shown(status_table(status(odd, best=1))))
    assert r"1 odd\ud800\x1b[2J" in text
    assert "\x1b" not in text
    assert "\u202e" not in text


def test_the_last_iterations_alone_and_no_scores() -> None:
    document = status(BASE, FULL, row(2, health={"alarms": {"unparsed": "many"}}), best=1)
    lines = shown(status_table(document, last=1))
    assert [line.split()[0] for line in lines if line.lstrip()[:1] in "012" and line.strip()] == ["2", "0", "1", "2"]
    assert [line for line in lines if line.startswith("!")] == ["! iteration 2, unparsed: many"]
    assert not any("strict" in line for line in shown(status_table(document, last=1, scores=False))[1:])


def test_what_is_under_way_stands_below_the_state() -> None:
    now = {"what": "Train [1]", "done": 75, "total": 1000, "rate": 5.0, "at": ""}
    lines = shown(status_table(status(row(0), state="running", progress=now)))
    assert lines[:2] == ["running", "Train [1]: 75/1000, 5/s, 3:05 left"]
    unknown = {**now, "total": None, "rate": None}
    assert shown(status_table(status(row(0), state="running", progress=unknown)))[1] == "Train [1]: 75"
