"""What an iteration did to the data: figures over its records; `alarms` says which of them look wrong."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter
from statistics import median
from typing import Any, TypeVar

from isheep.filters.novelty import Novelty
from isheep.filters.rouge import Tokenizer
from isheep.filters.rules import read_language
from isheep.filters.threshold import score_limit
from isheep.health.openings import SAMPLE, Opening, Openings, expected_distinct
from isheep.prompts import compared_text
from isheep.recipe import Recipe, locate
from isheep.recipe.settings import QUESTIONS, Question
from isheep.records import Assessment, Instruction, Response, Selection
from isheep.store.table import tally

Health = dict[str, Any]
R = TypeVar("R", Instruction, Response, Selection)


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
    instructions: Iterable[Instruction],
    responses: Iterable[Response],
    assessments: Iterable[Assessment],
    selections: Iterable[Selection],
    earlier_kept: Iterable[Instruction],
    standards: Standards,
) -> Health:
    """The health of one iteration, ready for JSON; every share over nothing is None.

    Each table is gone through once; what is held in memory are ids and texts of the kept pairs.

    Args:
        instructions: all that were made, dropped ones too; so for the other tables.
        responses: of the instructions that were kept.
        assessments: of the pairs that were kept.
        selections: one for each assessed pair.
        earlier_kept: what near-twins are sought among: all that earlier iterations trained on.
        standards: by what the figures are taken.
    """
    threshold, twin, questions = standards.threshold, standards.twin, standards.questions
    drops: dict[str, Counter[str | None]] = {"instructions": Counter(), "responses": Counter(), "selection": Counter()}
    kept = {selection.id for selection in _counted(selections, drops["selection"]) if selection.kept}
    kept_texts, kept_openings = list[str](), list[Opening | None]()
    for instruction in _counted(instructions, drops["instructions"]):
        if instruction.id in kept:
            kept_texts.append(standards.compared(instruction))
            if standards.openings is not None:
                kept_openings.append(standards.openings.opening(instruction.instruction))
    words, stopped = [], 0
    for response in _counted(responses, drops["responses"]):
        stopped += response.finish_reason == "stop"
        if response.id in kept:
            words.append(len(response.response.split()))
    scores: dict[str, Counter[float | None]] = {"quality": Counter(), "following": Counter(), "lower": Counter()}
    for one in assessments:
        scores["quality"][one.quality] += 1
        scores["following"][one.following] += 1
        scores["lower"][one.lowest(questions)] += 1
    assessed = scores["lower"].total()
    unparsed = scores["lower"][None] if questions else 0
    over = None
    if threshold is not None and questions:
        over = sum(n for score, n in scores["lower"].items() if score is not None and score > threshold)
    made, answered = drops["instructions"].total(), drops["responses"].total()
    earlier_texts = map(standards.compared, earlier_kept)
    return {
        "made": made,
        "assessed": assessed,
        "unparsed": unparsed,
        "over_threshold": over,
        "kept": len(kept),
        "threshold": threshold,
        "twin": twin,
        "keep_share": _share(len(kept), made),
        "near_twin_share": near_twin_share(kept_texts, earlier_texts, twin, standards.tokenizer),
        "twins_within_share": twins_within_share(kept_texts, twin, standards.tokenizer),
        **_opened(kept_openings, standards.openings),
        "response_words_median": median(words) if words else None,
        "one_word_share": _share(sum(count == 1 for count in words), len(words)),
        "stop_share": _share(stopped, answered),
        "unparsed_share": _share(unparsed, assessed) if questions else None,
        "over_threshold_share": None if over is None else _share(over, assessed),
        "scores": {name: _distribution(counts) for name, counts in scores.items()},
        "drops": {table: tally(counts.elements()) for table, counts in drops.items()},
    }


def _counted(records: Iterable[R], drops: Counter[str | None]) -> Iterator[R]:
    """The records, counted by what dropped them as they pass."""
    for record in records:
        drops[record.dropped_by] += 1
        yield record


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


def _opened(found: Sequence[Opening | None], openings: Openings | None) -> dict[str, float | None]:
    """How many different openings there are, and how many a hundred instructions have on average."""
    if openings is None:
        return {"openings": None, f"openings_of_{SAMPLE}": None}
    return {"openings": len({*found} - {None}), f"openings_of_{SAMPLE}": expected_distinct(found)}


def _share(count: int, total: int) -> float | None:
    return count / total if total else None


def _distribution(scores: Counter[float | None]) -> dict[str, Any]:
    """Counts of the scores 1..10, rounded half up, and their entropy in bits (None without scores)."""
    counts = Counter[int]()
    for score, count in scores.items():
        if score is not None:
            counts[min(max(math.floor(score + 0.5), 1), 10)] += count
    total = counts.total()
    entropy = sum(count / total * math.log2(total / count) for count in counts.values()) if total else None
    return {"histogram": [counts[score] for score in range(1, 11)], "entropy": entropy}
