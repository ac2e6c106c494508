"""Tables: every text survives, a part that is not whole is named, set aside and redone, a kill loses nothing."""

from __future__ import annotations

import dataclasses
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import isheep
from isheep.errors import StageError
from isheep.records import TABLES, Assessment, Instruction, Response, Selection
from isheep.store.files import storable
from isheep.store.table import DONE, Table

ANY_TEXT = st.lists(st.integers(0, 0x10FFFF).map(chr)).map("".join)
"""Lone surrogates and NULs included."""


def table(path: Path, *, writable: bool = True) -> Table[Response]:
    return Table(path, Response, writable=writable)


def response(number: int, text: str = "fine", dropped_by: str | None = None) -> Response:
    return Response(f"r{number}", text, "stop", number, dropped_by, f"because of {number}" if dropped_by else None)


def filled(path: Path, parts: int = 3) -> list[Response]:
    """Writes parts of two records each and returns the records."""
    records = [
        response(number, "".join(random.Random(number).choices("abcdefgh ", k=400))) for number in range(2 * parts)
    ]
    one = table(path)
    for part in range(parts):
        one.append(records[2 * part : 2 * part + 2])
    return records


def names(path: Path) -> list[str]:
    return sorted(file.name for file in path.iterdir())


def part(path: Path, index: int) -> Path:
    return path / f"part-{index:05d}.parquet"


def stored(record: Response) -> Response:
    changes: dict[str, Any] = {
        name: storable(value) for name, value in dataclasses.asdict(record).items() if isinstance(value, str)
    }
    return dataclasses.replace(record, **changes)


RECORDS = st.lists(
    st.builds(
        Response,
        id=ANY_TEXT,
        response=ANY_TEXT,
        finish_reason=st.sampled_from(["stop", "length"]),
        tokens=st.integers(0, 2**31 - 1),
        dropped_by=st.none() | ANY_TEXT,
        reason=st.none() | ANY_TEXT,
    ),
    max_size=4,
)


