"""What novelty costs: `python benchmarks/novelty.py [--json] [--sizes 10000 20000 50000]`, on one core.

1. A candidate against a pool of 5,000 instructions that a model wrote, beside Alpaca's way: rouge_score's `_score_lcs`
   with every text of the pool, tokens at hand, in one process. Both decide alike on every candidate, which is checked.
2. Corpora of several sizes, each text held against all that were kept before it, and the exponent with which the time
   grows. Their texts are walks over the word pairs of the real instructions: as many common words, more twins.

CPU seconds, medians of three. Reads the released data beside the project (see `released_data.py`).
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path

from released_data import DATA, SETS, novel_texts
from rouge_score.rouge_scorer import _score_lcs
from side import REPEATS, Row, compared, cpu_seconds, measured, parser, show

from isheep.filters.novelty import Novelty, PlainPool
from isheep.filters.rouge import rouge_tokens

LIMIT = 0.7
POOL, CANDIDATES, PEER_CANDIDATES = 5_000, 1_000, 10
PACKAGES = ("numba", "numpy", "rapidfuzz", "rouge-score")
GOALS = {50_000: "1.5 CPU-s", 1_000_000: "600 CPU-s"}


def main() -> None:
    """Measures, then prints."""
    arguments = parser(__doc__)
    arguments.add_argument("--data", type=Path, default=DATA, help="the folder of the released data")
    arguments.add_argument("--sizes", type=int, nargs="+", default=[10_000, 20_000, 50_000], help="texts of a corpus")
    given = arguments.parse_args()
    texts = [
        record["instruction"]
        for number in SETS
        for record in json.loads((given.data / f"kept_iteration_{number}.json").read_text(encoding="utf-8"))
    ]
    random.Random(0).shuffle(texts)  # noqa: S311  # it has to repeat, no secret
    show([*against_a_pool(texts), *whole_corpora(texts, given.sizes)], given.json)


def against_a_pool(texts: Sequence[str]) -> Iterator[Row]:
    """A candidate's cost by each way of ours beside Alpaca's."""
    pool, candidates = texts[:POOL], texts[POOL : POOL + CANDIDATES]
    tokens = [rouge_tokens(text) for text in pool]
    drops: list[bool] = []

    def alpaca() -> None:
        for text in candidates[:PEER_CANDIDATES]:
            own = rouge_tokens(text)
            drops.append(max(_score_lcs(own, other).fmeasure for other in tokens) > LIMIT)

    peer = measured([cpu_seconds(alpaca) / PEER_CANDIDATES for _ in range(REPEATS)])
    for name, index in (("numba", None), ("without numba", PlainPool())):
        novelty = Novelty(LIMIT, pool=index)
        for place, text in enumerate(pool):
            novelty.add(str(place), text)
        for what, decide in (("the nearest text and the decision", by_nearest), ("the decision alone", by_decision)):
            found = decide(novelty, candidates)
            if found[:PEER_CANDIDATES] * REPEATS != drops:
                raise AssertionError("ours and the peer decide differently")
            seconds = [cpu_seconds(partial(decide, novelty, candidates)) for _ in range(REPEATS)]
            ours = measured([one / len(candidates) for one in seconds])
            label = f"a candidate against {POOL:,} instructions, {what} ({name})"
            yield compared(label, ours, peer, "CPU-s", "5,000x", PACKAGES)


def by_nearest(novelty: Novelty, candidates: Sequence[str]) -> list[bool]:
    """Whether each candidate would be dropped, as the loop decides it, which notes the nearest text."""
    return [novelty.verdict(novelty.nearest(text)) is not None for text in candidates]


def by_decision(novelty: Novelty, candidates: Sequence[str]) -> list[bool]:
    """The same without the nearest text."""
    return [novelty.is_near(text) for text in candidates]


def whole_corpora(texts: Sequence[str], sizes: Sequence[int]) -> Iterator[Row]:
    """The time of each size, and how it grows from the smallest to the largest."""
    corpus = list(walks(texts, max(sizes)))
    found = []
    for size in sorted(sizes):
        repeats = REPEATS if size <= 100_000 else 1
        cost = measured([cpu_seconds(partial(novel_texts, corpus[:size])) for _ in range(repeats)])
        found.append((size, cost.value))
        yield compared(f"a corpus of {size:,}", cost, None, "CPU-s", GOALS.get(size, ""), PACKAGES)
    if len(found) > 1:
        (small, before), (large, after) = found[0], found[-1]
        exponent = measured([math.log(after / before) / math.log(large / small)])
        yield compared(f"growth from {small:,} to {large:,}", exponent, None, "exponent", "under 1.7", PACKAGES)


def walks(texts: Sequence[str], count: int) -> Iterator[str]:
    """Texts in which each word follows the one before it as somewhere in the real ones, about as long as these."""
    after: dict[str, list[str]] = {}
    for text in texts:
        for word, following in pairwise(["", *text.split(), ""]):
            after.setdefault(word, []).append(following)
    draw = random.Random(0)  # noqa: S311  # it has to repeat, no secret
    for _ in range(count):
        words = [draw.choice(after[""])]
        while words[-1]:
            words.append(draw.choice(after[words[-1]]))
        yield " ".join(words[:-1])


if __name__ == "__main__":
    main()
