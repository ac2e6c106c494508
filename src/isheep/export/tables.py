"""Records of a run as one table in a file: CSV, JSON lines or Parquet."""

from __future__ import annotations

import csv
import io
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from isheep.errors import UserError
from isheep.export import Wanted
from isheep.store.files import storable, write_atomic, write_json_lines
from isheep.store.joined import Joined, find
from isheep.store.marks import Mark, read_marks
from isheep.store.run import Run
from isheep.terminal import is_hidden

Row = Mapping[str, Any]
Writer = Callable[[Path, Mapping[str, pa.DataType], Sequence[Row]], None]

KEPT: dict[str, pa.DataType] = {
    "instruction": pa.string(),
    "input": pa.string(),
    "output": pa.string(),
    "id": pa.string(),
    "iteration": pa.int32(),
    "quality": pa.float64(),
    "following": pa.float64(),
}
"""Columns of what is trained on, the three of Alpaca first. None: not answered, or could not tell."""
VERDICT: dict[str, pa.DataType] = {"kept": pa.bool_(), "dropped_by": pa.string(), "reason": pa.string()}
MARKED: dict[str, pa.DataType] = {"mark": pa.string(), "note": pa.string()}
"""These and the two of a hand mark stand besides where every record is asked for."""

_BEGINS = frozenset("=+-@\t\r\n")
"""What a spreadsheet may act upon where a cell begins with it (OWASP, CSV injection)."""


def export_csv(run: Run, to: Path, wanted: Wanted) -> str:
    """For spreadsheets; see `spreadsheet_safe` for what becomes of texts that one would act upon."""
    return _export(run, to, wanted, ".csv", _write_csv)


def export_jsonl(run: Run, to: Path, wanted: Wanted) -> str:
    """One JSON object a line."""
    return _export(run, to, wanted, ".jsonl", _write_json_lines)


def export_parquet(run: Run, to: Path, wanted: Wanted) -> str:
    """Typed columns, compressed with zstd."""
    return _export(run, to, wanted, ".parquet", _write_parquet)


def _export(run: Run, to: Path, wanted: Wanted, suffix: str, write: Writer) -> str:
    """In the order in which the records were made; a file of that name is replaced."""
    refuse_file(to, suffix)
    found = find(run, iteration=wanted.iteration, kept=None if wanted.everything else True)
    columns = KEPT | VERDICT | MARKED if wanted.everything else KEPT
    marks = read_marks(run.directory) if wanted.everything else {}
    write(to, columns, [_row(record, columns, marks.get(record.instruction.id)) for record in found])
    return f"{len(found)} {'records' if wanted.everything else 'kept pairs'}"


def refuse_file(to: Path, suffix: str) -> None:
    """Refuses a path that cannot be a file of that kind.

    Raises:
        UserError: another suffix, a folder, or no folder to write into.
    """
    if to.suffix.lower() != suffix:
        raise UserError(str(to), f"is not named like a file of this kind (`{suffix}`).", f"Name it {to.stem}{suffix}.")
    if to.is_dir() or not to.parent.is_dir():
        what = "is a folder." if to.is_dir() else f"there is no folder {to.parent}."
        raise UserError(str(to), what, "Give the name of a file in a folder that is there.")


def spreadsheet_safe(text: str) -> str:
    r"""The text as a cell that a spreadsheet takes for text, as OWASP advises against CSV injection.

    What begins with `=`, `+`, `-`, `@`, a tab or a line end gets an apostrophe in front; behind white space and
    invisible characters, and in their wide and small forms, too. A NUL, where readers stop, is written `\x00`. All else
    stays.
    """
    first = next((letter for letter in text if letter in _BEGINS or not (letter.isspace() or is_hidden(letter))), "")
    begins = unicodedata.normalize("NFKC", first)[:1] in _BEGINS if first else False
    return ("'" if begins else "") + text.replace("\0", r"\x00")


def _row(record: Joined, columns: Iterable[str], mark: Mark | None) -> Row:
    fields = record.as_dict() | ({"mark": mark.mark, "note": mark.note} if mark else {})
    fields["output"] = fields.get("response")
    return {name: _stored(fields.get(name)) for name in columns}


def _stored(value: Any) -> Any:
    return storable(value) if isinstance(value, str) else value


def _write_csv(to: Path, columns: Mapping[str, pa.DataType], rows: Sequence[Row]) -> None:
    """UTF-8 with a mark at its beginning, by which spreadsheets know it, and rows that end as RFC 4180 has it.

    Not covered: what cannot be told is empty, as an empty text is; and a spreadsheet cuts a cell at 32,767 characters.
    """
    text = io.StringIO(newline="")
    # Every text in quotes: a reader that cuts at semicolons or tabs instead finds no cell that begins inside of one.
    writer = csv.writer(text, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\r\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow([_cell(row[name]) for name in columns])
    write_atomic(to, text.getvalue().encode("utf-8-sig"))


def _cell(value: Any) -> Any:
    if isinstance(value, bool):
        return str(value).lower()
    return spreadsheet_safe(value) if isinstance(value, str) else value


def _write_json_lines(to: Path, columns: Mapping[str, pa.DataType], rows: Sequence[Row]) -> None:
    write_json_lines(to, rows)


def _write_parquet(to: Path, columns: Mapping[str, pa.DataType], rows: Sequence[Row]) -> None:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(list(rows), schema=pa.schema(list(columns.items()))), sink, compression="zstd")
    write_atomic(to, sink.getvalue().to_pybytes())
