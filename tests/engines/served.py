"""A server of the OpenAI kind over the embedded engine, which can also be told to misbehave.

`with serve(folder) as server:` answers on `server.url` as vLLM's server does. What other servers lack is taken away by
`Manners`; a `Fault` for a single request comes from `server.faults`.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from aiohttp import web

from isheep.encoder import Encoder
from isheep.engines.base import Request
from isheep.engines.transformers import TransformersEngine
from isheep.engines.vllm import CPU_VARIABLES
from tests import serving

NAME = "served"
MOST_LOGPROBS = 20
TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
"""Where adapters may change the model: room at its output, too, would end vLLM on a CPU at several prompts' scores."""
EXTENSIONS = {"stop_token_ids", "ignore_eos", "return_token_ids", "top_k", "min_p", "repetition_penalty"}


@dataclass(frozen=True, slots=True)
class Manners:
    """What the server can; as vLLM's unless told."""

    tokens_in: bool = True
    tokens_out: bool = True
    stop_ids: bool = True
    chosen: bool = True
    logprobs: bool = True
    echo: bool = True
    wide_seeds: bool = True
    strict: bool = False
    """Refuses fields that are not in the API of OpenAI, as hosted servers do."""
    begins: bool = True
    """Puts the tokenizer's beginning token before a text."""
    loader: str | None = "/v1/load_lora_adapter"
    key: str | None = None
    models: tuple[str, ...] = (NAME,)
    lists: bool = True
    max_model_len: int | None = None


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens to one request instead of an answer, or to its answer."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | None = None
    """Sent as it is."""
    drop: bool = False
    """The connection ends without a word."""
    half: bool = False
    """It ends in the middle of the answer."""
    late: float = 0.0
    """Seconds that the answer waits."""


Faults = Callable[[int, dict[str, Any]], Fault | None]
"""(number of the completion request, its payload) -> what is to happen to it."""


@dataclass
class _Job:
    """One completion to make; the batch worker fills `done`."""

    payload: dict[str, Any]
    prompt: tuple[int, ...]
    done: asyncio.Future[dict[str, Any]]


