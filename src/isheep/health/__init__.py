"""What an iteration did to the data: figures over its records; `alarms` says which of them look wrong."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from statistics import median
from typing import Any

from isheep.filters.novelty import Novelty
from isheep.filters.rouge import Tokenizer
from isheep.filters.rules import read_language
from isheep.filters.threshold import score_limit
from isheep.health.openings import SAMPLE, Openings, expected_distinct
from isheep.prompts import compared_text
from isheep.recipe import Recipe, locate
from isheep.recipe.settings import QUESTIONS, Question
from isheep.records import Assessment, Instruction, Response, Selection
from isheep.store.table import tally

Health = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Standards:
    """By what the figures are taken."""

    threshold: float | None = None
    """The score filter's, None without one."""
    compared: Callable[[Instruction], str] = attrgetter("instruction")
    """The text of an instruction that is held against others, as novelty does it."""
    twin: float = 0.7
    """Two instructions whose ROUGE-L is greater are near-twins."""
    tokenizer: Tokenizer = "rouge"
    """Novelty's, by which near-twins are told too."""
    questions: Sequence[Question] = QUESTIONS
    """The scores that were asked for; a pair has a score when it has all of these."""
    openings: Openings | None = None
    """Reads how an instruction opens; None leaves those figures out of account (None)."""

    @classmethod
    def of(cls, recipe: Recipe) -> Standards:
        """The recipe's; raises UserError where its language file does not read."""

        def compared(record: Instruction) -> str:
            return compared_text(record.instruction, record.input, recipe.novelty.compare)

        return cls(
            threshold=score_limit(recipe.select),
            compared=compared,
            twin=recipe.health.twin,
            tokenizer=recipe.novelty.tokenizer,
            questions=recipe.assess.questions,
            openings=Openings(read_language(locate(recipe.rules.language))),
        )


def health(
    instructions: Sequence[Instruction],
    responses: Sequence[Response],
    assessments: Sequence[Assessment],
    selections: Sequence[Selection],
    earlier_kept: Sequence[Instruction],
    standards: Standards,
) -> Health:
    """The health of one iteration, ready for JSON; every share over nothing is None.

    Args:
        instructions: all that were made, dropped ones too; so for the other tables.
        responses: of the instructions that were kept.
        assessments: of the pairs that were kept.
        selections: one for each assessed pair.
        earlier_kept: what near-twins are sought among: all that earlier iterations trained on.
        standards: by what the figures are taken.
    """
    threshold, twin, questions = standards.threshold, standards.twin, standards.questions
    kept = {selection.id for selection in selections if selection.kept}
    words = [len(response.response.split()) for response in responses if response.id in kept]
    kept_instructions = [instruction for instruction in instructions if instruction.id in kept]
    kept_texts = [standards.compared(instruction) for instruction in kept_instructions]
    earlier_texts = [standards.compared(instruction) for instruction in earlier_kept]
    lower = [one.lowest(questions) for one in assessments] if questions else []
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
        "near_twin_share": near_twin_share(kept_texts, earlier_texts, twin, standards.tokenizer),
        "twins_within_share": twins_within_share(kept_texts, twin, standards.tokenizer),
        **_opened([instruction.instruction for instruction in kept_instructions], standards.openings),
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
            "instructions": tally(record.dropped_by for record in instructions),
            "responses": tally(record.dropped_by for record in responses),
            "selection": tally(record.dropped_by for record in selections),
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


def _share(count: int, total: int) -> float | None:
    return count / total if total else None


def _distribution(scores: Iterable[float | None]) -> dict[str, Any]:
    """Counts of the scores 1..10, rounded half up, and their entropy in bits (None without scores)."""
    counts = Counter(min(max(math.floor(score + 0.5), 1), 10) for score in scores if score is not None)
    total = counts.total()
    entropy = sum(count / total * math.log2(total / count) for count in counts.values()) if total else None
    return {"histogram": [counts[score] for score in range(1, 11)], "entropy": entropy}
