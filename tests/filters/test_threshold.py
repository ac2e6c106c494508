"""Which scores the threshold looks at, and where it looks at none."""

from __future__ import annotations

from typing import Any

import pytest

from isheep.filters import Drop
from isheep.filters.threshold import score_limit, threshold, unparsed
from isheep.recipe.settings import QUESTIONS, SelectSettings
from isheep.records import Assessment


def scored(quality: float | None, following: float | None) -> Assessment:
    return Assessment("a", quality, following, None, None, "base")


@pytest.mark.parametrize(
    ("quality", "following", "drop"),
    [
        (8.01, 8.01, None),
        (8.0, 9.0, Drop("threshold", "quality 8.00, not over 8")),
        (9.0, 2.0, Drop("threshold", "following 2.00, not over 8")),
        (1.0, 2.5, Drop("threshold", "quality 1.00 and following 2.50, not over 8")),
        (None, 2.0, Drop("unparsed", "no score for quality")),
        (None, None, Drop("unparsed", "no score for quality and following")),
    ],
)
def test_both_scores_have_to_be_greater(quality: float | None, following: float | None, drop: Drop | None) -> None:
    assert threshold(scored(quality, following), 8, QUESTIONS) == drop


def test_a_score_that_was_not_asked_for_is_not_looked_at() -> None:
    assert threshold(scored(9.0, None), 8, ["quality"]) is None
    assert threshold(scored(9.0, 1.0), 8, ["quality"]) is None
    assert threshold(scored(None, 9.0), 8, ["quality"]) == Drop("unparsed", "no score for quality")
    assert unparsed(scored(9.0, None), ["quality"]) is None
    assert unparsed(scored(9.0, None), QUESTIONS) == Drop("unparsed", "no score for following")
    assert (scored(9.0, 3.0).lowest(QUESTIONS), scored(9.0, 3.0).lowest(["quality"])) == (3.0, 9.0)
    assert (scored(9.0, None).lowest(QUESTIONS), scored(9.0, None).lowest([])) == (None, None)


@pytest.mark.parametrize(
    ("settings", "limit"),
    [
        ({}, 8),
        ({"threshold": 0.5}, 0.5),
        ({"threshold": 0}, None),
        ({"threshold": -1}, None),
        ({"filters": ["cap"]}, None),
        ({"filters": ["cap", "threshold"]}, 8),
    ],
)
def test_scores_decide_where_the_filter_is_named_and_over_zero(settings: dict[str, Any], limit: float | None) -> None:
    assert score_limit(SelectSettings(**settings)) == limit
