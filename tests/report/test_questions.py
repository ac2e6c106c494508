"""What a reader asks next, and that every answer is the files' own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from isheep.report.questions import answers


def measured(value: float, low: float | None, high: float | None, n: int = 400) -> dict[str, Any]:
    return {"value": value, "low": low, "high": high, "n": n}


def row(number: int, scores: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "iteration": number,
        "instructions": {"made": 100 * number, "dropped": {}},
        "kept": 10 * number,
        "health": {},
        "scores": {"b": scores},
        **more,
    }


def status(*rows: dict[str, Any], best: int | None = 1) -> dict[str, Any]:
    return {
        "recipe": {"seed": 7, "evaluate": {"benchmarks": ["b"]}},
        "best_iteration": best,
        "iterations": list(rows),
    }


def gain(first: int, second: int, beyond: bool | None, low: float | None = 0.1) -> dict[str, Any]:
    return {
        "benchmark": "b",
        "metric": "m",
        "iterations": [first, second],
        "value": 0.25,
        "low": low,
        "high": None if low is None else 0.4,
        "n": 400,
        "beyond_noise": beyond,
        "words": f"{first} and {second}",
    }


PROTOCOL = {"b": {"library": "lm_eval", "version": "1.2", "items": 400}}


def told(document: dict[str, Any], progress: list[dict[str, Any]], directory: Path = Path("nowhere")) -> dict[str, str]:
    return {one.question: one.answer for one in answers(document, progress, PROTOCOL, directory)}


def test_every_question_has_its_answer(tmp_path: Path) -> None:
    (tmp_path / "iteration-01" / "adapter").mkdir(parents=True)
    base = row(0, {"m": measured(0.1, 0.05, 0.15), "k": measured(0.9, 0.88, 0.92)})
    cost = {"train": {"seconds": 75.0, "tokens": {"read": 9000, "written": 0}, "joules": 7200.0, "from": None}}
    health = {"over_threshold_share": 0.25, "alarms": {"flat_quality": "says so"}}
    one = row(1, {"m": measured(0.5, 0.4, 0.6), "k": measured(0.8, 0.75, 0.86)}, health=health, cost=cost)
    found = told(status(base, one), [gain(0, 1, True)], tmp_path)
    assert found["On what was it measured?"].startswith("400 items of b, answered by every model in the same way")
    assert (
        "Item by item iteration 1 has .250 [.100, .400] more than the base, which is beyond noise."
        in (found["Could it be luck?"])
    )
    assert "(7)" in found["Could it be luck?"]
    assert found["Did it lose anything?"] == (
        "Of 2 measured figures 1 fell beyond their intervals: b k (.900 [.880, .920] to .800 [.750, .860])."
    )
    assert found["What did it learn from, and does that look healthy?"] == (
        "The model wrote 100 instructions and kept 10 pairs to train on. 1 alarm was raised: flat quality."
    )
    assert found["What did it cost?"] == "1 min 15 s of this machine, 0 tokens written and 9,000 read, 2 Wh."
    assert found["Which model do I take?"].startswith("`iteration-01/adapter` beside this page")
    assert "Would more iterations help?" not in found


@pytest.mark.parametrize(("beyond", "said"), [(True, "beyond noise"), (False, "which noise alone could give")])
def test_a_gain_says_whether_it_may_be_noise(beyond: bool, said: str) -> None:
    rows = [row(0, {"m": measured(0.1, 0.05, 0.15)}), row(1, {"m": measured(0.2, 0.1, 0.3)})]
    assert said in told(status(*rows), [gain(0, 1, beyond)])["Could it be luck?"]


def test_what_cannot_be_told_is_not_said() -> None:
    assert told(status(row(0, {}), best=None), []) == {}
    rows = [row(0, {"m": measured(0.1, None, None)}), row(1, {"m": measured(0.2, None, None)})]
    found = told(status(*rows), [gain(0, 1, None, low=None)])
    assert list(found) == ["On what was it measured?"]


def test_the_last_step_says_whether_to_go_on() -> None:
    rows = [
        row(n, {"m": measured(0.1 * n, None, None)}, health={"over_threshold_share": 0.2 * n} if n else {})
        for n in range(3)
    ]
    found = told(status(*rows, best=2), [gain(0, 2, True), gain(1, 2, False)])
    assert found["Would more iterations help?"] == "The last step says: 1 and 2."
    assert "went from 20% to 40%. No alarm." in found["What did it learn from, and does that look healthy?"]


def test_where_nothing_is_better_the_base_is_the_model_to_take() -> None:
    rows = [row(0, {"m": measured(0.3, 0.2, 0.4)}), row(1, {"m": measured(0.2, 0.1, 0.3)})]
    assert told(status(*rows, best=0), [])["Which model do I take?"].startswith("The base")
