"""What is wrong with a recipe, in words: pydantic's errors as one line a setting, with what it would take instead."""

from __future__ import annotations

import difflib
import json
import reprlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

_SHOWN = 40
"""Characters of a wrong value that a message repeats."""
_MAY_HOLD_A_KEY = {
    "url": "an address without a user name, a password or a query",
    "key_variable": "the name of an environment variable",
}
"""Settings where people put keys by mistake -> what belongs there."""
_NO_KEY = "Put the key into an environment variable, and name that in `key_variable`."
_NEAR = 0.6
"""Names less alike than this are not offered."""

_BRIEF = reprlib.Repr()
"""`repr`, but never of more than can be shown: aliases make lists of a few lines unfold to billions of entries."""
_BRIEF.maxlevel, _BRIEF.maxlist, _BRIEF.maxstring, _BRIEF.maxlong = 3, _SHOWN // 2, 10**9, 10**9


@dataclass(frozen=True, slots=True)
class Refusal:
    """One wrong setting: its dotted key, what is wrong with it, and how to mend it."""

    key: str
    what: str
    mend: str


def refusals(error: ValidationError, model: type[BaseModel], data: Mapping[str, Any]) -> list[Refusal]:
    """One refusal for each wrong setting of `data`, in the order in which pydantic found them."""
    found: dict[str, Refusal] = {}
    for detail in error.errors():
        refusal = _refusal(detail["type"], detail["loc"], model, data)
        found.setdefault(refusal.key, refusal)
    return list(found.values())


def setting_names(model: type[BaseModel], prefix: str = "") -> list[str]:
    """Every dotted key of the model, leaves only."""
    names: list[str] = []
    for name, field in model.model_fields.items():
        inner = _group(field)
        names += setting_names(inner, f"{prefix}{name}.") if inner else [f"{prefix}{name}"]
    return names


def setting_defaults(model: type[BaseModel], prefix: str = "") -> dict[str, str]:
    """Every dotted key whose default is one word -> that default as it is written on a command line."""
    found: dict[str, str] = {}
    for name, field in model.model_fields.items():
        inner = _group(field)
        if inner:
            found |= setting_defaults(inner, f"{prefix}{name}.")
        elif isinstance(field.default, NoneType | bool | int | float | str):
            found[f"{prefix}{name}"] = json.dumps(field.default).strip('"')
    return found


def nearest(key: str, known: Iterable[str]) -> str:
    """`Did you mean ...?` with the known keys that are nearest, by the whole key or by its last part; or nothing."""
    likeness = {name: _likeness(key, name) for name in known}
    best = max(likeness.values(), default=0.0)
    offers = [f"`{name}`" for name, value in likeness.items() if value == best] if best >= _NEAR else []
    return f"Did you mean {_either(offers)}?" if 0 < len(offers) <= 3 else ""


def _likeness(key: str, name: str) -> float:
    """Between 0 and 1. A group in common proves nothing; among equals it decides."""
    group, _, last = key.rpartition(".")
    its_group, _, its_last = name.rpartition(".")
    by_last = difflib.SequenceMatcher(None, last, its_last).ratio()
    if group == its_group:
        return by_last
    return max(difflib.SequenceMatcher(None, key, name).ratio(), by_last - 0.05)


