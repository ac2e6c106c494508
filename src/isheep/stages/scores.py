"""How a score is had from a model: out of what it wrote, or out of the probabilities of the ten (paper section 3.2).

Where there is none in 1 to 10 the score is None: could not tell.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from isheep.models import Model

SCORES = range(1, 11)

LEAST_MASS = 0.01
"""Where the ten scores together are less likely than this, the model did not mean to give one: could not tell."""
TOO_LONG = "longer than the context of the assessor"
"""Stands in the record of a pair that the assessor could not read to its end."""

_NUMBER = r"\d{1,9}(?:\.\d{1,9})?"
_LEADING = re.compile(rf"[\s\W_]*?(?P<score>(?<![\d.-]){_NUMBER})(?![\d%])")
_BEFORE_BARS = re.compile(rf"(?<![\d.-])(?P<score>{_NUMBER})\s*\|\|")


@dataclass(frozen=True, slots=True)
class Reading:
    """A score in 1..10 (None: could not tell) and what it was read from (None: nobody was asked)."""

    score: float | None
    raw: str | None


NOT_ASKED = Reading(None, None)


def parse_score(text: str) -> float | None:
    """The score that the text begins with, else the number before `||`; None where there is none in 1..10."""
    for pattern in (_LEADING.match, _BEFORE_BARS.search):
        found = pattern(text)
        if found:
            # Halves go up: round() would take 8.5 down to 8, a number that the model did not mean more than 9.
            score = math.floor(float(found["score"]) + 0.5)
            return float(score) if score in SCORES else None
    return None


def read_distributions(texts: Sequence[str], assessor: Model) -> list[Reading]:
    """The expected score over the probabilities of the ten, without decoding.

    Whole scores are compared, whatever tokens they take: where `1` begins `10`, what goes on to ten is not one.
    A text for which the assessor has no room could not be told.
    """
    encode, positions = assessor.encoder.plain, assessor.engine.positions
    written = [encode(f"{texts[0]} {score}") for score in SCORES]
    lead = len(_common_prefix(written))
    candidates = [ids[lead:] for ids in written]
    # Every text ends in the same words, so what follows the common lead is the same for all.
    prompts = [encode(f"{text} {SCORES[0]}")[: -len(candidates[0])] for text in texts]
    room = math.inf if positions is None else positions - max(map(len, candidates))
    readings = [Reading(None, TOO_LONG)] * len(prompts)
    places = [place for place, prompt in enumerate(prompts) if len(prompt) <= room]
    rows = assessor.engine.score_next([prompts[place] for place in places], candidates)
    for place, row in zip(places, rows, strict=True):
        readings[place] = _expected(row, candidates)
    return readings


def _common_prefix(sequences: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    length = 0
    for column in zip(*sequences, strict=False):
        if len(set(column)) > 1:
            break
        length += 1
    return sequences[0][:length]


def _expected(log_probabilities: Sequence[float], candidates: Sequence[tuple[int, ...]]) -> Reading:
    likely = [math.exp(value) for value in log_probabilities]
    whole = [
        max(0.0, p - sum(q for q, longer in zip(likely, candidates, strict=True) if _begins(candidate, longer)))
        for p, candidate in zip(likely, candidates, strict=True)
    ]
    raw = json.dumps({str(score): round(p, 6) for score, p in zip(SCORES, whole, strict=True)})
    mass = sum(whole)
    if not mass >= LEAST_MASS:
        return Reading(None, raw)
    return Reading(sum(score * p for score, p in zip(SCORES, whole, strict=True)) / mass, raw)


def _begins(short: tuple[int, ...], longer: tuple[int, ...]) -> bool:
    return len(short) < len(longer) and longer[: len(short)] == short
