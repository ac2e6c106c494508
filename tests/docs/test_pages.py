"""No page shows a command, an option, a setting or a link that does not exist."""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from pymdownx.slugs import slugify

from isheep.cli import app
from isheep.errors import UserError
from isheep.plugins import installed
from isheep.recipe import load_recipe, setting_names, shipped_recipes
from tests.docs.pages import DOCS, PAGES, ROOT, fences, prose

GROUP: Any = typer.main.get_command(app)
SLUG = slugify(case="lower")
LACKS = "MissingParameter"
"""A sentence may leave out what a whole command has to have."""


def commands(page: Path) -> Iterator[str]:
    """Whatever the page has its reader type that begins with isheep: lines of code, and code within sentences."""
    code = [fence.text for fence in fences(page) if fence.language != "text"]
    code += re.findall(r"`(isheep [^`\n]+)`", prose(page))
    code += re.findall(r"^ {4}(isheep (?:.*\\\n)*.*)$", prose(page), flags=re.MULTILINE)
    lines = [line.strip().removeprefix("$ ") for text in code for line in text.replace("\\\n", " ").splitlines()]
    yield from (line for line in lines if re.match(r"isheep [a-z]+( |$)", line))


def words_of(command: str) -> list[str]:
    """As a shell would hand them over, with a number for N; what follows an operator is not the command's."""
    lexer = shlex.shlex(command, posix=True, punctuation_chars="|;&<>")
    lexer.whitespace_split, lexer.commenters = True, "#"
    words = list(lexer)
    ends = [place for place, word in enumerate(words) if set(word) <= set("|;&<>")]
    return ["1" if word == "N" else word for word in words[1 : ends[0] if ends else None]]


def refusal(command: str) -> str | None:
    """Why isheep would not take it, as far as that is known without doing anything."""
    name, *given = words_of(command)
    if name not in GROUP.commands:
        return f"there is no command {name}"
    try:
        context = GROUP.commands[name].make_context(name, given)
    except Exception as error:
        return None if type(error).__name__ in (LACKS, "Exit", "NoArgsIsHelpError") else f"{error}"
    return wrong_setting(context.params.get("words") or [], evaluating=name == "eval")


def wrong_setting(words: list[str], *, evaluating: bool = False) -> str | None:
    """What is wrong with these recipes and settings; a file that the reader has to write stands for lamb."""
    names = [word for word in words if "=" not in word]
    if unknown := [name for name in names if not _is_placeholder(name) and name not in shipped_recipes()]:
        return f"there is no recipe {unknown}"
    shipped = [name for name in names if name in shipped_recipes()]
    settings = [word for word in words if "=" in word]
    literal = [word for word in settings if not _is_placeholder(word.partition("=")[2])]
    known = {*setting_names(), *(name.partition(".")[0] for name in setting_names())}
    if strange := [word for word in settings if word.partition("=")[0] not in known]:
        return f"there is no setting {strange}"
    try:
        load_recipe([*(["lamb"] if shipped != names or evaluating or not names else []), *shipped], literal)
    except UserError as error:
        return str(error)
    return None


def _is_placeholder(word: str) -> bool:
    """A name that stands for what the reader has: DIR, SEED, my.yaml, path/to/it, and what is left out."""
    return word.isupper() or word.endswith(".yaml") or "..." in word or word == "path/to/a/recipe"


def anchors(page: Path) -> set[str]:
    """Of the headings of a page, as GitHub and the site make them."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ +(.+?)\s*$", text, flags=re.MULTILINE)
    return {SLUG(re.sub(r"`|\*|\[([^]]*)\]\([^)]*\)", r"\1", heading), "-") for heading in headings}


def links(page: Path) -> Iterator[str]:
    """What the page links to or shows as an image."""
    yield from re.findall(r"\]\(([^)\s]+)\)", prose(page))
    yield from re.findall(r'<img src="([^"]+)"', prose(page))


# What stands in bad-input.md is wrong on purpose, and tested so.
ALL_COMMANDS = [(page, command) for page in PAGES if page.name != "bad-input.md" for command in commands(page)]
FRAGMENTS = [(page, fence.text) for page in PAGES for fence in fences(page) if fence.language == "yaml"]
LINKS = [(page, link) for page in PAGES for link in links(page)]


def _names(cases: list[tuple[Path, str]]) -> list[str]:
    return [f"{page.relative_to(ROOT)}: {' '.join(text.split())[:60]}" for page, text in cases]


@pytest.mark.parametrize(("page", "command"), ALL_COMMANDS, ids=_names(ALL_COMMANDS))
def test_isheep_takes_every_command(page: Path, command: str) -> None:
    assert refusal(command) is None


@pytest.fixture
def packages(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The plug-ins that a page's own pyproject.toml names are as good as installed; none of their code is needed."""
    lines: list[str] = []
    for fence in fences(page):
        if fence.language == "toml":
            for group, named in tomllib.loads(fence.text).get("project", {}).get("entry-points", {}).items():
                lines += [f"[{group}]", *(f"{name} = {at}" for name, at in named.items())]
    about = tmp_path / "my_package-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: my-package\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("\n".join(lines))
    monkeypatch.syspath_prepend(tmp_path)
    installed.cache_clear()
    yield
    installed.cache_clear()


@pytest.mark.usefixtures("packages")
@pytest.mark.parametrize(("page", "text"), FRAGMENTS, ids=_names(FRAGMENTS))
def test_every_fragment_of_a_recipe_is_one(page: Path, text: str, tmp_path: Path) -> None:
    data = yaml.safe_load(text)
    model = {} if "extends" in data or "model" in data else {"extends": "lamb"}
    (tmp_path / "my.yaml").write_text(yaml.safe_dump({**model, **data}))
    load_recipe(str(tmp_path / "my.yaml"))


@pytest.mark.parametrize(("page", "link"), LINKS, ids=_names(LINKS))
def test_every_link_leads_somewhere(page: Path, link: str) -> None:
    if link.startswith(("http://", "https://")):
        assert re.fullmatch(r"https://[a-z0-9.-]+\.[a-z]+(/[^\s]*)?", link)
        return
    target, _, anchor = link.partition("#")
    file = (page.parent / target).resolve() if target else page
    assert file.is_relative_to(ROOT.resolve())
    assert file.is_file()
    assert not anchor or anchor in anchors(file)


def test_there_is_something_to_look_at() -> None:
    assert len({words_of(command)[0] for _, command in ALL_COMMANDS}) >= 12
    assert len(FRAGMENTS) > 5
    assert {page.parent for page, _ in LINKS} >= {ROOT, DOCS, DOCS / "howto"}


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("isheep rum lamb", "no command"),
        ("isheep run lamb --directory runs/x", "No such option"),
        ("isheep status runs/x --limit 3", "No such option"),
        ("isheep records runs/x --limit none", "valid integer"),
        ("isheep run lamp --dir runs/x", "no recipe"),
        ("isheep run lamb select.treshold=3 --dir runs/x  # a comment", "no setting"),
        ("isheep run my.yaml select.threshold=11 --dir runs/x | tail", "select.threshold"),
    ],
)
def test_what_does_not_exist_is_found(command: str, says: str) -> None:
    assert says in str(refusal(command))
