"""Judges' answers are kept in a folder of each test's own, a server's faults are tried again at once; lamb is asked."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from isheep.engines import http
from isheep.models import Models
from isheep.recipe import load_recipe


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder; nothing is in it yet."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("ISHEEP_CACHE", str(folder))
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setattr(http, "FIRST_PAUSE_S", 0.01)
    return folder


@pytest.fixture(scope="module")
def models() -> Iterator[Models]:
    """lamb, as its recipe has it."""
    with Models(load_recipe("lamb")) as opened:
        yield opened
