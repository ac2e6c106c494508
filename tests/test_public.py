"""Nothing public is without a word: each name has a docstring, and a docstring says what its reader needs of it."""

from __future__ import annotations

import ast
import inspect
import re
import sys
import textwrap
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pydantic import BaseModel

import isheep
from isheep.engines import Completion, Engine, Request
from isheep.errors import Interrupted, IsheepError, NothingKept, StageError, UserError
from isheep.evaluation.base import Benchmark, Measured
from isheep.plugins import Assessor, Filter
from isheep.recipe import Recipe
from isheep.records import AssessedPair, Assessment, Pair

PROTOCOLS = (Filter, Assessor, Engine, Benchmark)
EXCHANGED = (AssessedPair, Pair, Assessment, Request, Completion, Measured)
"""What goes into plug-ins, and what comes out."""
BEGINNINGS = ("run", "Run.", "Recipe.load", "Filter.", "Assessor.")
"""Functions with which a reader begins."""
ERRORS = (IsheepError, UserError, StageError, NothingKept, Interrupted)

TELLS = re.compile(r"raise (UserError|StageError)|(UserError|StageError)\(")


def groups(model: type[BaseModel] = Recipe) -> Iterator[type[BaseModel]]:
    """The recipe and every group of settings in it."""
    yield model
    for field in model.model_fields.values():
        if inspect.isclass(field.annotation) and issubclass(field.annotation, BaseModel):
            yield from groups(field.annotation)


def public() -> dict[str, Any]:
    """Every public name, its classes and functions."""
    names = {name: getattr(isheep, name) for name in isheep.__all__ if name != "__version__"}
    others = [*PROTOCOLS, *EXCHANGED, *ERRORS, *groups()]
    return names | {one.__qualname__: one for one in others}


PUBLIC = public()
CLASSES = {name: one for name, one in PUBLIC.items() if inspect.isclass(one)}


def fields(one: type) -> dict[str, str | None]:
    """The annotated fields of a class -> the text below each; of a group of settings its class's docstring."""
    node = ast.parse(textwrap.dedent(inspect.getsource(one))).body[0]
    assert isinstance(node, ast.ClassDef)
    body = node.body
    found: dict[str, str | None] = {}
    for part, after in zip(body, [*body[1:], None], strict=True):
        if isinstance(part, ast.AnnAssign) and isinstance(part.target, ast.Name) and not part.target.id.startswith("_"):
            text = after.value.value if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant) else None
            kind = getattr(sys.modules[one.__module__], ast.unparse(part.annotation), None)
            group = inspect.isclass(kind) and issubclass(kind, BaseModel)
            found[part.target.id] = inspect.getdoc(kind) if group else str(text) if text else None
    return found


def functions() -> dict[str, Callable[..., Any]]:
    """The functions and methods that are public, and what a property is read by."""
    found: dict[str, Callable[..., Any]] = {}
    for name, one in PUBLIC.items():
        if not inspect.isclass(one):
            found[name] = one
            continue
        for method, value in vars(one).items():
            plain = getattr(value, "__func__", getattr(value, "fget", value))
            if not method.startswith("_") and method != "model_config" and inspect.isfunction(plain):
                found[f"{name}.{method}"] = plain
    return found


FUNCTIONS = functions()


def source(function: Callable[..., Any]) -> str:
    return textwrap.dedent(inspect.getsource(function))


def raises(function: Callable[..., Any], seen: frozenset[str] = frozenset()) -> bool:
    """Whether it tells the user of something wrong, itself or through what it calls by name."""
    if TELLS.search(source(function)):
        return True
    module, owner = sys.modules[function.__module__], function.__qualname__.partition(".")[0]
    for call in (node for node in ast.walk(ast.parse(source(function))) if isinstance(node, ast.Call)):
        name = ast.unparse(call.func)
        head, _, last = name.rpartition(".")
        places = [getattr(module, owner, None)] if head in ("self", "cls") else [module]
        called: Any = None
        for place in places:
            called = place
            for part in [last] if head in ("self", "cls") else name.split("."):
                called = getattr(called, part, None)
        called = getattr(called, "__func__", called)
        if inspect.isfunction(called) and called.__module__.startswith("isheep") and name not in seen:
            if re.search(r"Raises:|[Rr]aises (UserError|StageError)", inspect.getdoc(called) or ""):
                return True
            if called.__module__ == function.__module__ and raises(called, seen | {name}):
                return True
    return False


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_has_a_docstring(name: str) -> None:
    own = vars(PUBLIC[name]).get("__doc__") if name in CLASSES else PUBLIC[name].__doc__
    assert own
    assert own.strip().endswith((".", ":")) or "\n" in own


@pytest.mark.parametrize("name", [name for name in CLASSES if fields(CLASSES[name])])
def test_every_public_field_is_told(name: str) -> None:
    untold = [field for field, text in fields(CLASSES[name]).items() if not text]
    assert untold == [], f"{name}: {', '.join(untold)}"


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_public_function_says_what_it_does_and_when_it_fails(name: str) -> None:
    text = inspect.getdoc(FUNCTIONS[name])
    assert text
    if raises(FUNCTIONS[name]):
        assert "Raises:" in text, f"{name} raises UserError or StageError, and does not say so"


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_argument_is_told(name: str) -> None:
    text = inspect.getdoc(FUNCTIONS[name]) or ""
    arguments = [one for one in inspect.signature(FUNCTIONS[name]).parameters if one not in ("self", "cls")]
    # Where a reader begins they have a section of their own; elsewhere a sentence may tell them.
    if name.startswith(BEGINNINGS):
        untold = [one for one in arguments if not re.search(rf"^\s+{one}: \S", text, re.MULTILINE)]
    else:
        untold = [one for one in arguments if one.rstrip("s") not in text]
    assert untold == [], f"{name}: {', '.join(untold)}"


SHAPED = re.compile(r"float|int\b|Table|list|dict|Sequence|Iterator|Iterable")
SHAPE = re.compile(
    r"\b(each|every|one row|a row|between|from 1 to 10|number|what|in their order|as they finish)\b|`\w+`", re.I
)


@pytest.mark.parametrize(
    "name", [name for name, one in FUNCTIONS.items() if SHAPED.search(str(one.__annotations__.get("return", "")))]
)
def test_what_returns_several_things_or_numbers_says_of_what(name: str) -> None:
    assert SHAPE.search(inspect.getdoc(FUNCTIONS[name]) or ""), name


def test_the_walk_finds_what_is_missing() -> None:
    assert raises(vars(isheep.Run)["read"].__func__)
    assert raises(isheep.Run.weights)
    assert raises(vars(Recipe)["load"].__func__)
    assert not raises(isheep.Run.status)
    assert {"Recipe", "Run", "run", "SelectSettings", "Engine", "Filter"} <= set(PUBLIC)
    assert {"Run.records", "Engine.score_next", "Filter.verdicts", "AssessSettings.questions"} <= set(FUNCTIONS)


class Half(BaseModel):
    """Of two fields one is told."""

    said: int
    """Of something."""
    unsaid: int


def test_a_field_without_a_word_is_found() -> None:
    assert fields(Half) == {"said": "Of something.", "unsaid": None}
