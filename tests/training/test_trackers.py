"""What trackers are told: the figures of train.json, health.json and scores.json, once each, whatever happened between.

TensorBoard is real. The others are not installed here and would want a network; a stand-in takes what they would get.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, ClassVar

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from transformers import TrainerCallback
from transformers.integrations import INTEGRATION_TO_CALLBACK

from isheep import drain
from isheep.encoder import Encoder
from isheep.errors import Interrupted
from isheep.recipe import Recipe
from isheep.stages.train import train
from isheep.store.run import Run
from isheep.training.trackers import tell_end
from tests.stages.test_train import ROWS, STEPS, make_recipe

Line = list[tuple[int, float]]

HEALTH: dict[str, Any] = {
    "made": 40,
    "keep_share": 0.25,
    "openings_of_100": None,
    "scores": {"quality": {"histogram": [1, 2], "entropy": 1.5}},
    "drops": {"selection": {"threshold": 30}},
    "alarms": {"unparsed": "a text that nobody is told"},
}
HEALTH_TOLD = {
    "health/made": 40.0,
    "health/keep_share": 0.25,
    "health/scores/quality/entropy": 1.5,
    "health/drops/selection/threshold": 30.0,
}


def scores(value: float | None) -> dict[str, Any]:
    return {"lamb": {"strict": {"value": value, "low": 0.0, "high": 1.0, "n": 20}}}


def trained(directory: Path, recipe: Recipe, number: int = 1) -> dict[str, Any]:
    """train.json of a training beside which there is what a run has by then."""
    encoder = Encoder.load(Path(recipe.model.path), "chatml")
    with Run.create_or_resume(directory, recipe) as run:
        iteration = run.iteration(number)
        run.iteration(number - 1).write_json("scores.json", scores(0.5 * number))
        iteration.write_json("health.json", HEALTH)
        iteration.write_training_set(ROWS)
        train(iteration, [], recipe, encoder)
        summary: dict[str, Any] = json.loads((iteration.path / "train.json").read_text())
    return summary


def lines(folder: Path) -> dict[str, Line]:
    """Tag -> (step, value) as TensorBoard shows it."""
    events = EventAccumulator(str(folder))
    events.Reload()
    return {tag: [(one.step, one.value) for one in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def test_tensorboard_shows_what_the_training_came_to(tiny_model: Path, tmp_path: Path) -> None:
    summary = trained(tmp_path / "run", make_recipe(tiny_model, track=["tensorboard"]))
    found = lines(tmp_path / "run" / "tensorboard" / "iteration-01")
    assert [step for step, _ in found["train/loss"]] == list(range(1, STEPS + 1))
    assert sum(loss for _, loss in found["train/loss"]) / STEPS == pytest.approx(summary["loss"], rel=1e-4)
    assert dict(found["eval/loss"])[summary["kept_step"]] == pytest.approx(summary["evaluation_loss"], rel=1e-4)
    assert "train/learning_rate" in found


def test_tensorboard_shows_health_and_scores_over_the_iterations(tiny_model: Path, tmp_path: Path) -> None:
    recipe = make_recipe(tiny_model, steps=1, track=["tensorboard"])
    folder = tmp_path / "run" / "tensorboard" / "iterations"
    trained(tmp_path / "run", recipe)
    assert lines(folder) == {"scores/lamb/strict": [(0, 0.5)], **{tag: [(1, v)] for tag, v in HEALTH_TOLD.items()}}
    trained(tmp_path / "run", recipe, 2)
    twice = {tag: [(1, v), (2, v)] for tag, v in HEALTH_TOLD.items()}
    assert lines(folder) == {"scores/lamb/strict": [(0, 0.5), (1, 1.0)], **twice}
    (tmp_path / "run" / "iteration-02" / "scores.json").write_text(json.dumps(scores(0.75)))
    tell_end(["tensorboard"], tmp_path / "run", 2)
    assert lines(folder)["scores/lamb/strict"] == [(0, 0.5), (1, 1.0), (2, 0.75)]
    assert lines(folder)["health/made"] == [(1, 40.0), (2, 40.0)]


def test_a_training_that_was_stopped_is_one_line(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = make_recipe(tiny_model, track=["tensorboard"])
    with monkeypatch.context() as patch:
        patch.setattr(drain, "_wanted", True)
        with pytest.raises(Interrupted):
            trained(tmp_path / "run", recipe)
    summary = trained(tmp_path / "run", recipe)
    found = lines(tmp_path / "run" / "tensorboard" / "iteration-01")["train/loss"]
    assert [step for step, _ in found] == list(range(1, STEPS + 1))
    assert sum(loss for _, loss in found) / STEPS == pytest.approx(summary["loss"], rel=1e-4)


def test_who_is_told_decides_nothing_of_what_is_learned(tiny_model: Path, tmp_path: Path) -> None:
    told = trained(tmp_path / "told", make_recipe(tiny_model, track=["tensorboard"]))
    assert told == trained(tmp_path / "quiet", make_recipe(tiny_model))
    assert not (tmp_path / "quiet" / "tensorboard").exists()
    adapters = [tmp_path / name / "iteration-01/adapter/adapter_model.safetensors" for name in ("told", "quiet")]
    assert adapters[0].read_bytes() == adapters[1].read_bytes()


class Elsewhere(TrainerCallback):  # type: ignore[misc]
    """Takes what a tracker that is not installed here would get from transformers' own callback."""

    heard: ClassVar[list[Any]] = []

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        variables = {name: os.environ.get(name) for name in ("WANDB_PROJECT", "MLFLOW_EXPERIMENT_NAME")}
        self.heard.append((args.run_name, args.project, variables))

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        self.heard.append((state.global_step, logs))

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.heard.append("end")


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    monkeypatch.setitem(INTEGRATION_TO_CALLBACK, "mlflow", Elsewhere)
    monkeypatch.setattr(Elsewhere, "heard", [])
    return Elsewhere.heard


