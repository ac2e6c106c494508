"""Rows as seed tasks: which form they have, and which column is what."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from isheep.errors import UserError
from isheep.recipe.settings import ColumnSettings
from isheep.records import SeedTask
from isheep.seeds.tables import LINE_FORMS, Row, Table, kind

Read = Callable[[Row], SeedTask]

TABLE_FORMS = (
    "A table has a column of texts for the instruction and one for the output, and may have one for the input."
)

NAMES = {
    "instruction": ("instruction", "prompt", "question", "task", "query", "request", "problem"),
    "input": ("input", "context", "passage"),
    "output": ("output", "response", "answer", "completion", "target", "reply", "solution"),
}
"""What a seed task has -> names of columns that say so, in lower case and without a plural's s."""
CHATS = ("message", "conversation")

ROLES = {"user": "user", "human": "user", "assistant": "assistant", "gpt": "assistant", "system": "system"}
"""How chats call who speaks, in OpenAI's words and in ShareGPT's."""

_TYPES: dict[type, str] = {str: "a string", bool: "true or false", list: "a list"}


def reading_of(table: Table, given: ColumnSettings, where: str) -> tuple[Read, str]:
    """What makes tasks of a table's rows, and how to say which column is what.

    Raises:
        UserError: no column, or several, may be what is needed, or one that the recipe names is not there.
    """
    columns = table.columns
    said = given != ColumnSettings()
    if not said and "instances" in columns:
        return _self_instruct, " in Self-Instruct's schema"
    if not said and set(NAMES) <= set(columns):
        return _flat({name: name for name in NAMES}, table), " in Alpaca's schema"
    found = _named(columns, given, where)
    if missing := [role for role in ("instruction", "output") if role not in found]:
        chats = [name for name in columns if _plain(name) in CHATS]
        if not said and len(chats) == 1:
            return _chat(chats[0]), f": one exchange each from {_quoted(chats)}"
        what = f"which column holds the {' and which the '.join(missing)} is not clear from its names."
        raise UserError(where, what, _offer(columns, missing))
    words = ", ".join(f"{role} from {_quoted([found[role]])}" for role in NAMES if role in found)
    return _flat(found, table), f": {words}{'' if 'input' in found else ', no input'}"


def _named(columns: list[str], given: ColumnSettings, where: str) -> dict[str, str]:
    """What a seed task has -> its column; raises UserError where several may be meant."""
    told = {"instruction": given.instruction, "input": given.input, "output": given.output}
    found = {role: name for role, name in told.items() if name}
    for role, name in found.items():
        if name not in columns:
            raise UserError(f"seeds.columns.{role}", f"{where} has no column `{name}`.", _columns(columns))
    for role in ("instruction", "output", "input"):
        if told[role] is not None:
            continue
        free = [name for name in columns if name not in found.values()]
        fit = [name for name in free if _plain(name) in NAMES[role]]
        if role == "instruction" and not fit:
            fit = [name for name in free if _plain(name) == "input"]
        if len(fit) > 1:
            what = f"the {role} may be in {_quoted(fit, ' or in ')}."
            raise UserError(where, what, _offer(columns, [role]))
        if fit:
            found[role] = fit[0]
    return found


def _offer(columns: list[str], roles: list[str]) -> str:
    settings = " ".join(f"seeds.columns.{role}=NAME" for role in roles)
    return f"Say it with `{settings}`. {_columns(columns)}"


def _columns(columns: list[str]) -> str:
    return f"Its columns are {_quoted(columns)}." if columns else "It names no columns."


def _quoted(names: list[str], between: str = ", ") -> str:
    return between.join(f'"{name if len(name) <= 60 else name[:59] + "…"}"' for name in names)


def _plain(name: str) -> str:
    return name.strip().casefold().removesuffix("s")


def _flat(found: dict[str, str], table: Table) -> Read:
    """Of typed tables and CSV a cell without an input has none; people who write JSON may have forgotten it."""
    optional = [found["input"]] if "input" in found and not table.is_json else []
    forms = LINE_FORMS if table.is_json else TABLE_FORMS

    def read(row: Row) -> SeedTask:
        cells = dict.fromkeys(optional, "") | row.cells
        texts = {role: _text(cells, found[role], "", row.where, forms) if role in found else "" for role in NAMES}
        return _refuse_empty(row.where, _task(row, texts), found["instruction"])

    return read


