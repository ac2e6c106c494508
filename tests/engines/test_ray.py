"""Workers on a Ray cluster: what one engine would have said, whoever says it and whoever is lost."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from isheep import drain
from isheep.encoder import Encoder
from isheep.engines import Completion, Request, open_engine
from isheep.engines.ray import RayEngine, _Handed
from isheep.engines.ray_cluster import Share, connect
from isheep.engines.ray_worker import Task
from isheep.errors import StageError, UserError
from isheep.recipe import Recipe, load_recipe
from tests.data import LAMB

ray: Any = pytest.importorskip("ray", reason="Ray is not installed here")

WINDOW = 8


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return Encoder.load(LAMB, "chatml")


@pytest.fixture(scope="module")
def recipe() -> Iterator[Recipe]:
    settings = ["engine.workers=2", "engine.ray.cpus=0.5", "engine.window=2", f"engine.batch_size={WINDOW // 2}"]
    yield load_recipe("lamb", settings)
    ray.shutdown()


@pytest.fixture
def engine(recipe: Recipe, encoder: Encoder) -> Iterator[RayEngine]:
    with open_engine(recipe, encoder) as opened:
        assert isinstance(opened, RayEngine)
        yield opened


@pytest.fixture(scope="module")
def asked(encoder: Encoder) -> list[Request]:
    prompt = encoder.plain("Question: Repeat the word lamp 3 times.\nAnswer:")
    return [Request(str(number), prompt[: 6 + number % 9], 24, frozenset(), 1.0, 0.95, number) for number in range(100)]


@pytest.fixture(scope="module")
def alone(recipe: Recipe, encoder: Encoder, asked: list[Request]) -> dict[str, Completion]:
    """What the engine says by itself."""
    plain = recipe.engine.model_copy(update={"workers": 0})
    with open_engine(recipe.model_copy(update={"engine": plain}), encoder) as opened:
        return by_id(opened.generate(asked))


def by_id(completions: Iterator[Completion]) -> dict[str, Completion]:
    found = list(completions)
    assert len(found) == len({one.id for one in found}), "none comes twice"
    return {one.id: one for one in found}


def pids(engine: RayEngine) -> list[int]:
    return [int(seat.place.split()[1]) for seat in engine._seats if seat.ready]


def test_workers_say_what_one_engine_says(
    engine: RayEngine, asked: list[Request], alone: dict[str, Completion]
) -> None:
    assert by_id(engine.generate(asked)) == alone
    assert len(set(pids(engine))) == 2


def test_what_a_killed_worker_was_at_is_done_again(
    engine: RayEngine, asked: list[Request], alone: dict[str, Completion], capsys: pytest.CaptureFixture[str]
) -> None:
    completions = engine.generate(asked)
    first = list(islice(completions, 3))
    for pid in pids(engine):
        os.kill(pid, signal.SIGKILL)
    rest = list(completions)
    assert by_id(iter([*first, *rest])) == alone
    assert "a worker is lost, process " in capsys.readouterr().err


def test_worker_that_starts_late_has_the_adapter_on(
    engine: RayEngine, asked: list[Request], alone: dict[str, Completion], tmp_path: Path
) -> None:
    torch.manual_seed(1)
    model = AutoModelForCausalLM.from_pretrained(LAMB, dtype=torch.float32)
    config = LoraConfig(r=8, target_modules="all-linear", init_lora_weights=False)
    get_peft_model(model, config).save_pretrained(tmp_path / "adapter")
    engine.use(tmp_path / "adapter")
    adapted = by_id(engine.generate(asked))
    assert adapted != alone
    for pid in pids(engine):
        os.kill(pid, signal.SIGKILL)
    assert by_id(engine.generate(asked)) == adapted
    engine.use(None)
    assert by_id(engine.generate(asked)) == alone


def test_what_nobody_reads_any_more_is_dropped(
    engine: RayEngine, asked: list[Request], alone: dict[str, Completion]
) -> None:
    left = engine.generate(asked)
    next(left)
    left.close()  # type: ignore[attr-defined]
    assert by_id(engine.generate(asked)) == alone, "and none of the first call comes in the second"


def test_lists_of_any_length_come_back_in_their_order(engine: RayEngine, asked: list[Request]) -> None:
    texts = [one.prompt for one in asked[: 2 * WINDOW + 3]]
    rows = engine.score_sequences(texts)
    assert [len(row) for row in rows] == [len(text) - 1 for text in texts]
    nexts = engine.score_next(texts, [(20,), (21,)])
    for text, row in zip(texts, nexts, strict=True):
        assert row == pytest.approx(engine.score_next([text], [(20,), (21,)])[0], abs=1e-5)
    assert engine.score_sequences([]) == engine.score_next([], [(20,)]) == engine.embed([]) == []


def test_an_error_of_a_worker_is_one_message(engine: RayEngine, asked: list[Request]) -> None:
    with pytest.raises(StageError, match=r"engine\.workers: process \d+ on .* failed \(a prompt has no tokens\)"):
        list(engine.generate([Request("empty", (), 4, frozenset())]))
    assert len(by_id(engine.generate(asked))) == len(asked), "and it goes on"


def test_model_that_does_not_load_is_the_users_message(recipe: Recipe, encoder: Encoder, tmp_path: Path) -> None:
    for file in LAMB.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    spoiled = (tmp_path / "config.json").read_text().replace('"LlamaForCausalLM"', '"NoSuchModel"')
    (tmp_path / "config.json").write_text(spoiled.replace('"llama"', '"no_such_type"'))
    model = recipe.model.model_copy(update={"path": str(tmp_path)})
    with pytest.raises(UserError, match="no_such_type"):
        open_engine(recipe.model_copy(update={"model": model}), encoder)


def test_a_run_still_drains_at_sigterm() -> None:
    ray.shutdown()
    with drain.on_signals():
        ours = signal.getsignal(signal.SIGTERM)
        connect(None)
        assert signal.getsignal(signal.SIGTERM) is ours, "Ray would have put its own handler there"


@pytest.mark.parametrize(
    ("nodes", "fitting"),
    [
        ([], 0),
        ([{"CPU": 8.0, "memory": 64 * 2**30}], 0),
        ([{"CPU": 8.0, "GPU": 4.0, "memory": 64 * 2**30}], 2),
        ([{"CPU": 2.0, "GPU": 8.0, "memory": 64 * 2**30}], 2),
        ([{"CPU": 8.0, "GPU": 8.0, "memory": 12 * 2**30}], 1),
        ([{"CPU": 8.0, "GPU": 3.0, "memory": 64 * 2**30}] * 3, 3),
    ],
)
def test_workers_find_room_machine_by_machine(nodes: Sequence[dict[str, float]], fitting: int) -> None:
    assert Share(cpus=1, gpus=2, memory=10 * 2**30).of(nodes) == fitting


def task(number: int, size: int) -> Task:
    return Task(1, "generate", tuple(f"{number}-{place}" for place in range(size)), ())


@given(st.lists(st.integers(1, 4), max_size=12), st.randoms(use_true_random=False))
def test_every_key_comes_once_whatever_is_lost(sizes: list[int], rng: Any) -> None:
    most = 4
    handed = _Handed((task(number, size) for number, size in enumerate(sizes)), most)
    under_way: list[tuple[Task, list[str]]] = []
    found: list[str] = []
    while True:
        while (one := handed.next()) is not None:
            under_way.append((one, list(one.keys)))
        # A task that was lost and is done again may be known whole before its last worker has said so.
        assert len({one.keys for one, _ in under_way if not handed.is_done(one)}) <= most
        if handed.is_over:
            break
        one, keys = under_way[rng.randrange(len(under_way))]
        if rng.random() < 0.3:
            under_way.remove((one, keys))
            handed.again([one])
        else:
            key = keys.pop(rng.randrange(len(keys)))
            found += [key] if handed.is_new(key) else []
            if not keys:
                under_way.remove((one, keys))
                assert handed.is_done(one)
    assert sorted(found) == sorted(key for number, size in enumerate(sizes) for key in task(number, size).keys)
