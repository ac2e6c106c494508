"""A model of a run at a URL, whose weights are not on this machine yet."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from isheep.checkpoint import ADAPTER
from isheep.store.mirror import mirrored
from tests.cli.conftest import isheep
from tests.s3 import serving


def test_its_weights_are_fetched(lamb_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving("runs"):
        monkeypatch.setenv("ISHEEP_CACHE", str(tmp_path / "there"))
        with mirrored("s3://runs/lamb") as work:
            shutil.copytree(lamb_run, work, dirs_exist_ok=True, ignore=shutil.ignore_patterns("lock"))
        monkeypatch.setenv("ISHEEP_CACHE", str(tmp_path / "here"))
        told = isheep("export", "s3://runs/lamb", "--as", "adapter", "--iteration", "2", "--to", tmp_path / "adapter")
    assert told.returncode == 0, told.stderr
    assert told.stdout == f"{tmp_path / 'adapter'}: adapter of iteration 2, on package:lamb/model\n"
    own = lamb_run / "iteration-02" / "adapter" / ADAPTER
    assert (tmp_path / "adapter" / ADAPTER).read_bytes() == own.read_bytes()
