"""The pages of docs/reference that are made from the code: the command line, and the recipe's settings.

They are kept and not built with the site, so that links to them hold where the repository is read, too.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_origin

import griffe
import typer
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from typer.cli import get_docs_for_click

from isheep.cli import app
from isheep.recipe import Recipe, files
from isheep.recipe.refusals import accepted
from isheep.store.plan import HOW, STAGES

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "docs" / "reference"

MADE = "(`python -m tests.docs` makes this page; a test holds that it is as the code is.)"

CLI_HEAD = f"""# Command line

What `isheep COMMAND --help` says, on one page. {MADE}

`[RECIPE ...]` is a shipped name (`isheep recipes`) or a YAML file, and `[KEY=VALUE ...]` any of the
[settings](recipe.md). `--json` prints one JSON document on standard output and nothing else; progress goes to standard
error. Exit codes: 0 done; 2 a mistake of yours, said in one message; 3 stopped by a failure that the same command goes
on from; 130 interrupted.

| command | what it does |
|---|---|
"""

RECIPE_HEAD = f"""# Recipe settings

Every setting of a recipe: what it takes, what it is where a recipe does not say, and which stages read it.
{MADE}

A recipe is a YAML file of these groups; on the command line a setting is `group.name=value`, as in
`isheep run lamb select.threshold=7 train.lora.rank=16 --dir runs/mine`. Defaults are the paper's. An unknown key is
refused, with the nearest name. `isheep show RECIPE` prints every value of a recipe, `isheep check RECIPE` tries them.

**Read by** names the stages that a change touches: with `--accept-changes` those, and what is made from what they made,
are done again ([architecture](../architecture.md#what-is-made-once)). *How* marks settings of how the work is done, not
of what is done: under another value what has ended stands.
"""


def cli_page() -> str:
    """docs/reference/cli.md."""
    group: Any = typer.main.get_command(app)
    context = group.make_context("isheep", [], resilient_parsing=True)
    commands = [command for command in group.commands.values() if not command.hidden]
    index = [
        f"| [`isheep {command.name}`](#isheep-{command.name}) | {_summary(command)} |\n"
        for command in sorted(commands, key=lambda one: one.name)
    ]
    parts = [_command(command, context) for command in sorted(commands, key=lambda one: one.name)]
    return "".join([CLI_HEAD, *index, "\n", "\n".join(parts)]).rstrip() + "\n"


def _summary(command: Any) -> str:
    """The first paragraph of its help, on one line."""
    return " ".join(inspect.cleandoc(command.help or "").split("\n\n")[0].split())


def _command(command: Any, context: Any) -> str:
    """Its section as Typer writes it; a usage is no command to type, an example is."""
    text = get_docs_for_click(obj=command, ctx=context, indent=1, call_prefix="isheep")
    text = text.replace("```console\n$ ", "```text\n").replace(" <list[str]>", "")
    text = re.sub(r"^(Examples?):\n\n((?:isheep .+\n+)+)", _examples, text, flags=re.MULTILINE)
    return re.sub(r"\n{3,}", "\n\n", text)


def _examples(found: re.Match[str]) -> str:
    lines = "\n".join(line for line in found[2].splitlines() if line)
    return f"**{found[1]}**:\n\n```bash\n{lines}\n```\n\n"


def recipe_page() -> str:
    """docs/reference/recipe.md."""
    about = griffe.load("isheep.recipe", search_paths=[ROOT / "src"])
    return RECIPE_HEAD + "\n## The run\n" + "".join(_group(Recipe, "", about)).rstrip() + "\n"


def _group(model: type[BaseModel], prefix: str, about: griffe.Object | griffe.Alias) -> Iterator[str]:
    """The settings of a group, those that stand in it first, then the groups within."""
    inner = {name: field for name, field in model.model_fields.items() if _is_group(field.annotation)}
    for name, field in model.model_fields.items():
        if name not in inner:
            yield _setting(f"{prefix}{name}", field, _said(about, model, name))
    for name, field in inner.items():
        group: Any = field.annotation
        yield f"\n## {prefix}{name}\n\n{_paragraph(inspect.getdoc(group) or '')}\n"
        yield from _group(group, f"{prefix}{name}.", about)


def _is_group(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _setting(name: str, field: FieldInfo, said: str) -> str:
    readers = [
        stage
        for stage, room in STAGES.items()
        if any(name == one or name.startswith(f"{one}.") for one in room.settings)
    ]
    how = " *How.*" if name.startswith(HOW) else ""
    default = (
        "Has to be given."
        if field.is_required()
        else f"Default: `{_spelt(field.get_default(call_default_factory=True))}`."
    )
    of_plugins = get_origin(field.annotation) is dict
    takes = "a group under each name" if of_plugins else accepted(field.annotation, field.metadata)
    takes = takes.replace("[", r"\[")
    facts = f"{default} Takes {takes}. Read by {_listed(readers)}.{how}"
    return f"\n### {name}\n\n{said}\n\n{facts}\n" if said else f"\n### {name}\n\n{facts}\n"


def _spelt(value: Any) -> str:
    """As YAML spells it."""
    return files.dump_yaml({"_": value}).removeprefix("_:").strip().replace("\n", " ")


def _listed(stages: list[str]) -> str:
    return ", ".join(stages) if stages else "the loop itself"


def _said(about: griffe.Object | griffe.Alias, model: type[BaseModel], name: str) -> str:
    module = "" if model is Recipe else "settings."
    docstring = about[f"{module}{model.__name__}.{name}"].docstring
    return _paragraph(docstring.value) if docstring else ""


def _paragraph(text: str) -> str:
    """One line, with pages that it names linked."""
    line = " ".join(text.split())
    for page in sorted((ROOT / "docs").glob("*.md")):
        line = line.replace(f"docs/{page.name}", f"[{page.stem}](../{page.name})")
    return line


PAGES: dict[Path, Callable[[], str]] = {REFERENCE / "cli.md": cli_page, REFERENCE / "recipe.md": recipe_page}
