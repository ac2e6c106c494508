"""The numbered list of tasks that synthesis shows a model, and that the model goes on with: written and read here."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Literal

Part = Literal["instruction", "input"]
"""Of a task."""

NO_INPUT = "<noinput>"
"""Stands where a task of the list needs no input."""

BORDER = "###"
"""Stands between two tasks of the list."""

# A line that begins with what follows, and the white space before it. Possessive, and tried once for each stretch of
# white space: a text of a thousand line breaks costs a thousand steps, not a million.
_LINE = r"(?<!\s)[^\S\n]*+\n\s*+"
_NUMBER = r"(?:\d++\s*+\.)"
_TASK = re.compile(rf"\s*+{_NUMBER}?+\s*+Instruction:(?P<instruction>.*?){_LINE}Input:(?P<input>.*)", re.DOTALL)
_BORDER = re.compile(rf"{_LINE}{BORDER}")

_FORGED = {
    "instruction": re.compile(rf"{_LINE}(?P<mark>{_NUMBER}\s*+Instruction:|Input:)", re.IGNORECASE),
    "input": re.compile(rf"{_LINE}(?P<mark>{_NUMBER}\s*+Instruction:)", re.IGNORECASE),
}
"""What would be read as another part of the list. An input may hold lines of its own that begin with `Input:`."""


def list_tasks(tasks: Sequence[tuple[str, str]], first: int = 1) -> str:
    """Tasks (instruction, input) as the numbered list that synthesis shows and continues."""
    blocks = [
        f"{number}. Instruction: {instruction}\nInput: {input_ or NO_INPUT}\n{BORDER}\n"
        for number, (instruction, input_) in enumerate(tasks, first)
    ]
    return "".join(blocks)


def marked(instruction: str, input_: str) -> tuple[Part, str] | None:
    """The part of a task that holds a mark of the list, which could then not show it, and that mark; None: neither.

    Marks are the border, the sign for no input, and a line that opens another task or the task's input before its time.
    """
    parts: dict[Part, str] = {"instruction": instruction, "input": input_}
    for part, text in parts.items():
        held = [mark for mark in (BORDER, NO_INPUT) if mark in text.lower()]
        if forged := _FORGED[part].search(text):
            held.append(forged["mark"])
        if held:
            return part, held[0]
    return None


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
