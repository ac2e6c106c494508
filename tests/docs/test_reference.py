"""The pages that are made from the code are as the code is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from isheep.recipe import setting_names
from tests.docs.reference import PAGES, cli_page, recipe_page


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_the_page_is_as_the_code_is(path: Path) -> None:
    page: Callable[[], str] = PAGES[path]
    assert path.read_text(encoding="utf-8") == page(), "python -m tests.docs makes it anew"


def test_every_setting_has_its_place() -> None:
    page = recipe_page()
    assert all(f"\n### {name}\n" in page for name in setting_names())
    assert page.count("\n### ") == len(setting_names())


def test_hidden_commands_are_no_part_of_it() -> None:
    assert "isheep run" in cli_page()
    assert "isheep work`" not in cli_page()
