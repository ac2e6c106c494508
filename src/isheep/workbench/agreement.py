"""How hand marks and the self-assessment agree: whether what people call good was scored higher, and kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from isheep.intervals import auroc
from isheep.store.marks import Mark
from isheep.workbench.catalog import Catalog


@dataclass(frozen=True, slots=True)
class Agreement:
    """Of the marked records of a run."""

    auc: float | None
    """How often a good record's lower score is above a bad one's; None without both kinds."""
    good_scored: int
    bad_scored: int
    """Marked records with a lower score."""
    counts: Mapping[tuple[str, str], int]
    """(`good` or `bad`, `kept` or `dropped`) -> how many; what is still open counts nowhere."""


def agreement(catalog: Catalog, marks: Mapping[str, Mark]) -> Agreement:
    """Over every record that is marked good or bad and still there."""
    marked = {id_: mark.mark for id_, mark in marks.items() if mark.mark is not None}
    found = catalog.lowest(list(marked))
    scores: dict[str, list[float]] = {"good": [], "bad": []}
    counts = {(mark, outcome): 0 for mark in ("good", "bad") for outcome in ("kept", "dropped")}
    for id_, (lowest, kept) in found.items():
        if lowest is not None:
            scores[marked[id_]].append(lowest)
        if kept is not None:
            counts[marked[id_], "kept" if kept else "dropped"] += 1
    return Agreement(auroc(scores["good"], scores["bad"]), len(scores["good"]), len(scores["bad"]), counts)
