"""Pages out of templates: every text escaped, no character hidden."""

from __future__ import annotations

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


def _finalize(value: Any) -> Any:
    """Everything that a template prints, before it is escaped."""
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _coded(text: str) -> Markup:
    """Every second piece between backticks as code."""
    pieces = [Markup.escape(printable(piece)) for piece in text.split("`")]
    return Markup("").join(
        Markup("<code>{}</code>").format(piece) if n % 2 else piece for n, piece in enumerate(pieces)
    )
