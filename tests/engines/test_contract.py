"""What every engine has to do alike, whatever library is behind it: one suite, on the embedded model."""

from __future__ import annotations

import gc
import os
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM

from isheep.encoder import Encoder
from isheep.engines import Completion, Engine, Request, open_engine
from isheep.engines.openai import OpenAIEngine
from isheep.engines.ray import RayEngine
from isheep.errors import UserError
from isheep.recipe import Recipe, load_recipe
from tests.data import LAMB
from tests.engines.served import serve, serve_with_vllm

BATCH = 6
CLOSE = 1e-3

needs_vllm = pytest.mark.skipif(find_spec("vllm") is None, reason="vLLM is not installed here: make test-vllm")
needs_ray = pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed here: make test")
ENGINES = [
    "transformers",
    pytest.param("ray", marks=needs_ray),
    "openai",
    pytest.param("vllm", marks=needs_vllm),
    pytest.param("openai on vllm", marks=needs_vllm),
]


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return Encoder.load(LAMB, "chatml")


@pytest.fixture(scope="module")
def recipe(request: pytest.FixtureRequest) -> Iterator[Recipe]:
    """lamb on the engine; one of a server finds its server running: over the embedded engine, or vLLM's own.

    `ray`: the embedded engine twice, on a cluster of its own.
    """
    name, _, on_vllm = str(request.param).partition(" ")
    with ExitStack() as stack:
        if name == "ray":
            import ray

            stack.callback(ray.shutdown)
            settings = ["engine.workers=2", "engine.ray.cpus=0.5", "engine.window=1", f"engine.batch_size={BATCH}"]
            yield load_recipe("lamb", settings)
            return
        settings = [f"engine={name}", f"engine.batch_size={BATCH}", f"engine.server.connections={BATCH}"]
        if name == "openai":
            url = stack.enter_context(serve_with_vllm(LAMB)) if on_vllm else stack.enter_context(serve(LAMB)).url
            settings.append(f"engine.server.url={url}")
        yield load_recipe("lamb", settings)


@pytest.fixture(scope="module")
def engine(recipe: Recipe, encoder: Encoder) -> Iterator[Engine]:
    with open_engine(recipe, encoder) as opened:
        yield opened


@pytest.fixture(scope="module")
def reference() -> Any:
    return AutoModelForCausalLM.from_pretrained(LAMB, dtype=torch.float32).eval()


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("adapter")
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_pretrained(LAMB, dtype=torch.float32)
    adapted = get_peft_model(model, LoraConfig(r=8, target_modules="all-linear", init_lora_weights=False))
    adapted.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def prompts(encoder: Encoder) -> list[tuple[int, ...]]:
    tasks = ["Repeat the word lamp 3 times.", "Which is larger?\n5 12", "Spell the word gate."]
    asked = [encoder.chat([{"role": "user", "content": task}]) for task in tasks]
    listed = [encoder.plain(f"### 1. Instruction: {task}\n### 1. Input: none\n### 2. Instruction:") for task in tasks]
    return [*asked, *listed, encoder.plain("Question"), encoder.plain(tasks[0] * 12)]


pytestmark = [
    pytest.mark.parametrize("recipe", ENGINES, indirect=True, scope="module"),
    pytest.mark.xdist_group("contract"),
]


def log_probabilities(model: Any, ids: Sequence[int]) -> torch.Tensor:
    """[tokens, vocabulary], by one plain forward pass."""
    with torch.inference_mode():
        logits: torch.Tensor = model(torch.tensor([ids])).logits[0]
    return logits.log_softmax(-1)


def greedy(model: Any, prompt: Sequence[int], count: int) -> tuple[int, ...]:
    ids = list(prompt)
    for _ in range(count):
        ids.append(int(log_probabilities(model, ids)[-1].argmax()))
    return tuple(ids[len(prompt) :])


def ask(engine: Engine, requests: Sequence[Request]) -> dict[str, Completion]:
    return {completion.id: completion for completion in engine.generate(iter(requests))}


def sampling(prompts: Sequence[tuple[int, ...]], stop_ids: frozenset[int] = frozenset()) -> list[Request]:
    settings = [(1.0, 1.0), (0.8, 0.95)]
    return [
        Request(str(n), prompts[n % len(prompts)], 12, stop_ids, *settings[n % 2], seed=2**62 + n)
        for n in range(3 * BATCH)
    ]


def test_greedy_is_what_transformers_writes(engine: Engine, reference: Any, prompts: list[tuple[int, ...]]) -> None:
    completions = ask(engine, [Request(str(n), one, 10, frozenset()) for n, one in enumerate(prompts)])
    for number, prompt in enumerate(prompts):
        assert completions[str(number)] == Completion(str(number), greedy(reference, prompt, 10), "length")


def test_seed_decides_whatever_it_is_batched_with(engine: Engine, prompts: list[tuple[int, ...]]) -> None:
    requests = sampling(prompts)
    together, reordered = ask(engine, requests), ask(engine, requests[::-1])
    alone = {one.id: next(iter(engine.generate([one]))) for one in requests[:4]}
    assert together == reordered
    assert alone == {id_: together[id_] for id_ in alone}
    other = ask(engine, [Request(one.id, one.prompt, 12, one.stop_ids, 1.0, 1.0, seed=7) for one in requests])
    assert other != together


def test_stop_id_ends_a_completion_and_is_left_out(
    engine: Engine, reference: Any, prompts: list[tuple[int, ...]]
) -> None:
    written = greedy(reference, prompts[0], 8)
    place = next(place for place in range(1, 8) if written[place] not in written[:place])
    stopped, other = ask(
        engine,
        [
            Request("a", prompts[0], 8, frozenset({written[place]})),
            Request("b", prompts[0], place, frozenset({written[place]})),
        ],
    ).values()
    assert {stopped.id: stopped, other.id: other} == {
        "a": Completion("a", written[:place], "stop"),
        "b": Completion("b", written[:place], "length"),
    }


