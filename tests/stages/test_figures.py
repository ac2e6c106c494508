"""Perplexities and vectors against plain forward passes of the same model."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from isheep.filters.perplexity import FIELDS
from isheep.models import Model, Models
from isheep.recipe import parse_recipe
from isheep.records import Pair
from isheep.stages.figures import perplexities, vectors

PAIRS = [
    Pair("a", "Name a hill.", "", "The shell hill."),
    Pair("b", "Spell it.", "shell", "s h e l l"),
    Pair("c", "Sell the shell.", "", "No"),
    Pair("d", "Tell <|im_end|> all.", "he ll", "A <|im_start|> here"),
]
BOTH = FIELDS["both"]


@pytest.fixture(scope="module")
def models(tiny_model: Path) -> Iterator[Models]:
    settings = {"model": {"path": str(tiny_model), "dtype": "float32"}, "engine": {"device": "cpu", "threads": 1}}
    with Models(parse_recipe(settings, "test")) as models:
        yield models


@pytest.fixture(scope="module")
def reference(tiny_model: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32).eval()


def perplexity_of(reference: Any, ids: tuple[int, ...], first: int) -> float:
    """Of the tokens from place `first` on, with the loss of transformers."""
    labels = torch.tensor([[-100] * first + list(ids[first:])])
    with torch.inference_mode():
        return math.exp(reference(input_ids=torch.tensor([ids]), labels=labels).loss)


def test_of_the_base_the_prompt_is_bare_text(models: Models, reference: Any) -> None:
    found = perplexities(PAIRS, BOTH, 1, models.base)
    assert list(found) == [pair.id for pair in PAIRS]
    for pair in PAIRS:
        prompt = models.base.ask(pair.instruction, pair.input)
        ids = prompt + models.encoder.plain(pair.response)
        assert found[pair.id] == {
            "ppl_response": pytest.approx(perplexity_of(reference, ids, len(prompt)), rel=1e-3),
            "ppl_pair": pytest.approx(perplexity_of(reference, ids, 1), rel=1e-3),
        }


def test_of_a_trained_model_the_response_follows_the_template_and_the_pair_is_plain(
    models: Models, reference: Any
) -> None:
    trained = Model(models, 1, None)
    found, of_base = (perplexities(PAIRS, BOTH, 1, model) for model in (trained, models.base))
    for pair in PAIRS:
        prompt = trained.ask(pair.instruction, pair.input)
        ids = prompt + models.encoder.plain(pair.response)
        told = found[pair.id]["ppl_response"]
        assert told == pytest.approx(perplexity_of(reference, ids, len(prompt)), rel=1e-3)
        assert told != pytest.approx(of_base[pair.id]["ppl_response"], rel=1e-3)
        assert found[pair.id]["ppl_pair"] == pytest.approx(of_base[pair.id]["ppl_pair"], rel=1e-5)


def test_only_what_is_asked_for_is_computed(models: Models) -> None:
    both = perplexities(PAIRS, BOTH, 1, models.base)
    for name in BOTH:
        found = perplexities(PAIRS, [name], 1, models.base)
        assert {id_: list(told) for id_, told in found.items()} == {key: [name] for key in "abcd"}
        assert found["b"][name] == pytest.approx(both["b"][name], rel=1e-5)
    assert perplexities([], BOTH, 1, models.base) == {}


@pytest.mark.parametrize("number", [0, 1])
def test_an_empty_response_cannot_be_told(models: Models, number: int) -> None:
    pair = Pair("e", "Name a hill.", "", "")
    told = perplexities([pair], BOTH, 1, Model(models, number, None))["e"]
    assert told["ppl_response"] is None
    assert told["ppl_pair"] is not None


def test_what_the_model_has_no_positions_for_is_left_out(models: Models, reference: Any) -> None:
    long = Pair("l", "Name a hill.", "", "x" * 400)
    beyond = Pair("m", "x" * 400, "", "Hill")
    told = perplexities([long, beyond], BOTH, 1, models.base)
    ids, first = models.base.answered(long.instruction, long.input, long.response)
    assert len(ids) > 256
    assert told["l"]["ppl_response"] == pytest.approx(perplexity_of(reference, ids[:256], first), rel=1e-3)
    assert told["l"]["ppl_pair"] == pytest.approx(perplexity_of(reference, ids[:256], 1), rel=1e-3)
    assert told["m"]["ppl_response"] is None
    assert told["m"]["ppl_pair"] is not None
    assert len(vectors([long], 1, models.base)[0]) == 32


def test_vectors_are_the_mean_last_states_of_the_plain_pair(models: Models, reference: Any) -> None:
    found = vectors(PAIRS, 1, models.base)
    for pair, vector in zip(PAIRS, found, strict=True):
        text = "\n".join(filter(None, (pair.instruction, pair.input, pair.response)))
        with torch.inference_mode():
            states = reference.base_model(input_ids=torch.tensor([models.encoder.plain(text)])).last_hidden_state[0]
        assert vector.dtype == np.float32
        np.testing.assert_allclose(vector, states.mean(0).numpy(), rtol=1e-3, atol=1e-4)
    assert vectors([], 1, models.base) == []


def test_an_answer_keeps_the_prompt_that_was_read(models: Models) -> None:
    for number in (0, 1):
        model = Model(models, number, None)
        for pair in PAIRS:
            ids, first = model.answered(pair.instruction, pair.input, pair.response)
            assert ids[:first] == model.ask(pair.instruction, pair.input)
            assert models.encoder.decode(ids[first:]) == models.encoder.decode(models.encoder.plain(pair.response))


def test_an_answer_that_would_melt_into_the_prompt_stands_alone(tiny_model: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    file = folder / "tokenizer.json"
    tokenizer = json.loads(file.read_text(encoding="utf-8"))
    # One token for a line break and an `h`, as some vocabularies have for a line break and a bracket.
    tokenizer["pre_tokenizer"]["use_regex"] = False
    tokenizer["model"]["vocab"]["\u010ah"] = 263
    tokenizer["model"]["merges"].insert(0, ["\u010a", "h"])
    file.write_text(json.dumps(tokenizer), encoding="utf-8")
    with Models(parse_recipe({"model": {"path": str(folder)}}, "test")) as models:
        plain = models.encoder.plain
        assert 263 in plain("a\nhi")
        ids, first = models.base.answered("a", "", "hi")
        assert (ids[:first], ids[first:]) == (plain("a\n"), plain("hi"))
        assert models.base.answered("a", "", "it") == (plain("a\nit"), len(plain("a\n")))