class Served:
    """The running server, as tests see it."""

    def __init__(self, folder: Path, manners: Manners) -> None:
        self.manners, self.url = manners, ""
        self.faults: Faults = lambda number, payload: None
        self.requests: list[dict[str, Any]] = []
        """Payloads of the completion requests that came."""
        self.keys: list[str | None] = []
        """Their `Authorization` headers."""
        self.adapters: dict[str, Path] = {}
        """Those that are loaded; `loads` also remembers the ones that were."""
        self.loads: list[str] = []
        self.most_at_once = 0
        self._at_once = 0
        self._encoder = Encoder.load(folder, None)
        self._engine = TransformersEngine(folder, "float32", "cpu", 64, None, self._encoder.pad_id)
        self._vocabulary = [(number,) for number in range(len(self._encoder.tokenizer))]
        self._waiting: asyncio.Queue[_Job] = asyncio.Queue()

    def application(self) -> web.Application:
        """Its routes."""
        made = web.Application(client_max_size=1 << 26)
        made.router.add_post("/v1/completions", self._completions)
        if self.manners.lists:
            made.router.add_get("/v1/models", self._models)
        if self.manners.loader:
            made.router.add_post(self.manners.loader, self._load)
            made.router.add_post(self.manners.loader.replace("load", "unload"), self._unload)
        return made

    async def work(self) -> None:
        """Answers whatever waits, in one batch of the engine for each model, until it is cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            jobs = [await self._waiting.get()]
            await asyncio.sleep(0.01)
            while not self._waiting.empty():
                jobs.append(self._waiting.get_nowait())
            jobs.sort(key=lambda job: self._adapter_of(job.payload))
            for name, batch in groupby(jobs, key=lambda job: self._adapter_of(job.payload)):
                same = list(batch)
                for job, choice in zip(same, await loop.run_in_executor(None, self._answer, name, same), strict=True):
                    if not job.done.done():
                        job.done.set_result(choice)

    def close(self) -> None:
        self._engine.close()

    def _adapter_of(self, payload: dict[str, Any]) -> str:
        name = payload.get("lora_path") or payload["model"]
        return name if name in self.adapters else ""

    async def _models(self, request: web.Request) -> web.Response:
        if refusal := self._wrong_key(request):
            return refusal
        base = {"object": "model", "max_model_len": self.manners.max_model_len}
        listed = [{"id": name, **base} for name in self.manners.models]
        listed += [{"id": name, "object": "model", "parent": self.manners.models[0]} for name in self.adapters]
        return web.json_response({"object": "list", "data": listed})

    async def _load(self, request: web.Request) -> web.Response:
        payload = await request.json()
        name, path = payload.get("lora_name"), Path(payload.get("lora_path", ""))
        if not name:
            return _error(400, "Both 'lora_name' and 'lora_path' must be provided.")
        if name in self.adapters:
            return _error(400, f"The lora adapter '{name}' has already been loaded.")
        if not (path / "adapter_config.json").is_file():
            return _error(404, f"No adapter found for {path}")
        self.adapters[name] = path
        self.loads.append(name)
        return web.Response(text=f"Success: LoRA adapter '{name}' added successfully.")

    async def _unload(self, request: web.Request) -> web.Response:
        name = (await request.json()).get("lora_name")
        if self.adapters.pop(name, None) is None:
            return _error(404, f"The lora adapter '{name}' cannot be found.")
        return web.Response(text="Success")

    def _wrong_key(self, request: web.Request) -> web.Response | None:
        given = request.headers.get("Authorization")
        if self.manners.key is None or given == f"Bearer {self.manners.key}":
            return None
        return _error(401, f"Incorrect API key provided: {(given or '').removeprefix('Bearer ')}.")

    async def _completions(self, request: web.Request) -> web.StreamResponse:
        payload = await request.json()
        number = len(self.requests)
        self.requests.append(payload)
        self.keys.append(request.headers.get("Authorization"))
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            if refusal := self._wrong_key(request) or self._refusal(payload):
                return refusal
            fault = self.faults(number, payload) or Fault()
            await asyncio.sleep(fault.late)
            if fault.drop and request.transport:
                request.transport.abort()
            if fault.body is not None or fault.status != 200:
                return web.Response(status=fault.status, headers=fault.headers, body=fault.body or b"")
            return await self._send(request, await self._made(payload), fault.half)
        finally:
            self._at_once -= 1

    async def _send(self, request: web.Request, answer: dict[str, Any], half: bool) -> web.StreamResponse:
        body = json.dumps(answer).encode()
        response = web.StreamResponse(headers={"Content-Type": "application/json", "Content-Length": str(len(body))})
        await response.prepare(request)
        await response.write(body[: len(body) // 2] if half else body)
        if half and request.transport:
            request.transport.abort()
        return response

    async def _made(self, payload: dict[str, Any]) -> dict[str, Any]:
        prompt = payload["prompt"]
        if isinstance(prompt, str):
            begin = self._encoder.plain("") if self.manners.begins else ()
            prompt = (*begin, *self._encoder.tokenizer(prompt, add_special_tokens=False)["input_ids"])
        job = _Job(payload, tuple(prompt), asyncio.get_running_loop().create_future())
        self._waiting.put_nowait(job)
        choice = await job.done
        return {"id": "cmpl", "choices": [choice], "usage": {"prompt_tokens": len(prompt)}}

    def _refusal(self, payload: dict[str, Any]) -> web.Response | None:
        manners = self.manners
        if payload["model"] not in (*manners.models, *self.adapters):
            return _error(404, f"The model `{payload['model']}` does not exist.")
        if not manners.tokens_in and not isinstance(payload["prompt"], str):
            return _error(400, "prompt must be a string")
        if not manners.wide_seeds and payload.get("seed", 0) >= 1 << 31:
            return _error(422, "seed is too large")
        if manners.strict and (unknown := EXTENSIONS & payload.keys()):
            return _error(400, f"Unrecognized request argument supplied: {', '.join(sorted(unknown))}")
        if payload.get("logprobs", 0) > MOST_LOGPROBS and "logprob_token_ids" not in payload:
            return _error(400, "too many logprobs")
        if payload.get("echo") and not manners.echo:
            return _error(400, "echo is not supported")
        return None

    def _answer(self, adapter: str, jobs: Sequence[_Job]) -> list[dict[str, Any]]:
        """The choices of some requests to one model; runs outside of the event loop."""
        self._engine.use(self.adapters[adapter] if adapter else None)
        choices = self._written(jobs)
        for job, choice in zip(jobs, choices, strict=True):
            if self.manners.logprobs and "logprobs" in job.payload:
                choice["logprobs"] = self._echoed(job) if job.payload.get("echo") else self._told(job)
        return choices

    def _written(self, jobs: Sequence[_Job]) -> list[dict[str, Any]]:
        requests = [self._request(str(place), job) for place, job in enumerate(jobs)]
        written = {int(one.id): one for one in self._engine.generate(requests)}
        choices = []
        for place, request in enumerate(requests):
            one = written[place]
            choice: dict[str, Any] = {"index": 0, "finish_reason": one.finish_reason}
            choice["text"] = self._encoder.decode(one.tokens)
            if self.manners.tokens_out and jobs[place].payload.get("return_token_ids"):
                # The stop token comes along, as vLLM sends it; which of several it was does not matter.
                end = sorted(request.stop_ids)[:1] if one.finish_reason == "stop" else []
                choice["token_ids"] = [*one.tokens, *end]
            choices.append(choice)
        return choices

    def _request(self, name: str, job: _Job) -> Request:
        payload = job.payload
        stops: set[int] = set()
        if self.manners.stop_ids:
            stops |= set(payload.get("stop_token_ids", ()))
        if not (self.manners.stop_ids and payload.get("ignore_eos")):
            stops |= {self._encoder.tokenizer.eos_token_id}
        stops |= {self._encoder.tokenizer.convert_tokens_to_ids(text) for text in payload.get("stop", ())}
        return Request(
            id=name,
            prompt=job.prompt,
            max_new_tokens=payload["max_tokens"],
            stop_ids=frozenset(stops),
            temperature=payload["temperature"],
            top_p=payload.get("top_p", 1.0),
            seed=payload.get("seed", 0),
        )

    def _told(self, job: _Job) -> dict[str, Any]:
        """The likeliest next tokens, or the chosen ones."""
        chosen = job.payload.get("logprob_token_ids") if self.manners.chosen else None
        row = self._engine.score_next([job.prompt], self._vocabulary)[0]
        ranked = sorted(range(len(row)), key=lambda number: -row[number])
        told = chosen or ranked[: job.payload["logprobs"]]
        return {"top_logprobs": [{f"token_id:{number}": row[number] for number in told}]}

    def _echoed(self, job: _Job) -> dict[str, Any]:
        further = [-1.0] * job.payload["max_tokens"]
        return {"token_logprobs": [None, *self._engine.score_sequences([job.prompt])[0], *further]}


def _error(status: int, message: str) -> web.Response:
    return web.json_response({"error": {"message": message, "type": "Error", "code": status}}, status=status)


@contextmanager
def serve(folder: Path, manners: Manners | None = None, port: int = 0) -> Iterator[Served]:
    """Serves the model in a thread of its own.

    Args:
        folder: the model's.
        manners: what the server can.
        port: of the loopback; 0: a free one.

    Yields:
        The server; it listens on `url`, which ends with `/v1`.
    """
    engine = Served(folder, manners or Manners())
    try:
        with serving.served(engine.application, port, engine.work) as engine.url:
            yield engine
    finally:
        engine.close()


@contextmanager
def serve_with_vllm(folder: Path) -> Iterator[str]:
    """vLLM's own server on the model, where vLLM is installed; yields its url."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = "--enable-lora --max-lora-rank 8 --enforce-eager --no-enable-chunked-prefill".split()
    options += ["--lora-target-modules", *TARGETS]
    settings = ["--model", str(folder), "--dtype", "float32", "--gpu-memory-utilization", "0.3", "--port", str(port)]
    variables = {**CPU_VARIABLES, "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "True", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", *settings, *options]
    with tempfile.TemporaryFile() as log:
        server = subprocess.Popen(command, env={**os.environ, **variables}, stdout=log, stderr=log)
        try:
            for _ in range(600):
                with suppress(OSError), urlopen(f"http://127.0.0.1:{port}/health", timeout=5):
                    break
                if server.poll() is not None:
                    log.seek(0)
                    raise RuntimeError(log.read().decode(errors="replace")[-2000:])
                time.sleep(0.5)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            server.terminate()
            server.wait(60)


__all__ = ["NAME", "Fault", "Manners", "Served", "serve", "serve_with_vllm"]
