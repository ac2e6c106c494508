"""What health, rules and novelty find in what the authors' 72B model kept: `python benchmarks/released_data.py`.

Reads `kept_iteration_1.json` and `kept_iteration_4.json` (2,038 and 4,046 records that passed the authors' own rules
and score filter; lists of instruction, input, output, quality_score, following_score) and prints the figures of a run's
health, what novelty would have dropped of each set, and what the heuristic rules drop, with a sample to read. The
data has no licence: it is measured, and nothing of it is kept here. Seconds on one core.
"""

from __future__ import annotations

import argparse
import json
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from isheep.filters import Drop
from isheep.filters.novelty import Novelty
from isheep.filters.rules import Rules, read_language
from isheep.health import Standards, health, twins_within_share
from isheep.health.alarms import alarms
from isheep.health.openings import Openings
from isheep.recipe import locate
from isheep.recipe.settings import NoveltySettings, RuleSettings
from isheep.records import Assessment, Instruction, Response, Selection

DATA = Path(__file__).parents[2] / "shared" / "data" / "isheep_72b"
SETS = (1, 4)


@dataclass(frozen=True, slots=True)
class Kept:
    """What an iteration kept: row i of the file is record i of each list."""

    iteration: int
    instructions: list[Instruction]
    responses: list[Response]
    assessments: list[Assessment]


def main() -> None:
    """Prints the figures of both sets, then the sampled drops."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA, help="the folder of the two files")
    parser.add_argument("--sample", type=int, default=20, help="drops of each set to print, all where there are fewer")
    parser.add_argument("--seed", type=int, default=0, help="of the sample")
    given = parser.parse_args()
    sets = [read(given.data, number) for number in SETS]
    figures = [measure(kept) for kept in sets]
    drops = [dropped_by_rules(kept) for kept in sets]
    names = [f"kept_iteration_{kept.iteration}" for kept in sets]
    print(f"| figure | {' | '.join(names)} |\n|---|{'---|' * len(sets)}")
    for name in figures[0]:
        print(f"| {name} | {' | '.join(shown(found[name]) for found in figures)} |")
    for name, found in zip(names, drops, strict=True):
        counts = ", ".join(f"{rule} {n}" for rule, n in Counter(drop.rule for drop in found.values()).most_common())
        print(f"\n{name}: {len(found)} records dropped by a rule: {counts}")
    for one, (before, now) in ((sets[0], (0, 1)), (sets[1], (0, 2))):
        raised = alarms([run_health(kept) for kept in sets[before:now]])
        print(f"\nAlarms of kept_iteration_{one.iteration}: {json.dumps(raised, indent=2) if raised else 'none'}")
    for kept, name, found in zip(sets, names, drops, strict=True):
        # S311: it has to repeat, no secret.
        sample = sorted(random.Random(given.seed).sample(sorted(found), min(given.sample, len(found))))  # noqa: S311
        print(f"\n{name}: {len(sample)} of {len(found)} drops, seed {given.seed}")
        for place in sample:
            show(kept, place, found[place])


def read(folder: Path, iteration: int) -> Kept:
    """The set of an iteration (1 or 4) as records of a run; a score beyond 1 to 10 is as the file has it."""
    rows = json.loads((folder / f"kept_iteration_{iteration}.json").read_text(encoding="utf-8"))
    return Kept(
        iteration,
        [Instruction(str(i), 1, i, row["instruction"], row["input"], [], 0, "") for i, row in enumerate(rows)],
        [Response(str(i), row["output"], "stop", 0) for i, row in enumerate(rows)],
        [
            Assessment(str(i), float(row["quality_score"]), float(row["following_score"]), None, None, "")
            for i, row in enumerate(rows)
        ],
    )


def run_health(kept: Kept) -> dict[str, Any]:
    """The health document of an iteration that kept this, without a threshold (all of it is over the authors')."""
    selections = [Selection(record.id, True) for record in kept.instructions]
    openings = Openings(read_language(locate(RuleSettings().language)))
    return health(kept.instructions, kept.responses, kept.assessments, selections, [], Standards(openings=openings))


def measure(kept: Kept) -> dict[str, float | None]:
    """The health figures of a set, and what novelty and the rules drop of it."""
    found = run_health(kept)
    texts = [record.instruction for record in kept.instructions]
    novel = novel_texts(texts)
    drops = dropped_by_rules(kept)
    return {
        "records": len(texts),
        "with a near-twin among the others (share)": found["twins_within_share"],
        "near-twins of an earlier one (share)": found["near_twin_share"],
        "words of a response, median": found["response_words_median"],
        "responses of one word (share)": found["one_word_share"],
        "different openings": found["openings"],
        "different openings of 100": found["openings_of_100"],
        "dropped by novelty (share)": 1 - len(novel) / len(texts),
        "with a near-twin among what novelty leaves (share)": twins_within_share(novel),
        "dropped by a rule (share)": len(drops) / len(texts),
    }


def novel_texts(texts: Sequence[str]) -> list[str]:
    """What novelty keeps of texts that come one after the other, at the paper's limit."""
    pool = Novelty(NoveltySettings().limit)
    kept = []
    for text in texts:
        if not pool.is_near(text):
            pool.add("", text)
            kept.append(text)
    return kept


def dropped_by_rules(kept: Kept) -> dict[int, Drop]:
    """Row -> the first rule that its instruction or its response breaks, with the shipped settings."""
    settings = RuleSettings()
    rules = Rules.load(locate(settings.language), settings.min_words, settings.max_words, settings.off)
    drops = {}
    for place, (one, answer) in enumerate(zip(kept.instructions, kept.responses, strict=True)):
        drop = rules.instruction(one.instruction, one.input) or rules.response(
            one.instruction, one.input, answer.response
        )
        if drop is not None:
            drops[place] = drop
    return drops


def shown(value: float | None) -> str:
    """A figure of the table."""
    return "-" if value is None else f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


def show(kept: Kept, place: int, drop: Drop) -> None:
    """Prints one dropped record, its long texts cut."""
    record = kept.instructions[place]
    print(f"\n  row {place}: {drop.rule}, {drop.reason}")
    texts = (record.instruction, record.input, kept.responses[place].response)
    for name, text in zip(("instruction", "input", "response"), texts, strict=True):
        print(f"    {name}: {' '.join(text.split())[:400]}")


if __name__ == "__main__":
    main()
