"""Training sets for other programs: each loads with the library that it is meant for, and holds the texts as they are.

LLaMA-Factory (0.9.5) pins older libraries than ours, so its own loader reads its folder in an environment of its own,
whose Python ISHEEP_LLAMAFACTORY names; without it the folder is held against what its parser takes.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from isheep.errors import UserError
from isheep.export import Wanted, export
from isheep.prompts import bare
from isheep.recipe import locate, parse_recipe
from isheep.records import Assessment, Instruction, Response, Selection
from isheep.store.files import storable
from isheep.store.run import Run
from tests.nasties import NASTIES

LAMB = locate("package:lamb/model")
LLAMAFACTORY = os.environ.get("ISHEEP_LLAMAFACTORY")
SCRIPT = Path(__file__).with_name("llamafactory_child.py")

FILES = {"alpaca": "a.json", "sharegpt": "s.json", "messages": "m.jsonl", "parquet": "p.parquet", "jsonl": "j.jsonl"}

Made = tuple[Run, list[tuple[str, str, str]]]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    """Two iterations, whose kept pairs are every nasty in turn, and some that were dropped; with the kept texts."""
    kept = [("Name a bird.", "", "An owl."), ("Spell it.", "owl", "o w l")]
    kept += [(one.text, "" if place % 2 else f"in {one.text}", one.text) for place, one in enumerate(NASTIES)]
    directory = tmp_path_factory.mktemp("datasets") / "run"
    with Run.create_or_resume(directory, parse_recipe({"model": {"path": "m"}}, "test")) as run:
        for number, texts in ((1, kept[:2]), (2, kept[2:])):
            iteration = run.iteration(number)
            rows = [Instruction(f"{number}-{n}", number, n, *two[:2], [], 0, "p") for n, two in enumerate(texts)]
            iteration.table("instructions").append([*rows, Instruction("no", number, 999, "No.", "", [], 0, "p")])
            answers = [Response(row.id, text[2], "stop", 1) for row, text in zip(rows, texts, strict=True)]
            iteration.table("responses").append([*answers, Response("no", "No.", "stop", 1)])
            scores = [Assessment(row.id, 9.0, 9.0, None, None, "base") for row in rows]
            iteration.table("assessments").append([*scores, Assessment("no", 2.0, 2.0, None, None, "base")])
            verdicts = [Selection(row.id, True) for row in rows]
            iteration.table("selection").append([*verdicts, Selection("no", False, "threshold", "2")])
        stored = [(storable(one), storable(two), storable(three)) for one, two, three in kept]
        yield run, stored


def loaded(file: Path, tmp_path: Path) -> list[dict[str, Any]]:
    from datasets import load_dataset

    kind = "parquet" if file.suffix == ".parquet" else "json"
    found = load_dataset(kind, data_files=str(file), split="train", cache_dir=str(tmp_path / "cache"))
    return list(found)


def texts_of(kind: str, row: dict[str, Any]) -> tuple[str, str]:
    """The user's turn and the assistant's."""
    if kind == "sharegpt":
        asked, said = row["conversations"]
        assert (asked["from"], said["from"]) == ("human", "gpt")
        return asked["value"], said["value"]
    if kind == "messages":
        assert list(row) == ["messages"]
        asked, said = row["messages"]
        assert (asked["role"], said["role"]) == ("user", "assistant")
        return asked["content"], said["content"]
    assert list(row)[:3] == ["instruction", "input", "output"]
    return bare(row["instruction"], row["input"]), row["output"]


@pytest.mark.parametrize("kind", FILES)
def test_every_kind_loads_in_datasets_with_the_texts_as_they_are(made: Made, tmp_path: Path, kind: str) -> None:
    run, kept = made
    assert export(run, tmp_path / FILES[kind], kind) == f"{len(kept)} kept pairs"
    rows = loaded(tmp_path / FILES[kind], tmp_path)
    assert [texts_of(kind, row) for row in rows] == [(bare(*two), answer) for *two, answer in kept]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([FILES[kind], "cache"])


@pytest.mark.parametrize("kind", ["alpaca", "sharegpt", "messages"])
def test_one_iteration_and_a_file_that_is_replaced(made: Made, tmp_path: Path, kind: str) -> None:
    (tmp_path / FILES[kind]).write_text("as it was")
    assert export(made[0], tmp_path / FILES[kind], kind, Wanted(iteration=1)) == "2 kept pairs"
    assert len(loaded(tmp_path / FILES[kind], tmp_path)) == 2


def test_the_lists_are_what_alpaca_and_sharegpt_have(made: Made, tmp_path: Path) -> None:
    export(made[0], tmp_path / "a.json", "alpaca", Wanted(iteration=1))
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == [
        {"instruction": "Name a bird.", "input": "", "output": "An owl."},
        {"instruction": "Spell it.", "input": "owl", "output": "o w l"},
    ]
    export(made[0], tmp_path / "s.json", "sharegpt", Wanted(iteration=1))
    turns = [{"from": "human", "value": "Spell it.\nowl"}, {"from": "gpt", "value": "o w l"}]
    assert json.loads((tmp_path / "s.json").read_text(encoding="utf-8"))[1] == {"conversations": turns}


def test_messages_train_a_model_in_trl(made: Made, tmp_path: Path) -> None:
    from datasets import load_dataset
    from trl import SFTConfig, SFTTrainer
    from trl.data_utils import is_conversational

    export(made[0], tmp_path / "m.jsonl", "messages", Wanted(iteration=1))
    rows = load_dataset("json", data_files=str(tmp_path / "m.jsonl"), split="train", cache_dir=str(tmp_path / "cache"))
    assert is_conversational(rows[0])
    tokenizer = AutoTokenizer.from_pretrained(LAMB)
    tokenizer.chat_template = locate("package:templates/chatml.jinja").read_text(encoding="utf-8")
    settings = SFTConfig(
        output_dir=str(tmp_path / "out"), max_steps=1, per_device_train_batch_size=2, use_cpu=True, bf16=False,
        report_to="none", save_strategy="no", logging_steps=1, disable_tqdm=True,
    )  # fmt: skip
    trainer = SFTTrainer(model=str(LAMB), args=settings, train_dataset=rows, processing_class=tokenizer)
    shown = tokenizer.decode(trainer.train_dataset[1]["input_ids"])
    assert shown == tokenizer.apply_chat_template(rows[1]["messages"], tokenize=False)
    assert math.isfinite(trainer.train().training_loss)


def test_llamafactorys_folder_says_what_its_parser_reads(made: Made, tmp_path: Path) -> None:
    """`DatasetAttr.join` of llamafactory/data/parser.py: columns that are not named there are none."""
    folder = tmp_path / "set"
    folder.mkdir()
    told = export(made[0], folder, "llamafactory")
    assert told.endswith("kept pairs, as the datasets isheep_alpaca and isheep_sharegpt")
    info = json.loads((folder / "dataset_info.json").read_text(encoding="utf-8"))
    assert info == {
        "isheep_alpaca": {
            "file_name": "alpaca.json",
            "columns": {"prompt": "instruction", "query": "input", "response": "output"},
        },
        "isheep_sharegpt": {
            "file_name": "sharegpt.json",
            "formatting": "sharegpt",
            "columns": {"messages": "conversations"},
        },
    }
    assert {path.name for path in folder.iterdir()} == {"dataset_info.json", "alpaca.json", "sharegpt.json"}
    for form in ("alpaca", "sharegpt"):
        rows = loaded(folder / f"{form}.json", tmp_path)
        assert [texts_of(form, row) for row in rows] == [(bare(*two), answer) for *two, answer in made[1]]


@pytest.mark.skipif(LLAMAFACTORY is None, reason="ISHEEP_LLAMAFACTORY names no Python that has it")
@pytest.mark.parametrize("form", ["alpaca", "sharegpt"])
def test_llamafactory_loads_its_folder(made: Made, tmp_path: Path, form: str) -> None:
    """As its training does: aligned by its converter, and tokenized by lamb's tokenizer in its plainest template."""
    export(made[0], tmp_path / "set", "llamafactory", Wanted(iteration=1))
    words = [str(LLAMAFACTORY), str(SCRIPT), str(tmp_path / "set"), f"isheep_{form}", str(LAMB), str(tmp_path / "out")]
    told = subprocess.run(words, capture_output=True, text=True, timeout=300, cwd=tmp_path)
    assert told.returncode == 0, told.stderr
    assert json.loads(told.stdout.splitlines()[-1]) == [
        ["Human: Name a bird.", "An owl.<|endoftext|>\n"],
        ["Human: Spell it.\nowl", "o w l<|endoftext|>\n"],
    ]


