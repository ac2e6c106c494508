"""The seed tasks: the shipped `general.jsonl` beside this module, and the loader for it and for any other seeds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from isheep.errors import UserError
from isheep.hub import data_folder, hub_data
from isheep.recipe import locate
from isheep.recipe.settings import ColumnSettings, SeedSettings
from isheep.records import SeedTask
from isheep.seeds.columns import TABLE_FORMS, reading_of
from isheep.seeds.tables import LINE_FORMS, Table, read_table


@dataclass(frozen=True, slots=True)
class Seeds:
    """The seed tasks of a recipe."""

    tasks: list[SeedTask]
    said: str
    """Their format, and which column was taken for what."""


def read_seeds(settings: SeedSettings) -> Seeds:
    """The tasks that a recipe names, in the order in which they stand there; data of the hub are fetched once.

    Raises:
        UserError: as `load_seeds`; and `hf:...` that is written otherwise, that the hub does not have, or that is not
            here while the hub cannot be reached.
        StageError: the download broke off; the same command goes on with it.
    """
    data = hub_data(settings.path)
    if data is not None:
        return _seeds(read_table(data_folder(data), data.split, settings.path), settings.path, settings.columns)
    path = locate(settings.path)
    return _seeds(read_table(path), str(path), settings.columns)


def load_seeds(path: Path, columns: ColumnSettings | None = None) -> list[SeedTask]:
    """Read a seed file, or the folder of a data set: JSON lines, JSON, CSV, TSV, Parquet, what `datasets` saves.

    Rows are Self-Instruct's (of several instances the first is used), or flat: Alpaca's, other tables whose columns
    have telling names, or chats of one exchange. A flat row may leave out `id` (it becomes `seed-<row>`) and
    `is_classification` (false). Other keys and blank rows are ignored. Texts are kept as written.

    Args:
        path: of the file or folder.
        columns: which column is what, where that shall not be guessed.

    Raises:
        UserError: it cannot be read or holds no task, a row is wrong, or no column or several may be meant; the message
            names file, row and key.
    """
    return _seeds(read_table(path), str(path), columns or ColumnSettings()).tasks


def _seeds(table: Table, where: str, columns: ColumnSettings) -> Seeds:
    if not table.rows:
        raise UserError(where, "the seed file holds no task.", LINE_FORMS if table.is_json else TABLE_FORMS)
    read, said = reading_of(table, columns, where)
    tasks: list[SeedTask] = []
    places: dict[str, str] = {}
    for row in table.rows:
        task = read(row)
        if task.id in places:
            what = f'the id "{task.id}" was already used on {places[task.id]}.'
            raise UserError(row.where, what, "Give each task its own.")
        places[task.id] = row.place
        tasks.append(task)
    return Seeds(tasks, f"{table.form}{said}")


__all__ = ["Seeds", "load_seeds", "read_seeds"]
