"""Recipe files: those that ship, what one extends, several laid over each other, and YAML as people write it.

Nothing here knows what a setting means; `recipe` validates what comes out.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from isheep.errors import UserError
from isheep.recipe import refusals
from isheep.terminal import printable

EXTENDS = "extends"
"""The key under which a recipe file names the recipe that it builds on; it is resolved here and no setting."""

FOLDER = Path(__file__).parents[1] / "recipes"

LONGEST = 1_000_000
"""Bytes of a recipe file; the longest that ships has a few thousand."""

LARGEST = 10**300
"""No number of a recipe is larger; Python does not even write one of 4300 digits."""


@dataclass(frozen=True, slots=True)
class Layer:
    """One recipe file."""

    name: str
    """As the user, or the file above it, calls it."""
    file: Path
    data: dict[str, Any]


def shipped_recipes() -> dict[str, Path]:
    """Name -> file of every recipe in the package; one in a folder has the folder in its name: `ablations/size-20k`."""
    names = {file.relative_to(FOLDER).with_suffix("").as_posix(): file for file in FOLDER.rglob("*.yaml")}
    return {name: names[name] for name in sorted(names, key=_reading_order)}


def about_recipes() -> dict[str, dict[str, str]]:
    """Folder of the shipped recipes (`` first, then `ablations` ...) -> name -> what its first line says it is."""
    groups: dict[str, dict[str, str]] = {}
    for name, file in shipped_recipes().items():
        first = file.read_text(encoding="utf-8").partition("\n")[0]
        groups.setdefault(name.rpartition("/")[0], {})[name] = first.partition(": ")[2]
    return groups


def read_recipes(names: Sequence[str]) -> tuple[dict[str, Any], str]:
    """Reads recipes by shipped name or by path, each with all that it extends, each laid over those before it.

    Returns:
        The settings, not yet validated, and what messages call them: `lamb + ablations/threshold-4`, or
        `mine.yaml (extends lamb)`.

    Raises:
        UserError: no such recipe, unreadable YAML, a missing base, or recipes that extend each other in a circle.
    """
    data: dict[str, Any] = {}
    called: list[str] = []
    for name in names:
        chain = _with_bases(name)
        for layer in reversed(chain):
            data = merge(data, layer.data)
        bases = ", ".join(layer.name for layer in chain[1:])
        called.append(f"{name} (extends {bases})" if bases else name)
    return data, " + ".join(called)


def merge(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """The settings of both, group by group; of two values (a list is one value) the one above counts."""
    merged = dict(below)
    for key, value in above.items():
        lower = merged.get(key)
        merged[key] = merge(lower, value) if isinstance(lower, dict) and isinstance(value, dict) else value
    return merged


SHORT = {"engine": "engine.name"}
"""What a word given to a whole group sets: `engine=vllm`. Others name a recipe: `evaluate=paper` is evaluate/paper."""


def apply_override(data: dict[str, Any], override: str) -> None:
    """Puts one `key.key=value` into the settings, the value read as YAML.

    Raises:
        UserError: not of that form, a key below what is one setting, or a value that is no YAML.
    """
    key, equals, value = override.partition("=")
    key = key.strip()
    if not equals or not key:
        raise UserError(f"`{override}`", "is not KEY=VALUE.", "Write it like `select.threshold=7`.")
    put(data, key, _read_value(value, override, f"Put the value in quotes, as in `'{key}=\"...\"'`."), override)


def put(data: dict[str, Any], key: str, content: Any, override: str = "") -> None:
    """Puts a value under a dotted key into the settings.

    Args:
        data: settings, which change.
        key: as in `select.threshold`.
        content: the value, or a word that stands for a group's settings (see `SHORT`).
        override: how messages call it; the key where nothing is given.

    Raises:
        UserError: the key lies below what is one setting.
    """
    if isinstance(content, str):
        key = SHORT.get(key, key)
        if (file := FOLDER / key / f"{content}.yaml") in shipped_recipes().values():
            whole = merge(data, read_recipes([f"{key}/{file.stem}"])[0])
            data.clear()
            data.update(whole)
            return
    *groups, last = key.split(".")
    for depth, group in enumerate(groups, start=1):
        if data.get(group) is None:
            data[group] = {}
        data = data[group]
        if not isinstance(data, dict):
            one = f"`{'.'.join(groups[:depth])}`"
            raise UserError(f"`{override or key}`", f"{one} is one setting, not a group of them.", f"Set {one} itself.")
    data[last] = content


def read_values(words: str) -> tuple[str, list[Any]]:
    """The key and the values of `key=value,value...`; values that are lists stand in a list of lists.

    Raises:
        UserError: not of that form, no value, or values that are no YAML.
    """
    key, equals, text = words.partition("=")
    mend = "Write it like `select.threshold=4,6,8`, or `'select.filters=[[threshold], [threshold, cap]]'`."
    if not equals or not key.strip():
        raise UserError(f"`{words}`", "is not KEY=VALUE,VALUE.", mend)
    values = _read_value(f"[{text}]", words, mend)
    if len(values) == 1 and isinstance(values[0], list):
        values = values[0]
    if not values:
        raise UserError(f"`{words}`", "holds no value.", mend)
    return key.strip(), values


def _read_value(text: str, words: str, mend: str) -> Any:
    try:
        return _Loader(text).get_single_data()
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        raise UserError(f"`{words}`", f"the value does not read as YAML: {_reason(error)}.", mend) from None


def dump_yaml(data: dict[str, Any]) -> str:
    """Settings as YAML that `read_recipes` reads as themselves, in their order."""
    # What is hidden stands in quotes (see `_quote_hidden`), where YAML has the same escapes for it.
    return printable(yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True))


def _reading_order(name: str) -> tuple[int, list[str | int]]:
    """Folders last, and numbers by their size: 4b before 14b."""
    parts = re.split(r"(\d+)", name)
    return name.count("/"), [int(part) if part.isdecimal() else part for part in parts]


def _with_bases(name: str) -> list[Layer]:
    """The recipe, what it extends, what that extends, and so on."""
    chain = [_read_layer(name, Path(), f"recipe {name}")]
    while EXTENDS in chain[-1].data:
        base = chain[-1].data.pop(EXTENDS)
        where = f"recipe {chain[-1].file}, {EXTENDS} {refusals.shown(base)}"
        if not isinstance(base, str):
            raise UserError(where, "is not the name of a recipe.", "Give the name or the path of one recipe.")
        layer = _read_layer(base, chain[-1].file.parent, where)
        for place, earlier in enumerate(chain):
            if layer.file.samefile(earlier.file):
                circle = " -> ".join([*(link.name for link in chain[place:]), base])
                raise UserError(where, f"comes back to itself: {circle}.", "Take the line out of one of them.")
        chain.append(layer)
    return chain


def _read_layer(name: str, folder: Path, where: str) -> Layer:
    """A recipe that ships, or else the file at a path from `folder` on; `where` names who asks for it."""
    shipped = shipped_recipes()
    file = shipped.get(name, folder / Path(name).expanduser())
    if not file.is_file():
        what = "is a folder, not a recipe." if file.is_dir() else "there is no such recipe or file."
        offer = refusals.nearest(name, shipped) or "`isheep recipes` lists what ships."
        raise UserError(where, what, f"{offer} Or give a YAML file.")
    return Layer(name, file, _read_yaml(file))


class _Loader(yaml.SafeLoader):
    """YAML that takes 5e-5 for a number, as people do, no key twice, and no number without end."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            value = super().construct_object(node, deep=deep)
        except (ArithmeticError, AttributeError, LookupError):
            # What the library's own readers of `!!bool` and the like raise where it is none.
            raise _wrong(f"`{refusals.shown(node.value)}` is no {node.tag.rpartition(':')[2]}", node) from None
        if type(value) is int and abs(value) > LARGEST:
            raise _wrong("the number is larger than any setting", node)
        return value

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.tag == "tag:yaml.org,2002:bool":
                # YAML takes `off` for false, and `rules.off` is a setting.
                key.tag = "tag:yaml.org,2002:str"
            if key.value in seen:
                raise _wrong(f"the key `{key.value}` stands there twice", key)
            seen.add(key.value)
        return super().construct_mapping(node, deep=deep)


