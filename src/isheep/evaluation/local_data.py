"""Benchmarks' data from local files in the hub's schema (`evaluate.data_dir`), for machines without a network.

A file belongs to the data set with whose name its own begins, and the split follows: `arc_easy_test.jsonl` is the test
split of ARC-Easy (`data.yaml` lists the names). A file that names no split stands for any split. JSON lines (also
packed), JSON, CSV and Parquet are read. Where a data set has a configuration for each subject (MMLU), one file may hold
all of them with a column `subject`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import yaml

from isheep.errors import UserError, first_line
from isheep.evaluation.data_files import refuse_leaving
from isheep.recipe import locate
from isheep.recipe.settings import EvaluateSettings
from isheep.store.files import read_json_lines

KEY = "evaluate.data_dir"
BROUGHT_ALONG = ("json", "csv", "parquet", "text", "arrow")
"""What tasks name instead of a data set where they bring their data."""
SPLITS = {"train": "train", "validation": "validation", "valid": "validation", "dev": "dev", "test": "test"}
FEWSHOT_ONLY = ("train", "dev")
"""Splits that tasks take their examples from, and hardly ever their questions."""
_REST = re.compile(rf"(?:[_.-]({'|'.join(SPLITS)}))?(?:[_.-](?:data|sample|synth))?")


class LocalData:
    """The data files in a folder, its sub-folders included."""

    def __init__(self, folder: Path) -> None:
        """Raises UserError: there is no such folder."""
        if not folder.is_dir():
            raise UserError(KEY, f"there is no folder {folder}.", "Give one with the benchmarks' data, or take it out.")
        self.folder = folder
        self._files = sorted(file for file in folder.rglob("*") if _kind(file) and file.is_file())

    def splits(self, path: str, name: str | None = None) -> Splits:
        """The data set of that name and configuration.

        Raises:
            UserError: there is no file of it, or one that is a link out of the folder.
        """
        candidates = stems(path, name)
        for stem in candidates:
            found: dict[str | None, Path] = {}
            for file in self._files:
                if rest := _REST.fullmatch(_bare(file)[len(stem) :]) if _bare(file).startswith(stem) else None:
                    refuse_leaving(self.folder, file)
                    found.setdefault(SPLITS[rest[1]] if rest[1] else None, file)
            if found:
                whole = name is None or f"{path} {name}" in _table() or stem.endswith(f"_{name.lower()}")
                return Splits(stem, self.folder, found, None if whole else name)
        begins = " or ".join(f"{stem}_" for stem in candidates)
        what = (
            f"{self.folder} has no data of {path}{f' {name}' if name else ''}: no file whose name begins with {begins}."
        )
        raise UserError(KEY, what, "Put it there in the hub's schema, or leave the benchmark out.")


class Splits(dict[str, Any]):
    """The splits of one data set, each read when it is asked for.

    A split of examples without a file is empty: a task reads it whether it shows examples or not.
    """

    def __init__(self, stem: str, folder: Path, found: Mapping[str | None, Path], subject: str | None) -> None:
        super().__init__()
        self._stem, self._folder, self._found, self._subject = stem, folder, found, subject

    def __missing__(self, split: str) -> Any:
        named = SPLITS.get(split, split)
        file = self._found.get(named, self._found.get(None))
        if file is None and named not in FEWSHOT_ONLY:
            what = f"{self._folder} has {', '.join(path.name for path in self._found.values())}, no {split} split."
            raise UserError(KEY, what, f"Put {self._stem}_{named}.jsonl there, in the hub's schema.")
        self[split] = _empty() if file is None else _read(file, self._subject)
        return self[split]


@contextmanager
def data_from(settings: EvaluateSettings) -> Iterator[None]:
    """Within the block lm-eval's tasks load the recipe's local data, if it has any, and nltk finds its own there."""
    if settings.data_dir is None:
        yield
        return
    import datasets
    import nltk.data

    local = LocalData(locate(settings.data_dir))
    load = datasets.load_dataset

    def load_local(path: str, name: str | None = None, **more: Any) -> Any:
        return load(path=path, name=name, **more) if path in BROUGHT_ALONG else local.splits(path, name)

    places = [
        str(place.parent.parent) for place in local.folder.rglob("punkt_tab") if place.parent.name == "tokenizers"
    ]
    nltk.data.path.extend(place for place in places if place not in nltk.data.path)
    datasets.load_dataset = load_local
    try:
        yield
    finally:
        datasets.load_dataset = load


def stems(path: str, name: str | None) -> list[str]:
    """How the names of a data set's files may begin, the most exact first."""
    table = _table()
    if name and f"{path} {name}" in table:
        return table[f"{path} {name}"]
    plain = table.get(path, [path.rpartition("/")[2].lower()])
    return [*(f"{stem}_{name.lower()}" for stem in plain if name), *plain]


@cache
def _table() -> dict[str, list[str]]:
    table: dict[str, list[str]] = yaml.safe_load((files("isheep.evaluation") / "data.yaml").read_text("utf-8"))
    return table


def _kind(file: Path) -> str | None:
    return next((kind for kind in _READERS if file.name.lower().endswith(f".{kind}")), None)


def _bare(file: Path) -> str:
    """The file's name without what says how to read it."""
    return file.name.lower().removesuffix(f".{_kind(file)}")


def _read(file: Path, subject: str | None) -> Any:
    # By hand and not through the library, which would answer from its cache what the file no longer says.
    from datasets import Dataset

    try:
        data = Dataset(_READERS[str(_kind(file))](file))
    except Exception as error:
        raise UserError(
            str(file), f"cannot be read ({first_line(error)}).", "Mend it, or put the hub's own file there."
        ) from error
    if not len(data):
        raise UserError(str(file), "is empty.", "Put the benchmark's data there.")
    if subject and "subject" in data.column_names:
        data = data.filter(lambda row: row["subject"] == subject)
    return data


def _json(file: Path) -> pa.Table:
    return pa.Table.from_pylist(json.loads(file.read_text(encoding="utf-8")))


def _json_lines(file: Path) -> pa.Table:
    return pa.Table.from_pylist(list(read_json_lines(file)))


_READERS: dict[str, Callable[[Path], pa.Table]] = {
    "jsonl": _json_lines,
    "jsonl.gz": _json_lines,
    "json": _json,
    "csv": pyarrow.csv.read_csv,
    "parquet": pyarrow.parquet.read_table,
}
"""The end of a file's name -> what reads it."""


def _empty() -> Any:
    from datasets import Dataset

    return Dataset.from_list([])
