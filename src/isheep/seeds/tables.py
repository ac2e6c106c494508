"""Files and folders of seeds as rows: JSON lines, JSON, CSV, TSV, Parquet, and what the library `datasets` saves.

Not covered: packed files, and spreadsheets' own formats.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from isheep.errors import UserError, first_line

LINES, LIST = "JSON lines", "JSON"
DELIMITERS = {",": "CSV", ";": "CSV with semicolons", "\t": "CSV with tabs"}
LINE_FORMS = (
    'A line holds {"id", "instruction", "instances": [{"input", "output"}], "is_classification"} '
    'or {"instruction", "input", "output"}.'
)
SPREADSHEETS = (".xlsx", ".xls", ".ods")
SAVED = ("state.json", "dataset_dict.json")
"""In a folder that `save_to_disk` wrote: of one split, of several."""

_GIVE = "Give a seed file that exists and can be read."


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a table."""

    number: int
    place: str
    """`line 3`, as messages call it."""
    where: str
    """The same with its file."""
    cells: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Table:
    """Rows, and what they were read from in words. A cell of a typed table that holds nothing is not there."""

    form: str
    rows: list[Row]
    columns: list[str]

    @property
    def is_json(self) -> bool:
        """Whether people wrote its keys row by row, so that a missing one is a mistake."""
        return self.form in (LINES, LIST)


def read_table(path: Path, split: str | None = None, called: str | None = None) -> Table:
    """Reads a seed file by the end of its name (any other is JSON lines), or the folder of a data set.

    Args:
        path: of the file or folder.
        split: of a data set; None: its only one, or `train`.
        called: what messages call it; None: its path.

    Raises:
        UserError: it cannot be read, or not as what its name says; the message names the row.
    """
    return _data_set(path, split, called or str(path)) if _is_folder(path) else _reader(path)(path)


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:
        return False


def _reader(path: Path) -> Callable[[Path], Table]:
    return READERS.get(path.suffix.lower(), _json_lines)


def _table(form: str, path: Path, noun: str, rows: Iterable[tuple[int, dict[str, Any]]]) -> Table:
    found = [Row(number, f"{noun} {number}", f"{path}, {noun} {number}", cells) for number, cells in rows]
    return Table(form, found, list(dict.fromkeys(name for row in found for name in row.cells)))


def _read(path: Path) -> bytes:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise UserError(str(path), "there is no such seed file.", _GIVE) from None
    except OSError as error:
        raise UserError(str(path), f"the seed file cannot be read ({error.strerror}).", _GIVE) from None
    return content.removeprefix(codecs.BOM_UTF8)


def _json_lines(path: Path) -> Table:
    lines = enumerate(_read(path).split(b"\n"), start=1)
    rows = ((number, _object(raw, f"{path}, line {number}")) for number, raw in lines if raw.strip())
    return _table(LINES, path, "line", rows)


def _object(raw: bytes, where: str) -> dict[str, Any]:
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        what = f"byte {error.start + 1} of the line is not valid UTF-8."
        raise UserError(where, what, "Save the file as UTF-8.") from None
    return _refuse_no_object(_json(text, where, "Write one JSON object a line."), where)


