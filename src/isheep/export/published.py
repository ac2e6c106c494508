"""A run's kept pairs as a dataset for the hub: Parquet, a file for each iteration, with a card."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from isheep.errors import UserError
from isheep.export.card import CARD, SAMPLES, Publication, data_file, dataset_card
from isheep.export.tables import KEPT
from isheep.prompts import bare
from isheep.store.files import storable, write_atomic
from isheep.store.joined import Joined, find
from isheep.store.run import Run

SCHEMA = pa.schema(
    [*KEPT.items(), ("messages", pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())])))]
)


def write_dataset(run: Run, folder: Path, iteration: int | None, publication: Publication) -> None:
    """Fills a folder with the kept pairs of all iterations, or of one, which `datasets.load_dataset` reads.

    Raises:
        UserError: no such iteration, or nothing was kept.
        StageError: it cannot be written.
    """
    records: dict[int, list[Joined]] = {}
    for record in find(run, iteration=iteration, kept=True):
        records.setdefault(record.instruction.iteration, []).append(record)
    if not records:
        raise UserError(str(run.directory), "has kept no pair.", "Let the run go on first.")
    for number, kept in records.items():
        sink = pa.BufferOutputStream()
        rows = pa.Table.from_pylist([_row(record) for record in kept], schema=SCHEMA)
        pq.write_table(rows, sink, compression="zstd")
        write_atomic(folder / data_file(number), sink.getvalue().to_pybytes())
    counts = {number: len(kept) for number, kept in records.items()}
    card = dataset_card(run, counts, records[max(records)][:SAMPLES], publication)
    write_atomic(folder / CARD, storable(card).encode())


def _row(record: Joined) -> dict[str, object]:
    fields = record.as_dict()
    asked, answer = bare(fields["instruction"], fields["input"]), fields["response"]
    turns = [{"role": "user", "content": storable(asked)}, {"role": "assistant", "content": storable(answer)}]
    row = {name: fields.get(name) for name in KEPT} | {"output": answer}
    return {name: storable(one) if isinstance(one, str) else one for name, one in row.items()} | {"messages": turns}
