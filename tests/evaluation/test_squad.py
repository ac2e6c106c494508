"""SQuAD 2.0's figures, by hand."""

from __future__ import annotations

from typing import Any

import pytest

from isheep.evaluation.squad import METRICS, SquadV2, mean

ANSWERED: dict[str, Any] = {"answers": {"text": ["the red river", "Red River"]}}
UNANSWERED: dict[str, Any] = {"answers": {"text": []}}


@pytest.fixture
def task() -> SquadV2:
    """Without its data, which no figure needs."""
    return SquadV2.__new__(SquadV2)


@pytest.mark.parametrize(
    ("doc", "answer", "exact", "f1"),
    [
        (ANSWERED, "The Red River!", 1.0, 1.0),
        (ANSWERED, "river", 0.0, 2 / 3),
        (ANSWERED, "a lake", 0.0, 0.0),
        (ANSWERED, "", 0.0, 0.0),
        (UNANSWERED, "", 1.0, 1.0),
        (UNANSWERED, "the", 1.0, 1.0),
        (UNANSWERED, "river", 0.0, 0.0),
    ],
)
def test_an_answer(task: SquadV2, doc: dict[str, Any], answer: str, exact: float, f1: float) -> None:
    found = task.process_results(doc, [answer, (-3.0, False)])
    assert set(found) == set(METRICS)
    assert found["exact"] == exact
    assert found["f1"] == pytest.approx(f1)
    has = doc is ANSWERED
    assert (found["HasAns_exact"], found["NoAns_exact"]) == ((exact, None) if has else (None, exact))


def test_the_mean_is_over_what_could_be_told() -> None:
    assert mean([1.0, None, 0.0]) == 0.5
    assert mean([None]) is None
