"""What a continued list of tasks is read as."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from isheep.prompts.tasks import list_tasks, next_task, parse_tasks


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


def test_a_task_without_its_input_line_is_malformed_and_stays_whole() -> None:
    text = next_task(2) + " Name a river.\n###\n3. Instruction: Name a lake.\nInput: <noinput>"
    assert list(parse_tasks(text, cut=False)) == [
        ("2. Instruction: Name a river.", "", True),
        ("Name a lake.", "", False),
    ]


@given(st.text(), st.booleans())
def test_any_text_is_read_without_an_error(text: str, cut: bool) -> None:
    for instruction, input_, malformed in parse_tasks(text, cut):
        assert instruction == instruction.strip()
        assert not (malformed and input_)


def test_tasks_are_numbered_from_where_the_list_begins() -> None:
    listed = list_tasks([("Add.", "1 2")], first=3) + next_task(4)
    assert listed == "3. Instruction: Add.\nInput: 1 2\n###\n4. Instruction:"
