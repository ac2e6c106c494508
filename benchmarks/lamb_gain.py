"""What the loop does for lamb, with its controls: `python benchmarks/lamb_gain.py --dir DIR [--seeds 0 1 2 3 4]`.

Runs `isheep run lamb` for each seed and each control, one after the other on `--jobs` processes, and prints the tables
of docs/lab-log.md. A second call goes on, or only prints. Every control of a seed shares its seed and differs in the
settings that are printed with it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from reproduction_findings import signed

from isheep.intervals import Interval, paired_bootstrap, score
from isheep.lamb.verify import examine
from isheep.stages.once import SWEEP
from isheep.store.run import Run
from isheep.store.status import status

METRIC = "prompt_level_strict_acc"
SELECT_ALL = "select.threshold=0"


def main() -> None:
    """Runs what is missing, then prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dir", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--control-seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--controls", nargs="*", default=["no-filter", "random", "capped", "epochs", "one-large"])
    parser.add_argument("settings", nargs="*", metavar="KEY=VALUE", help="settings of every run")
    given = parser.parse_args()
    given.dir.mkdir(parents=True, exist_ok=True)
    # What a control has in common with its main run is made once: so runs share that lie beside a sweep.json.
    (given.dir / SWEEP).touch()
    with ThreadPoolExecutor(given.jobs) as pool:
        main_runs = [
            pool.submit(_run, given.dir / f"main-{seed}", [f"seed={seed}", *given.settings]) for seed in given.seeds
        ]
        for done in main_runs:
            done.result()
        controls = [
            pool.submit(_run, given.dir / f"{name}-{seed}", [f"seed={seed}", *given.settings, *settings])
            for name in given.controls
            for seed in given.control_seeds
            for settings in [_control(name, given.dir / f"main-{seed}")]
        ]
        for done in controls:
            done.result()
    for name in ["main", *given.controls]:
        seeds = given.seeds if name == "main" else given.control_seeds
        print("\n".join(_table(name, [given.dir / f"{name}-{seed}" for seed in seeds])), end="\n\n")
    print("\n".join(_gain([given.dir / f"main-{seed}" for seed in given.seeds], given.seeds)))


def _control(name: str, main_run: Path) -> list[str]:
    """The settings in which a control differs from the main run of its seed."""
    rows = status(Run.read(main_run))["iterations"][1:]
    kept = [row["kept"] for row in rows]
    recipe = Run.read(main_run).recipe
    settings: dict[str, list[str]] = {
        "no-filter": [SELECT_ALL],
        "random": ["select.filters=[random]", f"select.random={json.dumps(kept)}"],
        "capped": [f"select.cap={kept[0]}"],
        "epochs": ["train.steps=null", "train.epochs=8"],
        "one-large": ["iterations=1", f"size={recipe.size * recipe.iterations}"],
    }
    return settings[name]


def _run(directory: Path, settings: Sequence[str]) -> None:
    if (directory / "done.json").is_file():
        return
    command = [str(Path(sys.executable).with_name("isheep")), "run", "lamb", *settings, "--dir", str(directory)]
    # S603: our own command and settings that stand above.
    ended = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    print(f"{'ok  ' if ended.returncode == 0 else 'FAIL'} {' '.join(command[1:])}", file=sys.stderr, flush=True)
    if ended.returncode:
        print(ended.stderr[-2000:], file=sys.stderr, flush=True)


def _table(name: str, runs: Sequence[Path]) -> Iterator[str]:
    """A row per seed: score with interval, pairs kept and SFT steps of every iteration."""
    found = [status(Run.read(run)) for run in runs if (run / "done.json").is_file()]
    if not found:
        return
    columns = max(len(document["iterations"]) for document in found)
    yield f"**{name}**"
    yield "| seed | " + " | ".join(f"iteration {number}" for number in range(columns)) + " |"
    yield "|---" * (columns + 1) + "|"
    for document in found:
        cells = [
            score(row["scores"]["lamb"][METRIC])
            + (f" ({row['kept']} kept, {row['train']['steps']} steps)" if row["kept"] else "")
            for row in document["iterations"]
        ]
        yield f"| {document['recipe']['seed']} | " + " | ".join(cells) + " |"
    for run in runs:
        for iteration in Run.read(run).iterations()[1:] if (run / "done.json").is_file() else []:
            yield f"    {run.name} {json.dumps(examine(iteration))}"


def _gain(runs: Sequence[Path], seeds: Sequence[int]) -> Iterator[str]:
    """The paired difference of later iterations to the first, over prompts and over seeds."""
    items = {run: [_items(run, number) for number in range(len(Run.read(run).iterations()))] for run in runs}
    last = min(len(per_run) for per_run in items.values()) - 1
    yield "| later - iteration 1 | " + " | ".join(f"seed {seed}" for seed in seeds) + " | over seeds and prompts |"
    yield "|---" * (len(seeds) + 2) + "|"
    for number in range(2, last + 1):
        cells = [signed(paired_bootstrap(per_run[1], per_run[number], seed=0)) for per_run in items.values()]
        pooled = _over_seeds([(per_run[1], per_run[number]) for per_run in items.values()])
        yield f"| iteration {number} | " + " | ".join([*cells, signed(pooled)]) + " |"


def _over_seeds(pairs: Sequence[tuple[list[float], list[float]]]) -> Interval:
    """Bootstrap over seeds and, within each, over prompts: both are samples."""
    differences = np.array([np.subtract(after, before) for before, after in pairs])
    rng = np.random.default_rng(0)
    seeds, prompts = differences.shape
    means = [
        differences[np.ix_(rng.integers(0, seeds, seeds), rng.integers(0, prompts, prompts))].mean()
        for _ in range(10_000)
    ]
    low, high = np.percentile(means, [2.5, 97.5])
    return Interval(float(differences.mean()), float(low), float(high), differences.size)


def _items(run: Path, number: int) -> list[float]:
    lines = (run / f"iteration-{number:02d}" / "evaluation" / "lamb.jsonl").read_text(encoding="utf-8").splitlines()
    return [float(json.loads(line)["metrics"][METRIC]) for line in lines]


if __name__ == "__main__":
    main()
