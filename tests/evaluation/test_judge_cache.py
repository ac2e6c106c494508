"""Judges' answers on disk: damage is found, several processes write at once, and nothing wrong is ever told."""

from __future__ import annotations

import logging
import random
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from isheep.errors import UserError
from isheep.evaluation.judge_cache import FILE, JudgeCache, content_key


def test_a_damaged_file_is_set_aside_and_begun_anew(cache: Path, caplog: pytest.LogCaptureFixture) -> None:
    with JudgeCache() as kept:
        kept.put("key", {"text": "told"})
    (cache / FILE).write_bytes(b"not a database, but long enough to be looked at" * 100)
    with caplog.at_level(logging.WARNING), JudgeCache() as kept:
        assert kept.get("key") is None
        kept.put("key", {"text": "again"})
        assert kept.get("key") == {"text": "again"}
    assert (cache / f"{FILE}.broken").exists()
    assert "damaged" in caplog.text


def test_pages_that_were_overwritten_give_no_wrong_answer(cache: Path) -> None:
    with JudgeCache() as kept:
        for number in range(150):
            kept.put(content_key({"number": number}), {"text": f"answer {number} " * 20})
    content = bytearray((cache / FILE).read_bytes())
    content[len(content) // 2 : len(content) // 2 + 5000] = random.Random(0).randbytes(5000)
    (cache / FILE).write_bytes(content)
    with JudgeCache() as kept:
        found = [kept.get(content_key({"number": number})) for number in range(150)]
    assert all(one in (None, {"text": f"answer {number} " * 20}) for number, one in enumerate(found))
    assert None in found


def test_an_answer_that_was_changed_is_none(cache: Path) -> None:
    with JudgeCache() as kept:
        kept.put("a", {"text": "[[3]]"})
        kept.put("b", {"text": "[[4]]"})
    with sqlite3.connect(cache / FILE) as raw:
        raw.execute("UPDATE answers SET answer = replace(answer, '3', '9') WHERE key = 'a'")
    with JudgeCache() as kept:
        assert (kept.get("a"), kept.get("b")) == (None, {"text": "[[4]]"})


def test_several_processes_keep_answers_at_once(cache: Path) -> None:
    script = """
import sys
from isheep.evaluation.judge_cache import JudgeCache
with JudgeCache() as kept:
    for number in range(20):
        kept.put(f"{sys.argv[1]}-{number}", {"text": sys.argv[1]})
"""
    writers = [subprocess.Popen([sys.executable, "-c", script, name]) for name in "abcd"]
    assert [writer.wait(120) for writer in writers] == [0] * 4
    with JudgeCache() as kept:
        assert all(kept.get(f"{name}-{number}") == {"text": name} for name in "abcd" for number in range(20))


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="ISHEEP_CACHE"):
        JudgeCache(tmp_path / "file" / "below")
