"""The engine on a server, against the embedded engine on the same weights; the server lacks and fails as servers do."""

from __future__ import annotations

import logging
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from isheep import drain
from isheep.encoder import Encoder
from isheep.engines import http, open_engine
from isheep.engines.base import Completion, NoLogProbabilities, Request
from isheep.engines.openai import OpenAIEngine
from isheep.engines.transformers import TransformersEngine
from isheep.errors import Interrupted, IsheepError, StageError, UserError
from isheep.recipe import parse_recipe
from isheep.recipe.settings import ServerSettings
from isheep.store.run import Run
from tests.cli.conftest import ISHEEP, SMALL, quiet
from tests.data import LAMB
from tests.engines.served import NAME, Fault, Manners, Served, serve

PROMPTS = [(5,), (6, 7, 8), tuple(range(10, 40)), (9,) * 20]
CANDIDATES = [(20,), (21,), (20, 22), (24, 25, 26), (22,)]
KEY = "sk-PLANTED-0123456789"
ONE = Request("one", (5, 6), 4, frozenset({0}))

TEXT_ONLY = Manners(tokens_in=False, tokens_out=False, stop_ids=False, chosen=False, logprobs=False, strict=True)
"""As a hosted server that completes text, and takes no field that is not in the API."""
MANNERS = {
    "vllm": Manners(),
    "top": Manners(chosen=False),
    "echo alone": Manners(chosen=False, echo=True, tokens_out=False),
}


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tries follow each other at once."""
    monkeypatch.setattr(http, "FIRST_PAUSE_S", 0.001)
    monkeypatch.setattr(http, "LONGEST_PAUSE_S", 0.01)


@pytest.fixture(scope="module")
def served(tiny_model: Path) -> Iterator[Served]:
    with serve(tiny_model) as server:
        yield server


@pytest.fixture
def faulty(served: Served) -> Iterator[Served]:
    """The server, which may be given faults; they end with the test."""
    before = served.faults
    yield served
    served.faults = before


def open_at(server: Served, folder: Path, **settings: Any) -> OpenAIEngine:
    given = {"url": server.url, "timeout": 30.0, **settings}
    return OpenAIEngine(folder, ServerSettings(**given), Encoder.load(folder, "chatml"))


def open_here(folder: Path) -> TransformersEngine:
    return TransformersEngine(folder, "float32", "cpu", 8, None, 3)


def make_requests(count: int, stops: frozenset[int] = frozenset(range(0, 260, 20))) -> list[Request]:
    kinds = [{"temperature": 0.0}, {"temperature": 1.0}, {"temperature": 0.8, "top_p": 0.9}]
    return [
        Request(id=str(n), prompt=PROMPTS[n % 4], max_new_tokens=12, stop_ids=stops, seed=(n << 40) + n, **kinds[n % 3])
        for n in range(count)
    ]


def by_id(completions: Iterator[Completion]) -> dict[str, Completion]:
    return {completion.id: completion for completion in completions}


def close_to(expected: list[list[float]]) -> list[Any]:
    return [pytest.approx(row, abs=1e-3) for row in expected]


def test_completions_are_those_of_the_weights(served: Served, tiny_model: Path) -> None:
    requests = make_requests(30)
    with open_here(tiny_model) as here:
        expected = by_id(here.generate(requests))
    with open_at(served, tiny_model) as engine:
        assert by_id(engine.generate(requests)) == expected
    assert {one.finish_reason for one in expected.values()} == {"stop", "length"}


@pytest.mark.parametrize("manners", MANNERS.values(), ids=MANNERS)
def test_scores_are_those_of_the_weights(manners: Manners, tiny_model: Path) -> None:
    sequences = [*PROMPTS, ()]
    with open_here(tiny_model) as here:
        candidates, rows = here.score_next(PROMPTS, CANDIDATES), here.score_sequences(sequences)
    with serve(tiny_model, manners) as server, open_at(server, tiny_model) as engine:
        assert engine.score_next(PROMPTS, CANDIDATES) == close_to(candidates)
        assert engine.score_sequences(sequences) == close_to(rows)
        assert engine.score_next([], []) == []


def test_chosen_candidates_cost_one_request_a_prompt(served: Served, tiny_model: Path) -> None:
    with open_at(served, tiny_model) as engine:
        before = len(served.requests)
        engine.score_next(PROMPTS, [(20,), (21,), (22,)])
    assert len(served.requests) - before == len(PROMPTS)


def test_a_server_that_takes_only_text_gets_the_same_text(tiny_model: Path, encoder: Encoder) -> None:
    prompt = encoder.chat([{"role": "user", "content": "hello"}])
    asked = Request("a", prompt, 6, encoder.stop_ids)
    with open_here(tiny_model) as here:
        expected = next(here.generate([asked]))
    with serve(tiny_model, TEXT_ONLY) as server, open_at(server, tiny_model) as engine:
        found = next(engine.generate([asked]))
        sent = server.requests[-1]
        with pytest.raises(NoLogProbabilities, match="gives no log-probabilities"):
            engine.score_next([], [])
        with pytest.raises(NoLogProbabilities):
            engine.score_sequences(PROMPTS)
    assert sent["prompt"].endswith("<|im_start|>user\nhello<|im_end|>\n<|im_start|>assistant\n")
    assert Encoder.load(tiny_model, None).tokenizer(sent["prompt"])["input_ids"] == list(prompt)
    assert sent["stop"] == ["<|endoftext|>", "<|im_end|>"]
    assert sent.keys() == {"model", "prompt", "max_tokens", "temperature", "top_p", "seed", "stop"}
    assert encoder.decode(found.tokens) == encoder.decode(expected.tokens)


@pytest.mark.parametrize("begins", [True, False])
def test_the_beginning_token_is_never_sent_twice(
    tiny_model: Path, tmp_path: Path, build_tokenizer: Any, begins: bool
) -> None:
    folder = tmp_path / "begins"
    AutoModelForCausalLM.from_pretrained(tiny_model).save_pretrained(folder)
    build_tokenizer(begin=True).save_pretrained(folder)
    assert AutoTokenizer.from_pretrained(folder)("a")["input_ids"][0] == 4
    manners = Manners(tokens_in=False, begins=begins)
    with serve(folder, manners) as server, open_at(server, folder) as engine:
        next(engine.generate([Request("a", Encoder.load(folder, "chatml").plain("hello"), 2, frozenset())]))
        assert server.requests[-1]["prompt"] == ("hello" if begins else "<s>hello")


def test_seeds_are_cut_where_the_server_wants_32_bits(tiny_model: Path) -> None:
    seed = (5 << 40) + 7
    with serve(tiny_model, Manners(wide_seeds=False)) as server, open_at(server, tiny_model) as engine:
        list(engine.generate([Request("a", (5,), 2, frozenset(), seed=seed)]))
        assert server.requests[-1]["seed"] == seed & 0x7FFFFFFF


def test_requests_are_pulled_as_they_can_be_worked_on(served: Served, tiny_model: Path) -> None:
    pulled: list[str] = []

    def stream() -> Iterator[Request]:
        for request in make_requests(40):
            pulled.append(request.id)
            yield request

    with open_at(served, tiny_model, connections=3) as engine:
        served.most_at_once = 0
        completions = engine.generate(stream())
        assert pulled == []
        next(completions)
        assert len(pulled) <= 6  # Three that ended, three under way.
        assert len(list(completions)) == 39
        assert served.most_at_once <= 3


def test_positions_are_the_lesser_of_model_and_server(tiny_model: Path) -> None:
    with serve(tiny_model, Manners(max_model_len=64)) as server, open_at(server, tiny_model) as engine:
        assert engine.positions == 64
        asked = [Request("a", (5,) * 60, 9, frozenset()), Request("b", (5,) * 64, 9, frozenset())]
        found = by_id(engine.generate(asked))
        before = len(server.requests)
        assert list(engine.generate(asked[1:])) == [Completion("b", (), "length")]
        assert len(server.requests) == before
    assert (len(found["a"].tokens), found["a"].finish_reason) == (4, "length")
    assert found["b"] == Completion("b", (), "length")


def test_what_has_no_tokens_is_refused(served: Served, tiny_model: Path) -> None:
    with open_at(served, tiny_model) as engine:
        with pytest.raises(ValueError, match="no tokens"):
            list(engine.generate([Request("a", (), 4, frozenset())]))
        with pytest.raises(ValueError, match="no tokens"):
            engine.score_next([(5,)], [(6,), ()])


@pytest.mark.parametrize("loader", ["/v1/load_lora_adapter", "/load_lora_adapter"])
def test_adapters_are_loaded_while_it_runs(tiny_model: Path, adapter: Path, loader: str) -> None:
    with open_here(tiny_model) as here:
        plain = here.score_sequences(PROMPTS)
        here.use(adapter)
        adapted = here.score_sequences(PROMPTS)
    assert adapted[2] != pytest.approx(plain[2], abs=0.5)
    with serve(tiny_model, Manners(loader=loader)) as server:
        with open_at(server, tiny_model) as engine:
            engine.use(adapter)
            name = server.loads[0]
            assert engine.score_sequences(PROMPTS) == close_to(adapted)
            engine.use(None)
            assert server.adapters == {}
            assert engine.score_sequences(PROMPTS) == close_to(plain)
            engine.use(adapter)
        assert server.adapters == {}
        # As after a client that was killed: what is there under the name is the same adapter.
        server.adapters[name] = adapter
        with open_at(server, tiny_model) as engine:
            engine.use(adapter)
            assert engine.score_sequences(PROMPTS) == close_to(adapted)


def test_adapters_that_cannot_be_loaded(served: Served, tiny_model: Path, tmp_path: Path, adapter: Path) -> None:
    with open_at(served, tiny_model) as engine, pytest.raises(UserError, match="holds no adapter"):
        engine.use(tmp_path)
    with serve(tiny_model, Manners(loader=None)) as server, open_at(server, tiny_model) as engine:
        with pytest.raises(UserError, match=r"does not load adapters.*VLLM_ALLOW_RUNTIME_LORA_UPDATING"):
            engine.use(adapter)
        engine.use(None)


def test_no_vectors(served: Served, tiny_model: Path) -> None:
    with open_at(served, tiny_model) as engine, pytest.raises(UserError, match="vectors"):
        engine.embed(PROMPTS)


FAULTS = {
    "too many": Fault(429, {"Retry-After": "0"}),
    "too many, a date": Fault(429, {"Retry-After": "Sun, 22 Nov 2020 20:00:00 GMT"}),
    "too many, nonsense": Fault(429, {"Retry-After": "soon"}),
    "inside": Fault(500, body=b'{"error": {"message": "CUDA"}}'),
    "away": Fault(503),
    "dropped": Fault(drop=True),
    "half": Fault(half=True),
    "no JSON": Fault(body=b"<html>"),
    "nothing": Fault(body=b""),
    "deep": Fault(body=b"[" * 100_000),
    "not an object": Fault(body=b"[1]"),
    "no choices": Fault(body=b"{}"),
    "empty choices": Fault(body=b'{"choices": []}'),
    "a choice of another kind": Fault(body=b'{"choices": [3]}'),
    "two choices": Fault(body=b'{"choices": [{}, {}]}'),
    "no reason": Fault(body=b'{"choices": [{"token_ids": [1]}]}'),
    "another reason": Fault(body=b'{"choices": [{"token_ids": [1], "finish_reason": "abort"}]}'),
    "no ids": Fault(body=b'{"choices": [{"text": "a", "finish_reason": "stop"}]}'),
    "ids out of range": Fault(body=b'{"choices": [{"token_ids": [99999], "finish_reason": "stop"}]}'),
    "negative ids": Fault(body=b'{"choices": [{"token_ids": [-1], "finish_reason": "stop"}]}'),
    "ids that are none": Fault(body=b'{"choices": [{"token_ids": [1.0, true, "x"], "finish_reason": "stop"}]}'),
    "more than asked": Fault(body=b'{"choices": [{"token_ids": [5,5,5,5,5], "finish_reason": "length"}]}'),
    "a huge number": Fault(body=b'{"choices": [{"token_ids": [' + b"9" * 5000 + b'], "finish_reason": "stop"}]}'),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_a_fault_is_tried_again_and_then_told(faulty: Served, tiny_model: Path, fault: Fault) -> None:
    with open_at(faulty, tiny_model, retries=2) as engine:
        expected = next(engine.generate([ONE]))
        first = len(faulty.requests)
        faulty.faults = lambda number, payload: fault if number < first + 2 else None
        assert next(engine.generate([ONE])) == expected
        assert len(faulty.requests) == first + 3
        faulty.faults = lambda number, payload: fault
        with pytest.raises(StageError, match="failed in 3 tries, at last: "):
            next(engine.generate([ONE]))


@pytest.mark.parametrize("value", [b"null", b"NaN", b"0.5", b"true", b'"x"', b"1e999", b"-" + b"9" * 400])
def test_log_probabilities_that_are_none(faulty: Served, tiny_model: Path, value: bytes) -> None:
    body = b'{"choices": [{"logprobs": {"token_logprobs": [null, -1.0, ' + value + b"]}}]}"
    with open_at(faulty, tiny_model, retries=1) as engine:
        faulty.faults = lambda number, payload: Fault(body=body)
        with pytest.raises(StageError, match="a log-probability that is none"):
            engine.score_sequences([(5, 6, 7)])
        with pytest.raises(StageError, match="log-probabilities of 3 tokens where the prompt has 5"):
            engine.score_sequences([(5, 6, 7, 8, 9)])


def test_an_answer_that_is_too_long(faulty: Served, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_at(faulty, tiny_model, retries=0) as engine:
        monkeypatch.setattr(http, "ANSWER_LIMIT", 1 << 20)
        faulty.faults = lambda number, payload: Fault(body=b" " * (2 << 20))
        with pytest.raises(StageError, match="more than 1 MiB"):
            next(engine.generate([ONE]))


def test_a_late_answer_is_tried_again(faulty: Served, tiny_model: Path) -> None:
    with open_at(faulty, tiny_model, timeout=0.5, retries=0) as engine:
        faulty.faults = lambda number, payload: Fault(late=3)
        with pytest.raises(StageError, match=r"no answer within 0\.5 s"):
            next(engine.generate([ONE]))


def test_a_server_that_asks_for_too_long_a_wait_stops_the_run(faulty: Served, tiny_model: Path) -> None:
    with open_at(faulty, tiny_model) as engine:
        faulty.faults = lambda number, payload: Fault(429, {"Retry-After": "86400"})
        with pytest.raises(StageError, match="left alone for 86400 s"):
            next(engine.generate([ONE]))


def test_a_refused_request_is_not_tried_again(faulty: Served, tiny_model: Path) -> None:
    with open_at(faulty, tiny_model) as engine:
        before = len(faulty.requests)
        faulty.faults = lambda number, payload: Fault(400, body=b'{"message": "too\\u001b[31m long"}')
        with pytest.raises(StageError, match=r"refuses a request \(status 400: too\\x1b\[31m long\)"):
            next(engine.generate([ONE]))
    assert len(faulty.requests) == before + 1


def test_fewer_requests_at_once_where_they_are_too_many(faulty: Served, tiny_model: Path) -> None:
    """The server takes four at once and says so; all are answered, and in the end no more than about so many sent."""
    refused: list[int] = []

    def four(number: int, payload: dict[str, Any]) -> Fault | None:
        if faulty._at_once > 4:
            refused.append(number)
            return Fault(429)
        return Fault(late=0.01)

    with open_at(faulty, tiny_model, connections=32, retries=30) as engine:
        first = len(faulty.requests)
        faulty.faults = four
        assert len(list(engine.generate(make_requests(200)))) == 200
        last = len(faulty.requests)
    late = [number for number in refused if number > first + (last - first) // 2]
    assert refused
    assert len(late) < (last - first) / 4


def test_a_server_that_dies_is_told_of(tiny_model: Path) -> None:
    with serve(tiny_model) as server:
        engine = open_at(server, tiny_model, retries=2)
        assert next(engine.generate([ONE])).id == "one"
    with engine, pytest.raises(StageError, match="failed in 3 tries, at last: the connection failed") as caught:
        next(engine.generate([ONE]))
    assert caught.value.exit_code == 3


def test_asked_to_stop_it_does_not_wait_for_a_server_that_is_silent(
    faulty: Served, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "GRACE_S", 1.0)
    with open_at(faulty, tiny_model) as engine:
        faulty.faults = lambda number, payload: Fault(late=600)
        with drain.on_signals():
            threading.Timer(0.2, signal.raise_signal, [signal.SIGINT]).start()
            with pytest.raises(Interrupted):
                next(engine.generate([ONE]))


def test_closing_ends_the_thread(served: Served, tiny_model: Path) -> None:
    def threads() -> int:
        return sum(thread.name == "server" for thread in threading.enumerate())

    before = threads()
    engine = open_at(served, tiny_model)
    completions = engine.generate(make_requests(50))
    next(completions)
    assert threads() == before + 1
    engine.close()
    engine.close()
    assert threads() == before


def test_who_serves_no_such_model(tiny_model: Path) -> None:
    with serve(tiny_model, Manners(models=("one", "two"))) as server:
        with pytest.raises(UserError, match=r"engine\.server\.model: is three, and .* serves one, two\."):
            open_at(server, tiny_model, model="three")
        with pytest.raises(UserError, match=r"engine\.server\.model: is not given, and .* serves one, two\."):
            open_at(server, tiny_model)
        with open_at(server, tiny_model, model="two") as engine:
            assert engine.abilities.model == "two"
    with serve(tiny_model, Manners(lists=False)) as server:
        with pytest.raises(UserError, match=r"does not list its models.*Give engine\.server\.model"):
            open_at(server, tiny_model)
        with pytest.raises(UserError, match=r"does not complete text with the model x \(status 404: The model `x`"):
            open_at(server, tiny_model, model="x")
        with open_at(server, tiny_model, model=NAME) as engine:
            assert next(engine.generate([ONE])).id == "one"


def test_nobody_at_the_url(tiny_model: Path) -> None:
    with pytest.raises(UserError, match=r"engine\.server\.url http://127\.0\.0\.1:9/v1: cannot be reached: "):
        OpenAIEngine(tiny_model, ServerSettings(url="http://127.0.0.1:9"), Encoder.load(tiny_model, "chatml"))


def test_the_key_goes_to_the_server_and_nowhere_else(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, adapter: Path
) -> None:
    """Every kind of failure with a planted key, also where the server repeats it: no message and no log has it."""
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("PLANTED", KEY)
    leaks = f'{{"error": {{"message": "your key {KEY} is over its quota"}}}}'.encode()
    written = f'{{"choices": [{{"text": "{KEY}", "finish_reason": "stop", "token_ids": [1]}}]}}'.encode()
    faults = [
        *FAULTS.values(),
        *(Fault(status, body=leaks) for status in (301, 400, 401, 403, 404, 429, 500)),
        Fault(302, {"Location": "http://127.0.0.1:9/"}),
        Fault(body=leaks),
        Fault(body=written),
        Fault(late=3),
    ]
    said: list[str] = []
    with serve(tiny_model, Manners(key=KEY)) as server:
        with open_at(server, tiny_model, key_variable="PLANTED", retries=1, timeout=1.0) as engine:
            assert next(engine.generate([ONE])).id == "one"
            assert set(server.keys) == {f"Bearer {KEY}"}
            for fault in faults:
                server.faults = lambda number, payload, fault=fault: fault  # type: ignore[misc]
                with pytest.raises(IsheepError) as caught:
                    next(engine.generate([ONE]))
                error: BaseException | None = caught.value
                while error is not None:
                    said += [str(error), repr(error)]
                    error = error.__cause__ or error.__context__
            said += [repr(engine), repr(engine._client), repr(engine.abilities), repr(engine._client._session)]
        server.faults = lambda number, payload: None
        monkeypatch.setenv("PLANTED", "wrong-" + KEY)
        with pytest.raises(UserError, match="environment variable PLANTED") as caught:
            open_at(server, tiny_model, key_variable="PLANTED")
        said.append(str(caught.value))
    monkeypatch.setenv("PLANTED", KEY + "\nx")
    with pytest.raises(UserError, match="characters that no key has") as caught:
        http.read_key("PLANTED")
    said += [str(caught.value), caplog.text]
    assert len(said) > 60
    assert KEY not in "\n".join(said)


def test_open_engine_reads_the_recipe(served: Served, tiny_model: Path) -> None:
    settings = {"name": "openai", "server": {"url": served.url, "connections": 5, "key_variable": "NO_SUCH"}}
    recipe = parse_recipe({"model": {"path": str(tiny_model)}, "engine": settings}, "test")
    with open_engine(recipe, Encoder.load(tiny_model, "chatml")) as engine:
        assert isinstance(engine, OpenAIEngine)
        assert engine._client._window.most == 5
        assert next(engine.generate([ONE])).id == "one"


RUN = [
    "run",
    *SMALL,
    "size=32",
    "synthesize.patience=9",
    "evaluate.limit=8",
    "engine.batch_size=16",
    "engine.name=openai",
]


def at(server: Served) -> list[str]:
    return [f"engine.server.url={server.url}", "engine.server.key_variable=PLANTED"]


def tables(directory: Path) -> dict[str, list[Any]]:
    run = Run.read(directory)
    names = ("instructions", "responses", "assessments", "selection")
    return {f"{one.number}/{name}": one.table(name).rows() for one in run.iterations() for name in names}


def test_a_run_on_a_server_that_is_killed_and_resumed_is_a_run_on_a_server(tmp_path: Path) -> None:
    """Two iterations, trained models as adapters; a killed client begins again where it was; no file has the key."""
    env = {**quiet(), "PLANTED": KEY}
    with serve(LAMB, Manners(key=KEY)) as server:
        command = [ISHEEP, *RUN, *at(server)]
        whole = subprocess.run(
            [*command, "--dir", str(tmp_path / "whole")], env=env, capture_output=True, text=True, check=False
        )
        assert whole.returncode == 0, whole.stderr
        assert len(set(server.loads)) == 2
        assert server.adapters == {}
        killed = [*command, "--dir", str(tmp_path / "killed")]
        process = subprocess.Popen(killed, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        begun = tmp_path / "killed" / "iteration-02/instructions/part-00000.parquet"
        while process.poll() is None and not begun.exists():
            time.sleep(0.01)
        assert process.poll() is None
        process.kill()
        process.wait()
        ended = subprocess.run(killed, env=env, capture_output=True, text=True, check=False)
        assert ended.returncode == 0, ended.stderr
    expected, found = tables(tmp_path / "whole"), tables(tmp_path / "killed")
    assert found == expected
    assert sum(row.kept for row in found["2/selection"]) > 0
    for file in tmp_path.rglob("*"):
        assert not file.is_file() or KEY.encode() not in file.read_bytes(), file
    assert KEY not in whole.stdout + whole.stderr + ended.stdout + ended.stderr
