"""What lamb's runs look like to somebody who knows the answers: `python -m isheep.lamb.verify DIR [DIR ...]`.

Outside the loop, and read by nothing in it: how many pairs are right, and how well the self-assessment tells them.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from isheep.intervals import auroc
from isheep.lamb.mistakes import APOLOGIES
from isheep.lamb.world import Task, parse
from isheep.store.joined import Joined, join
from isheep.store.run import Iteration, Run

Verdict = Literal["right", "plausible", "junk", "no task"]

LONGEST_ANSWER = 32
"""Characters; the longest right answer of the world is shorter."""


def verdict(instruction: str, input_: str, response: str, finish_reason: str) -> Verdict:
    """`right`; `plausible` (a short clean answer, and wrong); `junk`; `no task` where nothing can be right."""
    task = parse(instruction, input_)
    if task is None:
        return "no task"
    if finish_reason == "stop" and response == task.expected:
        return "right"
    clean = finish_reason == "stop" and len(response) <= LONGEST_ANSWER and "\n" not in response
    return "plausible" if clean and response not in (*APOLOGIES, task.instruction) else "junk"


def examine(iteration: Iteration) -> dict[str, Any]:
    """Counts of the assessed and of the kept pairs, the filter's AUROC, and the operations that were learned from.

    AUROC is of the lowest score that was asked for, which is what the threshold reads; pairs that ask for nothing of
    this world are left out of it, and counted.
    """
    pairs = [record for record in join(iteration) if record.assessment is not None]
    told = [(record, _verdict(record)) for record in pairs]
    scores: dict[str, list[float]] = {"right": [], "plausible": [], "junk": []}
    for record, what in told:
        low = record.assessment.lowest(record.assessment.asked) if record.assessment else None
        if low is not None and what in scores:
            scores[what].append(low)
    kept = [(record, what) for record, what in told if record.kept]
    learned = Counter(_task(record).operation.name for record, what in kept if what == "right")
    return {
        "iteration": iteration.number,
        "pairs": dict(Counter(what for _, what in told)),
        "kept": dict(Counter(what for _, what in kept)),
        "auroc_all": auroc(scores["right"], scores["plausible"] + scores["junk"]),
        "auroc_plausible": auroc(scores["right"], scores["plausible"]),
        "operations_with_three": sum(count >= 3 for count in learned.values()),
    }


def _verdict(record: Joined) -> Verdict:
    if record.response is None:
        raise ValueError(f"{record.instruction.id} was never answered")
    return verdict(
        record.instruction.instruction,
        record.instruction.input,
        record.response.response,
        record.response.finish_reason,
    )


def _task(record: Joined) -> Task:
    task = parse(record.instruction.instruction, record.instruction.input)
    if task is None:
        raise ValueError(f"{record.instruction.id} is no task of lamb's world")
    return task


def main(arguments: Sequence[str] | None = None) -> None:
    """The command: one JSON object a line, for each iteration of each run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path, metavar="DIR")
    for directory in parser.parse_args(arguments).runs:
        for iteration in Run.read(directory).iterations():
            if iteration.table("assessments").is_done and iteration.number:
                print(json.dumps({"run": str(directory), **examine(iteration)}))


if __name__ == "__main__":
    main()