def _refusal(kind: str, location: tuple[int | str, ...], model: type[BaseModel], data: Mapping[str, Any]) -> Refusal:
    path, group, field = _walk(location, model)
    key = ".".join(map(str, path))
    if kind == "invalid_key":
        return Refusal(key, "a setting's name has to be text.", "Rename it or take it out.")
    if field is None:
        known = (name for name in _all_names(model) if not key.startswith(f"{name}."))
        return Refusal(key, "unknown setting.", nearest(key, known) or _what_is_there(path, group))
    inner = _group(field)
    if kind == "missing":
        example = setting_names(inner, f"{key}.")[0] if inner else key
        return Refusal(key, "is missing.", f"Give it, as in `{example}=...`.")
    value = _value(data, path)
    if path[-1] in _MAY_HOLD_A_KEY and value is not None:
        return Refusal(key, f"is not {_MAY_HOLD_A_KEY[str(path[-1])]}. It may hold a key, so it is not shown.", _NO_KEY)
    if inner:
        what = "left empty." if value is None else f"so it cannot be {shown(value)}."
        example = setting_names(inner, f"{key}.")[0]
        return Refusal(key, f"is a group of settings, {what}", f"Set what is in it, as in `{example}=...`.")
    if get_origin(field.annotation) is dict:
        what = "holds something else than settings under the names of plug-ins."
        return Refusal(key, what, f"Give each its own, as in `{key}.my-filter.limit=3`.")
    wanted = accepted(field.annotation, field.metadata)
    if isinstance(value, Mapping):
        return Refusal(key, "is one setting, not a group of them.", f"Give {wanted}.")
    text_for_number = isinstance(value, str) and "number" in wanted and "text" not in wanted
    what = f"cannot be {shown(value)}" + (", which is text." if text_for_number else ".")
    quotes = ""
    if text_for_number and _is_number(value):
        quotes = ", without quotes"
    elif "text" in wanted and isinstance(value, bool | int | float):
        quotes = ", in quotes"
    return Refusal(key, what, f"Give {wanted}{quotes}.")


def _walk(
    location: tuple[int | str, ...], model: type[BaseModel]
) -> tuple[list[int | str], type[BaseModel], FieldInfo | None]:
    """The part of an error's location that names a setting, the group that it stands in, and the setting itself."""
    group, path = model, list[int | str]()
    for part in location:
        path.append(part)
        field = group.model_fields.get(part) if isinstance(part, str) else None
        inner = _group(field) if field else None
        if field is None or inner is None or part == location[-1]:
            return path, group, field
        group = inner
    return path, group, None


def _all_names(model: type[BaseModel], prefix: str = "") -> list[str]:
    """Leaves and groups."""
    names: list[str] = []
    for name, field in model.model_fields.items():
        names.append(f"{prefix}{name}")
        inner = _group(field)
        names += _all_names(inner, f"{prefix}{name}.") if inner else []
    return names


def _what_is_there(path: list[int | str], group: type[BaseModel]) -> str:
    place = f"Settings of `{'.'.join(map(str, path[:-1]))}`" if path[:-1] else "Settings"
    return f"{place} are {', '.join(group.model_fields)}."


def _group(field: FieldInfo) -> type[BaseModel] | None:
    annotation = field.annotation
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None


def _value(data: Any, path: list[int | str]) -> Any:
    for part in path:
        data = data.get(part) if isinstance(data, Mapping) else getattr(data, str(part), None)
    return data


def shown(value: Any) -> str:
    """The value as a recipe would spell it, shortened."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return "a group of settings"
    text = _BRIEF.repr(value) if isinstance(value, str | int | float | list) else str(value)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def accepted(annotation: Any, metadata: Iterable[Any] = ()) -> str:
    """What a setting of this type takes: `a whole number of at least 1`."""
    arguments = get_args(annotation)
    if get_origin(annotation) is Annotated:
        if told := next((item.description for item in arguments if isinstance(item, FieldInfo)), None):
            return told
        inner = [
            limit for item in arguments[1:] for limit in (item.metadata if isinstance(item, FieldInfo) else [item])
        ]
        return accepted(arguments[0], inner)
    if get_origin(annotation) is Literal:
        return _either([f"`{value}`" for value in arguments])
    if get_origin(annotation) is list:
        return f"a list in brackets (each entry {accepted(arguments[0])})"
    if arguments:
        return ", or ".join(accepted(argument) for argument in arguments)
    names: dict[Any, str] = {int: "a whole number", float: "a number", bool: "true or false", NoneType: "null"}
    return names.get(annotation, "text") + _limits(metadata)


def _limits(metadata: Iterable[Any]) -> str:
    limits: list[str] = []
    for item in metadata:
        match item:
            case Ge():
                limits.append(f"of at least {item.ge}")
            case Gt():
                limits.append(f"greater than {item.gt}")
            case Le():
                limits.append(f"at most {item.le}")
            case Lt():
                limits.append(f"less than {item.lt}")
        if pattern := getattr(item, "pattern", None):
            limits.append(f"that matches {pattern}")
    return " " + " and ".join(limits) if limits else ""


def _either(items: list[str]) -> str:
    return " or ".join(filter(None, [", ".join(items[:-1]), *items[-1:]]))
