"""What an iteration did to the data: figures over its records, and the alarms that they raise."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import attrgetter
from statistics import median
from typing import Any

from isheep.filters.novelty import Novelty, Tokenizer
from isheep.openings import SAMPLE, Openings, expected_distinct
from isheep.recipe import QUESTIONS, Alarm, Question
from isheep.records import Assessment, Instruction, Response, Selection

MOST_NEAR_TWINS = 0.2
MOST_TWINS_WITHIN = 0.2
LEAST_OF_FIRST_LENGTH = 0.5
LEAST_STOPPED = 0.5
MOST_UNPARSED = 0.2
LEAST_ENTROPY = 0.5

Health = dict[str, Any]


def health(
    instructions: Sequence[Instruction],
    responses: Sequence[Response],
    assessments: Sequence[Assessment],
    selections: Sequence[Selection],
    earlier_kept: Sequence[str],
    threshold: float | None,
    compared: Callable[[Instruction], str] = attrgetter("instruction"),
    twin: float = 0.7,
    questions: Sequence[Question] = QUESTIONS,
    openings: Openings | None = None,
    tokenizer: Tokenizer = "rouge",
) -> Health:
    """The health of one iteration, ready for JSON; every share over nothing is None.

    Args:
        instructions: all that were made, dropped ones too; so for the other tables.
        responses: of the instructions that were kept.
        assessments: of the pairs that were kept.
        selections: one for each assessed pair.
        earlier_kept: what near-twins are sought among: the `compared` text of all that earlier iterations kept.
        threshold: the score filter's, None without one.
        compared: the text of an instruction that is held against others, as novelty does it.
        twin: two instructions whose ROUGE-L is greater are near-twins.
        questions: the scores that were asked for; a pair has a score when it has all of these.
        openings: reads how an instruction opens; None leaves those figures out of account (None).
        tokenizer: novelty's, by which near-twins are told too.
    """
    kept = {selection.id for selection in selections if selection.kept}
    words = [len(response.response.split()) for response in responses if response.id in kept]
    kept_instructions = [instruction for instruction in instructions if instruction.id in kept]
    kept_texts = [compared(instruction) for instruction in kept_instructions]
    lower = [_lower(one, questions) for one in assessments] if questions else []
    parsed = [score for score in lower if score is not None]
    over = None if threshold is None or not questions else sum(score > threshold for score in parsed)
    return {
        "made": len(instructions),
        "assessed": len(assessments),
        "unparsed": len(lower) - len(parsed),
        "over_threshold": over,
        "kept": len(kept),
        "threshold": threshold,
        "twin": twin,
        "keep_share": _share(len(kept), len(instructions)),
        "near_twin_share": near_twin_share(kept_texts, earlier_kept, twin, tokenizer),
        "twins_within_share": twins_within_share(kept_texts, twin, tokenizer),
        **_opened([instruction.instruction for instruction in kept_instructions], openings),
        "response_words_median": median(words) if words else None,
        "one_word_share": _share(sum(count == 1 for count in words), len(words)),
        "stop_share": _share(sum(response.finish_reason == "stop" for response in responses), len(responses)),
        "unparsed_share": _share(len(lower) - len(parsed), len(lower)),
        "over_threshold_share": None if over is None else _share(over, len(assessments)),
        "scores": {
            "quality": _distribution(one.quality for one in assessments),
            "following": _distribution(one.following for one in assessments),
            "lower": _distribution(parsed),
        },
        "drops": {
            "instructions": _drops(instructions),
            "responses": _drops(responses),
            "selection": _drops(selections),
        },
    }


def near_twin_share(
    texts: Sequence[str], earlier: Iterable[str] = (), twin: float = 0.7, tokenizer: Tokenizer = "rouge"
) -> float | None:
    """Share of the texts that are near-twins of an earlier one, in `earlier` or among themselves; None of no texts."""
    return _share(sum(_after_a_twin(texts, Novelty(twin, tokenizer), earlier)), len(texts))


def twins_within_share(texts: Sequence[str], twin: float = 0.7, tokenizer: Tokenizer = "rouge") -> float | None:
    """Share of the texts that have a near-twin among the others, both of a pair counted; None of no texts."""
    after = _after_a_twin(texts, Novelty(twin, tokenizer))
    before = _after_a_twin(texts[::-1], Novelty(twin, tokenizer))[::-1]
    return _share(sum(map(any, zip(after, before, strict=True))), len(texts))


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


def _after_a_twin(texts: Sequence[str], pool: Novelty, earlier: Iterable[str] = ()) -> list[bool]:
    """For each text, whether one before it, in `earlier` or among themselves, is its near-twin; `pool` is empty."""
    for text in earlier:
        pool.add("", text)
    found = []
    for text in texts:
        found.append(pool.is_near(text))
        pool.add("", text)
    return found


def _opened(instructions: Sequence[str], openings: Openings | None) -> dict[str, float | None]:
    """How many different openings there are, and how many a hundred instructions have on average."""
    if openings is None:
        return {"openings": None, f"openings_of_{SAMPLE}": None}
    found = [openings.opening(instruction) for instruction in instructions]
    return {"openings": len({*found} - {None}), f"openings_of_{SAMPLE}": expected_distinct(found)}


def _lower(assessment: Assessment, questions: Sequence[Question]) -> float | None:
    """The lowest of the scores that were asked for, None where one of them could not be told."""
    scores = [getattr(assessment, question) for question in questions]
    return None if None in scores else min(scores)


def _share(count: int, total: int) -> float | None:
    return count / total if total else None


def _drops(records: Iterable[Instruction | Response | Selection]) -> dict[str, int]:
    """Rule -> number of records that it dropped, the most frequent first."""
    counts = Counter(record.dropped_by for record in records if record.dropped_by is not None)
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _distribution(scores: Iterable[float | None]) -> dict[str, Any]:
    """Counts of the scores 1..10, rounded half up, and their entropy in bits (None without scores)."""
    counts = Counter(min(max(math.floor(score + 0.5), 1), 10) for score in scores if score is not None)
    total = counts.total()
    entropy = sum(count / total * math.log2(total / count) for count in counts.values()) if total else None
    return {"histogram": [counts[score] for score in range(1, 11)], "entropy": entropy}
