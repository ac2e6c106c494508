"""The Typer app, and what its commands share: words that they take, folders that they mean, how they print."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from rich.console import Console

from isheep.errors import UserError
from isheep.store.remote import is_url
from isheep.terminal import printable

if TYPE_CHECKING:
    from isheep.recipe import Recipe

app = typer.Typer(
    help="A language model aligns itself: it writes instructions, answers and judges them, and trains on what it kept.",
    epilog="Example: isheep run lamb --dir runs/first",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

F = TypeVar("F", bound=Callable[..., Any])


def completed(begun: str) -> list[str]:
    """The recipes that ship, and settings with their defaults, that begin so: what a shell offers."""
    from isheep.recipe import Recipe
    from isheep.recipe.files import shipped_recipes
    from isheep.recipe.refusals import setting_defaults

    settings = [f"{name}={value}" for name, value in setting_defaults(Recipe).items()]
    return [word for word in (*shipped_recipes(), *settings) if word.startswith(begun)]


RecipeWords = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[RECIPE ...] [KEY=VALUE ...]",
        help="A recipe (default: lamb), others laid over it, and settings.",
        autocompletion=completed,
    ),
]
RunDirectory = Annotated[str, typer.Argument(metavar="DIR", help="The directory of a run, or its URL.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]

OUT = Console(highlight=False, markup=False, emoji=False)


def command(panel: str, *examples: str, name: str | None = None, hidden: bool = False) -> Callable[[F], F]:
    """Makes a function a command; its help ends in the examples, which a test holds to what the command takes."""
    heading = "Example:" if len(examples) == 1 else "Examples:"
    epilog = "\n\n".join([heading, *examples]) if examples else None
    return app.command(name, epilog=epilog, rich_help_panel=panel, hidden=hidden)


def on_this_machine(path: str) -> Path:
    """A path on this machine, for what is not done at a URL."""
    if is_url(path):
        raise UserError(path, "has to be a path on this machine.", "Give one (docs/storage.md says what takes a URL).")
    return Path(path)


def here(directory: str, *, weights: bool = False, may_be_new: bool = False) -> Path:
    """DIR as a folder on this machine: of a run at a URL what is read of it is fetched."""
    if not is_url(directory):
        return Path(directory)
    from isheep.store.mirror import fetched

    return fetched(directory, weights=weights, may_be_new=may_be_new)


def worked_on(directory: str) -> AbstractContextManager[Path]:
    """DIR as a folder to work in; what is written there within the block is sent to the URL, if DIR is one."""
    if not is_url(directory):
        return nullcontext(Path(directory))
    from isheep.store.mirror import mirrored

    return mirrored(directory)


def recipe_of(words: list[str] | None) -> Recipe:
    from isheep.recipe import load_recipe

    return load_recipe(*split(words))


def split(words: list[str] | None) -> tuple[list[str], list[str]]:
    """The words before the first KEY=VALUE are recipes, each laid over those before it; the others are settings."""
    given = list(words or [])
    first = next((place for place, word in enumerate(given) if "=" in word), len(given))
    return given[:first] or ["lamb"], given[first:]


def line(text: str) -> None:
    """Prints text as it is, in lines of any length."""
    OUT.print(printable(text), soft_wrap=True)


def asked(question: str, proposal: str) -> str:
    """What the user answers at the terminal; Enter takes what is proposed."""
    return str(typer.prompt(question, default=proposal, err=True))


def print_json(document: Any) -> None:
    sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=True, allow_nan=False) + "\n")


def quiet() -> None:
    """Libraries keep to warnings and off the network's hub; progress bars are ours."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    # On a processor it says that it would rather have fetched code from the hub, whatever it is imported for.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
