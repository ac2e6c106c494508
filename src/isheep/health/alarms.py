"""Alarms: which of an iteration's health figures look wrong, by which limit, and what to do about it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from isheep.recipe.settings import Alarm

MOST_NEAR_TWINS = 0.2
MOST_TWINS_WITHIN = 0.2
LEAST_OF_FIRST_LENGTH = 0.5
LEAST_STOPPED = 0.5
MOST_UNPARSED = 0.2
LEAST_ENTROPY = 0.5


def alarms(health_by_iteration: Sequence[Mapping[str, Any]]) -> dict[Alarm, str]:
    """What is wrong with the last of these (iteration 1 comes first): which figure, which limit, what to do."""
    if not health_by_iteration:
        return {}
    first, last = health_by_iteration[0], health_by_iteration[-1]
    is_first = len(health_by_iteration) == 1
    found: dict[Alarm, str | None] = {
        "nothing_kept": _nothing_kept(last),
        "everything_kept": _everything_kept(last) if last["kept"] else None,
        "near_twins": _above(
            last["near_twin_share"],
            MOST_NEAR_TWINS,
            f"of the kept instructions are near-twins of earlier ones (ROUGE-L > {last['twin']:g})",
            "Lower novelty.limit, raise synthesize.temperature, or stop here.",
        ),
        "twins_within": _above(
            last["twins_within_share"],
            MOST_TWINS_WITHIN,
            f"of the kept instructions have a near-twin among the others (ROUGE-L > {last['twin']:g})",
            f"Lower novelty.limit to {last['twin']:g}, raise synthesize.temperature, or stop here.",
        ),
        "short_responses": None if is_first else _shortened(first, last),
        # A base model (which wrote iteration 1's responses) rambles by nature.
        "endless_responses": None
        if is_first
        else _below(
            last["stop_share"],
            LEAST_STOPPED,
            "of the responses stop by themselves",
            "Check the template's stop token, or raise respond.max_new_tokens.",
        ),
        "unparsed": _above(
            last["unparsed_share"],
            MOST_UNPARSED,
            "of the assessments give no score",
            "Set assess.read to distribution, or mend the assessment prompts.",
        ),
        "flat_quality": _flat("quality", last["scores"]["quality"]),
        "flat_following": _flat("following", last["scores"]["following"]),
    }
    return {name: alarm for name, alarm in found.items() if alarm is not None}


def _nothing_kept(last: Mapping[str, Any]) -> str | None:
    if last["kept"] or not last["made"]:
        return None
    if last["over_threshold"] == 0 and last["assessed"] > last["unparsed"]:
        return f"nothing was kept: no pair of {last['assessed']} is over the threshold. {_between_modes(last)}"
    drops = Counter({f"{stage}: {rule}": n for stage, rules in last["drops"].items() for rule, n in rules.items()})
    most = ", ".join(f"{name} {count}" for name, count in drops.most_common(3)) or "no drop"
    return f"nothing was kept of {last['made']} instructions made (most dropped by {most}). Read what these dropped."


def _everything_kept(last: Mapping[str, Any]) -> str | None:
    parsed = last["assessed"] - last["unparsed"]
    if last["over_threshold"] is None or not parsed or last["over_threshold"] < parsed:
        return None
    return f"everything was kept: all {parsed} scored pairs are over the threshold. {_between_modes(last)}"


def _between_modes(last: Mapping[str, Any]) -> str:
    counts = last["scores"]["lower"]["histogram"]
    shown = ", ".join(f"{score}: {count}" for score, count in enumerate(counts, start=1))
    return (
        f"select.threshold is {last['threshold']:g}; it should lie between the modes of the score histogram "
        f"(the lowest of a pair's scores, rounded): {shown}."
    )


def _shortened(first: Mapping[str, Any], last: Mapping[str, Any]) -> str | None:
    before, now = first["response_words_median"], last["response_words_median"]
    if before is None or now is None or now >= LEAST_OF_FIRST_LENGTH * before:
        return None
    return (
        f"the median kept response has {now:g} words, less than {LEAST_OF_FIRST_LENGTH:.0%} of iteration 1's "
        f"{before:g}. Compare the kept records of both; stop here if answers shrink for no reason."
    )


def _flat(name: str, scores: Mapping[str, Any]) -> str | None:
    if scores["entropy"] is None or not scores["entropy"] < LEAST_ENTROPY:
        return None
    return (
        f"the {name} scores have an entropy of {scores['entropy']:.2f} bits, below {LEAST_ENTROPY:g}: the assessor "
        "gives nearly everything the same score. Set assess.assessor to base, or make the assessment prompt stricter."
    )


def _above(value: float | None, limit: float, what: str, mend: str) -> str | None:
    return None if value is None or value <= limit else f"{value:.1%} {what}, more than {limit:.0%}. {mend}"


def _below(value: float | None, limit: float, what: str, mend: str) -> str | None:
    return None if value is None or value >= limit else f"{value:.1%} {what}, fewer than {limit:.0%}. {mend}"
