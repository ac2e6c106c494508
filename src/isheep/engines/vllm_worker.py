"""The process in which vLLM lives: `python -m isheep.engines.vllm_worker FD`, started by `isheep.engines.vllm`.

The parent never imports vLLM nor touches the GPU, and when this process ends, its memory is really given back. What
comes in over the connection are messages ("work", jobs), ("abort", numbers) and ("use", folder or None); what goes out
are ("ready", positions), ("done", results) and ("failed", reason).
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

Tokens = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Start:
    """How the engine is to be made."""

    options: Mapping[str, Any]
    """Of vLLM's engine arguments."""
    pooling: bool
    """Whether it gives vectors; it generates and scores otherwise."""


@dataclass(frozen=True, slots=True)
class Job:
    """A prompt and what is wanted of it: vLLM's sampling parameters (none of them for a vector)."""

    number: int
    prompt: Tokens
    wanted: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a job."""

    number: int
    tokens: Tokens = ()
    stopped: bool = False
    """A stop id ended it, which is the last of the tokens."""
    first: Mapping[int, float] | None = None
    """Log-probabilities of the tokens that were asked about, at the first token written."""
    prompt: Sequence[float] = ()
    """Log-probabilities of the prompt's tokens from the second on."""
    vector: Sequence[float] = ()
    refused: str | None = None
    """Why vLLM would not take it."""


class Worker:
    """vLLM's own engine loop, fed between its steps."""

    def __init__(self, start: Start) -> None:
        # Imported here: the parent reads this module for its messages alone.
        from vllm.config import PoolerConfig
        from vllm.engine.arg_utils import EngineArgs
        from vllm.v1.engine.llm_engine import LLMEngine

        kind: dict[str, Any] = {"runner": "generate"}
        if start.pooling:
            kind = {"runner": "pooling", "convert": "embed"}
            kind["pooler_config"] = PoolerConfig(seq_pooling_type="MEAN", use_activation=False)
        self._pooling = start.pooling
        self._engine = LLMEngine.from_engine_args(EngineArgs(**start.options, **kind))
        self._adapters: dict[Path, Any] = {}
        self._adapter: Any = None
        self.positions = int(self._engine.model_config.max_model_len)

    def serve(self, connection: Connection) -> None:
        """Works until the parent hangs up."""
        while True:
            while connection.poll(0 if self._engine.has_unfinished_requests() else None):
                kind, content = connection.recv()
                if refused := getattr(self, kind)(content):
                    connection.send(("done", refused))
            done = [self._result(output) for output in self._engine.step() if output.finished]
            if done:
                connection.send(("done", done))

    def work(self, jobs: Sequence[Job]) -> list[Result]:
        """Takes jobs up; returns those that vLLM refuses."""
        refused: list[Result] = []
        for job in jobs:
            try:
                self._add(job)
            except ValueError as error:
                refused.append(Result(job.number, refused=str(error)))
        return refused

    def abort(self, numbers: Sequence[int]) -> None:
        """Drops jobs that nobody waits for."""
        self._engine.abort_request([str(number) for number in numbers])

    def use(self, adapter: Path | None) -> None:
        """All further jobs have this adapter on, or none: vLLM computes rows wrongly where some have and some not."""
        from vllm.lora.request import LoRARequest

        if adapter is not None and adapter not in self._adapters:
            number = len(self._adapters) + 1
            self._adapters[adapter] = LoRARequest(f"adapter-{number}", number, str(adapter))
        self._adapter = self._adapters[adapter] if adapter else None

    def _add(self, job: Job) -> None:
        from vllm import PoolingParams, SamplingParams
        from vllm.inputs import TokensPrompt
        from vllm.sampling_params import RequestOutputKind

        once = RequestOutputKind.FINAL_ONLY
        if self._pooling:
            params = PoolingParams(task="embed", use_activation=False)
        else:
            params = SamplingParams(**job.wanted, ignore_eos=True, detokenize=False, output_kind=once)
        prompt = TokensPrompt(prompt_token_ids=list(job.prompt))
        self._engine.add_request(str(job.number), prompt, params, lora_request=self._adapter)

    def _result(self, output: Any) -> Result:
        number = int(output.request_id)
        if self._pooling:
            return Result(number, vector=output.outputs.data.float().tolist())
        written = output.outputs[0]
        asked = written.logprobs[0] if written.logprobs else None
        first = {token: found.logprob for token, found in asked.items()} if asked else None
        rows = list(zip(output.prompt_token_ids, output.prompt_logprobs or (), strict=False))[1:]
        prompt = [row[token].logprob for token, row in rows]
        return Result(number, tuple(written.token_ids), written.finish_reason == "stop", first, prompt)


def main() -> None:
    """Makes the engine that the first message asks for and serves it; ends when the parent does."""
    connection = Connection(int(sys.argv[1]))
    try:
        worker = Worker(connection.recv())
        connection.send(("ready", worker.positions))
        worker.serve(connection)
    except EOFError:
        return
    except Exception as error:
        connection.send(("failed", f"{type(error).__name__}: {error}"))
        raise


if __name__ == "__main__":
    # Pickled messages name this module, which is not the one that runs as __main__.
    from isheep.engines import vllm_worker

    vllm_worker.main()
