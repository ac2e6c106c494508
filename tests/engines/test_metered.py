"""Tokens are counted as they pass, and everything else passes as it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from isheep.engines import Request
from isheep.engines.metered import Metered
from isheep.engines.transformers import TransformersEngine
from isheep.meter import Meter

PROMPTS = [(5, 6, 7), (8, 9), (5, 6)]


@pytest.fixture
def engine(tiny_model: Path) -> TransformersEngine:
    return TransformersEngine(tiny_model, dtype="float32", device="cpu", batch_size=2, threads=1, pad_id=0)


def requests() -> list[Request]:
    return [Request(str(n), prompt, 4 + n, frozenset(), seed=n) for n, prompt in enumerate(PROMPTS)]


def test_generation_reads_its_prompts_and_writes_what_comes_out(engine: TransformersEngine) -> None:
    plain = list(engine.generate(requests()))
    with Meter() as meter, Metered(engine) as metered:
        found = list(metered.generate(requests()))
        spent = meter.spent()
    assert found == plain
    assert (spent.read, spent.written) == (7, 4 + 5 + 6)


def test_a_request_that_nobody_took_counts_nothing(engine: TransformersEngine) -> None:
    with Meter() as meter, Metered(engine) as metered:
        next(iter(metered.generate(iter(requests()))))
        spent = meter.spent()
    assert spent.read == 5, "the first window of two"
    assert spent.written in (4, 5)


def test_what_is_scored_or_embedded_is_read(engine: TransformersEngine) -> None:
    expected = (
        engine.score_next(PROMPTS, [(3,), (4, 5)]),
        engine.score_sequences(PROMPTS),
        engine.embed(PROMPTS),
    )
    with Metered(engine) as metered:
        assert metered.positions == engine.positions
        with Meter() as meter:
            first = metered.score_next(PROMPTS, [(3,), (4, 5)])
            assert meter.spent().read == 7 + 3 * 3
        with Meter() as meter:
            second, third = metered.score_sequences(PROMPTS), metered.embed(PROMPTS)
            spent = meter.spent()
    assert (first, second, third) == expected
    assert (spent.read, spent.written) == (14, 0)
