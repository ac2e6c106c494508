"""What stands beside a figure."""

from __future__ import annotations

from typing import Any

import pytest

from isheep.evaluation.base import figure, in_words, is_number, judge_and_notes

PLAIN: dict[str, Any] = {"library": "lm_eval", "version": "1.2", "items": 20}
JUDGED = {
    **PLAIN,
    "judge": {"id": "the judge", "url": "http://there", "content": "0123456789abcdef" * 4, "temperature": 0.0},
    "judge_prompts": {"single": "f" * 64},
    "notes": ["Item 3 has \x1b[31mno answer."],
}


def test_a_protocol_in_words() -> None:
    assert in_words(PLAIN) == "lm_eval 1.2, 20 items"
    assert judge_and_notes(PLAIN) == []
    judge = "judged by the judge (url http://there, content 01234567, temperature 0.0, prompt single ffffffff)"
    assert judge_and_notes(JUDGED)[0] == judge
    assert in_words(JUDGED).startswith(f"lm_eval 1.2, 20 items; {judge}; Item 3 has ")
    assert "\x1b" not in in_words(JUDGED)


def test_a_figure_is_over_what_could_be_told() -> None:
    found = figure([1.0, None, [0.0, float("nan")], True], seed=0)
    assert found["value"] == pytest.approx(2 / 3)
    assert found["n"] == 3
    assert figure([None], seed=0) == {"value": None, "low": None, "high": None, "n": 0}
    assert not is_number("1")
