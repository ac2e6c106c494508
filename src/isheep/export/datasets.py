"""The kept pairs as training sets of other programs: Alpaca's and ShareGPT's lists, messages, LLaMA-Factory's folder.

What is in each form and who reads it is said in docs/exports.md. A file of that name is replaced, a folder has to be
new.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from isheep.errors import UserError
from isheep.export import Wanted
from isheep.export.folders import new_folder, refuse_folder
from isheep.export.tables import refuse_file
from isheep.prompts import bare
from isheep.records import Pair
from isheep.store.files import write_json, write_json_lines
from isheep.store.joined import kept_pairs, with_records
from isheep.store.run import Run

INFO = "dataset_info.json"
"""By which LLaMA-Factory knows the sets of a folder."""


def export_alpaca(run: Run, to: Path, wanted: Wanted) -> str:
    """A JSON list of `instruction`, `input` (may be empty) and `output`, as Stanford Alpaca has it."""
    refuse_file(to, ".json")
    return _written(to, [_alpaca(pair) for pair in kept(run, wanted)])


def export_sharegpt(run: Run, to: Path, wanted: Wanted) -> str:
    """A JSON list of `conversations`, each a list of `from` (human, gpt) and `value`, as ShareGPT has it."""
    refuse_file(to, ".json")
    return _written(to, [_sharegpt(pair) for pair in kept(run, wanted)])


def export_messages(run: Run, to: Path, wanted: Wanted) -> str:
    """JSON lines of `messages`, each a list of `role` (user, assistant) and `content`, as OpenAI's chats have it."""
    refuse_file(to, ".jsonl")
    pairs = kept(run, wanted)
    write_json_lines(to, ({"messages": [asked(pair.instruction, pair.input), said(pair.response)]} for pair in pairs))
    return f"{len(pairs)} kept pairs"


def export_llamafactory(run: Run, to: Path, wanted: Wanted) -> str:
    """A folder for LLaMA-Factory's `dataset_dir`: the pairs in each of its two forms, and what says so.

    The keys are those of `llamafactory/data/parser.py`, 0.9.5.
    """
    forms: dict[str, tuple[Callable[[Pair], Any], dict[str, Any]]] = {
        "alpaca": (_alpaca, {"columns": {"prompt": "instruction", "query": "input", "response": "output"}}),
        "sharegpt": (_sharegpt, {"formatting": "sharegpt", "columns": {"messages": "conversations"}}),
    }
    refuse_folder(to)
    pairs = kept(run, wanted)
    told = {f"isheep_{form}": {"file_name": f"{form}.json", **about} for form, (_, about) in forms.items()}
    with new_folder(to) as folder:
        for form, (made, _) in forms.items():
            write_json(folder / f"{form}.json", [made(pair) for pair in pairs])
        write_json(folder / INFO, told)
    return f"{len(pairs)} kept pairs, as the datasets {' and '.join(told)}"


def kept(run: Run, wanted: Wanted) -> list[Pair]:
    """The kept pairs that are asked for, at least one, in the order in which they were made.

    Raises:
        UserError: no such iteration, none of its pairs was kept, or dropped records are asked for.
    """
    refuse_dropped(wanted)
    pairs = [pair for iteration in with_records(run, wanted.iteration) for pair in kept_pairs(iteration)]
    if not pairs:
        whose = "" if wanted.iteration is None else f" of iteration {wanted.iteration}"
        raise UserError(str(run.directory), f"has kept no pairs{whose}.", "Look at what dropped them: isheep status.")
    return pairs


def refuse_dropped(wanted: Wanted) -> None:
    """Raises UserError where every record is asked for, of what others train on."""
    if wanted.everything:
        what = "a training set has no place for records that were dropped."
        raise UserError("--all", what, "Leave it out, or give --as csv, jsonl or parquet.")


def asked(instruction: str, input_: str) -> dict[str, str]:
    """The user's turn."""
    return {"role": "user", "content": bare(instruction, input_)}


def said(response: str) -> dict[str, str]:
    """The assistant's turn."""
    return {"role": "assistant", "content": response}


def _alpaca(pair: Pair) -> dict[str, str]:
    return {"instruction": pair.instruction, "input": pair.input, "output": pair.response}


def _sharegpt(pair: Pair) -> dict[str, Any]:
    turns = (("human", bare(pair.instruction, pair.input)), ("gpt", pair.response))
    return {"conversations": [{"from": who, "value": text} for who, text in turns]}


def _written(to: Path, rows: list[Any]) -> str:
    write_json(to, rows)
    return f"{len(rows)} kept pairs"