def _wrong(problem: str, node: yaml.Node) -> yaml.YAMLError:
    return yaml.constructor.ConstructorError(problem=problem, problem_mark=node.start_mark)


class _Dumper(yaml.SafeDumper):
    """Quotes the text that `_Loader` would take for a number, and text with characters that nobody would see."""


def _quote_hidden(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    hidden = printable(text) != text
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"' if hidden else None)


_Dumper.add_representer(str, _quote_hidden)


_EXPONENT = re.compile(r"[-+]?(?:\d+|\d+\.\d*|\.\d+)[eE][-+]?\d+\Z")
for _side in (_Loader, _Dumper):
    _side.add_implicit_resolver("tag:yaml.org,2002:float", _EXPONENT, list("-+.0123456789"))


def _read_yaml(file: Path) -> dict[str, Any]:
    try:
        if (size := file.stat().st_size) > LONGEST:
            raise UserError(f"recipe {file}", f"has {size:,} bytes, and no recipe is so long.", "Give a recipe file.")
        data = _Loader(file.read_text(encoding="utf-8-sig")).get_single_data()
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise UserError(f"recipe {file}", f"cannot be read as YAML: {_reason(error)}.", "Mend the file.") from None
    if not isinstance(data, dict):
        what = "holds no settings." if data is None else "holds no `key: value` settings."
        raise UserError(f"recipe {file}", what, "A recipe is a YAML mapping such as `model: {path: ...}`.")
    return data


def _reason(error: Exception) -> str:
    """One line, with the line of the file where YAML knows it."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem and error.problem_mark:
        return f"{error.problem}, line {error.problem_mark.line + 1}"
    if isinstance(error, RecursionError):
        return "it is nested too deep"
    return (getattr(error, "strerror", None) or str(error)).splitlines()[0].rstrip(".")
