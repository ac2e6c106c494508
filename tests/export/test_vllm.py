"""A merged model in vLLM's own server, asked over its chat endpoint: no isheep in it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

from isheep.encoder import Encoder
from isheep.prompts import bare
from tests.data import LAMB
from tests.engines.served import serve_with_vllm
from tests.engines.test_contract import needs_vllm
from tests.export.conftest import LONGEST, Tasks


@needs_vllm
def test_the_merged_model_answers_in_vllm_as_the_run_did(
    tasks: Tasks, answers: list[list[int]], merged: Path, tmp_path: Path
) -> None:
    encoder = Encoder.load(LAMB, "chatml")
    with serve_with_vllm(merged) as url:
        found = [asked(url, merged, bare(*task)) for task in tasks]
    assert [one["message"]["content"] for one in found] == [encoder.decode(answer) for answer in answers]
    assert [one["finish_reason"] for one in found] == [
        "stop" if len(answer) < LONGEST else "length" for answer in answers
    ]


def asked(url: str, model: Path, text: str) -> Any:
    """The answer to one message; where it stops and in which template it is asked the model's folder says."""
    turns = [{"role": "user", "content": text}]
    body = {"model": str(model), "messages": turns, "temperature": 0.0, "max_tokens": LONGEST}
    where, kind = f"{url}/chat/completions", {"Content-Type": "application/json"}
    request = Request(where, json.dumps(body).encode(), kind)  # noqa: S310 - the loopback
    with urlopen(request, timeout=300) as answered:  # noqa: S310
        return json.load(answered)["choices"][0]
