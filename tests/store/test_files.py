"""Files are whole or not there, and text that UTF-8 cannot hold is stored all the same."""

from __future__ import annotations

import gzip
import hashlib
import json
import logging
import math
import os
import re
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isheep.errors import StageError
from isheep.store.files import (
    cache_folder,
    fingerprint,
    link,
    now,
    read_json,
    read_json_lines,
    set_aside,
    sha256_file,
    storable,
    write_atomic,
    write_json,
    write_json_lines,
)

TEXTS = st.text(st.characters(codec="utf-8") | st.sampled_from("\u2028\u2029\x85\x0b\x0c\x1c\r\n\0"))
"""With much of what other programs take for the end of a line."""
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("text", "stored"),
    [
        ("plain é 🐑", "plain é 🐑"),
        ("nul \x00 stays", "nul \x00 stays"),
        ("lone \ud800 high", "lone \ufffd high"),
        ("lone low \udc00", "lone low \ufffd"),
        ("ends \ud83d", "ends \ufffd"),
        ("two halves \ud83d\udc11", "two halves 🐑"),
        ("\udc11\ud83d", "\ufffd\ufffd"),
    ],
)
def test_storable(text: str, stored: str) -> None:
    assert storable(text) == stored


@given(st.text(alphabet=st.characters(codec="utf-8")))
def test_valid_text_is_stored_as_it_is(text: str) -> None:
    assert storable(text) == text


@given(st.lists(st.integers(0, 0x10FFFF).map(chr)).map("".join))
def test_any_text_becomes_valid_and_stays_so(text: str) -> None:
    once = storable(text)
    once.encode("utf-8")
    assert storable(once) == once


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.json"
    write_atomic(path, b"old")

    def no_room(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_room)
    with pytest.raises(StageError, match=r"a\.json: cannot be written \(No space left on device\)"):
        write_atomic(path, b"new")
    assert path.read_bytes() == b"old"


