"""Our vLLM engine and a bare `LLM.generate`, as `vllm.py` and `gpu.py` set them side by side."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import psutil
import torch
from side import REPEATS, Row, compared, measured, wall_seconds
from static import count_tokens, share_equal

from isheep.engines import Completion, Request
from isheep.engines.vllm import CPU_MEMORY, VllmEngine
from isheep.hub import model_folder
from isheep.recipe import Recipe

PYTHON = Path(__file__).parents[1] / ".venv-vllm" / "bin" / "python"
GOAL = "0.95x"
ROUND = {"lamb": 80, "30m": 24}
"""Requests of one repeat; lamb's first iteration sends about 250."""


HERE = str(Path(__file__).parent)
if HERE in sys.path:
    # The folder of a script leads the path, where `vllm.py` would hide the library.
    sys.path.remove(HERE)
    sys.path.append(HERE)


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