@pytest.mark.parametrize(
    ("name", "kind", "wanted", "said"),
    [
        ("a.jsonl", "alpaca", Wanted(), r"not named like a file of this kind.* Name it a\.json\."),
        ("a.json", "messages", Wanted(), r"Name it a\.jsonl\."),
        ("a.json", "sharegpt", Wanted(everything=True), "--all: a training set has no place for records that were"),
        ("a.json", "alpaca", Wanted(iteration=7), "has no records of iteration 7. It has: 1, 2."),
        ("set", "llamafactory", Wanted(iteration=7), "has no records of iteration 7"),
        ("there/set", "llamafactory", Wanted(), "there is no folder"),
        ("full", "llamafactory", Wanted(), "is not empty"),
        ("full/mine.json", "llamafactory", Wanted(), "is a file"),
    ],
)
def test_what_cannot_be_written_is_refused_before_anything_is(
    made: Made, tmp_path: Path, name: str, kind: str, wanted: Wanted, said: str
) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.json").write_text("{}")
    with pytest.raises(UserError, match=said):
        export(made[0], tmp_path / name, kind, wanted)
    assert [path.name for path in tmp_path.rglob("*")] == ["full", "mine.json"]


def test_a_run_that_kept_nothing_is_told(tmp_path: Path) -> None:
    with Run.create_or_resume(tmp_path / "run", parse_recipe({"model": {"path": "m"}}, "test")) as run:
        run.iteration(1).table("instructions").append([Instruction("a", 1, 0, "No.", "", [], 0, "p")])
        with pytest.raises(UserError, match="has kept no pairs of iteration 1"):
            export(run, tmp_path / "a.json", "alpaca", Wanted(iteration=1))
        with pytest.raises(UserError, match="lies in the directory of the run"):
            export(run, tmp_path / "run" / "set", "llamafactory")
    assert not (tmp_path / "a.json").exists()
