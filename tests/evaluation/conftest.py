"""Judges' answers are kept in a folder of each test's own, and a server's faults are tried again at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from isheep.engines import http


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder; nothing is in it yet."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("ISHEEP_CACHE", str(folder))
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setattr(http, "FIRST_PAUSE_S", 0.01)
    return folder
