"""The numbered list of tasks that synthesis shows a model, and that the model goes on with: written and read here."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

NO_INPUT = "<noinput>"
"""Stands where a task of the list needs no input."""

BORDER = "###"
"""Stands between two tasks of the list."""

_TASK = re.compile(r"\s*(?:\d+\s*\.)?\s*Instruction:(?P<instruction>.*?)\n\s*Input:(?P<input>.*)", re.DOTALL)
_BORDER = re.compile(rf"\n\s*{BORDER}")


def list_tasks(tasks: Sequence[tuple[str, str]], first: int = 1) -> str:
    """Tasks (instruction, input) as the numbered list that synthesis shows and continues."""
    blocks = [
        f"{number}. Instruction: {instruction}\nInput: {input_ or NO_INPUT}\n{BORDER}\n"
        for number, (instruction, input_) in enumerate(tasks, first)
    ]
    return "".join(blocks)


def mark_in(text: str) -> str | None:
    """The mark of the list that a task's text holds, which the list could then not show; None where it holds none."""
    return next((mark for mark in (BORDER, NO_INPUT) if mark in text.lower()), None)


def next_task(number: int) -> str:
    """The opening of the task that the model has to go on with."""
    return f"{number}. Instruction:"


def parse_tasks(text: str, cut: bool) -> Iterator[tuple[str, str, bool]]:
    """The tasks of a continued list as (instruction, input, malformed); a malformed one is all in its instruction.

    Args:
        text: the list from the first new task's number on.
        cut: whether the completion ended by its length; then its last task is left out (section 3.1).
    """
    blocks = _BORDER.split(text)
    for block in blocks[:-1] if cut else blocks:
        if not block.strip():
            continue
        task = _TASK.fullmatch(block)
        if task is None:
            yield block.strip(), "", True
            continue
        input_ = task["input"].strip()
        yield task["instruction"].strip(), "" if input_ == NO_INPUT else input_, False