def test_json_keeps_order_and_text_and_turns_what_is_not_finite_into_null(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.json"
    write_json(path, {"z": [1.5, float("nan")], "a": {"loss": float("inf")}, "text": "é\ud800"})
    assert path.read_text(encoding="utf-8").startswith('{\n "z"')
    assert read_json(path, writable=False) == {"z": [1.5, None], "a": {"loss": None}, "text": "é\ufffd"}
    assert [file.name for file in path.parent.iterdir()] == ["a.json"]


def test_a_document_that_does_not_read_is_named_and_only_the_owner_sets_it_aside(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "scores.json"
    path.write_bytes(b'{"a": 1')
    assert read_json(path, writable=False) is None
    assert path.exists()
    assert read_json(path, writable=True) is None
    assert [file.name for file in tmp_path.iterdir()] == ["scores.json.broken"]
    assert all(str(path) in message and "does not read as JSON" in message for message in caplog.messages)
    assert len(caplog.messages) == 2
    assert read_json(path, writable=True) is None
    assert len(caplog.messages) == 2


def test_no_broken_file_takes_the_place_of_another(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR)
    for content in (b"1", b"2", b"3"):
        (tmp_path / "a").write_bytes(content)
        set_aside(tmp_path / "a")
    found = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    assert found == {"a.broken": b"1", "a.broken-2": b"2", "a.broken-3": b"3"}


def test_sha256_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert sha256_file(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_the_file_is_valid_json_for_any_reader(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", (1, "x"))
    assert json.loads((tmp_path / "a.json").read_bytes()) == [1, "x"]


@given(st.lists(st.dictionaries(TEXTS, VALUES, max_size=4), max_size=4), st.sampled_from(["", "\n", " \n\n"]))
def test_rows_come_back_whatever_line_ends_they_hold(rows: list[dict[str, Any]], after: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file, packed = Path(folder) / "rows.jsonl", Path(folder) / "rows.jsonl.gz"
        write_json_lines(file, rows)
        assert list(read_json_lines(file)) == rows
        assert file.read_bytes().count(b"\n") == len(rows)
        packed.write_bytes(gzip.compress(file.read_bytes() + after.encode()))
        assert list(read_json_lines(packed)) == rows


def test_rows_are_written_as_far_as_json_goes(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    write_json_lines(file, [{"loss": float("nan"), "where": tmp_path, "text": "é\ud800\u2028"}])
    assert list(read_json_lines(file)) == [{"loss": None, "where": str(tmp_path), "text": "é\ufffd\u2028"}]
    assert "é" in file.read_text(encoding="utf-8")
    file.write_text("{}\n{")
    with pytest.raises(ValueError, match="Expecting property name"):
        list(read_json_lines(file))


def test_where_what_can_be_made_again_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ISHEEP_CACHE", "/a")
    monkeypatch.setenv("XDG_CACHE_HOME", "/b")
    assert cache_folder() == Path("/a")
    monkeypatch.setenv("ISHEEP_CACHE", "~/a")
    assert cache_folder() == Path.home() / "a"
    monkeypatch.delenv("ISHEEP_CACHE")
    assert cache_folder() == Path("/b/isheep")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "isheep"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "folder"
    (folder / "deep").mkdir(parents=True)
    for name in ("a", "deep/b"):
        (folder / name).write_text(name)
    return folder


def test_the_fingerprint_of_a_file_is_its_hash(tmp_path: Path) -> None:
    assert fingerprint(tmp_path / "a") is None
    (tmp_path / "a").write_text("text")
    assert fingerprint(tmp_path / "a") == sha256_file(tmp_path / "a")
    (tmp_path / "a").write_text("longer text")
    assert fingerprint(tmp_path / "a") == sha256_file(tmp_path / "a")


def test_the_fingerprint_of_a_folder_is_of_names_and_content(tmp_path: Path, folder: Path) -> None:
    before = fingerprint(folder)
    assert before is not None
    folder.rename(tmp_path / "elsewhere")
    assert fingerprint(tmp_path / "elsewhere") == before
    (tmp_path / "elsewhere" / "a").rename(tmp_path / "elsewhere" / "c")
    renamed = fingerprint(tmp_path / "elsewhere")
    assert renamed != before
    (tmp_path / "elsewhere" / "deep" / "b").write_text("other content")
    assert fingerprint(tmp_path / "elsewhere") not in (before, renamed)


@pytest.mark.parametrize("name", ["done.json", "a.tmp", "a.broken", "a.broken-2", "deep/c.pyc"])
def test_what_is_no_content_has_no_part_in_a_fingerprint(folder: Path, name: str) -> None:
    before = fingerprint(folder)
    (folder / name).write_text("x")
    assert fingerprint(folder) == before
    (folder / "more").write_text("x")
    assert fingerprint(folder) != before


def test_a_link_is_the_same_file_in_the_place_of_what_was_there(tmp_path: Path, folder: Path) -> None:
    target = tmp_path / "other" / "place"
    target.mkdir(parents=True)
    (target / "old").write_text("x")
    (folder / "cut.tmp").write_text("x")
    link(folder, target)
    assert {path.relative_to(target).as_posix() for path in target.rglob("*")} == {"a", "deep", "deep/b"}
    assert (target / "deep" / "b").samefile(folder / "deep" / "b")
    link(folder / "a", target)
    assert target.samefile(folder / "a")
    assert [path.name for path in target.parent.iterdir()] == ["place"]


def test_what_is_written_over_a_link_leaves_the_other_as_it_was(tmp_path: Path, folder: Path) -> None:
    link(folder, tmp_path / "linked")
    write_atomic(tmp_path / "linked" / "a", b"new")
    assert (folder / "a").read_text() == "a"


def test_a_link_that_cannot_be_made_is_named(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StageError, match="cannot be written"):
        link(folder, tmp_path / "file" / "below")


def test_where_the_disk_has_no_links_a_copy_stands(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*words: object, **more: object) -> None:
        raise OSError(1, "no links here")

    monkeypatch.setattr(os, "link", refuse)
    link(folder, tmp_path / "deeper" / "still" / "copy")
    copied = tmp_path / "deeper" / "still" / "copy"
    assert [(copied / name).read_text() for name in ("a", "deep/b")] == ["a", "deep/b"]
    assert not (copied / "a").samefile(folder / "a")


def test_a_link_of_folders_in_folders(tmp_path: Path, folder: Path) -> None:
    (folder / "deep" / "very").mkdir()
    (folder / "deep" / "b").rename(folder / "deep" / "very" / "b")
    link(folder, tmp_path / "one" / "two" / "linked")
    assert (tmp_path / "one" / "two" / "linked" / "deep" / "very" / "b").read_text() == "deep/b"


def test_the_fingerprint_of_a_folder_is_that_of_its_list(tmp_path: Path, folder: Path) -> None:
    hashes = {name: hashlib.sha256(name.encode()).hexdigest() for name in ("a", "deep/b")}
    listed = "".join(f"{name} {found}\n" for name, found in hashes.items())
    assert fingerprint(folder) == hashlib.sha256(listed.encode()).hexdigest()


def test_a_file_of_other_content_and_the_same_time_has_another_fingerprint(tmp_path: Path) -> None:
    file, other = tmp_path / "a", tmp_path / "b"
    for text in ("one", "four"):
        file.write_text(text)
        os.utime(file, ns=(5, 5))
        assert fingerprint(file) == hashlib.sha256(text.encode()).hexdigest()
    other.write_text("five")
    os.utime(other, ns=(5, 5))
    other.replace(file)
    assert fingerprint(file) == hashlib.sha256(b"five").hexdigest()


def test_a_number_that_is_none_of_json_is_not_written_as_one(tmp_path: Path) -> None:
    class Odd(float):
        """Passes for a number, and is none when it is asked."""

    write_json_lines(tmp_path / "a", [{"x": Odd("inf"), "y": (math.inf, 1.0)}])
    assert (tmp_path / "a").read_text() == '{"x": null, "y": [null, 1.0]}\n'


def test_the_time_is_utc_to_the_second() -> None:
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", now())
    assert abs(datetime.fromisoformat(now()) - datetime.now(UTC)) < timedelta(seconds=5)
