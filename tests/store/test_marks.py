"""Hand marks: the last line of a record counts, a cut one is passed over, and what is written stays text."""

from __future__ import annotations

import json
import multiprocessing
from pathlib import Path

import pytest

from isheep.errors import StageError, UserError
from isheep.store.marks import LONGEST_NOTE, MARKS, add_mark, read_marks

NASTY = 'a\nb\r\u2028{"id": "x"}\x00\x1b[2J <script>=1+1 \ud800 é'


def test_nothing_is_marked_where_there_is_no_file(tmp_path: Path) -> None:
    assert read_marks(tmp_path) == {}


def test_the_last_line_of_a_record_counts(tmp_path: Path) -> None:
    add_mark(tmp_path, "a", "good")
    add_mark(tmp_path, "b", "bad", "why")
    add_mark(tmp_path, "a", "bad", "on second thoughts")
    found = read_marks(tmp_path)
    assert (found["a"].mark, found["a"].note, found["b"].kind) == ("bad", "on second thoughts", "bad")
    assert len((tmp_path / MARKS).read_text().splitlines()) == 3


def test_a_mark_is_taken_back_by_an_empty_one_and_a_note_alone_stays(tmp_path: Path) -> None:
    add_mark(tmp_path, "a", "good")
    add_mark(tmp_path, "b", None, "look again")
    add_mark(tmp_path, "a", None)
    assert {id_: mark.kind for id_, mark in read_marks(tmp_path).items()} == {"b": "note"}


def test_hostile_text_is_text_in_one_line(tmp_path: Path) -> None:
    add_mark(tmp_path, NASTY.replace("\ud800", ""), "good", NASTY)
    assert (tmp_path / MARKS).read_bytes().count(b"\n") == 1
    (mark,) = read_marks(tmp_path).values()
    assert mark.note == NASTY.replace("\ud800", "\ufffd")
    assert mark.id == NASTY.replace("\ud800", "")


@pytest.mark.parametrize(
    "line",
    ['{"id": "c", "mark": "go', "[]", "null", '{"id": "c"}', '{"id": "c", "mark": "ugly", "note": "", "at": ""}',
     '{"id": 3, "mark": "good", "note": "", "at": ""}', '{"id": "c", "mark": ["good"], "note": "", "at": ""}',
     "\xff\xfe", "[" * 100_000],
)  # fmt: skip
def test_a_line_that_does_not_read_costs_only_itself(tmp_path: Path, line: str) -> None:
    add_mark(tmp_path, "a", "good")
    with (tmp_path / MARKS).open("ab") as file:
        file.write(line.encode("latin-1"))
    add_mark(tmp_path, "b", "bad")
    assert list(read_marks(tmp_path)) == ["a", "b"]


def _mark_many(directory: Path, name: str) -> None:
    for number in range(50):
        add_mark(directory, f"{name}-{number}", "good", "x" * 500)


def test_two_processes_at_once_lose_nothing(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_mark_many, args=(tmp_path, name)) for name in ("one", "two")]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(read_marks(tmp_path)) == 100
    assert all(json.loads(line) for line in (tmp_path / MARKS).read_text().splitlines())


def test_what_cannot_be_written_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is gone"):
        add_mark(tmp_path / "nowhere", "a", "good")
    with pytest.raises(UserError, match="characters"):
        add_mark(tmp_path, "a", None, "x" * (LONGEST_NOTE + 1))
    (tmp_path / MARKS).mkdir()
    with pytest.raises(StageError, match="cannot be written"):
        add_mark(tmp_path, "a", "good")
