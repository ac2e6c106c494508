"""The embedded engine against plain forward passes of the same model."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    MistralConfig,
    MistralForCausalLM,
)

from isheep.encoder import Encoder
from isheep.engines import open_engine, transformers
from isheep.engines.base import Completion, Request
from isheep.engines.transformers import TransformersEngine
from isheep.errors import UserError
from isheep.recipe import parse_recipe

PAD = 3
HEAD = tuple(range(10, 40))
"""Long enough that prompts which all begin with it share its computation."""
PROMPTS = [(5,), (6, 7, 8), (*HEAD, 50, 51), (*HEAD, 60), HEAD, (9,) * 20, (44, 45), (*HEAD, 50)]
SHARING = [(*HEAD, 50, 51), (*HEAD, 60), (*HEAD, 50, 7, 8, 9, 5), (*HEAD, 61)]


def open_tiny(
    folder: Path, batch_size: int = 8, dtype: str = "float32", window: int | None = None
) -> TransformersEngine:
    return TransformersEngine(folder, dtype, "cpu", batch_size, None, PAD, window)


def load_reference(folder: Path, dtype: torch.dtype = torch.float32) -> Any:
    return AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).eval()


def reference_log_probabilities(model: Any, ids: Sequence[int]) -> torch.Tensor:
    """[tokens, vocabulary], alone, without cache or padding."""
    with torch.inference_mode():
        logits: torch.Tensor = model(torch.tensor([ids])).logits[0].float()
    return logits.log_softmax(-1)


def reference_greedy(model: Any, prompt: Sequence[int], count: int) -> tuple[int, ...]:
    ids = list(prompt)
    for _ in range(count):
        ids.append(int(reference_log_probabilities(model, ids)[-1].argmax()))
    return tuple(ids[len(prompt) :])


def make_requests(count: int = 12, prompts: Sequence[tuple[int, ...]] = PROMPTS, **settings: Any) -> list[Request]:
    """Rows that stop at different times, with every kind of sampling."""
    defaults: dict[str, Any] = {"max_new_tokens": 12, "stop_ids": frozenset(range(0, 260, 20))}
    kinds = [{"temperature": 0.0}, {"temperature": 1.0}, {"temperature": 0.8, "top_p": 0.9}]
    return [
        Request(id=str(n), prompt=prompts[n % len(prompts)], seed=n, **{**defaults, **kinds[n % 3], **settings})
        for n in range(count)
    ]


def by_id(completions: Iterator[Completion]) -> dict[str, Completion]:
    return {completion.id: completion for completion in completions}


@pytest.fixture(scope="module")
def sliding_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sliding")
    torch.manual_seed(1)
    sizes = {"vocab_size": 263, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "initializer_range": 0.3}
    MistralForCausalLM(MistralConfig(**sizes, **heads, sliding_window=6)).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def learned_positions_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("learned-positions")
    torch.manual_seed(1)
    config = GPT2Config(vocab_size=263, n_positions=64, n_embd=32, n_layer=2, n_head=4, initializer_range=0.3)
    GPT2LMHeadModel(config).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("prompts", [PROMPTS, SHARING])
@pytest.mark.parametrize("model", ["tiny_model", "sliding_model", "learned_positions_model"])
def test_greedy_is_argmax_of_plain_forward_passes(
    model: str, prompts: Sequence[tuple[int, ...]], request: pytest.FixtureRequest
) -> None:
    folder = request.getfixturevalue(model)
    reference = load_reference(folder)
    requests = make_requests(8, prompts, temperature=0.0, stop_ids=frozenset())
    with open_tiny(folder) as engine:
        completions = by_id(engine.generate(requests))
    for one in requests:
        assert completions[one.id] == Completion(one.id, reference_greedy(reference, one.prompt, 12), "length")


def test_stop_token_ends_a_row_and_is_left_out(tiny_model: Path) -> None:
    whole = reference_greedy(load_reference(tiny_model), (5,), 8)
    place = 2
    assert whole[place] not in whole[:place]
    stopping = Request("a", (5,), 8, frozenset({whole[place]}))
    going_on = Request("b", (5,), 8, frozenset({260}))
    at_once = Request("c", (5,), 8, frozenset({whole[0]}))
    with open_tiny(tiny_model) as engine:
        completions = by_id(engine.generate([stopping, going_on, at_once]))
    assert completions["a"] == Completion("a", whole[:place], "stop")
    assert completions["b"] == Completion("b", whole, "length")
    assert completions["c"] == Completion("c", (), "stop")


@pytest.mark.parametrize("model", ["tiny_model", "sliding_model", "learned_positions_model"])
def test_rows_that_take_the_places_of_others_change_nothing(
    model: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = request.getfixturevalue(model)
    requests = [
        replace(one, max_new_tokens=1 + 5 * number % 17)
        for number, one in enumerate(make_requests(40, PROMPTS + SHARING))
    ]
    with open_tiny(folder, batch_size=1) as engine:
        alone = by_id(engine.generate(requests))
    with open_tiny(folder, batch_size=4, window=40) as engine:
        steps, go_on = 0, engine._reader.go_on

        def counting(*args: Any) -> Any:
            nonlocal steps
            steps += 1
            return go_on(*args)

        monkeypatch.setattr(engine._reader, "go_on", counting)
        assert by_id(engine.generate(requests)) == alone
    if model != "sliding_model":
        tokens = sum(len(one.tokens) for one in alone.values())
        assert steps < 1.2 * tokens / 4


@pytest.mark.parametrize("prompts", [PROMPTS, SHARING])
def test_row_is_the_same_alone_batched_and_reordered(tiny_model: Path, prompts: Sequence[tuple[int, ...]]) -> None:
    requests = make_requests(18, prompts)
    with open_tiny(tiny_model, batch_size=9) as engine:
        together = by_id(engine.generate(requests))
        reordered = by_id(engine.generate(requests[::-1]))
    with open_tiny(tiny_model, batch_size=1) as engine:
        alone = by_id(engine.generate(requests))
    assert together == alone
    assert reordered == alone
    assert {completion.finish_reason for completion in alone.values()} == {"stop", "length"}
    assert len({len(completion.tokens) for completion in alone.values()}) > 4


def test_seed_decides_and_differs(tiny_model: Path) -> None:
    requests = [Request(str(seed), (5, 6), 10, frozenset(), 1.0, 1.0, seed) for seed in (1, 2, 1)]
    with open_tiny(tiny_model) as engine:
        first, second, again = (completion.tokens for completion in engine.generate(requests))
    assert first == again
    assert first != second


def test_requests_are_pulled_a_window_at_a_time(tiny_model: Path) -> None:
    pulled: list[str] = []

    def stream() -> Iterator[Request]:
        for one in make_requests(6):
            pulled.append(one.id)
            yield one

    with open_tiny(tiny_model, batch_size=2, window=4) as engine:
        completions = engine.generate(stream())
        assert pulled == []
        first = next(completions)
        assert pulled == ["0", "1", "2", "3"]
        assert {first.id, *by_id(completions)} == set(pulled) == set("012345")


def test_completion_ends_where_the_positions_do(learned_positions_model: Path) -> None:
    with open_tiny(learned_positions_model) as engine:
        found = by_id(
            engine.generate([Request("a", (5,) * 60, 9, frozenset()), Request("b", (5,) * 64, 9, frozenset())])
        )
    assert (len(found["a"].tokens), found["a"].finish_reason) == (4, "length")
    assert found["b"] == Completion("b", (), "length")


def test_empty_prompt_is_refused(tiny_model: Path) -> None:
    with open_tiny(tiny_model) as engine, pytest.raises(ValueError, match="no tokens"):
        list(engine.generate([Request("a", (), 4, frozenset())]))


@pytest.mark.parametrize("model", ["tiny_model", "sliding_model", "learned_positions_model"])
def test_candidates_are_scored_whole(model: str, request: pytest.FixtureRequest) -> None:
    folder = request.getfixturevalue(model)
    reference = load_reference(folder)
    candidates = [(20,), (21,), (20, 22), (20, 23), (24, 25, 26), (22,)]
    prompts = PROMPTS + SHARING
    with open_tiny(folder, batch_size=3) as engine:
        scores = engine.score_next(prompts, candidates)
    for prompt, row in zip(prompts, scores, strict=True):
        for candidate, score in zip(candidates, row, strict=True):
            table = reference_log_probabilities(reference, prompt + candidate)
            expected = sum(float(table[len(prompt) - 1 + n, token]) for n, token in enumerate(candidate))
            assert score == pytest.approx(expected, abs=2e-4)


def test_shared_beginning_is_read_once(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    columns: list[tuple[int, ...]] = []
    with open_tiny(tiny_model) as engine:
        forward = engine._reader.forward

        def noting(ids: torch.Tensor, *rest: Any) -> Any:
            columns.append(tuple(ids.shape))
            return forward(ids, *rest)

        monkeypatch.setattr(engine._reader, "forward", noting)
        engine.score_next(SHARING, [(20,)])
        engine.score_next(PROMPTS, [(20,)])
    assert columns == [(1, len(HEAD)), (len(SHARING), 5), (len(PROMPTS), len(HEAD) + 2)]


def test_empty_candidate_is_refused(tiny_model: Path) -> None:
    with open_tiny(tiny_model) as engine, pytest.raises(ValueError, match="candidate"):
        engine.score_next([(5,)], [(6,), ()])


@pytest.mark.parametrize("limit", [1 << 26, 1])
def test_sequences_are_scored_in_bounded_pieces(tiny_model: Path, monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    monkeypatch.setattr(transformers, "LOGITS", limit)
    monkeypatch.setattr(transformers, "LOG_SOFTMAX", limit)
    reference = load_reference(tiny_model)
    sequences = [*PROMPTS, ()]
    with open_tiny(tiny_model, batch_size=3) as engine:
        scores = engine.score_sequences(sequences)
    assert [len(row) for row in scores] == [max(0, len(sequence) - 1) for sequence in sequences]
    for sequence, row in zip(PROMPTS, scores, strict=False):
        table = reference_log_probabilities(reference, sequence)
        expected = [float(table[n, token]) for n, token in enumerate(sequence[1:])]
        assert row == pytest.approx(expected, abs=1e-4)


def test_embedding_is_the_mean_of_the_last_states(tiny_model: Path) -> None:
    reference = load_reference(tiny_model)
    with open_tiny(tiny_model, batch_size=3) as engine:
        vectors = engine.embed(PROMPTS)
    for prompt, vector in zip(PROMPTS, vectors, strict=True):
        with torch.inference_mode():
            states = reference(torch.tensor([prompt]), output_hidden_states=True).hidden_states[-1][0]
        assert vector == pytest.approx(states.mean(0).tolist(), abs=1e-4)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_adapter_goes_on_and_leaves_the_base_untouched(tiny_model: Path, adapter: Path, dtype: str) -> None:
    before = load_reference(tiny_model, getattr(torch, dtype)).state_dict()
    adapted = PeftModel.from_pretrained(load_reference(tiny_model, getattr(torch, dtype)), str(adapter)).eval()
    with open_tiny(tiny_model, dtype=dtype) as engine:
        plain = engine.score_sequences(PROMPTS)
        for _ in range(2):
            engine.use(adapter)
            scores = engine.score_sequences(PROMPTS)
        engine.use(None)
        after = engine._model.state_dict()
        assert engine.score_sequences(PROMPTS) == plain
    table = reference_log_probabilities(adapted, PROMPTS[2])
    expected = [float(table[n, token]) for n, token in enumerate(PROMPTS[2][1:])]
    assert scores[2] == pytest.approx(expected, abs=1e-3 if dtype == "float32" else 0.3)
    assert scores[2] != pytest.approx(plain[2], abs=0.5)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_adapter_that_is_none_is_refused_and_the_base_stays(tiny_model: Path, tmp_path: Path, adapter: Path) -> None:
    config = adapter / "adapter_config.json"
    with open_tiny(tiny_model) as engine:
        plain = engine.score_sequences(PROMPTS)
        with pytest.raises(UserError, match="holds no adapter"):
            engine.use(tmp_path)
        config.write_text(config.read_text().replace('"r": 4', '"r": 5'))
        with pytest.raises(UserError, match="does not fit"):
            engine.use(adapter)
        assert engine.score_sequences(PROMPTS) == plain


def test_close_gives_the_weights_back(tiny_model: Path, adapter: Path) -> None:
    engine = open_tiny(tiny_model)
    engine.use(adapter)
    list(engine.generate(make_requests(2)))
    weight = weakref.ref(engine._model.get_input_embeddings().weight)
    assert weight() is not None
    engine.close()
    gc.collect()
    assert weight() is None


def test_refusals(tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not load as a model") as caught:
        open_tiny(tmp_path)
    assert caught.value.where == str(tmp_path)
    with pytest.raises(UserError, match="`abacus` cannot be used"):
        TransformersEngine(tiny_model, "float32", "abacus", 1, None, PAD)


def test_open_engine_reads_the_recipe(tiny_model: Path) -> None:
    settings = {"path": str(tiny_model), "dtype": "float32"}
    threads = torch.get_num_threads()
    recipe = parse_recipe({"model": settings, "engine": {"batch_size": 5, "threads": threads, "device": "cpu"}}, "test")
    with open_engine(recipe, Encoder.load(tiny_model, "chatml")) as engine:
        assert isinstance(engine, TransformersEngine)
        assert (engine._batch_size, engine._pad_id, engine._device.type) == (5, PAD, "cpu")
        assert next(engine._model.parameters()).dtype == torch.float32
