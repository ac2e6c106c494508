"""lamb's seed tasks: `python -m isheep.lamb.seeds --to FILE` writes them (two phrasings of every operation)."""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path
from typing import Any

from isheep.lamb.world import OPERATIONS, Task, sample_task

PER_OPERATION = 2


def seed_tasks(seed: int = 0) -> list[dict[str, Any]]:
    """The seed file's objects, in Self-Instruct's schema; none is held out."""
    rng = random.Random(seed)  # noqa: S311  # it has to repeat, no secret
    tasks: dict[str, Task] = {}
    for operation in OPERATIONS:
        for _ in range(PER_OPERATION):
            task = sample_task(rng, operation)
            while f"{task.instruction}\n{task.input}" in tasks:
                task = sample_task(rng, operation)
            tasks[f"{task.instruction}\n{task.input}"] = task
    return [
        {
            "id": f"lamb_{number:03d}",
            "name": task.operation.name,
            "instruction": task.instruction,
            "instances": [{"input": task.input, "output": task.expected}],
            "is_classification": task.operation.name in ("kind", "larger", "smaller"),
        }
        for number, task in enumerate(tasks.values())
    ]


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--to", type=Path, required=True)
    lines = [json.dumps(task) + "\n" for task in seed_tasks()]
    parser.parse_args().to.write_text("".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
