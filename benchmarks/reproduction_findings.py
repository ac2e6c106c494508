"""The paper's findings, and whether the runs of `reproduction.py` agree with them; decided here and nowhere else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from reproduction_evidence import OURS, Evidence, Place, growth, slope

from isheep.intervals import Interval

Word = Literal["agrees", "disagrees", "cannot tell"]

BEST_THRESHOLD = 8
"""Up to which, in the paper, a higher threshold is better."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One difference that a finding says is above zero."""

    what: str
    found: Interval | None
    why: str = ""
    """Why there is no figure, or what else has to be known of it."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What the paper says, and the differences that have to be above zero for it to hold."""

    claim: str
    measured: Sequence[Measured]


def verdict(found: Interval | None) -> Word:
    """What one difference says: its 95% interval lies above zero, below it, or neither."""
    if found is None or found.low is None or found.high is None:
        return "cannot tell"
    return "agrees" if found.low > 0 else "disagrees" if found.high < 0 else "cannot tell"


def together(words: Sequence[Word]) -> Word:
    """What several say of a finding that claims all of them: one that is against it is enough."""
    if "disagrees" in words:
        return "disagrees"
    return "agrees" if words and all(word == "agrees" for word in words) else "cannot tell"


def sentence(finding: Finding) -> str:
    """The claim, the verdict, and every figure that it rests on."""
    word = together([verdict(one.found) for one in finding.measured])
    figures = "; ".join(figure(one) for one in finding.measured) or "nothing to compare was run"
    return f"**{finding.claim}**: lamb {word}. {figures[0].upper()}{figures[1:]}."


def figure(one: Measured) -> str:
    """`ours - level none (iteration 4): +0.037 [+0.018, +0.055], n = 6,000`."""
    if one.found is None or one.found.value is None:
        return f"{one.what}: no figure" + (f" ({one.why})" if one.why else "")
    return f"{one.what}: {signed(one.found)}, n = {one.found.n:,}" + (f" ({one.why})" if one.why else "")


def signed(found: Interval) -> str:
    """A difference with its interval; without one where nothing could be told of it."""
    interval = "" if found.low is None or found.high is None else f" [{found.low:+.3f}, {found.high:+.3f}]"
    return f"{found.value:+.3f}{interval}"


def findings(evidence: Evidence) -> list[Finding]:
    """Every finding of the paper, with what the runs say of it.

    What is not about single iterations is decided by the last one, which is what a run ends with.
    """
    last = max(evidence.iterations(OURS), 1)

    def against(*rows: str) -> list[Measured]:
        return [compared(evidence, (OURS, last), (row, last)) for row in rows]

    return [
        Finding(
            "Training on what the model has assessed beats training on all that it made (Self-Instruct)",
            [compared(evidence, (OURS, 1), ("self-instruct", 1)), *against("assess-none")],
        ),
        Finding("It beats Dromedary's principles", [compared(evidence, (OURS, 1), ("dromedary", 1))]),
        Finding(
            "Later iterations beat the first",
            [compared(evidence, (OURS, number), (OURS, 1)) for number in range(2, last + 1)],
        ),
        Finding("one_base is the best iterative setting", against("one-last", "total-base")),
        Finding(
            "Iterating beats generating as much at once",
            [compared(evidence, (OURS, number), (f"direct-{number}x", 1)) for number in (2, 3) if number <= last],
        ),
        Finding(
            "Assessing both levels beats one or none", against("assess-none", "assess-quality", "assess-following")
        ),
        Finding("The combined standard beats the simple one and ICL", against("prompt-simple", "prompt-icl")),
        Finding(
            "Filtering by scores beats filtering by perplexity or density",
            against("filter-perplexity", "filter-density", "filter-density-perplexity"),
        ),
        Finding(f"Up to {BEST_THRESHOLD}, higher thresholds are better", [thresholds(evidence, last)]),
        Finding("The share of pairs with both scores over the threshold grows over the iterations", shares(evidence)),
    ]


def compared(evidence: Evidence, more: Place, less: Place) -> Measured:
    """The difference of two places, or why there is none."""
    what = described(evidence, more, less)
    found = evidence.difference(more, less)
    if found is not None:
        return Measured(what, found)
    reasons = ((place, evidence.why_not(place) or "no such iteration") for place in (more, less))
    lacking = [f"{place[0]}: {reason}" for place, reason in reasons if evidence.items(place) is None]
    return Measured(what, None, "; ".join(lacking))


def described(evidence: Evidence, more: Place, less: Place) -> str:
    """Two places and a minus between them."""
    one, other = (evidence.rows[name].label if name in evidence.rows else name for name, _ in (more, less))
    if more[1] == less[1]:
        return f"{one} - {other} (iteration {more[1]})"
    return f"{one} (iteration {more[1]}) - {other} (iteration {less[1]})"


def thresholds(evidence: Evidence, last: int) -> Measured:
    """How the score grows along the thresholds that are no higher than the paper's best."""
    rows = threshold_rows(evidence)
    tried = sorted((at, name) for name, at in rows.items() if at <= BEST_THRESHOLD)
    points = [(at, items) for at, name in tried if (items := evidence.items((name, last))) is not None]
    lacking = [
        f"{at:g}: {evidence.why_not((name, last))}" for at, name in tried if evidence.items((name, last)) is None
    ]
    why = "without " + "; ".join(lacking) if lacking else ""
    if len(points) < 2:
        return Measured("per point of threshold", None, why or "fewer than two thresholds were run")
    what = f"per point of threshold from {points[0][0]:g} to {points[-1][0]:g}, by the straight line through figure 2a"
    return Measured(what, slope(points), why)


def threshold_rows(evidence: Evidence) -> dict[str, float]:
    """Name -> threshold of the rows of figure 2a that were run, the lowest first."""
    found = {name: row.at for name, row in evidence.rows.items() if name.startswith("threshold-")}
    if OURS in evidence.variants:
        found[OURS] = evidence.variants[OURS].runs[0].recipe.select.threshold
    return dict(sorted(found.items(), key=lambda one: one[1]))


def shares(evidence: Evidence) -> list[Measured]:
    """By how much the share of the last iteration is above that of the first, whose interval is over seeds alone."""
    last = evidence.iterations(OURS)
    before, after = evidence.shares(OURS, 1), evidence.shares(OURS, last)
    if last < 2 or before is None or after is None:
        return []
    return [Measured(f"iteration {last} - iteration 1", growth(before, after), "seeds")]
