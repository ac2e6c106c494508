"""Every text that is shown to a model lies here as a file: a header that says what it is for, `---`, the text."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from isheep.errors import UserError

_FIELD = re.compile(r"\{\{(\w+)\}\}")


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt template: fields in double braces, filled once (a field inside a value stays as it is)."""

    text: str
    id: str
    """Hash of the template, kept with each record that it asked for."""

    @classmethod
    def load(cls, path: Path, fields: Sequence[str]) -> Self:
        """Reads a template and checks that it has just these fields; the file's last line break is not part of it.

        Raises:
            UserError: unreadable, without the `---` line, or with other fields.
        """
        try:
            content = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(str(path), f"the prompt cannot be read ({error}).", "Give a UTF-8 text file.") from None
        _, line, text = content.partition("\n---\n")
        if not line:
            raise UserError(str(path), "has no line `---`.", "Put a comment header and `---` before the text.")
        found = set(_FIELD.findall(text))
        if found != set(fields):
            wanted = ", ".join(f"{{{{{name}}}}}" for name in fields)
            raise UserError(str(path), f"has the fields {sorted(found)}.", f"It needs just {wanted}.")
        text = text.removesuffix("\n")
        return cls(text, hashlib.sha256(text.encode()).hexdigest()[:16])

    def render(self, **fields: str) -> str:
        """The text with its fields filled in; a line that holds nothing but an empty field is left out."""
        lines = []
        for line in self.text.splitlines(keepends=True):
            field = _FIELD.fullmatch(line.strip())
            if field and not fields[field[1]]:
                continue
            lines.append(_FIELD.sub(lambda match: fields[match[1]], line))
        return "".join(lines)


def bare(instruction: str, input_: str) -> str:
    """A task as plain text: how the base model is asked, and what a user's turn holds."""
    return f"{instruction}\n{input_}" if input_ else instruction


def whole(instruction: str, input_: str, response: str) -> str:
    """A pair as one plain text: the bare task and, on the next line, its response."""
    return f"{bare(instruction, input_)}\n{response}"


def compared_text(instruction: str, input_: str, compare: str) -> str:
    """What of a task is held against others (`novelty.compare`): its `instruction` alone, or the whole `task`."""
    return bare(instruction, input_) if compare == "task" else instruction
