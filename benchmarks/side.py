"""What every side-by-side measurement prints: rows of ours beside a peer's, as JSON or as a Markdown table."""

from __future__ import annotations

import argparse
import json
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median

REPEATS = 3

PEERS = Path(__file__).parents[1] / "build" / "peers"
"""Environments of peers that do not fit beside isheep."""


@dataclass(frozen=True, slots=True)
class Measured:
    """The median of some repeats, and the least and the most of them."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Row:
    """One comparison; `ratio` is how many times as good ours is, None without a peer."""

    what: str
    ours: float
    peer: float | None
    unit: str
    ratio: float | None
    goal: str
    versions: dict[str, str]
    spread: dict[str, tuple[float, float]]
    """Least and most of the repeats, of `ours` and of `peer`."""


def cpu_seconds(work: Callable[[], object]) -> float:
    """What this process spends on it: on a shared machine the clock on the wall counts the neighbours too."""
    start = time.process_time()
    work()
    return time.process_time() - start


def children_seconds(work: Callable[[], object]) -> float:
    """What the processes spend that it starts and waits for, theirs included."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    work()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def wall_seconds(work: Callable[[], object]) -> float:
    """What the clock on the wall says, where other processes or a GPU do the work."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def measured(values: Sequence[float]) -> Measured:
    """Of at least one repeat."""
    return Measured(median(values), min(values), max(values))


def alternately(
    ours: Callable[[], float], peer: Callable[[], float], repeats: int = REPEATS
) -> tuple[Measured, Measured]:
    """Both figures by turns: a machine that slows down does so for both."""
    found = [(ours(), peer()) for _ in range(repeats)]
    return measured([mine for mine, _ in found]), measured([theirs for _, theirs in found])


def compared(
    what: str,
    ours: Measured,
    peer: Measured | None,
    unit: str,
    goal: str,
    packages: Sequence[str],
    more_is_better: bool = False,
    others: Mapping[str, str] | None = None,
) -> Row:
    """A row in which less is better (time, cost) or more (speed); `others` are versions in other environments."""
    ratio = None if peer is None else ours.value / peer.value if more_is_better else peer.value / ours.value
    return Row(
        what,
        ours.value,
        peer.value if peer else None,
        unit,
        ratio,
        goal,
        {"python": platform.python_version(), **{name: version(name) for name in packages}, **(others or {})},
        {name: (one.low, one.high) for name, one in (("ours", ours), ("peer", peer)) if one},
    )


def peer_python(name: str, *requirements: str) -> Path:
    """The interpreter of a peer's own environment under `build/peers`, which is made where it is not there."""
    folder = PEERS / name
    python, made = folder / "bin" / "python", folder / "installed"
    if not made.is_file():
        # S603: an interpreter and names of packages that stand in our scripts.
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)  # noqa: S603
        # S603: an interpreter and names of packages that stand in our scripts.
        subprocess.run([python, "-m", "pip", "install", "--quiet", *requirements], check=True, stdout=sys.stderr)  # noqa: S603
        made.touch()
    return python


def parser(about: str) -> argparse.ArgumentParser:
    """With what every script takes."""
    made = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--json", action="store_true", help="one JSON document instead of a table")
    return made


def show(rows: Sequence[Row], as_json: bool) -> None:
    """Prints them, to standard output and nothing else there."""
    if as_json:
        print(json.dumps({"rows": [asdict(row) for row in rows]}, indent=1))
        return
    print("| what | ours | peer | unit | ratio | goal |\n|---|---|---|---|---|---|")
    for row in rows:
        ratio = "" if row.ratio is None else f"{row.ratio:,.0f}x" if row.ratio >= 100 else f"{row.ratio:.2f}x"
        print(f"| {row.what} | {_cell(row, 'ours')} | {_cell(row, 'peer')} | {row.unit} | {ratio} | {row.goal} |")
    print(f"\n{', '.join(f'{name} {number}' for name, number in rows[0].versions.items())}")


def _cell(row: Row, side: str) -> str:
    value = getattr(row, side)
    if value is None:
        return ""
    low, high = row.spread[side]
    return f"{value:,.4g} ({low:,.4g} to {high:,.4g})"
