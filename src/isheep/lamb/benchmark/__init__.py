"""lamb's held-out benchmark: an lm-eval task (`lamb.yaml`), its items (`lamb.jsonl`) and how they are drawn."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from isheep.lamb.world import OPERATIONS, Task, sample_task
from isheep.seeding import derive_seed

Item = dict[str, Any]

TUNING_DRAW, TUNING_ITEMS = 1, 750
SHIPPED_DRAW, SHIPPED_ITEMS = 3, 2000
"""lamb and its recipe were tuned on one draw (task `lamb_tuning`); what is reported is measured on the other."""

FILE = Path(__file__).with_name("lamb.jsonl")


def draw(number: int, count: int) -> list[Item]:
    """Held-out tasks, no two alike, the operations in turn (so that every first part is balanced, too)."""
    rng = random.Random(derive_seed("lamb benchmark", number))  # noqa: S311  # it has to repeat, no secret
    items: dict[tuple[str, str], Item] = {}
    while len(items) < count:
        task = sample_task(rng, OPERATIONS[len(items) % len(OPERATIONS)], held_out=True)
        items.setdefault((task.instruction, task.input), _item(f"{number}-{len(items):04d}", task))
    return list(items.values())


def write(items: list[Item], file: Path) -> None:
    """JSON lines."""
    file.write_text("".join(json.dumps(item) + "\n" for item in items), encoding="utf-8")


def _item(name: str, task: Task) -> Item:
    return {
        "id": name,
        "instruction": task.instruction,
        "input": task.input,
        "operation": task.operation.name,
        "arguments": list(task.arguments),
        "constraint": task.constraint.name if task.constraint else None,
        "expected": task.expected,
    }
