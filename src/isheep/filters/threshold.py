"""The score filter: every score that was asked for greater than the threshold (paper section 3.3)."""

from __future__ import annotations

from collections.abc import Sequence

from isheep.filters import Drop
from isheep.recipe.settings import Question, SelectSettings
from isheep.records import Assessment


def score_limit(settings: SelectSettings) -> float | None:
    """What the scores have to be greater than; None where they decide nothing (threshold 0 or -1, or not named)."""
    return settings.threshold if settings.threshold > 0 and "threshold" in settings.filters else None


def threshold(assessment: Assessment, limit: float, questions: Sequence[Question]) -> Drop | None:
    """A drop unless all of these scores are strictly greater than `limit`; None: keep."""
    if drop := unparsed(assessment, questions):
        return drop
    low = [f"{name} {score:.2f}" for name, score in _scores(assessment, questions).items() if not score > limit]
    return Drop("threshold", f"{' and '.join(low)}, not over {limit:g}") if low else None


def unparsed(assessment: Assessment, questions: Sequence[Question]) -> Drop | None:
    """A drop where one of these scores could not be told."""
    told = _scores(assessment, questions)
    unread = [question for question in questions if question not in told]
    return Drop("unparsed", f"no score for {' and '.join(unread)}") if unread else None


def _scores(assessment: Assessment, questions: Sequence[Question]) -> dict[Question, float]:
    """The scores that could be told."""
    both: dict[Question, float | None] = {"quality": assessment.quality, "following": assessment.following}
    return {name: score for name in questions if (score := both[name]) is not None}
