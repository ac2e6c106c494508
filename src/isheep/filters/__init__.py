"""Filters: each keeps a record or says which rule dropped it and why; none deletes anything."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Drop:
    """Why a record is not kept."""

    rule: str
    """A stable identifier, stored as `dropped_by` and counted in every table."""
    reason: str
    """One clause for people: what was found."""


def together(drops: Iterable[Drop]) -> Drop | None:
    """Several drops of one record as one: the first one's rule, and every reason in their order. None of none."""
    found = list(drops)
    return Drop(found[0].rule, "; ".join(drop.reason for drop in found)) if found else None
