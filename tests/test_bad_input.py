"""Every bad input: the exit code, the message, no traceback, nothing begun; and the page that lists them."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.bad_input.case import Case, ask, matches
from tests.bad_input.table import CASES, PAGE, page


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_bad_input(case: Case, tmp_path: Path) -> None:
    if case.absent and find_spec(case.absent):
        pytest.skip(f"{case.absent} is installed here")
    folder = tmp_path / "here"  # with nothing beside it that could have been meant
    folder.mkdir()
    said = ask(case, folder)
    assert matches(case.says, said.message), said.message
    assert said.code == case.code
    assert "Traceback" not in said.errors + said.output
    if not case.begins:
        assert (said.changed, said.output) == ([], "")


def test_there_are_enough_and_each_has_a_name_of_its_own() -> None:
    names = [case.name for case in CASES]
    assert len(names) == len(set(names)) >= 80


def test_the_page_is_as_the_cases_are() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "write it anew: python -m tests.bad_input"