def test_no_more_than_the_positions(engine: Engine, prompts: list[tuple[int, ...]]) -> None:
    assert engine.positions == 384
    long = (prompts[-1] * 9)[: engine.positions]
    found = ask(engine, [Request("a", long[:-3], 9, frozenset()), Request("b", long, 9, frozenset())])
    assert (len(found["a"].tokens), found["a"].finish_reason) == (3, "length")
    assert found["b"] == Completion("b", (), "length")


def test_requests_are_pulled_no_further_than_they_can_be_worked_on(
    engine: Engine, prompts: list[tuple[int, ...]]
) -> None:
    pulled = 0

    def stream() -> Iterator[Request]:
        nonlocal pulled
        for one in sampling(prompts * 20):
            for copy in range(20):
                pulled += 1
                yield Request(f"{one.id}-{copy}", one.prompt, 4, frozenset())

    completions = engine.generate(stream())
    assert pulled == 0
    next(completions)
    assert pulled <= 8 * BATCH
    completions.close()  # type: ignore[attr-defined]
    assert len(ask(engine, sampling(prompts))) == 3 * BATCH


def test_candidates_within_a_thousandth(
    engine: Engine, encoder: Encoder, reference: Any, prompts: list[tuple[int, ...]]
) -> None:
    scores = [encoder.plain(f" {score}") for score in range(1, 11)]
    candidates = [*scores, (20, 22), (20, 23), (20,), (24, 25, 26)]
    table = engine.score_next(prompts, candidates)
    for prompt, row in zip(prompts, table, strict=True):
        for candidate, score in zip(candidates, row, strict=True):
            whole = log_probabilities(reference, prompt + candidate)
            expected = sum(float(whole[len(prompt) - 1 + n, token]) for n, token in enumerate(candidate))
            assert score == pytest.approx(expected, abs=CLOSE)


def test_sequences_within_a_thousandth(engine: Engine, reference: Any, prompts: list[tuple[int, ...]]) -> None:
    longest = (prompts[-1] * 9)[:384]
    sequences = [*prompts, longest, (5,), ()]
    rows = engine.score_sequences(sequences)
    assert [len(row) for row in rows] == [max(0, len(sequence) - 1) for sequence in sequences]
    for sequence, row in zip([*prompts, longest], rows, strict=False):
        whole = log_probabilities(reference, sequence)
        assert row == pytest.approx([float(whole[n, token]) for n, token in enumerate(sequence[1:])], abs=CLOSE)


def test_vectors_are_means_of_the_last_states(
    engine: Engine, recipe: Recipe, reference: Any, prompts: list[tuple[int, ...]]
) -> None:
    if recipe.engine.name == "openai":
        with pytest.raises(UserError, match="vector"):
            engine.embed(prompts)
        return
    vectors = engine.embed(prompts)
    for prompt, vector in zip(prompts, vectors, strict=True):
        with torch.inference_mode():
            states = reference(torch.tensor([prompt]), output_hidden_states=True).hidden_states[-1][0]
        assert vector == pytest.approx(states.mean(0).tolist(), abs=CLOSE)


def test_adapter_changes_the_output_for_every_row_and_comes_off(
    engine: Engine, adapter: Path, prompts: list[tuple[int, ...]]
) -> None:
    base = AutoModelForCausalLM.from_pretrained(LAMB, dtype=torch.float32)
    adapted = PeftModel.from_pretrained(base, str(adapter)).eval()
    requests = [Request(str(n), one, 10, frozenset()) for n, one in enumerate(prompts)]
    before = ask(engine, requests)
    engine.use(adapter)
    with_it = ask(engine, requests)
    scored = engine.score_sequences(prompts)
    engine.use(None)
    assert ask(engine, requests) == before
    assert with_it != before
    for number, (prompt, row) in enumerate(zip(prompts, scored, strict=True)):
        assert with_it[str(number)].tokens == greedy(adapted, prompt, 10)
        whole = log_probabilities(adapted, prompt)
        assert row == pytest.approx([float(whole[n, token]) for n, token in enumerate(prompt[1:])], abs=CLOSE)


def test_folder_without_adapter_is_refused_and_the_engine_goes_on(
    engine: Engine, tmp_path: Path, prompts: list[tuple[int, ...]]
) -> None:
    before = ask(engine, sampling(prompts))
    with pytest.raises(UserError, match="holds no adapter"):
        engine.use(tmp_path)
    assert ask(engine, sampling(prompts)) == before


def test_close_gives_the_memory_back(recipe: Recipe, encoder: Encoder, prompts: list[tuple[int, ...]]) -> None:
    opened = open_engine(recipe, encoder)
    ask(opened, sampling(prompts))
    held = _holders(opened)
    assert held()
    opened.close()
    gc.collect()
    # A process of another parent (Ray's) is told to end, and does so a moment later.
    deadline = time.monotonic() + 60
    while held() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not held()


def _holders(engine: Any) -> Callable[[], bool]:
    """Whether anything is left of it: its weights here, a process of its own, or the thread that asks a server."""
    if isinstance(engine, OpenAIEngine):
        thread = engine._client._thread
        return thread.is_alive
    if isinstance(engine, RayEngine):
        pids = [int(seat.place.split()[1]) for seat in engine._seats if seat.ready]
        return lambda: any(map(_lives, pids))
    if hasattr(engine, "_model"):
        weight = weakref.ref(engine._model.get_input_embeddings().weight)
        return lambda: weight() is not None
    pid = engine._process._child.pid
    return lambda: _lives(pid)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
