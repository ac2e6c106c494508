"""Supervised fine-tuning: what is learned, what is kept, and that a cut training goes on as if nothing had happened."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from isheep import drain
from isheep.encoder import IGNORED, Encoder
from isheep.engines import Request
from isheep.engines.transformers import TransformersEngine
from isheep.errors import Interrupted, StageError, UserError
from isheep.recipe import Recipe, parse_recipe
from isheep.stages.train import train
from isheep.store.files import WHOLE
from isheep.store.run import Run
from isheep.training.examples import Example
from isheep.training.trainer import Training

ROWS: list[dict[str, Any]] = [
    {
        "id": str(number),
        "messages": [
            {"role": "user", "content": "s" * (1 + number % 5)},
            {"role": "assistant", "content": "he" * (1 + number % 3)},
        ],
    }
    for number in range(20)
]
STEPS = 24


def make_recipe(
    model: Path, seed: int = 0, dtype: str = "float32", setting: str = "one_base", **settings: Any
) -> Recipe:
    defaults = {"steps": STEPS, "batch_size": 4, "micro_batch_size": 2, "evaluate_every": 4, "learning_rate": 2e-2}
    return parse_recipe(
        {
            "model": {"path": str(model), "dtype": dtype},
            "train": {**defaults, "warmup_steps": 0, **settings},
            "engine": {"device": "cpu", "threads": 1},
            "setting": setting,
            "seed": seed,
        },
        "test",
    )


def train_in(directory: Path, recipe: Recipe) -> tuple[bytes, dict[str, Any]]:
    """The bytes of the adapter and train.json."""
    encoder = Encoder.load(Path(recipe.model.path), "chatml")
    with Run.create_or_resume(directory, recipe) as run:
        iteration = run.iteration(1)
        if not iteration.training_set_path.exists():
            iteration.write_training_set(ROWS)
        train(iteration, [], recipe, encoder)
        summary = iteration.read_json("train.json")
    assert summary is not None
    assert not (iteration.path / "checkpoints").exists()
    return (iteration.weights_path / "adapter_model.safetensors").read_bytes(), summary


@pytest.fixture(scope="module")
def undisturbed(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, dict[str, Any]]:
    return train_in(tmp_path_factory.mktemp("undisturbed") / "run", make_recipe(tiny_model))


def test_model_learns_to_answer_and_to_stop(
    tiny_model: Path, tmp_path: Path, undisturbed: tuple[bytes, dict[str, Any]]
) -> None:
    adapter, summary = train_in(tmp_path / "run", make_recipe(tiny_model))
    assert adapter == undisturbed[0]
    assert summary == undisturbed[1]
    assert {name: summary[name] for name in ("examples", "held_out", "steps")} == {
        "examples": 18,
        "held_out": 2,
        "steps": STEPS,
    }
    assert summary["epochs"] == pytest.approx(STEPS * 4 / 18)
    assert summary["kept_step"] % 4 == 0
    assert summary["evaluation_loss"] < summary["loss"] < 6
    encoder = Encoder.load(tiny_model, "chatml")
    prompt = encoder.chat(ROWS[0]["messages"][:1])
    request = Request("a", prompt, 20, encoder.stop_ids)
    with TransformersEngine(tiny_model, "float32", "cpu", 1, None, encoder.pad_id) as engine:
        engine.use(tmp_path / "run" / "iteration-01" / "adapter")
        (completion,) = engine.generate([request])
    assert completion.finish_reason == "stop"
    assert set(encoder.decode(completion.tokens)) == {"h", "e"}


def test_done_training_is_not_done_again(tiny_model: Path, tmp_path: Path) -> None:
    recipe = make_recipe(tiny_model, steps=1)
    train_in(tmp_path / "run", recipe)
    weights = tmp_path / "run" / "iteration-01" / "adapter" / "adapter_model.safetensors"
    before = weights.stat().st_mtime_ns
    train_in(tmp_path / "run", recipe)
    assert weights.stat().st_mtime_ns == before


def test_epochs_decide_where_steps_do_not(tiny_model: Path, tmp_path: Path) -> None:
    _, summary = train_in(tmp_path / "run", make_recipe(tiny_model, steps=None, epochs=0.5, held_out=0.0))
    assert (summary["examples"], summary["steps"], summary["epochs"]) == (20, 3, 0.6)
    assert (summary["held_out"], summary["evaluation_loss"], summary["kept_step"]) == (0, None, 3)


def test_few_steps_are_evaluated_at_the_end(tiny_model: Path, tmp_path: Path) -> None:
    _, summary = train_in(tmp_path / "run", make_recipe(tiny_model, steps=3, evaluate_every=100))
    assert summary["kept_step"] == 3
    assert summary["evaluation_loss"] > 0


def test_seed_of_the_run_decides_the_adapter(
    tiny_model: Path, tmp_path: Path, undisturbed: tuple[bytes, dict[str, Any]]
) -> None:
    adapter, _ = train_in(tmp_path / "run", make_recipe(tiny_model, seed=1))
    assert adapter != undisturbed[0]


def test_killed_training_goes_on_to_the_same_adapter(
    tiny_model: Path, tmp_path: Path, undisturbed: tuple[bytes, dict[str, Any]]
) -> None:
    directory = tmp_path / "run"
    checkpoints = directory / "iteration-01" / "checkpoints"
    code = (
        "import sys; sys.path[:0] = sys.argv[3:]; from pathlib import Path; import test_train as t\n"
        "t.train_in(Path(sys.argv[1]), t.make_recipe(Path(sys.argv[2])))"
    )
    command = [sys.executable, "-c", code, str(directory), str(tiny_model), str(Path(__file__).parent), *sys.path]
    with subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"}) as child:
        while child.poll() is None and not list(checkpoints.glob(f"checkpoint-*/{WHOLE}")):
            time.sleep(0.005)
        child.send_signal(signal.SIGKILL)
    assert child.returncode == -signal.SIGKILL
    assert list(checkpoints.glob(f"checkpoint-*/{WHOLE}"))
    assert not (directory / "iteration-01" / "adapter").exists()
    assert train_in(directory, make_recipe(tiny_model)) == undisturbed


def test_training_that_is_asked_to_stop_goes_on_to_the_same_adapter(
    tiny_model: Path, tmp_path: Path, undisturbed: tuple[bytes, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(drain, "_wanted", True)
        with pytest.raises(Interrupted):
            train_in(tmp_path / "run", make_recipe(tiny_model))
    checkpoints = tmp_path / "run" / "iteration-01" / "checkpoints"
    assert [folder.name for folder in checkpoints.glob("checkpoint-*")] == ["checkpoint-1"]
    assert train_in(tmp_path / "run", make_recipe(tiny_model)) == undisturbed


def test_best_checkpoint_is_kept_and_a_cut_one_is_not_trusted(
    tiny_model: Path, tmp_path: Path, encoder: Encoder, caplog: pytest.LogCaptureFixture
) -> None:
    recipe = make_recipe(tiny_model, learning_rate=0.5, schedule="constant", evaluate_every=2)
    ids = (*encoder.plain("he he"), encoder.turn_end_id)
    learned = Example(ids, (IGNORED, *ids[1:]))
    unlearnable = Example(ids, (IGNORED, *encoder.plain("no"), IGNORED))
    cut = tmp_path / "checkpoint-2"
    cut.mkdir()
    outcome = Training(recipe, encoder, tmp_path, 1, "Train").run([learned] * 24, [unlearnable])
    assert "checkpoint-2 is not whole" in caplog.text
    assert outcome.kept_step < 6
    assert outcome.checkpoint == tmp_path / f"checkpoint-{outcome.kept_step}"
    kept = {f"checkpoint-{outcome.kept_step}", "checkpoint-6"}
    assert {folder.name for folder in tmp_path.glob("checkpoint-*")} == kept
    assert outcome.evaluation_loss is not None


def test_loss_that_is_no_number_stops_the_run(tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(StageError, match=r"loss is (nan|inf) at step \d+, before there is a checkpoint"):
        train_in(tmp_path / "run", make_recipe(tiny_model, learning_rate=1e30))
    assert not (tmp_path / "run" / "iteration-01" / "adapter").exists()


def test_half_precision_trains_too(tiny_model: Path, tmp_path: Path) -> None:
    _, summary = train_in(tmp_path / "run", make_recipe(tiny_model, dtype="bfloat16", steps=8))
    assert 0 < summary["loss"] < 6


LEARNS: dict[str, Any] = {"steps": 8, "held_out": 0.0, "schedule": "constant"}
RESTS: dict[str, Any] = {**LEARNS, "steps": 1, "learning_rate": 1e-12}
"""So little is learned that an adapter stays what it was."""


def train_on(run_directory: Path, first: Recipe, second: Recipe) -> tuple[dict[str, torch.Tensor], ...]:
    """The adapters of two iterations, each trained with its recipe."""
    encoder = Encoder.load(Path(first.model.path), "chatml")
    with Run.create_or_resume(run_directory, first) as run:
        one, two = run.iteration(1), run.iteration(2)
        for iteration, earlier, recipe in ((one, [], first), (two, [one], second)):
            if not iteration.training_set_path.exists():
                iteration.write_training_set(ROWS)
            train(iteration, earlier, recipe, encoder)
        return tuple(load_file(iteration.weights_path / "adapter_model.safetensors") for iteration in (one, two))


@pytest.mark.parametrize(("setting", "start"), [("one_base", "base"), ("one_last", "iteration-1")])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_setting_says_what_the_training_begins_with(
    tiny_model: Path, tmp_path: Path, setting: str, start: str, dtype: str
) -> None:
    first, second = (make_recipe(tiny_model, dtype=dtype, setting=setting, **settings) for settings in (LEARNS, RESTS))
    one, two = train_on(tmp_path / "run", first, second)
    assert one.keys() == two.keys()
    assert {weights.dtype for weights in two.values()} == {torch.float32}
    update = [name for name in one if "lora_B" in name]
    assert max(float(one[name].abs().max()) for name in update) > 1e-2
    went_on = all(torch.allclose(one[name], two[name], rtol=0, atol=1e-9) for name in one)
    began_anew = all(float(two[name].abs().max()) < 1e-9 for name in update)
    assert (went_on, began_anew) == (setting == "one_last", setting == "one_base")
    folder = tmp_path / "run"
    starts = [json.loads((folder / f"iteration-0{number}" / "train.json").read_text())["start"] for number in (1, 2)]
    assert starts == ["base", start]


def test_an_adapter_that_was_trained_on_loads_alone_on_the_base(tiny_model: Path, tmp_path: Path) -> None:
    first, second = (make_recipe(tiny_model, setting="one_last", **settings) for settings in (LEARNS, RESTS))
    train_on(tmp_path / "run", first, second)
    folders = [tmp_path / "run" / f"iteration-0{number}" / "adapter" for number in (1, 2)]
    configs = [json.loads((folder / "adapter_config.json").read_text()) for folder in folders]
    assert configs[0] == configs[1]
    encoder = Encoder.load(tiny_model, "chatml")
    scores = []
    with TransformersEngine(tiny_model, "float32", "cpu", 1, None, encoder.pad_id) as engine:
        for adapter in (None, *folders):
            engine.use(adapter)
            scores.append(engine.score_sequences([encoder.chat(ROWS[0]["messages"][:1])])[0])
    assert scores[2] == pytest.approx(scores[1], abs=1e-4)
    assert scores[2] != pytest.approx(scores[0], abs=1e-2)


def test_training_on_that_was_interrupted_ends_in_the_same_adapter(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = make_recipe(tiny_model, setting="one_last", steps=6)
    _, undisturbed = train_on(tmp_path / "one", recipe, recipe)
    with monkeypatch.context() as patch:
        train_in(tmp_path / "two", recipe)
        patch.setattr(drain, "_wanted", True)
        with pytest.raises(Interrupted):
            train_on(tmp_path / "two", recipe, recipe)
    assert list((tmp_path / "two" / "iteration-02" / "checkpoints").glob("checkpoint-1"))
    _, resumed = train_on(tmp_path / "two", recipe, recipe)
    assert all(torch.equal(undisturbed[name], resumed[name]) for name in undisturbed)


@pytest.mark.parametrize(("lora", "key"), [({"rank": 4}, "train.lora.rank"), ({"alpha": 32}, "train.lora.alpha")])
def test_an_adapter_of_another_shape_is_not_trained_on(
    tiny_model: Path, tmp_path: Path, lora: dict[str, int], key: str
) -> None:
    first, second = (make_recipe(tiny_model, setting="one_last", **RESTS, lora=shape) for shape in ({}, lora))
    with pytest.raises(UserError, match="setting `one_last` trains the adapter") as caught:
        train_on(tmp_path / "run", first, second)
    assert caught.value.where == key


def test_dropout_of_the_recipe_holds_while_training_on(tiny_model: Path, tmp_path: Path) -> None:
    first, second = (
        make_recipe(tiny_model, setting="one_last", **RESTS, lora={"dropout": share}) for share in (0.0, 0.5)
    )
    train_on(tmp_path / "run", first, second)
    config = json.loads((tmp_path / "run" / "iteration-02" / "adapter" / "adapter_config.json").read_text())
    assert (config["lora_dropout"], config["inference_mode"]) == (0.5, True)
