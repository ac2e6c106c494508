"""Files and folders as rows: what a format keeps, and what is said where it is broken."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from datasets import Dataset, DatasetDict
from pyarrow import parquet

from isheep.errors import UserError
from isheep.recipe.settings import SeedSettings
from isheep.records import SeedTask
from isheep.seeds import load_seeds, read_seeds
from isheep.seeds.tables import read_table

ROWS = [
    {"instruction": "Give the number after 006.", "input": "", "output": "007"},
    {"instruction": "Say it twice,\nplease.", "input": 'a "b", c', "output": " 1.0 "},
]
TASKS = [SeedTask(f"seed-{n}", r["instruction"], r["input"], r["output"], False) for n, r in enumerate(ROWS, start=1)]


def texts(tasks: list[SeedTask]) -> list[tuple[str, str, str]]:
    return [(task.instruction, task.input, task.output) for task in tasks]


def csv_of(separator: str) -> str:
    quoted = [[f'"{cell.replace(chr(34), chr(34) * 2)}"' for cell in row.values()] for row in ROWS]
    return "\r\n".join(separator.join(row) for row in [list(ROWS[0]), *quoted]) + "\r\n"


def written(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def said(path: Path) -> str:
    return read_seeds(SeedSettings(path=str(path))).said


def refusal(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        load_seeds(path)
    return str(caught.value).removeprefix(str(path))


@pytest.mark.parametrize(
    ("name", "separator", "form"),
    [
        ("a.csv", ",", "CSV"),
        ("a.csv", ";", "CSV with semicolons"),
        ("a.CSV", "\t", "CSV with tabs"),
        ("a.tsv", "\t", "TSV"),
    ],
)
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_a_cell_of_csv_is_text_as_it_is_written(
    tmp_path: Path, name: str, separator: str, form: str, mark: bytes
) -> None:
    path = written(tmp_path / name, mark + csv_of(separator).encode())
    assert texts(load_seeds(path)) == texts(TASKS)
    assert [task.id for task in load_seeds(path)] == ["seed-2", "seed-3"]
    assert said(path) == f"{form} in Alpaca's schema"


def test_blank_rows_and_columns_without_a_name_are_left_out(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", ",question, answer ,\n\n0,Why?,So.,\n,,,\n1,How?,Thus.,\n")
    assert [(task.id, task.instruction, task.output) for task in load_seeds(path)] == [
        ("seed-3", "Why?", "So."),
        ("seed-5", "How?", "Thus."),
    ]


def test_rows_count_as_a_spreadsheet_counts_them(tmp_path: Path) -> None:
    before = 'question,answer\n"two\nlines",x\n'
    assert refusal(written(tmp_path / "a.csv", before + "a,b,c\n")).startswith(", row 3: has 3 cells")
    assert refusal(written(tmp_path / "b.csv", before.encode() + b"a,b\n\xff,c\n")).startswith(", row 4: holds a byte")
    assert refusal(written(tmp_path / "c.csv", before + 'a,"b\nc\0"\n')).startswith(", row 3: holds a NUL")
    assert refusal(written(tmp_path / "d.csv", before + f"a,{'b' * 200_000}\n")).startswith(", row 3: does not read")
    assert refusal(written(tmp_path / "e.csv", before + 'a,"b" c\n')).startswith(", row 3: does not read")


def test_a_list_of_json_objects_and_json_lines_under_its_name(tmp_path: Path) -> None:
    path = written(tmp_path / "a.json", json.dumps(ROWS, indent=1))
    assert (load_seeds(path), said(path)) == (TASKS, "JSON in Alpaca's schema")
    path = written(tmp_path / "b.json", "\n".join(map(json.dumps, ROWS)))
    assert (load_seeds(path), said(path)) == (TASKS, "JSON lines in Alpaca's schema")
    assert refusal(written(tmp_path / "c.json", '[{"a": 1},\n {"a": }]')).startswith(
        ": not valid JSON (Expecting value, line 2, column 8)."
    )
    assert refusal(written(tmp_path / "d.json", "[1]")).startswith(", item 1: holds a number, not an object.")
    assert refusal(written(tmp_path / "e.json", b'["\xff"]')).startswith(": byte 3 of the file is not valid UTF-8.")
    assert refusal(written(tmp_path / "f.json", "[]")).startswith(": the seed file holds no task.")


def test_parquet_and_what_its_empty_cells_mean(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    rows = [{**row, "input": row["input"] or None, "id": number} for number, row in enumerate(ROWS)]
    parquet.write_table(pa.Table.from_pylist(rows), path)
    assert texts(load_seeds(path)) == texts(TASKS)
    assert [task.id for task in load_seeds(path)] == ["0", "1"]
    parquet.write_table(pa.Table.from_pylist([ROWS[0], {**ROWS[1], "output": None}]), path)
    assert refusal(path).startswith(', row 2: the key "output" is missing. A table has a column of texts')
    parquet.write_table(pa.Table.from_pylist([{**ROWS[0], "output": 7}]), path)
    assert refusal(path).startswith(', row 1: "output" is a number, not a string.')
    assert refusal(tmp_path / "none.parquet").startswith(": there is no such seed file.")


def test_a_parquet_file_in_self_instructs_schema(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    row = {"id": "a", "instruction": "Add.", "instances": [{"input": "1", "output": "2"}], "is_classification": True}
    parquet.write_table(pa.Table.from_pylist([row]), path)
    assert load_seeds(path) == [SeedTask("a", "Add.", "1", "2", True)]


def test_text_that_is_no_utf_8_in_parquet(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    broken = pa.array([b"\xff"]).cast(pa.binary()).view(pa.string())
    parquet.write_table(pa.table({"question": broken, "answer": ["a"]}), path)
    assert refusal(path).startswith(": does not read as Parquet (")


def test_what_datasets_saves(tmp_path: Path) -> None:
    data = Dataset.from_list(ROWS)
    data.save_to_disk(str(tmp_path / "one"))
    assert load_seeds(tmp_path / "one") == TASKS
    assert said(tmp_path / "one") == "a saved data set in Alpaca's schema"
    DatasetDict(train=data.select([1]), test=data).save_to_disk(str(tmp_path / "two"))
    assert texts(load_seeds(tmp_path / "two")) == texts(TASKS[1:])
    assert said(tmp_path / "two") == "a saved data set, split train of train, test in Alpaca's schema"
    data.select([1, 0]).save_to_disk(str(tmp_path / "drawn"))
    assert texts(load_seeds(tmp_path / "drawn")) == texts(TASKS[::-1])
    (tmp_path / "one" / "state.json").write_text("{")
    assert refusal(tmp_path / "one").startswith(": holds a data set that does not load (")


def test_a_folder_of_files_is_read_as_they_are(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    written(folder / "train-0.csv", csv_of(","))
    written(folder / "train-1.csv", "instruction,input,output\nx,y,0010\n")
    written(folder / "test.csv", csv_of(","))
    before = sorted(folder.iterdir())
    tasks = load_seeds(folder)
    assert texts(tasks) == [*texts(TASKS), ("x", "y", "0010")], "no column is taken for numbers"
    assert [task.id for task in tasks] == ["seed-1", "seed-2", "seed-3"]
    assert said(folder) == "CSV, split train of train, test in Alpaca's schema"
    assert sorted(folder.iterdir()) == before
    assert [row.cells for row in read_table(folder, "test").rows] == ROWS
    with pytest.raises(UserError, match=r"has no split `dev`\. There are train, test\."):
        read_table(folder, "dev")


@pytest.mark.parametrize(
    ("readme", "what"),
    [
        ("- config_name: x\n  data_files: /{outside}", "names a file outside of its folder"),
        ("- config_name: x\n  data_files: ../{outside}", "names a file outside of its folder"),
        ("- config_name: x\n  data_files: a.csv\n- config_name: y\n  data_files: b.csv", "Config name is missing"),
        ("- config_name: x\n  data_files: a.txt", "holds `a.txt`, which is no format"),
    ],
)
def test_a_folder_whose_readme_leads_astray(tmp_path: Path, readme: str, what: str) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    outside = written(tmp_path / "outside.csv", csv_of(","))
    for name in ("a.csv", "b.csv", "a.txt"):
        written(folder / name, csv_of(","))
    place = str(outside).lstrip("/") if "/{" in readme and "../" not in readme else outside.name
    (folder / "README.md").write_text(f"---\nconfigs:\n{readme.replace('{outside}', place)}\n---\n")
    assert what in refusal(folder)


def test_code_beside_the_data_is_not_run(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    written(folder / "loader.py", f"open({str(tmp_path / 'ran')!r}, 'w')")
    written(folder / "train.csv", csv_of(","))
    assert texts(load_seeds(folder)) == texts(TASKS)
    (folder / "loader.py").rename(folder / "data.py")
    assert "scripts are no longer supported" in refusal(folder)
    assert not (tmp_path / "ran").exists()


def test_the_hash_of_a_folder_is_that_of_its_files(tmp_path: Path) -> None:
    from isheep.recipe import load_recipe
    from isheep.store.manifest import seed_hash

    folder = tmp_path / "data"
    folder.mkdir()
    file = written(folder / "train.csv", csv_of(","))
    recipe: Any = load_recipe("lamb", [f"seeds.path={folder}"])
    before = seed_hash(recipe)
    assert before
    assert seed_hash(recipe) == before
    written(file, csv_of(";") + "a;b;c\r\n")
    assert seed_hash(recipe) not in (before, None)