def _chat(column: str) -> Read:
    def read(row: Row) -> SeedTask:
        turns = _value(row.cells, column, "", list, row.where)
        told = [_turn(turn, f"{column}[{place}]", row.where) for place, turn in enumerate(turns)]
        if system := next((text for role, text in told if role == "system" and text.strip()), None):
            what = f'"{column}" holds a system message ({_quoted([system])}), which a seed task has no place for.'
            raise UserError(row.where, what, "Put it into the instruction, or take it out.")
        spoken = [(role, text) for role, text in told if role != "system"]
        if [role for role, _ in spoken] != ["user", "assistant"]:
            what = f'"{column}" is not one question with its answer: it holds {len(spoken)} messages.'
            raise UserError(row.where, what, "Keep one exchange of each chat.")
        texts = {"instruction": spoken[0][1], "input": "", "output": spoken[1][1]}
        return _refuse_empty(row.where, _task(row, texts), column)

    return read


def _turn(turn: Any, name: str, where: str) -> tuple[str, str]:
    """Who speaks, and what."""
    if not isinstance(turn, dict):
        raise UserError(where, f'"{name}" is {kind(turn)}, not an object.', "A message has a role and a content.")
    role, content = ("from", "value") if "from" in turn else ("role", "content")
    who = _text(turn, role, f"{name}.", where)
    if who not in ROLES:
        raise UserError(where, f'"{name}.{role}" is {_quoted([who])}.', f"Roles are {', '.join(ROLES)}.")
    return ROLES[who], _text(turn, content, f"{name}.", where)


def _task(row: Row, texts: dict[str, str]) -> SeedTask:
    identity = row.cells.get("id", f"seed-{row.number}")
    cells = {"is_classification": False, **row.cells, "id": str(identity) if type(identity) is int else identity}
    sort = cells["is_classification"]
    if isinstance(sort, str):
        # A cell of CSV.
        cells["is_classification"] = {"true": True, "false": False, "": False}.get(sort.strip().lower(), sort)
    return SeedTask(
        id=_text(cells, "id", "", row.where),
        is_classification=bool(_value(cells, "is_classification", "", bool, row.where)),
        **texts,
    )


def _self_instruct(row: Row) -> SeedTask:
    """A row of Self-Instruct's schema, or one of Alpaca's among them."""
    if "instances" not in row.cells and "output" in row.cells:
        texts = {role: _text(row.cells, role, "", row.where) for role in NAMES}
        return _refuse_empty(row.where, _task(row, texts), "instruction")
    instance = _first_instance(row.cells, row.where)
    task = SeedTask(
        id=_text(row.cells, "id", "", row.where),
        instruction=_text(row.cells, "instruction", "", row.where),
        input=_text(instance, "input", "instances[0].", row.where),
        output=_text(instance, "output", "instances[0].", row.where),
        is_classification=bool(_value(row.cells, "is_classification", "", bool, row.where)),
    )
    return _refuse_empty(row.where, task, "instruction")


def _refuse_empty(where: str, task: SeedTask, column: str) -> SeedTask:
    for key, text in (("id", task.id), (column, task.instruction)):
        if not text.strip():
            raise UserError(where, f'"{key}" is empty.', "Fill it in or take the line out.")
    return task


def _first_instance(cells: dict[str, Any], where: str) -> dict[str, Any]:
    instances = _value(cells, "instances", "", list, where)
    if not instances:
        raise UserError(where, '"instances" is empty.', "Give at least one input with its output.")
    first = instances[0]
    if not isinstance(first, dict):
        raise UserError(where, f'"instances[0]" is {kind(first)}, not an object.', LINE_FORMS)
    return first


def _text(holder: dict[str, Any], key: str, prefix: str, where: str, forms: str = LINE_FORMS) -> str:
    text = str(_value(holder, key, prefix, str, where, forms))
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise UserError(
            where, f'"{prefix}{key}" holds half of a surrogate pair, which is no character.', "Take it out."
        ) from None
    return text


def _value(holder: dict[str, Any], key: str, prefix: str, expected: type, where: str, forms: str = LINE_FORMS) -> Any:
    if key not in holder:
        raise UserError(where, f'the key "{prefix}{key}" is missing.', forms)
    value = holder[key]
    if not isinstance(value, expected):
        raise UserError(where, f'"{prefix}{key}" is {kind(value)}, not {_TYPES[expected]}.', forms)
    return value
