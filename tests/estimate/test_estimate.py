from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from isheep.check.resources import disk_needed
from isheep.checkpoint import read_checkpoint
from isheep.errors import UserError
from isheep.estimate import CHECKPOINTING_FROM, as_document, estimate, hardware
from isheep.estimate.probe import Probe
from isheep.recipe import Recipe, load_recipe, locate, overridden
from isheep.store.costs import costs
from isheep.store.plan import STAGES
from isheep.store.run import Run
from isheep.training import trainer


def numbers(document: Any) -> Iterator[Any]:
    for value in document.values() if isinstance(document, dict) else document:
        if isinstance(value, dict | list):
            yield from numbers(value)
        elif not isinstance(value, str):
            yield value


def tokens_of(run: Run, stage: str | None = None) -> int:
    found = [one["tokens"] for one in costs(run) if stage in (None, one["stage"])]
    return sum(one["read"] + one["written"] for one in found)


def test_with_a_probe_tokens_are_those_of_the_run(recipe: Recipe, probe: Probe, real: Run) -> None:
    found = estimate(recipe, probe=probe.run.directory)
    assert found.read + found.written == pytest.approx(tokens_of(real), rel=0.25)
    for stage in ("synthesize", "respond", "assess", "train", "evaluate"):
        told = sum(one.read + one.written for one in found.stages if one.stage == stage)
        assert told == pytest.approx(tokens_of(real, stage), rel=0.4), stage
    assert [(one.iteration, one.stage) for one in found.stages] == [
        (one["iteration"], one["stage"]) for one in costs(real)
    ]
    assert found.seconds is not None
    assert found.seconds > 0
    assert all(one.seconds is not None and one.seconds >= 0 for one in found.stages)
    assert found.disk == disk_needed(recipe, read_checkpoint(locate("package:lamb/model")))


def test_without_a_probe_tokens_come_near_and_time_cannot_be_told(recipe: Recipe, real: Run) -> None:
    found = estimate(recipe)
    assert found.read + found.written == pytest.approx(tokens_of(real), rel=0.25)
    assert (found.seconds, found.device_hours) == (None, None)
    assert all(one.seconds is None for one in found.stages)
    assert any("could not tell" in line for line in found.assumptions)
    assert any("% of the tasks" in line for line in found.assumptions)


def test_more_takes_more(recipe: Recipe) -> None:
    h100 = hardware("h100", 1)
    known = estimate(recipe, h100)
    larger = {
        "size=300": ("seconds", "read", "written", "disk", "host_memory"),
        "iterations=5": ("seconds", "read", "written", "disk"),
        "evaluate.limit=500": ("seconds", "read", "written"),
        "train.steps=500": ("seconds", "read"),
        "engine.batch_size=64": ("engine_memory",),
        "train.method=full": ("seconds", "training_memory", "disk"),
        "respond.max_new_tokens=80": ("read", "written", "seconds", "training_memory", "disk"),
    }
    for change, fields in larger.items():
        more = estimate(overridden(recipe, [change]), h100)
        for field in fields:
            assert getattr(more, field) > getattr(known, field), (change, field)
    assert known.device_hours == pytest.approx((known.seconds or 0) / 3600)
    four = estimate(recipe, hardware("h100", 4))
    assert four.devices == 4
    assert (four.seconds or math.inf) <= (known.seconds or 0)


def test_every_number_is_finite_or_null(recipe: Recipe, probe: Probe) -> None:
    ways = (
        estimate(recipe),
        estimate(recipe, probe=probe.run.directory),
        estimate(recipe, hardware("a100-80gb", 8), probe.run.directory),
        estimate(overridden(recipe, ["evaluate.benchmarks=[]", "engine.name=openai"]), hardware("t4", 1)),
    )
    for found in ways:
        document = json.loads(json.dumps(as_document(found), allow_nan=False))
        assert all(value is None or (math.isfinite(value) and value >= 0) for value in numbers(document))
        assert document["read"] == sum(one["read"] for one in document["stages"])


def test_a_probe_and_a_gpu_are_its_tokens_in_the_time_of_the_gpu(recipe: Recipe, probe: Probe) -> None:
    measured, here = (
        estimate(recipe, hardware("h100", 1), probe.run.directory),
        estimate(recipe, None, probe.run.directory),
    )
    assert [replace(one, seconds=None, device_hours=None) for one in measured.stages] == [
        replace(one, seconds=None, device_hours=None) for one in here.stages
    ]
    assert measured.seconds != here.seconds


def test_config_json_is_enough(recipe: Recipe, drafted: Path) -> None:
    whole, found = estimate(recipe), estimate(overridden(recipe, [f"model.path={drafted}"]))
    assert found.disk == whole.disk
    assert found.training_memory == pytest.approx(whole.training_memory, rel=0.1)
    assert {one.stage for one in found.stages} == {name for name, one in STAGES.items() if one.when(recipe)}
    said = " ".join(found.assumptions)
    assert "as config.json says" in said
    assert "there is no tokenizer" in said


def test_what_does_not_fit_is_said(drafted: Path) -> None:
    large = load_recipe("paper", [f"model.path={drafted}", "engine.batch_size=100000"])
    assert "needs" in " ".join(estimate(large, hardware("t4", 1)).warnings)
    assert estimate(load_recipe("lamb"), hardware("t4", 1)).warnings == []


def test_benchmarks_without_data_are_known_or_named(drafted: Path) -> None:
    asked = ["evaluate.benchmarks=[arc_easy, lambada_openai]", "evaluate.limit=100"]
    found = estimate(load_recipe("paper", [f"model.path={drafted}", *asked]))
    said = " ".join(found.assumptions)
    assert "known of arc_easy" in said
    assert "not in the figures, for their data is not here: lambada_openai" in said
    evaluations = [one for one in found.stages if one.stage == "evaluate"]
    assert [one.read for one in evaluations] == [100 * 140] * 4


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no folder"):
        estimate(load_recipe("lamb", [f"model.path={tmp_path / 'none'}"]))
    (tmp_path / "config.json").write_text('{"model_type": "no-such-kind"}', encoding="utf-8")
    with pytest.raises(UserError, match="describes no model"):
        estimate(load_recipe("lamb", [f"model.path={tmp_path}"]))


def test_settings_that_contradict_each_other(tmp_path: Path) -> None:
    few = tmp_path / "few.jsonl"
    few.write_text('{"instruction": "Name a bird.", "input": "", "output": "A robin."}\n', encoding="utf-8")
    for setting, message in (
        (f"seeds.path={few}", "3 examples are to be shown"),
        ("setting=direct", "direct is one iteration"),
        ("select.filters=[cap, cap]", "names `cap` twice"),
    ):
        with pytest.raises(UserError, match=message):
            estimate(load_recipe("lamb", [setting]))


def test_activations_are_computed_twice_from_the_same_size_on() -> None:
    assert trainer.CHECKPOINTING_FROM == CHECKPOINTING_FROM