@given(st.lists(RECORDS, max_size=3))
@settings(deadline=None, max_examples=40)
def test_every_text_comes_back_in_order(batches: list[list[Response]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        one = table(Path(folder))
        for batch in batches:
            one.append(batch)
        expected = [stored(record) for batch in batches for record in batch]
        assert one.rows() == expected
        again = table(Path(folder))
        assert again.parts() == len(batches)
        assert again.rows() == expected


@pytest.mark.parametrize(
    "record",
    [
        Instruction("i", 1, 2, "Do.", "", ["s\ud800", "t"], 0, "p", "novelty", "like s", 0.71, "s"),
        Instruction("i", 1, 2, "Do.", "it", [], 0, "p"),
        Response("i", "r", "length", 3),
        Assessment("i", 8.25, None, "8", None, "base"),
        Selection("i", False, "threshold", "7 <= 8", 1.5, None, 4),
    ],
)
def test_every_record_type_comes_back(tmp_path: Path, record: Any) -> None:
    name = next(name for name, kind in TABLES.items() if kind is type(record))
    Table(tmp_path / name, type(record), writable=True).append([record])
    expected = dataclasses.replace(record, shot_ids=["s\ufffd", "t"]) if getattr(record, "shot_ids", None) else record
    assert Table(tmp_path / name, type(record), writable=False).rows() == [expected]


def test_a_folder_named_like_a_setting_is_no_column(tmp_path: Path) -> None:
    records = filled(tmp_path / "seed=3")
    assert table(tmp_path / "seed=3").rows() == records


def test_an_empty_append_is_a_part_and_counts_are_by_rule(tmp_path: Path) -> None:
    one = table(tmp_path)
    one.append([])
    one.append([response(0, dropped_by="short"), response(1), response(2, dropped_by="echo")])
    one.append([response(3, dropped_by="short")])
    assert one.parts() == 3
    assert one.counts() == {"rows": 4, "dropped": {"short": 2, "echo": 1}}
    assert list(one.counts()["dropped"]) == ["short", "echo"]
    assert one.columns("tokens", "id") == {"tokens": [0, 1, 2, 3], "id": ["r0", "r1", "r2", "r3"]}


def test_a_table_without_drops_counts_its_rows(tmp_path: Path) -> None:
    one = Table(tmp_path, Assessment, writable=True)
    one.append([Assessment("a", 1.0, None, "1", None, "base")])
    assert one.counts() == {"rows": 1, "dropped": {}}


def test_done_json_lists_rows_drops_and_the_hash_of_each_part(tmp_path: Path) -> None:
    one = table(tmp_path)
    one.append([response(0, dropped_by="short"), response(1)])
    one.append([response(2)])
    assert not one.is_done
    one.close()
    done = json.loads((tmp_path / DONE).read_text())
    hashes = [part.pop("sha256") for part in done["parts"]]
    assert done == {
        "rows": 3,
        "dropped": {"short": 1},
        "parts": [{"file": "part-00000.parquet", "rows": 2}, {"file": "part-00001.parquet", "rows": 1}],
    }
    assert [len(value) for value in hashes] == [64, 64]
    assert hashes[0] != hashes[1]
    assert one.is_done
    assert table(tmp_path).is_done
    assert table(tmp_path, writable=False).is_done


def test_a_table_without_any_record_can_be_closed(tmp_path: Path) -> None:
    table(tmp_path / "t").close()
    again = table(tmp_path / "t")
    assert (again.is_done, again.parts(), again.rows()) == (True, 0, [])


def test_nothing_is_added_to_a_closed_table_or_by_a_reader(tmp_path: Path) -> None:
    one = table(tmp_path)
    one.close()
    with pytest.raises(ValueError, match="closed"):
        one.append([response(0)])
    with pytest.raises(ValueError, match="closed or open for reading only"):
        table(tmp_path / "other", writable=False).append([response(0)])
    with pytest.raises(ValueError, match="reading only"):
        table(tmp_path, writable=False).close()


def test_a_record_of_another_table_or_with_a_hole_is_refused(tmp_path: Path) -> None:
    one = Table(tmp_path, Response, writable=True)
    wrong: Any = Selection("a", True)
    with pytest.raises(TypeError, match="holds Response records, not Selection"):
        one.append([wrong])
    hole: Any = None
    with pytest.raises(ValueError, match="non-nullable"):
        one.append([Response("a", hole, "stop", 1)])
    assert one.parts() == 0


@given(where=st.integers(0, 2), share=st.floats(0, 1, exclude_max=True))
@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_truncated_part_and_all_later_ones_are_set_aside(
    where: int, share: float, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.clear()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        records = filled(path)
        size = part(path, where).stat().st_size
        os.truncate(part(path, where), int(size * share))
        reader = table(path, writable=False)
        assert reader.rows() == records[: 2 * where]
        assert reader.rows() == records[: 2 * where]
        assert len(names(path)) == 3
        assert len(caplog.messages) == 1
        assert caplog.messages[0].endswith("left out of what is shown")
        one = table(path)
        assert one.parts() == where
        assert names(path) == sorted(f"part-{i:05d}.parquet" + (".broken" if i >= where else "") for i in range(3))
        assert len(caplog.messages) == 2
        assert f"{part(path, where)} does not read" in caplog.messages[-1]
        assert f"{3 - where} part(s) from there on set aside, to be redone" in caplog.messages[-1]
        one.append(records[2 * where : 2 * where + 2])
        assert table(path).rows() == records[: 2 * where + 2]


def test_a_flipped_bit_in_the_pages_of_an_open_part_is_found_or_harmless(tmp_path: Path) -> None:
    records = filled(tmp_path / "whole", parts=1)
    content = part(tmp_path / "whole", 0).read_bytes()
    columns = [pq.read_metadata(part(tmp_path / "whole", 0)).row_group(0).column(index) for index in range(6)]
    end = max(column.data_page_offset for column in columns)
    (tmp_path / "open").mkdir()
    found = 0
    for position in range(4, end, 3):
        flipped = bytearray(content)
        flipped[position] ^= 1
        part(tmp_path / "open", 0).write_bytes(flipped)
        reader = table(tmp_path / "open", writable=False)
        if reader.parts():
            assert reader.rows() == records
        else:
            found += 1
    assert found > 0.8 * len(range(4, end, 3))


@given(position=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_flipped_bit_in_a_closed_table_reopens_it(
    position: float, bit: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.clear()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        records = filled(path, parts=2)
        table(path).close()
        content = bytearray(part(path, 1).read_bytes())
        content[int(position * len(content))] ^= 1 << bit
        part(path, 1).write_bytes(content)
        assert not table(path, writable=False).is_done
        one = table(path)
        assert not one.is_done
        assert one.rows() == records[:2]
        assert names(path) == ["part-00000.parquet", "part-00001.parquet.broken"]
        assert f"{part(path, 1)} does not match its hash in done.json" in caplog.messages[-1]


def test_a_foreign_part_is_set_aside(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    filled(tmp_path, parts=1)
    pq.write_table(pa.table({"id": ["x"], "response": ["y"]}), part(tmp_path, 1))
    assert table(tmp_path).parts() == 1
    assert f"{part(tmp_path, 1)} holds other columns than Response records" in caplog.text
    assert names(tmp_path) == ["part-00000.parquet", "part-00001.parquet.broken"]


@pytest.mark.parametrize(
    ("place", "left"),
    [
        pytest.param(1, 1, id="a part of another run's table between its own"),
        pytest.param(0, 1, id="before its own"),
    ],
)
def test_a_part_of_the_same_kind_from_elsewhere_does_not_fit(
    tmp_path: Path, place: int, left: int, caplog: pytest.LogCaptureFixture
) -> None:
    filled(tmp_path / "mine")
    other = table(tmp_path / "others")
    other.append([response(100)])
    other.append([response(101)])
    part(tmp_path / "mine", place).write_bytes(part(tmp_path / "others", place).read_bytes())
    assert table(tmp_path / "mine").parts() == (left if place else 0)
    assert "does not belong behind the part before it" in caplog.text


def test_a_part_under_another_number_does_not_fit(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    filled(tmp_path)
    part(tmp_path, 3).write_bytes(part(tmp_path, 2).read_bytes())
    assert table(tmp_path).parts() == 3
    assert "does not belong behind the part before it" in caplog.text


def test_a_gap_ends_the_table(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    records = filled(tmp_path)
    part(tmp_path, 1).unlink()
    assert table(tmp_path).rows() == records[:2]
    assert f"{part(tmp_path, 2)} has no part before it" in caplog.text
    assert names(tmp_path) == ["part-00000.parquet", "part-00002.parquet.broken"]


def test_a_part_missing_from_a_closed_table_reopens_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    records = filled(tmp_path)
    table(tmp_path).close()
    part(tmp_path, 2).unlink()
    one = table(tmp_path)
    assert one.rows() == records[:4]
    assert not one.is_done
    assert names(tmp_path) == ["part-00000.parquet", "part-00001.parquet"]
    assert f"{part(tmp_path, 2)} is missing" in caplog.text


def test_a_part_that_a_closed_table_does_not_name_is_set_aside_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    records = filled(tmp_path / "t", parts=2)
    table(tmp_path / "t").close()
    part(tmp_path / "t", 2).write_bytes(part(tmp_path / "t", 1).read_bytes())
    one = table(tmp_path / "t")
    assert one.is_done
    assert one.rows() == records
    assert names(tmp_path / "t") == [DONE, "part-00000.parquet", "part-00001.parquet", "part-00002.parquet.broken"]
    assert table(tmp_path / "t").is_done
    assert f"{part(tmp_path / 't', 2)} is not named in done.json; 1 part(s) from there on set aside" in caplog.text


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"parts": 3}', '{"parts": [{"file": "x", "sha256": "y"}]}', "null"]
)
def test_a_done_json_that_is_none_is_set_aside_and_the_parts_stay(
    tmp_path: Path, content: str, caplog: pytest.LogCaptureFixture
) -> None:
    records = filled(tmp_path)
    (tmp_path / DONE).write_text(content)
    assert not table(tmp_path, writable=False).is_done
    one = table(tmp_path)
    assert not one.is_done
    assert one.rows() == records
    assert str(tmp_path / DONE) in caplog.text
    assert (tmp_path / "done.json.broken").read_text() == content
    one.close()
    assert table(tmp_path).is_done


def test_what_said_that_the_whole_was_done_goes_with_the_part(tmp_path: Path) -> None:
    closings = [tmp_path / "run-done.json", tmp_path / "iteration-done.json"]
    folder = tmp_path / "t"
    filled(folder)
    Table(folder, Response, writable=True, closings=closings).close()
    for closing in closings:
        closing.write_text("{}")
    assert Table(folder, Response, writable=True, closings=closings).is_done
    assert all(closing.exists() for closing in closings)
    os.truncate(part(folder, 0), 10)
    assert not Table(folder, Response, writable=False, closings=closings).is_done
    assert all(closing.exists() for closing in closings)
    assert Table(folder, Response, writable=True, closings=closings).parts() == 0
    assert not any(closing.exists() for closing in closings)


def test_a_part_that_breaks_under_an_open_table_stops_the_stage(tmp_path: Path) -> None:
    filled(tmp_path)
    one = table(tmp_path)
    assert one.parts() == 3
    os.truncate(part(tmp_path, 1), 5)
    with pytest.raises(StageError, match=r"part-00001\.parquet: does not read any more"):
        one.rows()


def test_other_files_in_the_folder_are_left_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    records = filled(tmp_path)
    for name in ("part-00003.parquet.tmp", "part-1.parquet", "part-000001.parquet", "notes.txt"):
        (tmp_path / name).write_text("x")
    assert table(tmp_path).rows() == records
    assert caplog.messages == []
    assert len(names(tmp_path)) == 7


WRITER = """
import os, sys
from pathlib import Path
from isheep.records import Response
from isheep.store.table import Table
table = Table(Path(sys.argv[1]), Response, writable=True)
stop_at = int(sys.argv[2])
real, calls = os.fsync, 0
while True:
    part = table.parts()
    if part == stop_at:
        def fsync(descriptor):
            print("inside", flush=True)
            sys.stdin.read()
        os.fsync = fsync
    table.append([Response(f"{part}-{i}", f"text {part} {i} " * 50, "stop", i) for i in range(20)])
    print(part, flush=True)
"""


def start_writer(path: Path, stop_at: int) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(Path(isheep.__file__).parents[1])}
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), str(stop_at)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )


def check_whole(path: Path, acknowledged: int) -> int:
    """Every acknowledged part is there and whole; returns how many parts there are."""
    one = table(path)
    count = one.parts()
    assert count >= acknowledged
    assert [record.id for record in one.rows()] == [f"{p}-{i}" for p in range(count) for i in range(20)]
    assert not list(path.glob("*.broken"))
    return count


def test_a_kill_in_the_middle_of_an_append_loses_only_that_part(tmp_path: Path) -> None:
    writer = start_writer(tmp_path, stop_at=3)
    assert writer.stdout is not None
    lines = [writer.stdout.readline().strip() for _ in range(4)]
    assert lines == ["0", "1", "2", "inside"]
    writer.send_signal(signal.SIGKILL)
    assert writer.wait() == -signal.SIGKILL
    assert "part-00003.parquet.tmp" in names(tmp_path)
    assert check_whole(tmp_path, acknowledged=3) == 3
    one = table(tmp_path)
    one.append([Response(f"3-{i}", "redone", "stop", i) for i in range(20)])
    assert check_whole(tmp_path, acknowledged=4) == 4
    assert "part-00003.parquet.tmp" not in names(tmp_path)


def test_kills_at_random_moments_lose_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    moments, acknowledged = random.Random(0), 0
    for _ in range(4):
        writer = start_writer(tmp_path, stop_at=-1)
        assert writer.stdout is not None
        assert writer.stdout.readline().strip() == str(acknowledged)
        time.sleep(moments.uniform(0, 0.05))
        writer.send_signal(signal.SIGKILL)
        rest = writer.communicate()[0].split()
        last = int(rest[-1]) if rest else acknowledged
        acknowledged = check_whole(tmp_path, acknowledged=last + 1)


def test_arrow_holds_the_same_as_the_rows_of_whole_parts(tmp_path: Path) -> None:
    assert table(tmp_path, writable=False).arrow("id", "response").num_rows == 0
    records = filled(tmp_path, parts=9)
    found = table(tmp_path, writable=False).arrow("id", "response", "dropped_by")
    assert found.column_names == ["id", "response", "dropped_by"]
    assert found["response"].to_pylist() == [record.response for record in records]
    part(tmp_path, 7).write_bytes(b"no part")
    assert table(tmp_path, writable=False).arrow("id")["id"].to_pylist() == [record.id for record in records[:14]]


def test_the_stamp_changes_with_what_is_written_and_not_otherwise(tmp_path: Path) -> None:
    reader, owner = table(tmp_path / "t", writable=False), table(tmp_path / "t")
    stamps = [reader.stamp(), reader.stamp()]
    assert stamps == [(), ()]
    for _ in range(2):
        owner.append([response(1)])
        stamps.append(reader.stamp())
        assert reader.stamp() == stamps[-1]
    owner.close()
    stamps.append(reader.stamp())
    assert len(set(stamps)) == 4
