"""What only vLLM has: a process that can be missing, refuse a model or die."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from isheep.encoder import Encoder
from isheep.engines import Request, open_engine
from isheep.engines.vllm import VllmEngine
from isheep.errors import StageError, UserError
from isheep.recipe import Recipe, load_recipe
from tests.cli.conftest import isheep
from tests.data import LAMB
from tests.engines.test_contract import needs_vllm

REQUESTS = [Request(str(n), (10, 20, 30 + n), 300, frozenset(), 1.0, seed=n) for n in range(40)]


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    return load_recipe("lamb", ["engine=vllm", "engine.batch_size=8"])


@pytest.fixture
def engine(recipe: Recipe) -> Iterator[VllmEngine]:
    with VllmEngine(LAMB, recipe) as opened:
        yield opened


@pytest.mark.skipif(find_spec("vllm") is not None, reason="vLLM is installed")
def test_missing_vllm_is_found_before_anything_is_spent(tmp_path: Path) -> None:
    ended = isheep("run", "lamb", "engine=vllm", "--dir", tmp_path / "run")
    assert ended.returncode == 2
    assert "isheep[vllm]" in ended.stderr
    assert not (tmp_path / "run").exists()


@needs_vllm
def test_process_that_dies_is_reported_with_what_it_said(engine: VllmEngine) -> None:
    completions = engine.generate(REQUESTS)
    next(completions)
    os.kill(engine._process._child.pid, signal.SIGKILL)
    with pytest.raises(StageError, match="ended by signal 9") as told:
        list(completions)
    assert Path(str(told.value).split(" is in ")[1].split(",")[0]).is_file()
    with pytest.raises(StageError, match="ended by signal 9"):
        engine.use(None)


@needs_vllm
def test_dead_process_can_be_followed_by_another(recipe: Recipe) -> None:
    encoder = Encoder.load(LAMB, "chatml")
    with open_engine(recipe, encoder) as first, open_engine(recipe, encoder) as second:
        expected = {one.id: one for one in first.generate(REQUESTS[:4])}
        assert {one.id: one for one in second.generate(REQUESTS[:4])} == expected


@needs_vllm
def test_model_that_does_not_load_is_one_message(tmp_path: Path) -> None:
    settings = ["engine=vllm", f"model.path={tmp_path}"]
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    with pytest.raises(UserError, match="does not load in vLLM") as told:
        VllmEngine(tmp_path, load_recipe("lamb", settings))
    assert told.value.where == str(tmp_path)


@needs_vllm
def test_process_ends_with_its_parent(recipe: Recipe) -> None:
    """A parent that is killed hangs up, which is all that the process waits for."""
    reading, writing = os.pipe()
    parent = os.fork()
    if parent == 0:
        engine = VllmEngine(LAMB, recipe)
        os.write(writing, str(engine._process._child.pid).encode())
        os.kill(os.getpid(), signal.SIGKILL)
    os.close(writing)
    os.waitpid(parent, 0)
    with os.fdopen(reading) as pipe:
        pid = int(pipe.read())
    descriptor = _open(pid)
    if descriptor is not None:
        assert select.select([descriptor], [], [], 30)[0], "it lives on"


def _open(pid: int) -> int | None:
    """A descriptor that becomes readable when the process ends; None where it has ended."""
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:
        return None
