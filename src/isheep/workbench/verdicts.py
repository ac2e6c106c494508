"""What each rule and filter said of a record, in the order in which they looked at it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from isheep.filters import Drop
from isheep.filters.perplexity import FIELDS, unlikely
from isheep.filters.threshold import score_limit, threshold
from isheep.intervals import UNKNOWN
from isheep.records import Assessment, Selection
from isheep.store.joined import CONTAMINATION, Joined, contaminated
from isheep.store.run import Iteration, Run

PASSED, DROPPED, OPEN, OUT = "passed", "dropped", "not yet", "not asked: out already"

RULES_OF: dict[str, tuple[str, ...]] = {
    "density": ("density", "no_vector", "no_perplexity"),
    "random": ("random",),
    "top": ("top", "unparsed"),
    "cap": ("cap",),
}
"""Filters that choose among what is left -> what stands in `dropped_by` where they dropped; of a plug-in its name."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Of one rule or filter."""

    of: str
    said: str
    why: str


def verdicts(run: Run, record: Joined) -> list[Verdict]:
    """All of them; those that the record has not come to say so."""
    return [*_instruction(run, record), *_response(record), *_pair(run, record)]


def _instruction(run: Run, record: Joined) -> Iterator[Verdict]:
    one, novelty = record.instruction, run.recipe.novelty
    by, why = one.dropped_by, one.reason or ""
    yield Verdict("form of the list", DROPPED if by == "malformed" else PASSED, why if by == "malformed" else "")
    if by == "malformed":
        yield Verdict("rules of instructions", OUT, "")
    elif by not in (None, "not_novel"):
        yield Verdict("rules of instructions", DROPPED, f"{by}: {why}")
    else:
        yield Verdict("rules of instructions", PASSED, "")
    if by not in (None, "not_novel"):
        yield Verdict("novelty", OUT, "")
    else:
        nearest = UNKNOWN if one.rouge_max is None else f"{one.rouge_max:.3f}"
        yield Verdict("novelty", DROPPED if by else PASSED, f"nearest ROUGE-L {nearest}, limit {novelty.limit:g}")


def _response(record: Joined) -> Iterator[Verdict]:
    if record.response is None:
        yield Verdict("rules of responses", OUT if record.instruction.dropped_by else OPEN, "")
    elif record.response.dropped_by:
        yield Verdict("rules of responses", DROPPED, f"{record.response.dropped_by}: {record.response.reason or ''}")
    else:
        yield Verdict("rules of responses", PASSED, "")


def _pair(run: Run, record: Joined) -> Iterator[Verdict]:
    early = record.instruction.dropped_by or (record.response and record.response.dropped_by)
    assessment, selection = record.assessment, record.selection
    held = _contamination(run.iteration(record.instruction.iteration), record)
    names = run.recipe.select.filters
    if early or assessment is None or selection is None:
        yield Verdict("contamination", OUT, "") if early else held or Verdict("contamination", OPEN, "")
        yield from (Verdict(name, OUT if early else OPEN, "") for name in names)
        return
    if held is not None:
        if run.recipe.evaluate.contamination == "drop" and held.said == DROPPED:
            yield held
        else:
            yield Verdict(held.of, PASSED, held.why and f"reported: {held.why}")
    out = selection.dropped_by == "contamination"
    for name in names:
        verdict = _filter(run, name, assessment, selection, out)
        out = out or verdict.said == DROPPED
        yield verdict


def _contamination(iteration: Iteration, record: Joined) -> Verdict | None:
    """Whether the pair holds a benchmark's question; None where nobody has looked yet."""
    if iteration.read_json(CONTAMINATION) is None:
        return None
    why = contaminated(iteration).get(record.instruction.id)
    return Verdict("contamination", DROPPED if why else PASSED, why or "")


def _filter(run: Run, name: str, assessment: Assessment, selection: Selection, out: bool) -> Verdict:
    recipe = run.recipe
    if name == "threshold":
        limit = score_limit(recipe.select)
        if limit is None:
            return Verdict(name, PASSED, "decides nothing in this recipe")
        return _said(name, threshold(assessment, limit, recipe.assess.questions), f"both scores over {limit:g}")
    if name == "perplexity":
        told = {field: getattr(selection, field) for field in FIELDS[recipe.select.perplexity.of]}
        return _said(name, unlikely(told, recipe.select.perplexity.limit), "")
    if out:
        return Verdict(name, OUT, "")
    if selection.dropped_by in RULES_OF.get(name, (name,)):
        return Verdict(name, DROPPED, selection.reason or "")
    return Verdict(name, PASSED, "")


def _said(name: str, drop: Drop | None, otherwise: str) -> Verdict:
    return Verdict(name, PASSED, otherwise) if drop is None else Verdict(name, DROPPED, drop.reason)
