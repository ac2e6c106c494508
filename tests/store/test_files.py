"""Files are whole or not there, and text that UTF-8 cannot hold is stored all the same."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isheep.errors import StageError
from isheep.store.files import fingerprint, link, read_json, set_aside, sha256_file, storable, write_atomic, write_json


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
    assert fingerprint(tmp_path / "elsewhere") != before


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
