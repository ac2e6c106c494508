"""The seed tasks: the shipped `general.jsonl` beside this module, and the loader for it and for any other seed file."""

from __future__ import annotations

import codecs
import json
from pathlib import Path
from typing import Any

from isheep.errors import UserError
from isheep.records import SeedTask

_FORMS = (
    'A line holds {"id", "instruction", "instances": [{"input", "output"}], "is_classification"} '
    'or {"instruction", "input", "output"}.'
)
_TYPES: dict[type, str] = {str: "a string", bool: "true or false", list: "a list"}


def load_seeds(path: Path) -> list[SeedTask]:
    """Read a seed file: JSON lines, each in Self-Instruct's schema or flat as in Alpaca's.

    Of several instances the first is used. A flat line may leave out `id` (it becomes `seed-<line>`) and
    `is_classification` (false). Other keys and blank lines are ignored. Texts are kept as written.

    Raises:
        UserError: the file cannot be read or holds no task, or a line is wrong; the message names file, line and key.
    """
    tasks: list[SeedTask] = []
    lines: dict[str, int] = {}
    for number, raw in enumerate(_read(path).split(b"\n"), start=1):
        if not raw.strip():
            continue
        where = f"{path}, line {number}"
        task = _task(_decoded(raw, where), number, where)
        if task.id in lines:
            raise UserError(
                where, f'the id "{task.id}" was already used on line {lines[task.id]}.', "Give each task its own."
            )
        lines[task.id] = number
        tasks.append(task)
    if not tasks:
        raise UserError(str(path), "the seed file holds no task.", _FORMS)
    return tasks


def _read(path: Path) -> bytes:
    mend = "Give a seed file that exists and can be read."
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise UserError(str(path), "there is no such seed file.", mend) from None
    except IsADirectoryError:
        raise UserError(str(path), "this is a folder, not a seed file.", mend) from None
    except OSError as error:
        raise UserError(str(path), f"the seed file cannot be read ({error.strerror}).", mend) from None
    return content.removeprefix(codecs.BOM_UTF8)


def _decoded(raw: bytes, where: str) -> dict[str, Any]:
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(
            where, f"byte {error.start + 1} of the line is not valid UTF-8.", "Save the file as UTF-8."
        ) from None
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError(
            where, f"not valid JSON ({error.msg}, column {error.colno}).", "Write one JSON object a line."
        ) from None
    except (RecursionError, ValueError):
        raise UserError(
            where, "this JSON is nested too deep or holds a number too long to read.", "Write one JSON object a line."
        ) from None
    if not isinstance(value, dict):
        raise UserError(where, f"holds {_kind(value)}, not an object.", _FORMS)
    return value


def _task(line: dict[str, Any], number: int, where: str) -> SeedTask:
    flat = "instances" not in line and "output" in line
    if flat:
        line = {"id": f"seed-{number}", "is_classification": False} | line
        instance, prefix = line, ""
    else:
        instance, prefix = _first_instance(line, where), "instances[0]."
    task = SeedTask(
        id=_text(line, "id", "", where),
        instruction=_text(line, "instruction", "", where),
        input=_text(instance, "input", prefix, where),
        output=_text(instance, "output", prefix, where),
        is_classification=bool(_value(line, "is_classification", "", bool, where)),
    )
    for key, text in (("id", task.id), ("instruction", task.instruction)):
        if not text.strip():
            raise UserError(where, f'"{key}" is empty.', "Fill it in or take the line out.")
    return task


def _first_instance(line: dict[str, Any], where: str) -> dict[str, Any]:
    instances = _value(line, "instances", "", list, where)
    if not instances:
        raise UserError(where, '"instances" is empty.', "Give at least one input with its output.")
    first = instances[0]
    if not isinstance(first, dict):
        raise UserError(where, f'"instances[0]" is {_kind(first)}, not an object.', _FORMS)
    return first


def _text(holder: dict[str, Any], key: str, prefix: str, where: str) -> str:
    text = str(_value(holder, key, prefix, str, where))
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise UserError(
            where, f'"{prefix}{key}" holds half of a surrogate pair, which is no character.', "Take it out."
        ) from None
    return text


def _value(holder: dict[str, Any], key: str, prefix: str, expected: type, where: str) -> Any:
    if key not in holder:
        raise UserError(where, f'the key "{prefix}{key}" is missing.', _FORMS)
    value = holder[key]
    if not isinstance(value, expected):
        raise UserError(where, f'"{prefix}{key}" is {_kind(value)}, not {_TYPES[expected]}.', _FORMS)
    return value


def _kind(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, (int, float)):
        return "a number"
    if isinstance(value, str):
        return "a string"
    return "a list" if isinstance(value, list) else "an object"
