"""The seed loader's message for each thing that can be wrong, and the rules that the shipped tasks keep."""

from __future__ import annotations

import json
import re
from importlib import resources
from itertools import combinations, product
from pathlib import Path
from typing import Any

import pytest
from rouge_score.rouge_scorer import RougeScorer

from isheep.errors import UserError
from isheep.records import SeedTask
from isheep.seeds import load_seeds
from tests.data import SHARED

SELF_INSTRUCT = SHARED / "self_instruct_seed_tasks.jsonl"
NEAR = 0.6
BEYOND_TEXT = re.compile(
    r"\b(image|graph|picture|file|map|draw|plot|go to|video|audio|music|flowchart|diagram)s?\b", re.IGNORECASE
)

FORMS = (
    'A line holds {"id", "instruction", "instances": [{"input", "output"}], "is_classification"} '
    'or {"instruction", "input", "output"}.'
)
GOOD: dict[str, Any] = {
    "id": "a",
    "name": "add",
    "instruction": "Add the two numbers.",
    "instances": [{"input": "1, 2", "output": "3"}, {"input": "2, 2", "output": "4"}],
    "is_classification": False,
}
FLAT = {"instruction": "Greet me in Welsh.", "input": "", "output": "Helo"}


def written(path: Path, *lines: dict[str, Any] | str | bytes) -> Path:
    """A seed file under `path` with these lines, as they are or, for objects, as JSON."""
    raw = [
        line if isinstance(line, bytes) else (line if isinstance(line, str) else json.dumps(line)).encode()
        for line in lines
    ]
    seeds = path / "seeds.jsonl"
    seeds.write_bytes(b"\n".join(raw) + b"\n")
    return seeds


def without(key: str) -> dict[str, Any]:
    return {name: value for name, value in GOOD.items() if name != key}


def refusal(path: Path) -> UserError:
    with pytest.raises(UserError) as caught:
        load_seeds(path)
    assert caught.value.exit_code == 2
    return caught.value


def shipped() -> list[SeedTask]:
    with resources.as_file(resources.files("isheep.seeds") / "general.jsonl") as path:
        return load_seeds(path)


def test_first_instance_is_used(tmp_path: Path) -> None:
    tasks = load_seeds(written(tmp_path, GOOD, GOOD | {"id": "b", "is_classification": True}))
    assert tasks == [
        SeedTask("a", "Add the two numbers.", "1, 2", "3", False),
        SeedTask("b", "Add the two numbers.", "1, 2", "3", True),
    ]


def test_flat_lines_beside_nested_ones(tmp_path: Path) -> None:
    named = FLAT | {"id": "welsh", "is_classification": True}
    tasks = load_seeds(written(tmp_path, GOOD, "", FLAT, named))
    assert [task.id for task in tasks] == ["a", "seed-3", "welsh"]
    assert tasks[1] == SeedTask("seed-3", "Greet me in Welsh.", "", "Helo", False)
    assert tasks[2].is_classification


def test_windows_ends_byte_order_mark_and_line_separator(tmp_path: Path) -> None:
    line = json.dumps(FLAT | {"output": "one\u2028two"}, ensure_ascii=False).encode()
    path = tmp_path / "seeds.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + line + b"\r\n" + json.dumps(GOOD).encode())
    tasks = load_seeds(path)
    assert [(task.id, task.output) for task in tasks] == [("seed-1", "one\u2028two"), ("a", "3")]


def test_missing(tmp_path: Path) -> None:
    path = tmp_path / "none.jsonl"
    error = refusal(path)
    assert str(error) == f"{path}: there is no such seed file. Give a seed file that exists and can be read."


def test_folder(tmp_path: Path) -> None:
    assert refusal(tmp_path).where == str(tmp_path)
    assert refusal(tmp_path).what == "this is a folder, not a seed file."


def test_unreadable(tmp_path: Path) -> None:
    below_a_plain_one = written(tmp_path, GOOD) / "seeds.jsonl"
    assert refusal(below_a_plain_one).what == "the seed file cannot be read (Not a directory)."


