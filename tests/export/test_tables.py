"""Records as one file: whole, refused where it cannot be written, and no formula in a spreadsheet."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isheep.errors import UserError
from isheep.export import Wanted, export
from isheep.export.tables import spreadsheet_safe
from isheep.recipe import parse_recipe
from isheep.records import Assessment, Instruction, Response, Selection
from isheep.store.files import storable
from isheep.store.marks import add_mark
from isheep.store.run import Run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """Two iterations with a kept pair each; the first one dropped an instruction, too."""
    directory = tmp_path_factory.mktemp("export") / "run"
    with Run.create_or_resume(directory, parse_recipe({"model": {"path": "m"}}, "test")) as run:
        for number, text in ((1, "=1+1"), (2, "Name\u2028two.")):
            one = run.iteration(number)
            made = [Instruction(f"k{number}", number, 0, text, "", [], 0, "p")]
            made += [Instruction("d", 1, 1, "No.", "", [], 0, "p", "too_short", "1 word")] * (number == 1)
            one.table("instructions").append(made)
            one.table("responses").append([Response(f"k{number}", "a", "stop", 1)])
            one.table("assessments").append([Assessment(f"k{number}", 9.5, None, "9", None, "base")])
            one.table("selection").append([Selection(f"k{number}", True)])
        yield run


def rows(file: Path) -> list[list[str]]:
    with file.open(encoding="utf-8-sig", newline="") as opened:
        return list(csv.reader(opened))


def test_the_kept_pairs_of_every_iteration(run: Run, tmp_path: Path) -> None:
    assert {export(run, tmp_path / f"a.{kind}") for kind in ("csv", "jsonl", "PARQUET")} == {"2 kept pairs"}
    columns = ["instruction", "input", "output", "id", "iteration", "quality", "following"]
    told = [["'=1+1", "", "a", "k1", "1", "9.5", ""], ["Name\u2028two.", "", "a", "k2", "2", "9.5", ""]]
    assert rows(tmp_path / "a.csv") == [columns, *told]
    plain = [["=1+1", "", "a", "k1", 1, 9.5, None], ["Name\u2028two.", "", "a", "k2", 2, 9.5, None]]
    expected = [dict(zip(columns, values, strict=True)) for values in plain]
    # `splitlines` ends a line at more characters than JSON lines do.
    assert [json.loads(line) for line in (tmp_path / "a.jsonl").read_text("utf-8").splitlines()] == expected
    assert pq.read_table(tmp_path / "a.PARQUET").to_pylist() == expected
    assert len(list(tmp_path.iterdir())) == 3


def test_one_iteration_and_every_record_with_its_verdict(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    assert export(run, file, wanted=Wanted(iteration=2)) == "1 kept pairs"
    assert [row[3] for row in rows(file)] == ["id", "k2"]
    add_mark(run.directory, "k2", "good")
    add_mark(run.directory, "d", None, "=1+1")
    assert export(run, file, wanted=Wanted(everything=True)) == "3 records"
    header, *found = rows(file)
    assert header[-5:] == ["kept", "dropped_by", "reason", "mark", "note"]
    assert [row[3:4] + row[-5:] for row in found] == [
        ["k1", "true", "", "", "", ""],
        ["d", "false", "too_short", "1 word", "", "'=1+1"],
        ["k2", "true", "", "", "good", ""],
    ]


def test_a_kind_and_a_suffix_that_differ_are_refused(run: Run, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"Name it a\.csv"):
        export(run, tmp_path / "a.jsonl", "csv")
    with pytest.raises(UserError, match=r"no export as `xls`\. Give --as csv"):
        export(run, tmp_path / "a.csv", "xls")
    assert export(run, tmp_path / "a.csv", "csv") == "2 kept pairs"
    assert [file.name for file in tmp_path.iterdir()] == ["a.csv"]


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("a.xlsx", "there is no export to `.xlsx`. Give --as csv, jsonl"),
        ("a", "there is no export to ``. Give --as csv, jsonl"),
        ("no/a.csv", "there is no folder"),
        ("folder.csv", "is a folder."),
        ("run/iteration-01/training-set.jsonl", "lies in the directory of the run"),
    ],
)
def test_what_cannot_be_written_is_refused(run: Run, name: str, what: str) -> None:
    place = run.directory.parent
    (place / "folder.csv").mkdir(exist_ok=True)
    with pytest.raises(UserError) as caught:
        export(run, place / name)
    assert what in str(caught.value)
    assert not (place / name).is_file()


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("=1", "'=1"), ("+1", "'+1"), ("-1", "'-1"), ("@A", "'@A"), ("\tx", "'\tx"), ("\rx", "'\rx"), ("\nx", "'\nx"),
        (" \u200b=1", "' \u200b=1"), ("\uff1d1", "'\uff1d1"), ("\ufe631", "'\ufe631"), ("\0=1", "'\\x00=1"),
        ("1=1", "1=1"), ("a\0b", "a\\x00b"), ("'=1", "'=1"), ("", ""), (" ", " "), (" a", " a"), ("x\n=1", "x\n=1"),
    ],
)  # fmt: skip
def test_what_a_spreadsheet_would_act_upon_gets_an_apostrophe(text: str, cell: str) -> None:
    assert spreadsheet_safe(text) == cell


@given(st.lists(st.text(st.characters(categories=None)) | st.text("=+-@\t\r\n\"', ;\0\ud800\u2028\uff1d"), max_size=5))
@settings(deadline=None, max_examples=50)
def test_every_record_comes_back_as_one_row(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> None:
    place = tmp_path_factory.mktemp("any")
    with Run.create_or_resume(place / "run", parse_recipe({"model": {"path": "m"}}, "test")) as run:
        made = [Instruction(str(n), 1, n, text, text, [], 0, "p", "rule", text) for n, text in enumerate(texts)]
        run.iteration(1).table("instructions").append(made)
        assert export(run, place / "a.csv", wanted=Wanted(everything=True)) == f"{len(texts)} records"
    found = rows(place / "a.csv")[1:]
    cells = [spreadsheet_safe(storable(text)) for text in texts]
    assert [[row[0], row[1], row[-3]] for row in found] == [[cell] * 3 for cell in cells]
    assert not [cell for cell in cells if cell.lstrip().startswith(("=", "+", "-", "@", "\uff1d"))]
