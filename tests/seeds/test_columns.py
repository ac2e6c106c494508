"""Which column is what: what its name says, what the recipe says, and what is said of both."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from isheep.errors import UserError
from isheep.recipe.settings import ColumnSettings, SeedSettings
from isheep.records import SeedTask
from isheep.seeds import Seeds, read_seeds

QUESTION = {"role": "user", "content": "Why?"}
ANSWER = {"role": "assistant", "content": "So."}


def read(path: Path, *rows: dict[str, Any], **columns: str) -> Seeds:
    file = path / "seeds.json"
    file.write_text(json.dumps(rows))
    return read_seeds(SeedSettings(path=str(file), columns=ColumnSettings(**columns)))


def refusal(path: Path, *rows: dict[str, Any], **columns: str) -> str:
    with pytest.raises(UserError) as caught:
        read(path, *rows, **columns)
    return str(caught.value).replace(str(path / "seeds.json"), "FILE")


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"prompt": "Why?", "completion": "So."}, 'instruction from "prompt", output from "completion", no input'),
        ({"Question": "Why?", "Answers": "So."}, 'instruction from "Question", output from "Answers", no input'),
        (
            {"instruction": "Why?", "context": "", "response": "So.", "category": "qa"},
            'instruction from "instruction", input from "context", output from "response"',
        ),
        ({"input": "Why?", "target": "So."}, 'instruction from "input", output from "target", no input'),
        ({"task": "Why?", "output": "So.", "messages": []}, 'instruction from "task", output from "output", no input'),
        ({"instruction": "Why?", "output": "So."}, 'instruction from "instruction", output from "output", no input'),
        ({"messages": [QUESTION, ANSWER]}, 'one exchange each from "messages"'),
        ({"prompt": "Why", "messages": [QUESTION, ANSWER]}, 'one exchange each from "messages"'),
        (
            {"conversations": [{"from": "human", "value": "Why?"}, {"from": "gpt", "value": "So."}]},
            'one exchange each from "conversations"',
        ),
        (
            {"messages": [{"role": "system", "content": " "}, QUESTION, ANSWER]},
            'one exchange each from "messages"',
        ),
    ],
)
def test_names_that_say_what_a_column_is(tmp_path: Path, row: dict[str, Any], said: str) -> None:
    found = read(tmp_path, row)
    assert found.tasks == [SeedTask("seed-1", "Why?", "", "So.", False)]
    assert found.said == f"JSON: {said}"


def test_alpacas_columns_count_before_others(tmp_path: Path) -> None:
    row = {"instruction": "Why?", "input": "", "output": "So.", "prompt": "### Why?", "answer": "no"}
    assert read(tmp_path, row).said == "JSON in Alpaca's schema"


def test_what_the_recipe_says_counts_and_the_rest_is_guessed(tmp_path: Path) -> None:
    row = {"question": "Why?", "task": "qa", "passage": "Where?", "context": "Here.", "answer": "So."}
    assert 'the instruction may be in "question" or in "task"' in refusal(tmp_path, row)
    assert 'the input may be in "passage" or in "context"' in refusal(tmp_path, row, instruction="question")
    found = read(tmp_path, row, instruction="question", input="passage")
    assert found.tasks == [SeedTask("seed-1", "Why?", "Where?", "So.", False)]
    assert found.said == 'JSON: instruction from "question", input from "passage", output from "answer"'
    found = read(tmp_path, row, instruction="question", input="")
    assert (found.tasks[0].input, found.said.rpartition(", ")[2]) == ("", "no input")


def test_what_a_name_does_not_say(tmp_path: Path) -> None:
    assert refusal(tmp_path, {"question": "Why?", "chosen": "So."}) == (
        "FILE: which column holds the output is not clear from its names. Say it with `seeds.columns.output=NAME`. "
        'Its columns are "question", "chosen".'
    )
    assert refusal(tmp_path, {"question": "Why?", "answer": "So."}, input="where") == (
        'seeds.columns.input: FILE has no column `where`. Its columns are "question", "answer".'
    )
    assert read(tmp_path, {"question": "Why?", "chosen": "So."}, output="chosen").tasks[0].output == "So."
    assert len(refusal(tmp_path, {"a" * 5000: ""})) < 400


@pytest.mark.parametrize(
    ("turns", "what"),
    [
        ([QUESTION], "it holds 1 messages"),
        ([QUESTION, ANSWER, QUESTION, ANSWER], "it holds 4 messages"),
        ([ANSWER, QUESTION], "is not one question with its answer"),
        ([{"role": "system", "content": "Be kind."}, QUESTION, ANSWER], 'holds a system message ("Be kind.")'),
        ([QUESTION, {"role": "tool", "content": "1"}], '"messages[1].role" is "tool".'),
        ([QUESTION, "So."], '"messages[1]" is a string, not an object.'),
        ([QUESTION, {"role": "assistant"}], 'the key "messages[1].content" is missing.'),
        ([QUESTION, {"role": "assistant", "content": [{"text": "So."}]}], '"messages[1].content" is a list'),
        ("Why?", '"messages" is a string, not a list.'),
        ([{"role": "user", "content": " "}, ANSWER], '"messages" is empty.'),
    ],
)
def test_chats_that_are_no_single_exchange(tmp_path: Path, turns: Any, what: str) -> None:
    error = refusal(tmp_path, {"messages": [QUESTION, ANSWER]}, {"messages": turns})
    assert error.startswith("FILE, item 2: ")
    assert what in error


def test_marks_of_classification(tmp_path: Path) -> None:
    file = tmp_path / "seeds.csv"
    file.write_text("question,answer,is_classification,id\na,b,True,x\nc,d,false,y\ne,f,,z\n")
    tasks = read_seeds(SeedSettings(path=str(file))).tasks
    assert [(task.id, task.is_classification) for task in tasks] == [("x", True), ("y", False), ("z", False)]
    file.write_text("question,answer,is_classification\na,b,perhaps\n")
    with pytest.raises(UserError, match='"is_classification" is a string, not true or false'):
        read_seeds(SeedSettings(path=str(file)))
