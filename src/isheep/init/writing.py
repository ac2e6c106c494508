"""The recipe's text, out of a template that says of each value why it stands there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from isheep.init.choices import Base, Choices
from isheep.init.devices import Device
from isheep.recipe.settings import SeedSettings
from isheep.seeds import Seeds
from isheep.terminal import printable

COLUMN = 30
"""Where comments begin."""


class Plain(str):
    """Text that stands in the recipe as it is."""


def recipe_text(to: Path, base: Base, seeds: tuple[SeedSettings, Seeds], device: Device, choices: Choices) -> str:
    """The recipe; every text that comes from outside is quoted, or on one line behind `#`."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=False,  # noqa: S701  # YAML and no page: `finalize` quotes what it prints
        finalize=_finalize,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"comment": _comment, "plain": Plain}
    settings, read = seeds
    template = environment.get_template("lamb.yaml.jinja" if base.is_lamb else "recipe.yaml.jinja")
    told = {name: column for name, column in settings.columns.model_dump().items() if column is not None}
    ours = {name: Plain(value) if isinstance(value, str) else value for name, value in choices.values.items()}
    text = template.render(to=to, base=base, path=settings.path, columns=told, seeds=read, device=device, **ours)
    return "".join(_aligned(line) for line in text.splitlines(keepends=True))


def _aligned(line: str) -> str:
    """In the template a tab stands before what a line says of its value; texts that come from outside hold none."""
    setting, tab, said = line.partition("\t")
    return f"{setting:<{COLUMN}}{said}" if tab and len(setting) < COLUMN else f"{setting}  {said}" if tab else line


def _finalize(value: Any) -> Any:
    """A text in YAML's double quotes, in which what nobody would see is an escape."""
    if isinstance(value, str) and not isinstance(value, Plain):
        return printable(json.dumps(value, ensure_ascii=False))
    return value


def _comment(value: object) -> Plain:
    return Plain(" ".join(printable(str(value)).split()))
