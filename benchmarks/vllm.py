"""Our vLLM engine beside a bare `LLM.generate`: `python benchmarks/vllm.py [--json]`.

The same prompts, budgets, seeds and stop ids, the same options and environment variables, one thread each. Ours runs
vLLM in a process of its own and streams; the peer has it in this process and gets all prompts at once. Both have loaded
their model before the clock starts, and each repeat brings prompts that no prefix cache has seen. Tokens per second by
the clock on the wall and per CPU second, both processes counted. Runs itself in `.venv-vllm` (`make
.venv-vllm/installed`).
"""

from __future__ import annotations

import os
import sys
from concurrent.futures import ProcessPoolExecutor
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path

import torch
from bare_vllm import beside_bare
from checkpoints import random_checkpoint
from side import REPEATS, parser, show
from workload import synthesis_requests

from isheep.engines.vllm import CPU_VARIABLES, VARIABLES
from isheep.recipe import load_recipe

PYTHON = Path(__file__).parents[1] / ".venv-vllm" / "bin" / "python"
ROUND = {"lamb": 80, "30m": 24}
"""Requests of one repeat; lamb's first iteration sends about 250."""


def main() -> None:
    """Measures, then prints."""
    given = parser(__doc__).parse_args()
    go_where_vllm_is()
    recipe = load_recipe("lamb", ["engine.name=vllm"])
    # In a process of its own: novelty loads numba, and vLLM for CPUs does not start where llvmlite has been imported.
    with ProcessPoolExecutor(1, get_context("spawn")) as apart:
        wanted = max(ROUND.values()) * REPEATS
        requests = apart.submit(synthesis_requests, load_recipe("lamb"), wanted).result()
    rows = [*beside_bare("lamb", recipe, requests, ROUND["lamb"])]
    recipe = load_recipe("lamb", ["engine.name=vllm", f"model.path={random_checkpoint('30m', torch.float32)}"])
    rows += beside_bare("30m", recipe, requests, ROUND["30m"])
    show(rows, given.json)


def go_where_vllm_is() -> None:
    """Starts over in `.venv-vllm`, with the variables that our own worker gets: vLLM reads them when it is imported."""
    # Standard output is the rows', where vLLM would write its log.
    wanted = {**VARIABLES, **CPU_VARIABLES, "OMP_NUM_THREADS": "1", "VLLM_LOGGING_STREAM": "ext://sys.stderr"}
    if all(name in os.environ for name in wanted) and find_spec("vllm"):
        return
    if not PYTHON.is_file():
        sys.exit("vLLM is not installed: `make .venv-vllm/installed` makes the environment that this script needs")
    # S606: our own interpreter, with the words that this script was given.
    os.execve(PYTHON, [str(PYTHON), *sys.argv], {**wanted, **os.environ})  # noqa: S606


if __name__ == "__main__":
    main()
