"""Our vLLM engine beside a bare `LLM.generate`: `python benchmarks/vllm_engine.py [--json]`.

The same prompts, budgets, seeds and stop ids, the same options and environment variables, one thread each. Ours runs
vLLM in a process of its own and streams; the peer has it in this process and gets all prompts at once. Both have loaded
their model before the clock starts, and each repeat brings prompts that no prefix cache has seen. Tokens per second by
the clock on the wall and per CPU second, both processes counted. Runs itself in `.venv-vllm` (`make
.venv-vllm/installed`). Not named `vllm.py`: beside it `import vllm` would find the script.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from importlib.metadata import packages_distributions
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import psutil
import torch
from checkpoints import random_checkpoint
from side import REPEATS, Row, compared, measured, parser, show, wall_seconds
from static import count_tokens, share_equal
from workload import synthesis_requests

from isheep.engines import Completion, Request
from isheep.engines.vllm import CPU_MEMORY, CPU_VARIABLES, VARIABLES, VllmEngine
from isheep.hub import model_folder
from isheep.recipe import Recipe, load_recipe

PYTHON = Path(__file__).parents[1] / ".venv-vllm" / "bin" / "python"
GOAL = "0.95x"
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
    os.execve(PYTHON, [str(PYTHON), *sys.argv], {**wanted, **os.environ})


def beside_bare(name: str, recipe: Recipe, requests: Sequence[Request], per_round: int) -> Iterator[Row]:
    """Both speeds by both clocks, and how many completions are equal."""
    folder = model_folder(recipe.model.path)
    found: dict[str, tuple[list[float], list[float]]] = {"second": ([], []), "CPU-second": ([], [])}
    equal = []
    with VllmEngine(folder, recipe) as engine:
        bare = bare_engine(folder, recipe)
        for start in range(0, REPEATS * per_round, per_round):
            part = requests[start : start + per_round]
            sides = (lambda part=part: list(engine.generate(part)), partial(bare_generate, bare, part))
            done = [speeds(side) for side in sides]
            equal.append(share_equal(done[0][0], done[1][0]))
            for place, (_, wall, cpu) in enumerate(done):
                found["second"][place].append(wall)
                found["CPU-second"][place].append(cpu)
        bare.llm_engine.engine_core.shutdown()
    packages = ("isheep", packages_distributions()["vllm"][0], "torch")
    for unit, (ours, peer) in found.items():
        what = f"{per_round} synthesis requests of lamb, {name}"
        yield compared(what, measured(ours), measured(peer), f"tokens per {unit}", GOAL, packages, more_is_better=True)
    yield compared(f"completions equal to the peer's, {name}", measured(equal), None, "share", "1", packages)


def speeds(generate: Callable[[], list[Completion]]) -> tuple[list[Completion], float, float]:
    """What was made, tokens per second, tokens per CPU second of this process and its children."""
    made: list[Completion] = []
    before = cpu_of_all()
    seconds = wall_seconds(lambda: made.extend(generate()))
    tokens = count_tokens(made)
    return made, tokens / seconds, tokens / (cpu_of_all() - before)


def cpu_of_all() -> float:
    """Seconds that this process and those below it, which are still running, have worked so far."""
    here = psutil.Process()
    times = [process.cpu_times() for process in (here, *here.children(recursive=True))]
    return float(sum(one.user + one.system for one in times))


def bare_engine(folder: Path, recipe: Recipe) -> Any:
    """vLLM's own entry point with the options of `VllmEngine`."""
    from vllm import LLM

    on_cpu = not torch.cuda.is_available()
    options: dict[str, Any] = {"enable_chunked_prefill": False} if on_cpu else {}
    if memory := recipe.engine.vllm.memory or (CPU_MEMORY if on_cpu else None):
        options["gpu_memory_utilization"] = memory
    return LLM(
        model=str(folder),
        dtype=recipe.model.dtype,
        load_format="safetensors",
        skip_tokenizer_init=True,
        generation_config="vllm",
        max_num_seqs=recipe.engine.batch_size,
        max_logprobs=-1,
        enforce_eager=on_cpu,
        disable_log_stats=True,
        **options,
    )


def bare_generate(llm: Any, requests: Sequence[Request]) -> list[Completion]:
    """All requests in one call."""
    from vllm import SamplingParams
    from vllm.inputs import TokensPrompt

    positions = llm.llm_engine.model_config.max_model_len
    outputs = llm.generate(
        [TokensPrompt(prompt_token_ids=list(request.prompt)) for request in requests],
        [
            SamplingParams(
                max_tokens=min(request.max_new_tokens, positions - len(request.prompt)),
                temperature=request.temperature,
                top_p=request.top_p,
                seed=request.seed,
                stop_token_ids=sorted(request.stop_ids),
                ignore_eos=True,
                detokenize=False,
            )
            for request in requests
        ],
        use_tqdm=False,
    )
    return [_completion(*one) for one in zip(requests, outputs, strict=True)]


def _completion(request: Request, output: Any) -> Completion:
    written = output.outputs[0]
    stopped = written.finish_reason == "stop"
    tokens = tuple(written.token_ids)
    return Completion(request.id, tokens[:-1] if stopped else tokens, "stop" if stopped else "length")


if __name__ == "__main__":
    main()
