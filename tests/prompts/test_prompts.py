"""Prompts are files with just the fields that are filled, and a value is never filled again."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isheep.errors import UserError
from isheep.prompts import Prompt, bare


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "prompt.txt"
    path.write_text("# A header.\n---\nTask:\n{{instruction}}\n{{input}}\nScore:\n", encoding="utf-8")
    return path


def test_a_line_with_nothing_but_an_empty_field_is_left_out(file: Path) -> None:
    prompt = Prompt.load(file, ["instruction", "input"])
    assert prompt.render(instruction="Add.", input="") == "Task:\nAdd.\nScore:"
    assert prompt.render(instruction="Add.", input="1 2") == "Task:\nAdd.\n1 2\nScore:"


@given(st.text(), st.text(min_size=1))
def test_what_stands_in_a_value_stays_as_it_is(before: str, after: str) -> None:
    prompt = Prompt("{{instruction}}|{{input}}", "id")
    value = f"{before}{{{{input}}}}{after}"
    assert prompt.render(instruction=value, input="x") == f"{value}|x"


def test_the_id_follows_the_text_and_not_the_header(file: Path) -> None:
    before = Prompt.load(file, ["instruction", "input"]).id
    file.write_text(file.read_text(encoding="utf-8").replace("A header", "Another"), encoding="utf-8")
    assert Prompt.load(file, ["instruction", "input"]).id == before
    file.write_text(file.read_text(encoding="utf-8").replace("Score", "Mark"), encoding="utf-8")
    assert Prompt.load(file, ["instruction", "input"]).id != before


@pytest.mark.parametrize(
    ("content", "what"),
    [("no border {{instruction}}", "has no line `---`"), ("#\n---\n{{instruction}} {{answer}}", "has the fields")],
)
def test_a_prompt_file_that_does_not_fit(file: Path, content: str, what: str) -> None:
    file.write_text(content, encoding="utf-8")
    with pytest.raises(UserError) as refused:
        Prompt.load(file, ["instruction", "input"])
    assert what in refused.value.what
    assert refused.value.where == str(file)


def test_a_task_as_plain_text() -> None:
    assert bare("Add.", "") == "Add."
    assert bare("Add.", "1 2") == "Add.\n1 2"
