"""The verifier of lamb's benchmark, as lm-eval calls it. It has no part in the loop.

As in IFEval, an item is one or two instructions: to give the right answer and, where it has a constraint, to give it
in that form. Strict: only outer white space is forgiven, and a response that had to be cut fails; all instructions
hold just where the response is the expected one. Loose: an instruction holds if it does for the response, for its
first line, or for either without trailing punctuation; letter case counts only where the task is about it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from isheep.lamb.benchmark import FILE, TUNING_DRAW, TUNING_ITEMS, draw
from isheep.lamb.world import CONSTRAINTS, OPERATIONS, Constraint, Task, has_form, shape

_OPERATIONS = {operation.name: operation for operation in OPERATIONS}
_CONSTRAINTS: dict[str | None, Constraint] = {constraint.name: constraint for constraint in CONSTRAINTS}

_ABOUT_CASE = ("upper", "capitalize")
"""Operations whose answer differs from a wrong one by its case alone: capitals are no form of it."""

_TRAILING = ".,;:!?"


def load(**settings: Any) -> Any:
    """The data set for lm-eval: the file beside this module, wherever that is, without the hub or its cache."""
    from datasets import Dataset

    lines = FILE.read_text(encoding="utf-8").splitlines()
    return {"test": Dataset.from_list([json.loads(line) for line in lines])}


def load_tuning(**settings: Any) -> Any:
    """Another draw, made anew each time: what lamb and its recipe were tuned on."""
    from datasets import Dataset

    return {"test": Dataset.from_list(draw(TUNING_DRAW, TUNING_ITEMS))}


def text_of(doc: dict[str, Any]) -> str:
    """What the model is asked: the instruction, and its input on a line of its own."""
    return f"{doc['instruction']}\n{doc['input']}" if doc["input"] else str(doc["instruction"])


def process_results(doc: dict[str, Any], results: Sequence[str]) -> dict[str, bool | list[bool]]:
    """The four metrics of an item, named as IFEval's."""
    strict, loose = check_strict(doc, results[0]), check_loose(doc, results[0])
    return {
        "prompt_level_strict_acc": all(strict),
        "inst_level_strict_acc": strict,
        "prompt_level_loose_acc": all(loose),
        "inst_level_loose_acc": loose,
    }


def over_instructions(items: Sequence[Sequence[bool]]) -> float | None:
    """The share of instructions that hold, over all items; None over nothing."""
    flat = [holds for item in items for holds in item]
    return sum(flat) / len(flat) if flat else None


def check_strict(doc: dict[str, Any], response: str) -> list[bool]:
    """Whether each instruction holds; `cut` is set on the text by a harness that knows (ours does)."""
    task = _task(doc)
    held = _check(task, response.strip())
    return [False] * len(held) if getattr(response, "cut", False) else held


def check_loose(doc: dict[str, Any], response: str) -> list[bool]:
    """Whether each instruction holds in some reading of the response."""
    task = _task(doc)
    whole = response.strip()
    first = whole.partition("\n")[0].rstrip()
    readings = [whole, first, *(text.rstrip(_TRAILING).rstrip() for text in (whole, first))]
    if task.operation.name not in _ABOUT_CASE and not (task.constraint and task.constraint.name == "capitals"):
        readings += [reading.lower() for reading in readings]
    checked = [_check(task, reading) for reading in readings]
    return [any(holds) for holds in zip(*checked, strict=True)]


def _task(doc: dict[str, Any]) -> Task:
    constraint = _CONSTRAINTS.get(doc["constraint"])
    return Task(_OPERATIONS[doc["operation"]], tuple(doc["arguments"]), constraint, doc["instruction"], doc["input"])


def _check(task: Task, response: str) -> list[bool]:
    if task.constraint is None:
        return [response == task.expected]
    forms = [form for form in CONSTRAINTS if form.name != "capitals" or task.operation.name not in _ABOUT_CASE]
    answers = {task.answer, *(shape(task.answer, form) for form in forms)}
    return [response in answers, has_form(task.constraint, response)]
