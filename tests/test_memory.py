"""How much memory another record costs each stage: what grows shall be what a stage has to know of every record."""

from __future__ import annotations

import gc
import importlib
import tracemalloc
from pathlib import Path

import pytest

from isheep.engines import open_engine

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
SMALL, LARGE = 400, 1_600
MOST = {
    "synthesize": 500,
    "resume": 600,
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
    monkeypatch.setattr("isheep.models.open_engine", open_engine)
    # What is in memory at a time, however many records there are, shall be little beside the smaller run.
    monkeypatch.setitem(million.SETTINGS, "engine.batch_size", 32)
    monkeypatch.setattr("isheep.store.table._AT_ONCE", 64)
    peaks: dict[tuple[str, int], int] = {}
    for size in (million.WARMING, SMALL, LARGE):
        for stage in MOST:
            work = million.does(stage, tmp_path / str(size), size)
            gc.collect()
            if size != million.WARMING:
                tracemalloc.start()
            work()
            peaks[stage, size] = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
    grown = {stage: round((peaks[stage, LARGE] - peaks[stage, SMALL]) / (LARGE - SMALL)) for stage in MOST}
    assert {stage: cost for stage, cost in grown.items() if cost > MOST[stage]} == {}, grown
