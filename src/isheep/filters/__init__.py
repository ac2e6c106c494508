"""Filters: each keeps a record or says which rule dropped it and why; none deletes anything."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Drop:
    """Why a record is not kept."""

    rule: str
    """A stable identifier, stored as `dropped_by` and counted in every table."""
    reason: str
    """One clause for people: what was found."""
