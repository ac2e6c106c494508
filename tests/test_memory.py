"""How much memory another record costs each stage: what grows shall be what a stage has to know of every record."""

from __future__ import annotations

import gc
import importlib
import tracemalloc
from pathlib import Path

import pytest

import isheep.models

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
SMALL, LARGE = 400, 1_600
MOST = {
    "synthesize": 1_000,
    "resume": 1_000,
    "respond": 120,
    "assess": 120,
    "decontaminate": 120,
    "select": 600,
    "examine": 300,
    "gather": 120,
    "status": 120,
    "records": 120,
}
"""Bytes a record. Novelty has a pool, selection ids and a part in the making, health the texts that were kept; the rest
go through tables of any length. Who holds a table has 1,000 to 2,000 bytes of Python objects a record."""


def test_another_record_costs_a_stage_no_more_than_it_has_to_know(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("numba")
    monkeypatch.syspath_prepend(BENCHMARKS)
    million = importlib.import_module("million")
    # The benchmark puts its engine there; this puts back what was.
    monkeypatch.setattr(isheep.models, "open_engine", isheep.models.open_engine)
    monkeypatch.setitem(million.SETTINGS, "engine.batch_size", 32)
    peaks: dict[str, list[int]] = {}
    for size in (SMALL, SMALL, LARGE):  # The first time things are loaded.
        directory = tmp_path / f"{size}-{len(peaks.get('status', ()))}"
        for stage in MOST:
            work = million.does(stage, directory, size)
            gc.collect()
            tracemalloc.start()
            work()
            peaks.setdefault(stage, []).append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
    grown = {stage: round((large - small) / (LARGE - SMALL)) for stage, (_, small, large) in peaks.items()}
    assert {stage: cost for stage, cost in grown.items() if cost > MOST[stage]} == {}, grown