def _json(text: str, where: str, mend: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        place = f"column {error.colno}" if "\n" not in text else f"line {error.lineno}, column {error.colno}"
        raise UserError(where, f"not valid JSON ({error.msg}, {place}).", mend) from None
    except (RecursionError, ValueError):
        raise UserError(where, "this JSON is nested too deep or holds a number too long to read.", mend) from None


def _refuse_no_object(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise UserError(where, f"holds {kind(value)}, not an object.", LINE_FORMS)
    return value


def _json_list(path: Path) -> Table:
    """A list of objects; what does not begin like a list is JSON lines under this name, as hubs have it."""
    content = _read(path)
    if not content.lstrip().startswith(b"["):
        return _json_lines(path)
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        what = f"byte {error.start + 1} of the file is not valid UTF-8."
        raise UserError(str(path), what, "Save the file as UTF-8.") from None
    items = enumerate(_json(text, str(path), "Write a list of JSON objects, or one object a line."), start=1)
    return _table(LIST, path, "item", ((n, _refuse_no_object(item, f"{path}, item {n}")) for n, item in items))


def _csv(path: Path) -> Table:
    """Cells are texts as written. Rows count as in a spreadsheet: the first has the names of the columns."""
    content = _read(path)
    if (nul := content.find(b"\0")) >= 0:
        what = "holds a NUL, as no text does."
        raise UserError(_row_at(path, content[:nul]), what, "Save the table as CSV in UTF-8.")
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        what = "holds a byte that is not valid UTF-8."
        raise UserError(_row_at(path, content[: error.start]), what, "Save the table as CSV in UTF-8.") from None
    delimiter = "\t" if path.suffix.lower() == ".tsv" else max(DELIMITERS, key=lambda one: len(_header(text, one)))
    names = _header(text, delimiter)
    if double := next((name for name in names if name and names.count(name) > 1), None):
        raise UserError(f"{path}, row 1", f"names the column `{double}` twice.", "Give each column its own name.")
    rows = list(_cells(path, text, delimiter, names))
    form = "TSV" if path.suffix.lower() == ".tsv" else DELIMITERS[delimiter]
    return replace(_table(form, path, "row", rows), columns=[name for name in names if name])


def _cells(path: Path, text: str, delimiter: str, names: list[str]) -> Iterable[tuple[int, dict[str, Any]]]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    number = 0
    try:
        for number, cells in enumerate(reader, start=1):
            if number == 1 or not any(cells):
                continue
            if len(cells) != len(names):
                what = f"has {len(cells)} cells, and the first row has {len(names)}."
                mend = "Put what holds the separator or a line break in double quotes."
                raise UserError(f"{path}, row {number}", what, mend)
            yield number, {name: cell for name, cell in zip(names, cells, strict=True) if name}
    except csv.Error as error:
        what = f"does not read as CSV ({first_line(error)})."
        mend = "Close every double quote, and write one inside a cell as two."
        raise UserError(f"{path}, row {number + 1}", what, mend) from None


def _header(text: str, delimiter: str) -> list[str]:
    with suppress(csv.Error):
        first = next(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter), [])
        return [name.strip() for name in first]
    return []


def _row_at(path: Path, before: bytes) -> str:
    """The row that begins within these bytes and goes on after them; a separator changes nothing of it."""
    with suppress(csv.Error):
        return f"{path}, row {max(1, sum(1 for _ in csv.reader(io.StringIO(before.decode() + '.', newline=''))))}"
    return str(path)


def _parquet(path: Path) -> Table:
    import pyarrow as pa
    from pyarrow import parquet

    _readable(path)
    try:
        found = parquet.read_table(path, partitioning=None)
        found.validate(full=True)
    except (pa.ArrowException, OSError) as error:
        what = f"does not read as Parquet ({first_line(error)})."
        raise UserError(str(path), what, "Save it again.") from None
    return _arrow("Parquet", path, found)


def _readable(path: Path) -> None:
    try:
        path.open("rb").close()
    except FileNotFoundError:
        raise UserError(str(path), "there is no such seed file.", _GIVE) from None
    except OSError as error:
        raise UserError(str(path), f"the seed file cannot be read ({error.strerror}).", _GIVE) from None


def _arrow(form: str, path: Path, found: Any) -> Table:
    rows = enumerate(found.to_pylist(), start=1)
    filled = ((number, {key: cell for key, cell in row.items() if cell is not None}) for number, row in rows)
    return replace(_table(form, path, "row", filled), columns=list(found.column_names))


def _spreadsheet(path: Path) -> Table:
    raise UserError(str(path), "is a spreadsheet of many sheets, which isheep does not read.", "Save it as CSV.")


def _data_set(path: Path, split: str | None, called: str) -> Table:
    if any((path / name).is_file() for name in SAVED):
        return _saved(path, split, called)
    if not any(file.suffix.lower() in READERS for file in path.rglob("*")):
        raise UserError(called, "this is a folder, not a seed file.", _GIVE)
    from datasets import load_dataset_builder

    try:
        with TemporaryDirectory() as cache:
            # It knows which file belongs to which split. It is not asked for rows: it would take "007" for a number.
            files = load_dataset_builder(str(path.absolute()), cache_dir=cache).config.data_files
    except Exception as error:
        what = f"holds no data set that the library `datasets` finds ({first_line(error)})."
        raise UserError(called, what, "Give one file.") from None
    chosen, said = _choose({str(name): list(one) for name, one in files.items()}, split, called)
    tables = [_inside(path, str(file), called) for file in chosen]
    rows = [row for table in tables for row in table.rows]
    if len(tables) > 1:
        rows = [replace(row, number=number, place=row.where) for number, row in enumerate(rows, start=1)]
    forms = " and ".join(dict.fromkeys(table.form for table in tables))
    columns = list(dict.fromkeys(name for table in tables for name in table.columns))
    return Table(f"{forms}{said}", rows, columns)


def _inside(folder: Path, file: str, called: str) -> Table:
    """A file of the data set; its README may name any other, which is not looked at."""
    path = Path(file)
    if not path.is_relative_to(folder.absolute()) or ".." in path.parts:
        raise UserError(called, f"its README names a file outside of its folder, `{file}`.", "Give one file.")
    if path.suffix.lower() not in READERS:
        mend = "Give a file in JSON lines, JSON, CSV or Parquet."
        raise UserError(called, f"holds `{path.name}`, which is no format that isheep reads.", mend)
    return _reader(path)(path)


def _saved(path: Path, split: str | None, called: str) -> Table:
    from datasets import Dataset, load_from_disk

    try:
        found = load_from_disk(str(path))
        splits = {"": found} if isinstance(found, Dataset) else dict(found)
        chosen, said = _choose(splits, split, called)
        rows = chosen.with_format("arrow")[:]
    except UserError:
        raise
    except Exception as error:
        what = f"holds a data set that does not load ({first_line(error)})."
        raise UserError(called, what, "Save it again.") from None
    return _arrow(f"a saved data set{said}", path, rows)


def _choose(splits: dict[str, Any], split: str | None, called: str) -> tuple[Any, str]:
    """The split that is meant, and how that is said."""
    names = list(splits)
    name = split or (names[0] if len(names) == 1 else "train")
    if name not in splits:
        what = f"has no split `{split}`." if split else "has several splits, and none is called train."
        mend = "Name one in its place (`hf:owner/name:SPLIT`)." if called.startswith("hf:") else "Give one file."
        raise UserError(called, what, f"There are {', '.join(names)}. {mend}")
    return splits[name], f", split {name} of {', '.join(names)}" if len(names) > 1 else ""


def kind(value: object) -> str:
    """What a value is, in words."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, (int, float)):
        return "a number"
    if isinstance(value, str):
        return "a string"
    if isinstance(value, list | dict):
        return "a list" if isinstance(value, list) else "an object"
    return f"a value of type {type(value).__name__}"


READERS: dict[str, Callable[[Path], Table]] = {
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
    ".json": _json_list,
    ".csv": _csv,
    ".tsv": _csv,
    ".parquet": _parquet,
    **dict.fromkeys(SPREADSHEETS, _spreadsheet),
}
"""The end of a file's name -> what reads it."""
