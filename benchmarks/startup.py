"""What a command costs before it does anything: `python benchmarks/startup.py [--json]`.

CPU seconds, user and system, of whole processes: our help, and other commands that only look, each beside the help of
the field's own programs from the same environment, by turns. Goal: `isheep --help` under 0.3 s.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from side import Row, alternately, children_seconds, compared, measured, parser, show

BIN = Path(sys.executable).parent
PACKAGES = ("typer", "trl", "accelerate", "lm-eval")
REPEATS = 7
PEERS = {"trl": "trl --help", "lm-eval": "lm_eval --help", "accelerate": "accelerate --help"}
OURS = {"the recipes that ship": "recipes", "a recipe, every default written out": "show lamb"}


def main() -> None:
    """Measures, then prints."""
    given = parser(__doc__).parse_args()
    rows = [
        _beside(f"`isheep --help`, beside `{command}`", "isheep --help", command, "0.3 s") for command in PEERS.values()
    ]
    for what, words in OURS.items():
        found = measured([cost_of(f"isheep {words}") for _ in range(REPEATS)])
        rows.append(compared(f"`isheep {words}`: {what}", found, None, "CPU-s", "", PACKAGES))
    floor = measured([children_seconds(partial(_run, [sys.executable, "-c", "pass"])) for _ in range(REPEATS)])
    rows.append(compared("the interpreter alone", floor, None, "CPU-s", "", PACKAGES))
    show(rows, given.json)


def cost_of(command: str) -> float:
    """CPU seconds of a program of this environment, once."""
    program, *words = command.split()
    return children_seconds(partial(_run, [str(BIN / program), *words]))


def _beside(what: str, ours: str, peer: str, goal: str) -> Row:
    costs: list[Callable[[], float]] = [partial(cost_of, ours), partial(cost_of, peer)]
    for cost in costs:
        cost()  # what the first start alone pays: compiled modules, the disk's cache
    return compared(what, *alternately(*costs, repeats=REPEATS), "CPU-s", goal, PACKAGES)


def _run(command: list[str]) -> None:
    # S603: programs of this environment, named above.
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # noqa: S603


if __name__ == "__main__":
    main()
