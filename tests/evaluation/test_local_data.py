"""Benchmarks' data from files of one's own."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest

from isheep.errors import UserError
from isheep.evaluation.local_data import LocalData, stems
from isheep.evaluation.tasks import Benchmarks
from isheep.recipe.settings import EvaluateSettings
from tests.data import SHARED, needs_data

ROWS = [{"question": f"What is thing {number}?", "answer": str(number)} for number in range(3)]


def lines(rows: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


@pytest.mark.parametrize(
    "name", ["things.jsonl", "deep/down/things_test.jsonl.gz", "things-test.json", "THINGS.parquet"]
)
def test_every_kind_of_file_is_read(name: str, tmp_path: Path) -> None:
    file = tmp_path / name
    file.parent.mkdir(parents=True, exist_ok=True)
    if name.endswith(".gz"):
        file.write_bytes(gzip.compress(lines(ROWS)))
    elif name.endswith(".parquet"):
        pyarrow.parquet.write_table(pa.Table.from_pylist(ROWS), file)
    else:
        file.write_bytes(json.dumps(ROWS).encode() if name.endswith(".json") else lines(ROWS))
    assert LocalData(tmp_path).splits("somebody/Things")["test"].to_list() == ROWS


def test_a_csv_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "things_validation.csv").write_text("question,answer\nWho?,Me\n")
    assert LocalData(tmp_path).splits("somebody/things")["validation"].to_list() == [
        {"question": "Who?", "answer": "Me"}
    ]


def test_a_file_belongs_to_the_name_that_it_begins_with(tmp_path: Path) -> None:
    for name in ("openbookqa_test", "openbookqa_fact_test", "mmlu_test", "mmlu_astronomy_test"):
        (tmp_path / f"{name}.jsonl").write_bytes(lines([{"file": name, "subject": "law"}]))
    local = LocalData(tmp_path)

    def found(path: str, name: str | None) -> list[str]:
        return [row["file"] for row in local.splits(path, name)["test"]]

    assert found("allenai/openbookqa", "main") == ["openbookqa_test"]
    assert found("allenai/openbookqa", "additional") == ["openbookqa_fact_test"]
    assert found("cais/mmlu", "astronomy") == ["mmlu_astronomy_test"]
    assert found("cais/mmlu", "law") == ["mmlu_test"]
    assert found("cais/mmlu", "virology") == []


def test_a_configuration_with_a_name_of_its_own_has_no_other() -> None:
    assert stems("allenai/ai2_arc", "ARC-Easy") == ["arc_easy"]
    assert stems("somebody/Some_Thing", "Part-1") == ["some_thing_part-1", "some_thing"]


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no folder"):
        LocalData(tmp_path / "nowhere")
    with pytest.raises(UserError, match="no data of somebody/things: no file whose name begins with things_"):
        LocalData(tmp_path).splits("somebody/things")
    (tmp_path / "things_validation.jsonl").write_bytes(lines(ROWS))
    splits = LocalData(tmp_path).splits("somebody/things")
    assert len(splits["train"]) == 0
    with pytest.raises(UserError, match="no test split"):
        splits["test"]
    (tmp_path / "torn_test.jsonl").write_text('{"question": ')
    with pytest.raises(UserError, match=r"torn_test.jsonl: cannot be read"):
        LocalData(tmp_path).splits("somebody/torn")["test"]
    (tmp_path / "empty_test.jsonl").write_text("\n")
    with pytest.raises(UserError, match="is empty"):
        LocalData(tmp_path).splits("somebody/empty")["test"]


def test_a_benchmark_without_its_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no data of allenai/winogrande winogrande_xl"):
        Benchmarks(["winogrande"], EvaluateSettings(data_dir=str(tmp_path)))


def test_examples_without_data_are_refused(tmp_path: Path) -> None:
    task = "task: asks\ndataset_path: somebody/things\ntraining_split: train\ntest_split: test\nnum_fewshot: 2\n"
    task += "output_type: generate_until\ndoc_to_text: question\ndoc_to_target: answer\n"
    task += "metric_list: [{metric: exact_match}]\n"
    (tmp_path / "asks.yaml").write_text(task)
    (tmp_path / "things_test.jsonl").write_bytes(lines(ROWS))
    settings = EvaluateSettings(data_dir=str(tmp_path), tasks=str(tmp_path))
    with pytest.raises(UserError, match="asks shows 2 examples, and there is no data to take them from"):
        Benchmarks(["asks"], settings)
    (tmp_path / "things_train.jsonl").write_bytes(lines(ROWS))
    assert len(Benchmarks(["asks"], settings).tasks["asks"].eval_docs) == 3


@needs_data
def test_the_data_at_hand_is_found() -> None:
    counts = {
        "ifeval": 541, "nq_open": 3610, "winogrande": 1267, "arc_easy": 2376, "arc_challenge": 1172, "openbookqa": 500,
        "openbookqa_fact": 4, "boolq": 4, "gpqa_diamond_zeroshot": 4, "triviaqa": 4, "squadv2": 8,
    }  # fmt: skip
    settings = EvaluateSettings(data_dir=str(SHARED))
    found = {name: len(Benchmarks([name], settings).tasks[name].eval_docs) for name in counts}
    assert found == counts
