"""The side-by-side measurements: each answers for itself, and their rows are what whoever reads them relies on."""

from __future__ import annotations

import importlib
import json
import runpy
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
SIDE_BY_SIDE = sorted(
    file.stem
    for file in BENCHMARKS.glob("*.py")
    if "from side import" in (text := file.read_text(encoding="utf-8")) and "show(" in text
)
KEYS = {"what", "ours", "peer", "unit", "ratio", "goal", "versions", "spread"}


def test_the_scripts_that_measure_side_by_side_are_found() -> None:
    assert {"assess", "generate", "novelty", "sft"} <= set(SIDE_BY_SIDE)


@pytest.fixture
def side(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """benchmarks/side.py."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module("side")


@pytest.mark.parametrize("name", SIDE_BY_SIDE)
def test_says_what_it_measures(
    name: str, side: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", [f"{name}.py", "--help"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(BENCHMARKS / f"{name}.py"), run_name="__main__")
    assert ended.value.code == 0
    out = capsys.readouterr().out
    assert f"python benchmarks/{name}.py" in out
    assert "--json" in out


def test_less_is_better_unless_said_otherwise(side: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    ours, peer = side.measured([1.0, 2.0, 9.0]), side.measured([8.0])
    rows = [
        side.compared("time", ours, peer, "s", "2x", ["torch"]),
        side.compared("speed", ours, peer, "tokens/s", "2x", ["torch"], more_is_better=True),
        side.compared("size", ours, None, "MB", "", ["torch"]),
    ]
    side.show(rows, as_json=True)
    told = json.loads(capsys.readouterr().out)["rows"]
    assert all(set(row) == KEYS for row in told)
    assert [row["ratio"] for row in told] == [4.0, 0.25, None]
    assert told[0]["ours"] == 2.0
    assert told[0]["spread"] == {"ours": [1.0, 9.0], "peer": [8.0, 8.0]}
    assert told[2]["peer"] is None
    assert "torch" in told[0]["versions"]


def test_both_sides_take_turns(side: ModuleType) -> None:
    turns: list[str] = []

    def take(name: str) -> float:
        turns.append(name)
        return float(len(turns))

    ours, peer = side.alternately(lambda: take("ours"), lambda: take("peer"))
    assert turns == ["ours", "peer"] * 3
    assert (ours.value, peer.value) == (3.0, 4.0)


def test_children_are_counted(side: ModuleType) -> None:
    work = "import sys; sum(range(3_000_000)); sys.exit()"
    assert side.children_seconds(lambda: subprocess.run([sys.executable, "-c", work], check=True)) > 0