def test_others_get_a_run_for_each_iteration_in_our_project(
    tiny_model: Path, tmp_path: Path, elsewhere: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_PROJECT", "of-mine")
    monkeypatch.delenv("MLFLOW_EXPERIMENT_NAME", raising=False)
    trained(tmp_path / "run", make_recipe(tiny_model, steps=2, track=["mlflow"]), 2)
    begun, last, health, *logs, ended = elsewhere
    assert begun == ("run-iteration-02", "isheep", {"WANDB_PROJECT": "of-mine", "MLFLOW_EXPERIMENT_NAME": "isheep"})
    assert last == (1, {"scores/lamb/strict": 1.0})
    assert health == (2, HEALTH_TOLD)
    assert [step for step, log in logs if "loss" in log] == [1, 2]
    assert ended == "end"
    assert "MLFLOW_EXPERIMENT_NAME" not in os.environ


def test_a_tracker_that_fails_is_given_up(
    tiny_model: Path,
    tmp_path: Path,
    elsewhere: list[Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:
        raise ConnectionError("no way there\nand more")

    monkeypatch.setattr(Elsewhere, "on_log", fail)
    recipe = make_recipe(tiny_model, steps=2, track=["mlflow", "tensorboard"])
    assert trained(tmp_path / "run", recipe)["steps"] == 2
    said = capsys.readouterr().err
    assert said.count("! mlflow failed (no way there); the run goes on without it (train.track)") == 1
    assert len(lines(tmp_path / "run" / "tensorboard" / "iteration-01")["train/loss"]) == 2


def test_files_that_cannot_be_written_end_nothing(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = make_recipe(tiny_model, steps=2, track=["tensorboard"])
    Run.create_or_resume(tmp_path / "run", recipe).release()
    (tmp_path / "run" / "tensorboard").write_text("in the way")
    assert trained(tmp_path / "run", recipe)["steps"] == 2
    tell_end(["tensorboard"], tmp_path / "run", 1)
    assert capsys.readouterr().err.count("! tensorboard failed") == 2
