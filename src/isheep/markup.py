"""Pages and cards out of templates: every text escaped, no character hidden."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from isheep.terminal import printable


def templates(folder: Path) -> Environment:
    """The templates of a folder; what they print of texts that come from outside does not act as markup."""
    environment = Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        finalize=_finalize,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["coded"] = _coded
    return environment


_ACTS = re.compile(r"""[^\w\s.,;%/?'"-]|_|(?<=www)\.|^-|^\d+[.)](?=\s|$)""", re.ASCII | re.IGNORECASE)
"""What means something to a reader of Markdown, in a line: marks, and how links, lists and headings begin."""


class Markdown(str):
    """Text in which nothing acts that should not; every other text is escaped where a card prints it."""

    __slots__ = ()


def markdown_templates(folder: Path) -> Environment:
    """The templates of a folder, which make Markdown: what they print of texts from outside is text and nothing else.

    Filters say how it stands there: `code` in a line, `cell` the same in a table, `fenced` as a block of its own.
    """
    environment = Environment(
        loader=FileSystemLoader(folder),
        autoescape=False,  # noqa: S701 - HTML's; Markdown has its own, below
        finalize=_as_markdown,
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"code": _in_line, "cell": _in_cell, "fenced": _fenced}
    return environment


def _as_markdown(value: Any) -> Any:
    """In one line, its punctuation as numeric references, which are no structure to any reader of Markdown."""
    if not isinstance(value, str) or isinstance(value, Markdown):
        return value
    line = " ".join(printable(value).split())
    return _ACTS.sub(lambda found: _references(found[0]), line)


def _references(text: str) -> str:
    return "".join(f"&#{ord(character)};" for character in text)


def _in_line(text: str) -> Markdown:
    """As code within a line, whatever backticks are in it."""
    line = " ".join(printable(text).split()) or " "
    fence = "`" * (_longest("`", line) + 1)
    space = " " if line.startswith("`") or line.endswith("`") else ""
    return Markdown(f"{fence}{space}{line}{space}{fence}")


def _in_cell(text: str) -> Markdown:
    """As code within a cell of a table, where a bar is escaped in code, too."""
    return Markdown(_in_line(text).replace("|", r"\|"))


def _fenced(text: str, language: str = "text") -> Markdown:
    """As a block of code, whose fence is longer than any that is in it."""
    fence = "`" * max(3, _longest("`", text) + 1)
    return Markdown(f"{fence}{language}\n{printable(text).rstrip()}\n{fence}")


def _longest(character: str, text: str) -> int:
    return max((len(run) for run in re.findall(re.escape(character) + "+", text)), default=0)


def _finalize(value: Any) -> Any:
    """Everything that a template prints, before it is escaped."""
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _coded(text: str) -> Markup:
    """Every second piece between backticks as code."""
    pieces = [Markup.escape(printable(piece)) for piece in text.split("`")]
    return Markup("").join(
        Markup("<code>{}</code>").format(piece) if n % 2 else piece for n, piece in enumerate(pieces)
    )
