"""Table: the records of one stage as Parquet parts that appear whole, closed by done.json, written last."""

from __future__ import annotations

import itertools
import logging
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Generic, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from isheep.errors import StageError, first_line
from isheep.records import SCHEMAS
from isheep.store.files import DONE as DONE
from isheep.store.files import read_json, set_aside, sha256_file, storable, sync, write_atomic, write_json

logger = logging.getLogger(__name__)

R = TypeVar("R")

_AFTER = b"isheep.after"
"""Key in a part's metadata: what stands before it (see `Table._before`)."""
_PART = re.compile(r"part-(\d{5,})\.parquet")
_READERS = 4
_AT_ONCE = 4096
"""Records that are Python objects, of a part that is written or read; the selection is one part of any size."""
_UNREADABLE = (pa.ArrowException, OSError, ValueError)


class Table(Generic[R]):
    """Records of type R in `path`, a part for each append.

    The owner's table (`writable`) looks at the parts once and sets aside what does not read; a reader's table
    looks every time, since the owner may be at work, and changes nothing.

    Each part names its table and the hash of the part before it, so that one of another place, of another run or from
    before a change is not taken for its own; a closed table has the hash of every part. Not covered: before that, a
    first or a last part of another run's same table, and damage to the last part's footer that still parses.
    """

    def __init__(self, path: Path, record: type[R], *, writable: bool, closings: Sequence[Path] = ()) -> None:
        """`closings` are the done files further up, which are not true any more when this table must be redone."""
        self.path = path
        self._record = record
        self._schema: pa.Schema = SCHEMAS[record]
        self._writable = writable
        self._closings = closings
        self._known: tuple[int, bool] | None = None
        self._said: set[str] = set()

    def parts(self) -> int:
        """How many parts are whole, counted from the first: the next append makes part number `parts()`."""
        return self._look()[0]

    @property
    def is_done(self) -> bool:
        """Whether the table was closed and every part still has the hash that it was closed with."""
        return self._look()[1]

    def append(self, records: Iterable[R]) -> None:
        """Adds one part, which is on disk for good when this returns. No records make an empty part, which counts.

        Raises:
            StageError: the part cannot be written.
            ValueError: the table is closed, or a field that must not be None is.
            TypeError: a record of another table.
        """
        count, done = self._look()
        if done or not self._writable:
            raise ValueError(f"{self.path} is closed or open for reading only: nothing can be added to it")
        schema = self._schema.with_metadata({_AFTER: self._before(count)})
        left, batches = iter(records), list[pa.RecordBatch]()
        while some := list(itertools.islice(left, _AT_ONCE)):
            batches.append(self._batch(some, schema))
        # As one chunk a column, so that the file is the same however many records were converted at once.
        table = pa.Table.from_batches(batches, schema=schema).combine_chunks()
        sink = pa.BufferOutputStream()
        # Statistics would repeat the longest texts, outside what the checksums guard.
        pq.write_table(table, sink, compression="zstd", write_page_checksum=True, write_statistics=False)
        write_atomic(self._part(count), sink.getvalue().to_pybytes())
        self._known = (count + 1, False)

    def __iter__(self) -> Iterator[R]:
        """Every record of the whole parts, in the order in which they were added; few of them in memory at a time."""
        names = self._schema.names
        for values in self.values(*names):
            yield self._record(**dict(zip(names, values, strict=True)))

    def rows(self) -> list[R]:
        """All of these at once."""
        return list(self)

    def values(self, *names: str) -> Iterator[tuple[Any, ...]]:
        """Some fields of every record, one record after the other, without reading the others."""
        for index in range(self.parts()):
            for batch in self._batches(index, names):
                yield from zip(*(batch.column(name).to_pylist() for name in names), strict=True)

    def columns(self, *names: str) -> dict[str, list[Any]]:
        """Some fields of every record, all of the same moment, without reading the others."""
        values: dict[str, list[Any]] = {name: [] for name in names}
        for index in range(self.parts()):
            for batch in self._batches(index, names):
                for name in names:
                    values[name].extend(batch.column(name).to_pylist())
        return values

    def length(self) -> int:
        """How many records the whole parts have."""
        return sum(batch.num_rows for index in range(self.parts()) for batch in self._batches(index, ["id"]))

    def arrow(self, *names: str) -> pa.Table:
        """Some fields of every record of the whole parts as Arrow holds them, for who looks through many."""
        fields = pa.schema([self._schema.field(name) for name in names])
        # Most of the time of a part goes by outside of Python, so some at once are done sooner.
        with ThreadPoolExecutor(_READERS) as readers:
            parts = readers.map(lambda index: self._read(index, list(names)), range(self.parts()))
            return pa.concat_tables([fields.empty_table(), *(part.replace_schema_metadata() for part in parts)])

    def stamp(self) -> tuple[tuple[str, int, int], ...]:
        """Name, size and time of each file: equal for as long as nobody wrote here."""
        if not self.path.is_dir():
            return ()
        files = ((file, file.stat()) for file in sorted(self.path.iterdir()) if file.suffix != ".tmp")
        return tuple((file.name, state.st_size, state.st_mtime_ns) for file, state in files)

    def counts(self) -> dict[str, Any]:
        """`{"rows": n, "dropped": {rule: n}}`, the most frequent rule first; counted from the parts."""
        if "dropped_by" not in self._schema.names:
            return {"rows": self.length(), "dropped": {}}
        rules = Counter(rule for (rule,) in self.values("dropped_by"))
        return {"rows": rules.total(), "dropped": tally(rules.elements())}

    def close(self) -> None:
        """Writes done.json: rows and drops as counted from the parts, and each part's hash."""
        if not self._writable:
            raise ValueError(f"{self.path} is open for reading only")
        total = self.parts()
        parts = [
            {"file": part.name, "rows": pq.read_metadata(part).num_rows, "sha256": sha256_file(part)}
            for part in map(self._part, range(total))
        ]
        write_json(self.path / DONE, {**self.counts(), "parts": parts})
        self._known = (total, True)

    def _batch(self, records: Sequence[R], schema: pa.Schema) -> pa.RecordBatch:
        for record in records:
            if not isinstance(record, self._record):
                raise TypeError(f"{self.path} holds {self._record.__name__} records, not {type(record).__name__}")
        columns = [
            pa.array([_clean(getattr(record, field.name)) for record in records], type=field.type) for field in schema
        ]
        return pa.RecordBatch.from_arrays(columns, schema=schema)

    def _before(self, index: int) -> bytes:
        """The hash of the part before this one; of the first, which table it begins."""
        if index == 0:
            return f"{self.path.parent.name}/{self.path.name}".encode()
        return sha256_file(self._part(index - 1)).encode()

    def _part(self, index: int) -> Path:
        return self.path / f"part-{index:05d}.parquet"

    def _look(self) -> tuple[int, bool]:
        """(whole parts, closed), after a look at every file; the owner's is remembered."""
        if self._known is not None:
            return self._known
        hashes = self._closed_hashes()
        present = self._present()
        sound, problem = 0, ""
        while sound in present or (hashes is not None and sound < len(hashes)):
            problem = self._problem(sound, hashes)
            if problem:
                break
            sound += 1
        later = [index for index in present if index > sound or (index == sound and problem)]
        if not problem and later:
            problem = f"{self._part(min(later))} has no part before it"
        whole = hashes is not None and sound == len(hashes)
        if problem:
            self._report(problem, later, still_whole=whole)
        known = (sound, whole)
        if self._writable:
            self._known = known
        return known

    def _problem(self, index: int, hashes: Sequence[str] | None) -> str:
        """What is wrong with a part, naming it; empty when it is whole."""
        part = self._part(index)
        if not part.is_file():
            return f"{part} is missing"
        if hashes is not None:
            if index >= len(hashes):
                return f"{part} is not named in {DONE}"
            return "" if sha256_file(part) == hashes[index] else f"{part} does not match its hash in {DONE}"
        try:
            table = _read_part(part, None)
            table.validate(full=True)
        except _UNREADABLE as error:
            return f"{part} does not read ({first_line(error)})"
        if not table.schema.equals(self._schema):
            return f"{part} holds other columns than {self._record.__name__} records"
        if (table.schema.metadata or {}).get(_AFTER) != self._before(index):
            return f"{part} does not belong behind the part before it"
        return ""

    def _report(self, problem: str, later: Sequence[int], *, still_whole: bool) -> None:
        """Names the problem; the owner takes back what said that the table was whole, and sets the parts aside."""
        what = f"{problem}; " + (f"{len(later)} part(s) from there on" if later else "nothing after it")
        if not self._writable:
            if what not in self._said:
                self._said.add(what)
                logger.warning("%s left out of what is shown", what)
            return
        logger.warning("%s set aside%s", what, "" if still_whole else ", to be redone")
        # In this order, so that a kill half-way never leaves a done file above parts that are gone.
        if not still_whole:
            self._reopen()
        for index in sorted(later, reverse=True):
            set_aside(self._part(index))

    def _reopen(self) -> None:
        for done in (*self._closings, self.path / DONE):
            if done.exists():
                done.unlink()
                sync(done.parent)

    def _closed_hashes(self) -> list[str] | None:
        """The hashes that the table was closed with; None when it is open or its done.json is no such thing."""
        path = self.path / DONE
        if not path.exists():
            return None
        data = read_json(path, writable=self._writable)
        try:
            hashes = [str(part["sha256"]) for part in data["parts"]] if data is not None else None
            names = [part["file"] for part in data["parts"]] if data is not None else []
        except (KeyError, TypeError):
            hashes, names = None, []
        if hashes is not None and names == [self._part(index).name for index in range(len(hashes))]:
            return hashes
        if data is not None or (self._writable and path.exists()):
            logger.warning("%s does not list the parts of a table%s", path, "; set aside" if self._writable else "")
        if self._writable:
            if path.exists():
                set_aside(path)
            self._reopen()
        return None

    def _present(self) -> dict[int, Path]:
        if not self.path.is_dir():
            return {}
        found: dict[int, Path] = {}
        for file in self.path.iterdir():
            match = _PART.fullmatch(file.name)
            if match and self._part(int(match[1])).name == file.name:
                found[int(match[1])] = file
        return found

    def _read(self, index: int, columns: list[str]) -> pa.Table:
        try:
            return _read_part(self._part(index), columns)
        except _UNREADABLE as error:
            raise self._unreadable(index, error) from None

    def _batches(self, index: int, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        try:
            with pq.ParquetFile(self._part(index), page_checksum_verification=True) as file:
                yield from file.iter_batches(_AT_ONCE, columns=list(columns))
        except _UNREADABLE as error:
            raise self._unreadable(index, error) from None

    def _unreadable(self, index: int, error: Exception) -> StageError:
        return StageError(f"{self._part(index)}: does not read any more ({error}). Start again to redo it.")


def passed(table: Table[Any]) -> int:
    """How many of its records were not dropped."""
    counts = table.counts()
    found: int = counts["rows"] - sum(counts["dropped"].values())
    return found


def tally(rules: Iterable[str | None]) -> dict[str, int]:
    """How often each rule is named, the most frequent first; None is no rule."""
    named = Counter(rule for rule in rules if rule is not None)
    return dict(sorted(named.items(), key=lambda item: (-item[1], item[0])))


def _read_part(part: Path, columns: list[str] | None) -> pa.Table:
    # Not pq.read_table, which takes a folder of the path that is named like `seed=3` for a column.
    with pq.ParquetFile(part, page_checksum_verification=True) as file:
        return file.read(columns=columns)


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, list):
        return [_clean(item) for item in value]
    return value
