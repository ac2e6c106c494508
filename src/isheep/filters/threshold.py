"""The score filter: both scores greater than the threshold (paper section 3.3)."""

from __future__ import annotations

from isheep.filters import Drop
from isheep.records import Assessment


def threshold(assessment: Assessment, limit: float) -> Drop | None:
    """A drop unless both scores are strictly greater than `limit`; None: keep."""
    scores = {"quality": assessment.quality, "following": assessment.following}
    unread = [name for name, score in scores.items() if score is None]
    if unread:
        return Drop("unparsed", f"no score for {' and '.join(unread)}")
    low = [f"{name} {score:.2f}" for name, score in scores.items() if score is not None and not score > limit]
    return Drop("threshold", f"{' and '.join(low)}, not over {limit:g}") if low else None