@pytest.mark.parametrize("content", [b"", b"\n \n\r\n", b"\xef\xbb\xbf"])
def test_no_task(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "seeds.jsonl"
    path.write_bytes(content)
    error = refusal(path)
    assert (error.where, error.what, error.mend) == (str(path), "the seed file holds no task.", FORMS)


@pytest.mark.parametrize(
    ("line", "what"),
    [
        (b'{"instruction": "caf\xe9"}', "byte 21 of the line is not valid UTF-8."),
        ('{id: "b"}', "not valid JSON (Expecting property name enclosed in double quotes, column 2)."),
        ('{"id": "b"', "not valid JSON (Expecting ',' delimiter, column 11)."),
        ("[" * 100_000, "this JSON is nested too deep or holds a number too long to read."),
        ('{"id": ' + "1" * 5_000 + "}", "this JSON is nested too deep or holds a number too long to read."),
        ('["b"]', "holds a list, not an object."),
        ("null", "holds null, not an object."),
        (without("id"), 'the key "id" is missing.'),
        (without("instruction"), 'the key "instruction" is missing.'),
        (without("instances"), 'the key "instances" is missing.'),
        (without("is_classification"), 'the key "is_classification" is missing.'),
        (GOOD | {"instances": [{"output": "3"}]}, 'the key "instances[0].input" is missing.'),
        (GOOD | {"instances": [{"input": ""}]}, 'the key "instances[0].output" is missing.'),
        ({"instruction": "Greet me.", "output": "Helo"}, 'the key "input" is missing.'),
        (GOOD | {"id": 7}, '"id" is a number, not a string.'),
        (GOOD | {"instruction": ["Add."]}, '"instruction" is a list, not a string.'),
        (GOOD | {"instances": {"input": "", "output": ""}}, '"instances" is an object, not a list.'),
        (GOOD | {"instances": ["1, 2"]}, '"instances[0]" is a string, not an object.'),
        (GOOD | {"instances": [{"input": None, "output": ""}]}, '"instances[0].input" is null, not a string.'),
        (GOOD | {"is_classification": "no"}, '"is_classification" is a string, not true or false.'),
        (GOOD | {"is_classification": 0}, '"is_classification" is a number, not true or false.'),
        (FLAT | {"output": True}, '"output" is true or false, not a string.'),
        (GOOD | {"instances": []}, '"instances" is empty.'),
        (GOOD | {"instruction": " \n"}, '"instruction" is empty.'),
        (GOOD | {"id": ""}, '"id" is empty.'),
        (FLAT | {"output": "\ud83d"}, '"output" holds half of a surrogate pair, which is no character.'),
        (GOOD, 'the id "a" was already used on line 1.'),
        (FLAT | {"id": "a"}, 'the id "a" was already used on line 1.'),
    ],
)
def test_wrong_line_is_named(tmp_path: Path, line: dict[str, Any] | str | bytes, what: str) -> None:
    path = written(tmp_path, GOOD, "", line, GOOD | {"id": "later"})
    error = refusal(path)
    assert error.where == f"{path}, line 3"
    assert error.what == what
    assert error.mend.endswith(".")


def test_shipped_tasks_load() -> None:
    tasks = shipped()
    assert len(tasks) == 175
    assert len({task.id for task in tasks}) == 175
    assert sum(task.is_classification for task in tasks) == 44
    assert sum(bool(task.input) for task in tasks) == 96


def test_shipped_lines_keep_self_instructs_schema() -> None:
    text = (resources.files("isheep.seeds") / "general.jsonl").read_text(encoding="utf-8")
    lines = [json.loads(line) for line in text.splitlines()]
    assert [line["id"] for line in lines] == [f"seed_{number:03d}" for number in range(175)]
    assert len({line["name"] for line in lines}) == 175
    for line in lines:
        assert list(line) == ["id", "name", "instruction", "instances", "is_classification"]
        assert [list(instance) for instance in line["instances"]] == [["input", "output"]]
        assert re.fullmatch(r"[a-z0-9]+(_[a-z0-9]+)*", line["name"]), line["name"]


def test_shipped_tasks_are_fit_for_a_text_model() -> None:
    for task in shipped():
        texts = (task.instruction, task.input, task.output)
        assert [match.group() for text in texts for match in BEYOND_TEXT.finditer(text)] == [], task.id
        assert re.match("[A-Za-z]", task.instruction), task.id
        assert 4 <= len(task.instruction.split()) <= 60, task.id
        assert len(task.input.split()) <= 100, task.id
        assert not any(re.search(r"https?:|www\.", text) for text in texts), task.id
        assert task.output, task.id
        assert all(text == text.strip() for text in texts), task.id


def nearest(pairs: list[tuple[SeedTask, SeedTask]]) -> tuple[float, str, str]:
    scorer = RougeScorer(["rougeL"])
    return max(
        (scorer.score(one.instruction, other.instruction)["rougeL"].fmeasure, one.id, other.id) for one, other in pairs
    )


def test_shipped_tasks_are_far_from_each_other() -> None:
    assert nearest(list(combinations(shipped(), 2)))[0] <= NEAR


@pytest.mark.skipif(not SELF_INSTRUCT.exists(), reason="Self-Instruct's seed tasks are not beside the project")
def test_self_instructs_own_tasks_load_and_none_of_ours_is_near_one() -> None:
    theirs = load_seeds(SELF_INSTRUCT)
    assert len(theirs) == 175
    assert theirs[0].id == "seed_task_0"
    assert sum(task.is_classification for task in theirs) == 26
    assert nearest(list(product(shipped(), theirs)))[0] <= NEAR
