"""vLLM as an engine (extra `isheep[vllm]`): its own loop, in a process of its own that gives all memory back."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import packages_distributions
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import Any

from isheep.checkpoint import refuse_adapter
from isheep.engines.base import Completion, Engine, Request, budget
from isheep.engines.vllm_process import Process
from isheep.engines.vllm_worker import Job, Result, Start
from isheep.errors import UserError
from isheep.recipe import Recipe

Tokens = tuple[int, ...]

WAITING = 2
"""Requests handed over for each that is worked on: a finished one is followed up without asking back."""

CPU_VARIABLES = {
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "OMP_WAIT_POLICY": "PASSIVE",
    "GOMP_SPINCOUNT": "0",
    "KMP_BLOCKTIME": "0",
}
"""On a shared machine vLLM's own choices fail or fight with the neighbours; what the user sets counts instead."""
VARIABLES = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_LOGGING_LEVEL": "WARNING",
    "VLLM_NO_USAGE_STATS": "1",
    "TQDM_DISABLE": "1",
}
CPU_MEMORY = 0.3
"""Share of the memory that vLLM asks for on a CPU, where the cache has a size of its own."""

RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""Adapter ranks that vLLM can be started for."""


def refuse_missing() -> None:
    """Raises UserError where vLLM is not installed; imports nothing."""
    if find_spec("vllm") is None:
        what = "vLLM is not installed in this environment."
        raise UserError("engine.name=vllm", what, "Install isheep[vllm], or give engine.name=transformers.")


@dataclass(frozen=True, slots=True)
class _Shape:
    """What vLLM is started for."""

    rank: int
    targets: list[str] | None
    """Names of the layers that adapters change; None where an adapter gives a pattern instead."""

    def holds(self, other: _Shape) -> bool:
        """Whether an adapter of the other shape finds room."""
        return self.rank >= other.rank and self.targets == other.targets


class VllmEngine(Engine):
    """A model in vLLM: continuous batching of `engine.batch_size` requests, prefix caching, adapters never merged.

    A request's seed decides its tokens whatever it is batched with, up to float rounding. The process starts without
    adapters, which cost every step something, and again with the first one. Not covered: several nodes.
    """

    def __init__(self, model_dir: Path, recipe: Recipe) -> None:
        """Starts the process and waits for the model.

        Raises:
            UserError: vLLM is not installed, or the model does not load in it.
        """
        refuse_missing()
        self._model_dir, self._recipe = model_dir, recipe
        self._adapter: Path | None = None
        self._shape: _Shape | None = None
        self._numbers = count()
        self._process = self._started()
        self.positions: int | None = self._process.positions

    def generate(self, requests: Iterable[Request]) -> Iterator[Completion]:
        """Completions as they finish; twice `engine.batch_size` requests are pulled ahead of them."""
        asked: dict[int, Request] = {}
        full: list[Request] = []

        def jobs() -> Iterator[Job]:
            for request in requests:
                if most := budget(request, self.positions):
                    job = self._job(request.prompt, _sampling(request, most))
                    asked[job.number] = request
                    yield job
                else:
                    full.append(request)

        for result in self._results(jobs()):
            request = asked.pop(result.number)
            tokens = result.tokens[:-1] if result.stopped else result.tokens
            yield Completion(request.id, tokens, "stop" if result.stopped else "length")
            while full:
                yield Completion(full.pop().id, (), "length")
        yield from (Completion(request.id, (), "length") for request in full)

    def score_next(self, prompts: Sequence[Tokens], candidates: Sequence[Tokens]) -> list[list[float]]:
        """For each prompt, the log-probability of each candidate, one step for each beginning that they share."""
        if not all(candidates):
            raise ValueError("a candidate has no tokens")
        follow: dict[Tokens, set[int]] = {}
        for candidate in candidates:
            for place, token in enumerate(candidate):
                follow.setdefault(candidate[:place], set()).add(token)
        owners: dict[int, tuple[int, Tokens]] = {}

        def jobs() -> Iterator[Job]:
            for row, prompt in enumerate(prompts):
                for stem, tokens in follow.items():
                    job = self._job(prompt + stem, _reading(sorted(tokens)))
                    owners[job.number] = row, stem
                    yield job

        told: list[dict[Tokens, Mapping[int, float]]] = [{} for _ in prompts]
        for result in self._results(jobs()):
            row, stem = owners.pop(result.number)
            told[row][stem] = result.first or {}
        return [[sum(row[one[:place]][token] for place, token in enumerate(one)) for one in candidates] for row in told]

    def score_sequences(self, sequences: Sequence[Tokens]) -> list[list[float]]:
        """For each sequence of n tokens, the n - 1 log-probabilities of tokens 1..n-1 given those before."""
        owners: dict[int, int] = {}

        def jobs() -> Iterator[Job]:
            for row, sequence in enumerate(sequences):
                if len(sequence) > 1:
                    # The last token is read as the one to be written: a prompt of all positions leaves no room for it.
                    wanted = {**_reading([sequence[-1]]), "prompt_logprobs": 0}
                    job = self._job(sequence[:-1], wanted)
                    owners[job.number] = row
                    yield job

        scores: list[list[float]] = [[] for _ in sequences]
        for result in self._results(jobs()):
            row = owners.pop(result.number)
            scores[row] = [*result.prompt, (result.first or {})[sequences[row][-1]]]
        return scores

    def embed(self, sequences: Sequence[Tokens]) -> list[list[float]]:
        """For each sequence, the mean over its tokens of the last layer's hidden states.

        vLLM gives vectors in another mode, for which the process is started anew, and again for what comes after.
        """
        vectors: list[list[float]] = [[] for _ in sequences]
        self._restart(pooling=True)
        owners: dict[int, int] = {}

        def jobs() -> Iterator[Job]:
            for row, sequence in enumerate(sequences):
                if sequence:
                    job = self._job(sequence, {})
                    owners[job.number] = row
                    yield job

        for result in self._results(jobs()):
            vectors[owners.pop(result.number)] = list(result.vector)
        self._restart()
        return vectors

    def use(self, adapter: Path | None) -> None:
        """Puts a PEFT adapter beside the base weights, for every row of what follows, or takes it off (None)."""
        if adapter is not None:
            refuse_adapter(adapter)
            shape = _shape_of(adapter)
            if self._shape is None or not self._shape.holds(shape):
                self._shape, self._adapter = shape, adapter
                self._restart()
                return
        self._adapter = adapter
        self._process.send(("use", adapter))

    def close(self) -> None:
        """Ends the process, and with it all memory that it held; the engine cannot be used afterwards."""
        self._process.close()

    def _restart(self, pooling: bool = False) -> None:
        self._process.close()
        self._process = self._started(pooling)
        if self._adapter is not None:
            self._process.send(("use", self._adapter))

    def _started(self, pooling: bool = False) -> Process:
        settings, on_cpu = self._recipe.engine, is_cpu_build()
        options: dict[str, Any] = {
            "model": str(self._model_dir),
            "dtype": self._recipe.model.dtype,
            "load_format": "safetensors",
            "trust_remote_code": False,
            "skip_tokenizer_init": True,
            "generation_config": "vllm",
            "max_num_seqs": settings.batch_size,
            "max_model_len": settings.vllm.context,
            "tensor_parallel_size": settings.vllm.tensor_parallel,
            "max_logprobs": -1,
            "enforce_eager": on_cpu,
            # A prompt read in pieces would draw from its seed at every piece; on a CPU vLLM cannot take that back.
            "enable_chunked_prefill": False if on_cpu else None,
            "disable_log_stats": True,
        }
        if memory := settings.vllm.memory or (CPU_MEMORY if on_cpu else None):
            options["gpu_memory_utilization"] = memory
        if self._shape is not None:
            options |= {"enable_lora": True, "max_lora_rank": self._shape.rank, "max_loras": 1}
            # Without its names vLLM makes room for one at the output, too, which on a CPU cannot bear prompt scores.
            options["lora_target_modules"] = self._shape.targets
        variables = dict(VARIABLES)
        if on_cpu:
            variables |= {**CPU_VARIABLES, "OMP_NUM_THREADS": str(settings.threads or os.cpu_count() or 1)}
        return Process(Start(options, pooling), variables)

    def _job(self, prompt: Tokens, wanted: Mapping[str, Any]) -> Job:
        return Job(next(self._numbers), prompt, wanted)

    def _results(self, jobs: Iterator[Job]) -> Iterator[Result]:
        return self._process.results(jobs, WAITING * self._recipe.engine.batch_size)


def _sampling(request: Request, most: int) -> dict[str, Any]:
    return {
        "max_tokens": most,
        "temperature": request.temperature,
        "top_p": request.top_p,
        "seed": request.seed,
        "stop_token_ids": sorted(request.stop_ids),
    }


def _reading(tokens: Sequence[int]) -> dict[str, Any]:
    """The log-probabilities of these tokens, whichever is written."""
    return {"max_tokens": 1, "temperature": 0.0, "logprob_token_ids": list(tokens)}


def _shape_of(adapter: Path) -> _Shape:
    try:
        config = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))
        rank, targets = int(config["r"]), config["target_modules"]
    except (OSError, ValueError, KeyError, TypeError):
        what, mend = "holds no adapter.", "Give a folder with adapter_config.json."
        raise UserError(str(adapter), what, mend) from None
    known = next((known for known in RANKS if known >= rank), rank)
    return _Shape(known, sorted(targets) if isinstance(targets, list) else None)


def is_cpu_build() -> bool:
    """Told by the package's name: asking torch would touch the GPU."""
    return "vllm-cpu" in packages_distributions().get("vllm", ())
