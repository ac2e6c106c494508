"""What each method of training changes and leaves behind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from isheep import drain
from isheep.encoder import Encoder
from isheep.engines.transformers import TransformersEngine
from isheep.errors import Interrupted
from isheep.models import Models
from isheep.recipe import Recipe
from isheep.stages.train import train
from isheep.store.run import Iteration, Run
from tests.stages.test_train import LEARNS, RESTS, ROWS, make_recipe

FULL: dict[str, Any] = {**LEARNS, "method": "full", "learning_rate": 1e-3}
TEXT = "he said hello"


def train_in(directory: Path, *recipes: Recipe) -> list[Iteration]:
    """As many iterations as recipes."""
    encoder = Encoder.load(Path(recipes[0].model.path), "chatml")
    with Run.create_or_resume(directory, recipes[0]) as run:
        iterations: list[Iteration] = []
        for number, recipe in enumerate(recipes, 1):
            iteration = run.iteration(number)
            if not iteration.training_set_path.exists():
                iteration.write_training_set(ROWS)
            train(iteration, iterations, recipe, encoder)
            iterations.append(iteration)
    return iterations


def train_twice(model: Path, folder: Path, first: dict[str, Any], second: dict[str, Any]) -> list[Iteration]:
    """Under `one_last`."""
    return train_in(
        folder / "run", *(make_recipe(model, setting="one_last", **settings) for settings in (first, second))
    )


def weights(iteration: Iteration) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = load_file(iteration.weights_path / "model.safetensors")
    return found


@pytest.fixture(scope="module")
def full(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iteration:
    return train_in(tmp_path_factory.mktemp("full") / "run", make_recipe(tiny_model, **FULL))[0]


def test_full_leaves_a_model_that_loads_anywhere(full: Iteration, tiny_model: Path) -> None:
    assert full.weights_path == full.path / "model"
    assert not (full.path / "adapter").exists()
    base, model = (AutoModelForCausalLM.from_pretrained(folder) for folder in (tiny_model, full.weights_path))
    changed = [name for name, one in base.state_dict().items() if not torch.equal(one, model.state_dict()[name])]
    assert len(changed) == len(base.state_dict())
    ids = AutoTokenizer.from_pretrained(tiny_model)(TEXT)["input_ids"]
    assert AutoTokenizer.from_pretrained(full.weights_path)(TEXT)["input_ids"] == ids
    assert Encoder.load(full.weights_path, "chatml").chat(ROWS[0]["messages"][:1]) == Encoder.load(
        tiny_model, "chatml"
    ).chat(ROWS[0]["messages"][:1])


def test_full_learns_the_pairs(full: Iteration, tiny_model: Path) -> None:
    encoder = Encoder.load(tiny_model, "chatml")
    ids, labels = encoder.supervised(ROWS[1]["messages"])
    with (
        TransformersEngine(tiny_model, "float32", "cpu", 1, None, encoder.pad_id) as base,
        TransformersEngine(full.weights_path, "float32", "cpu", 1, None, encoder.pad_id) as model,
    ):
        before, after = (sum(engine.score_sequences([ids])[0][-3:]) for engine in (base, model))
    assert labels[-3:] == ids[-3:]
    assert after > before + 1


def test_the_engine_answers_with_the_whole_model_and_with_the_base_again(full: Iteration, tiny_model: Path) -> None:
    recipe = make_recipe(tiny_model, **FULL)
    ids = Encoder.load(tiny_model, "chatml").plain(TEXT)
    with Models(recipe) as models:
        found = [model.engine.score_sequences([ids])[0] for model in (models.base, models.out_of(full), models.base)]
    expected = []
    for folder in (tiny_model, full.weights_path):
        logits = AutoModelForCausalLM.from_pretrained(folder)(torch.tensor([ids])).logits[0].log_softmax(-1)
        expected.append(logits[range(len(ids) - 1), ids[1:]].tolist())
    assert found == [pytest.approx(one, abs=1e-4) for one in (expected[0], expected[1], expected[0])]
    assert expected[0] != pytest.approx(expected[1], abs=1e-2)


def test_full_in_half_precision_learns_what_is_too_little_for_it(tiny_model: Path, tmp_path: Path) -> None:
    """Steps of 1e-4 on weights of about 0.3 leave a bfloat16 as it was; those of the checkpoints are float32."""
    settings = {**FULL, "steps": 40, "learning_rate": 1e-4}
    (iteration,) = train_in(tmp_path / "run", make_recipe(tiny_model, dtype="bfloat16", **settings))
    trained, base = weights(iteration), load_file(tiny_model / "model.safetensors")
    assert {one.dtype for one in trained.values()} == {torch.bfloat16}
    name = "model.layers.0.mlp.gate_proj.weight"
    moved = (trained[name] != base[name].bfloat16()).float().mean()
    assert moved > 0.5


def test_one_last_goes_on_with_the_whole_model(full: Iteration, tiny_model: Path, tmp_path: Path) -> None:
    one, two = train_twice(tiny_model, tmp_path, FULL, {**RESTS, "method": "full"})
    torch.testing.assert_close(weights(two), weights(one), rtol=0, atol=1e-6)


def test_a_full_training_that_was_stopped_ends_in_the_same_model(
    full: Iteration, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = make_recipe(tiny_model, **FULL)
    with monkeypatch.context() as patch:
        patch.setattr(drain, "_wanted", True)
        with pytest.raises(Interrupted):
            train_in(tmp_path / "run", recipe)
    (again,) = train_in(tmp_path / "run", recipe)
    files = sorted(file.name for file in full.weights_path.iterdir())
    assert sorted(file.name for file in again.weights_path.iterdir()) == files
    for file in files:
        assert (again.weights_path / file).read_bytes() == (full.weights_path / file).read_bytes(), file


def test_qlora_trains_on_four_bits_an_adapter_for_the_base_as_it_is(tiny_model: Path, tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes")
    recipe = make_recipe(tiny_model, method="qlora", steps=24, held_out=0.0)
    (iteration,) = train_in(tmp_path / "run", recipe)
    adapter = load_file(iteration.weights_path / "adapter_model.safetensors")
    assert {one.dtype for one in adapter.values()} == {torch.float32}
    # More digits than bfloat16 holds.
    assert any(not torch.equal(one, one.bfloat16().float()) for one in adapter.values())
    encoder = Encoder.load(tiny_model, "chatml")
    ids, _ = encoder.supervised(ROWS[1]["messages"])
    scores = []
    with TransformersEngine(tiny_model, "float32", "cpu", 1, None, encoder.pad_id) as engine:
        for folder in (None, iteration.weights_path):
            engine.use(folder)
            scores.append(sum(engine.score_sequences([ids])[0][-3:]))
    assert scores[1] > scores[0] + 1


def test_qlora_reads_the_base_in_four_bits(tiny_model: Path) -> None:
    bitsandbytes: Any = pytest.importorskip("bitsandbytes")
    from isheep.training.weights import trained_model

    model = trained_model(make_recipe(tiny_model, method="qlora"), torch.device("cpu"), None)
    layers = [module for module in model.modules() if isinstance(module, bitsandbytes.nn.Linear4bit)]
    assert len(layers) == 2 * 7
    assert {layer.weight.quant_type for layer in layers} == {"nf4"}
    assert all(layer.weight.quant_state.nested for layer in layers)


def test_qlora_that_goes_on_with_an_adapter_loses_no_digit_of_it(tiny_model: Path, tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes")
    trained = train_twice(tiny_model, tmp_path, *({**settings, "method": "qlora"} for settings in (LEARNS, RESTS)))
    one, two = (load_file(iteration.weights_path / "adapter_model.safetensors") for iteration in trained)
    torch.testing.assert_close(two, one, rtol=0, atol=1e-9)
