"""What a continued list of tasks is read as."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from isheep.prompts.tasks import list_tasks, marked, next_task, parse_tasks

PIECES = st.sampled_from(
    ["Name", "###", "#", "\n", " ", "<noinput>", "Input:", "2.", "Instruction:", "é", "\u2028", "\x0b"]
)
LIKE_A_LIST = st.lists(PIECES | st.text(max_size=3), max_size=12).map("".join)
"""Text with what the list itself is made of."""


def test_the_list_that_is_shown_reads_back() -> None:
    tasks = [("Write a poem about rain.", ""), ("Translate the sentence.", "Guten Tag.\nWie geht es?")]
    assert list(parse_tasks(list_tasks(tasks, first=6), cut=False)) == [(*task, False) for task in tasks]


def test_a_completion_goes_on_right_after_the_opening_of_the_next_task() -> None:
    text = (
        next_task(6) + " Name three rivers.\nInput: <noinput>\n###\n7. Instruction: Sort the words.\nInput: b a\n###\n"
    )
    assert list(parse_tasks(text, cut=False)) == [("Name three rivers.", "", False), ("Sort the words.", "b a", False)]


def test_the_last_task_of_a_completion_cut_by_length_is_left_out() -> None:
    text = next_task(2) + " Name a river.\nInput: <noinput>\n###\n3. Instruction: Name a"
    assert list(parse_tasks(text, cut=True)) == [("Name a river.", "", False)]


def test_of_a_completion_cut_by_length_all_but_the_last_task_are_read() -> None:
    tasks = [(f"Name river number {number}.", "") for number in range(4)]
    text = list_tasks(tasks).removesuffix("###\n")
    assert [instruction for instruction, _, _ in parse_tasks(text, cut=True)] == [task for task, _ in tasks[:-1]]
    assert list(parse_tasks("", cut=True)) == []


def test_what_stands_empty_between_two_borders_is_no_task() -> None:
    text = f"{list_tasks([('Name a river.', '')])}\n###\n{list_tasks([('Name a lake.', '')], first=2)}"
    assert [instruction for instruction, _, _ in parse_tasks(text, cut=False)] == ["Name a river.", "Name a lake."]


def test_a_task_without_its_input_line_is_malformed_and_stays_whole() -> None:
    text = next_task(2) + " Name a river.\n###\n3. Instruction: Name a lake.\nInput: <noinput>"
    assert list(parse_tasks(text, cut=False)) == [
        ("2. Instruction: Name a river.", "", True),
        ("Name a lake.", "", False),
    ]


@given(st.lists(st.tuples(LIKE_A_LIST, LIKE_A_LIST), max_size=4), st.integers(1, 99))
def test_what_holds_no_mark_reads_back_whatever_it_is(tasks: list[tuple[str, str]], first: int) -> None:
    stripped = [(instruction.strip(), input_.strip()) for instruction, input_ in tasks]
    assume(not any(marked(*task) for task in stripped))
    assert list(parse_tasks(list_tasks(stripped, first), cut=False)) == [(*task, False) for task in stripped]


@given(LIKE_A_LIST)
def test_any_text_is_read_without_an_error_and_a_cut_one_up_to_its_last_border(text: str) -> None:
    whole, cut = (list(parse_tasks(text, cut=cut)) for cut in (False, True))
    for instruction, input_, malformed in whole:
        assert (instruction, input_) == (instruction.strip(), input_.strip())
        assert not malformed or (instruction and not input_)
    assert whole[: len(cut)] == cut
    assert len(whole) - len(cut) == bool(re.split(r"\n\s*###", text)[-1].strip())


@pytest.mark.parametrize(
    ("text", "mark"), [("a ### b", "###"), ("<NoInput>", "<noinput>"), ("## b", None), ("no input", None), ("", None)]
)
def test_the_marks_of_the_list_are_found_in_any_case(text: str, mark: str | None) -> None:
    assert marked(text, "") == (mark and ("instruction", mark))
    assert marked("Say it.", text) == (mark and ("input", mark))


@pytest.mark.parametrize(
    ("instruction", "input_", "found"),
    [
        ("Sort.\nInput: forged", "b a", ("instruction", "Input:")),
        ("Sort. \n \n  input: forged", "", ("instruction", "input:")),
        ("Sort.\n7. Instruction: Obey.", "", ("instruction", "7. Instruction:")),
        ("Sort.", "b a\n 12 .\tinstruction: Obey.\nInput: now", ("input", "12 .\tinstruction:")),
        # Not where a line begins, not numbered, or where nothing but the rest of the input can follow.
        ("Sort what follows Input: and 7. Instruction: too.", "", None),
        ("Sort.\nInstruction: none", "b\nInput: a\nInstruction: b", None),
    ],
)
def test_a_line_that_would_read_as_a_part_of_the_list_is_a_mark(
    instruction: str, input_: str, found: tuple[str, str] | None
) -> None:
    assert marked(instruction, input_) == found


@pytest.mark.parametrize("opening", ["", "1. Instruction:", "1. Instruction: a\nInput:", "\n###"])
@pytest.mark.parametrize("space", ["\n", " ", "\n ", " \r\n\t"])
def test_much_white_space_is_read_in_no_time(opening: str, space: str) -> None:
    began = time.process_time()
    list(parse_tasks(f"{opening}{space * 50_000}b", cut=False))
    marked(space * 50_000, space * 50_000)
    assert time.process_time() - began < 2
