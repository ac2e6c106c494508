"""A run's model as a folder: it loads in plain PEFT and transformers, and answers as the run's own engine does."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from isheep.checkpoint import ADAPTER, ADAPTER_CONFIG
from isheep.encoder import Encoder
from isheep.errors import UserError
from isheep.export import Wanted, export
from isheep.export.merging import POSITIONS, NotTheSame, probes_of
from isheep.prompts import bare
from isheep.recipe import load_recipe
from isheep.store.run import Run
from tests.data import LAMB
from tests.export.conftest import LAST, LONGEST, Tasks
from tests.stages.test_train import make_recipe, train_in
from tests.training.test_weights import FULL


def asked_plainly(model: Any, folder: Path, tasks: Tasks) -> list[list[int]]:
    """The same tasks, asked as the card says, with nothing of isheep; answers without their ends."""
    tokenizer, written = AutoTokenizer.from_pretrained(folder), []
    for task in tasks:
        turns = [{"role": "user", "content": bare(*task)}]
        ids = tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_tensors="pt", return_dict=True)
        found = model.generate(**ids, max_new_tokens=LONGEST)[0, ids["input_ids"].shape[1] :].tolist()
        stops = set(model.generation_config.eos_token_id)
        written.append([token for token in found if token not in stops])
    return written


def test_the_adapter_loads_in_peft_and_answers_as_the_run_did(
    run: Run, tasks: Tasks, answers: list[list[int]], tmp_path: Path
) -> None:
    said = export(run, tmp_path / "adapter", "adapter", Wanted(LAST))
    assert said == "adapter of iteration 2, on package:lamb/model"
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(LAMB), tmp_path / "adapter")
    model.generation_config = GenerationConfig.from_pretrained(tmp_path / "adapter")
    assert asked_plainly(model, tmp_path / "adapter", tasks) == answers
    own = run.iteration(LAST).weights_path
    assert (tmp_path / "adapter" / ADAPTER).read_bytes() == (own / ADAPTER).read_bytes()


def test_the_merged_model_loads_in_transformers_and_answers_as_the_run_did(
    tasks: Tasks, answers: list[list[int]], merged: Path
) -> None:
    model = AutoModelForCausalLM.from_pretrained(merged)
    assert asked_plainly(model, merged, tasks) == answers
    base = AutoModelForCausalLM.from_pretrained(LAMB)
    assert asked_plainly(base, merged, tasks) != answers


def test_it_stops_where_the_run_does_and_carries_its_template(run: Run, merged: Path) -> None:
    ours = Encoder.load(LAMB, run.recipe.model.template)
    assert set(GenerationConfig.from_pretrained(merged).eos_token_id) == ours.stop_ids
    theirs = AutoTokenizer.from_pretrained(merged)
    turns = [{"role": "user", "content": "  Name a bird. "}, {"role": "assistant", "content": "owl"}]
    for given in (turns[:1], turns + turns[:1]):
        found = theirs.apply_chat_template(given, add_generation_prompt=True, return_dict=True)["input_ids"]
        assert tuple(found) == ours.chat(given)


@pytest.mark.parametrize(("dtype", "most"), [("bfloat16", 2**-8), ("float16", 2**-11)])
def test_a_cast_is_measured_by_the_model_that_lies_there(run: Run, tmp_path: Path, dtype: str, most: float) -> None:
    said = export(run, tmp_path / "model", "merged", Wanted(LAST, dtype=dtype))
    found = json.loads((tmp_path / "model" / "merge.json").read_text())
    before, after = found["before_cast"], found["after_cast"]
    assert before["largest"] < 1e-4 < after["largest"] < 16 * most * found["largest_logit"]
    assert before["agree"] == 1.0 >= after["agree"] > 0.9
    assert f"now {dtype}" in said
    assert f"{after['largest']:.3g} at most" in said
    with safe_open(tmp_path / "model" / "model.safetensors", "pt") as weights:
        assert {str(weights.get_tensor(name).dtype) for name in weights.keys()} == {f"torch.{dtype}"}  # noqa: SIM118
    # The same place, by other means: the adapter beside the base in PEFT, the merged model as anybody loads it.
    probes = {one.name: one for one in probes_of(run, LAST, Encoder.load(LAMB, "chatml"), 384)}
    assert found["probes"] == len(probes) >= 10
    assert found["positions"] == sum(min(len(one.ids), POSITIONS) for one in probes.values())
    ids = torch.tensor([probes[after["probe"]].ids])
    beside = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(LAMB), run.iteration(LAST).weights_path)
    cast = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    assert cast.dtype == getattr(torch, dtype)
    with torch.inference_mode():
        gaps = (beside(ids).logits - cast(ids).logits.float()).abs()[0]
    assert float(gaps[after["position"], after["token"]]) == pytest.approx(after["largest"], rel=1e-4)
    assert float(gaps[-POSITIONS:].max()) == pytest.approx(after["largest"], rel=1e-4)


def test_the_best_iteration_is_taken_and_said(run: Run, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(run.directory, tmp_path / "run"))
    for number, value in ((0, 0.1), (1, 0.5), (2, 0.3)):
        figure = {"value": value, "low": value, "high": value, "n": 20}
        (copy / f"iteration-{number:02d}" / "scores.json").write_text(json.dumps({"lamb": {"accuracy": figure}}))
    said = export(Run.read(copy), tmp_path / "adapter", "adapter")
    assert said == "adapter of iteration 1, the best by lamb/accuracy, on package:lamb/model"
    own = copy / "iteration-01" / "adapter" / ADAPTER
    assert (tmp_path / "adapter" / ADAPTER).read_bytes() == own.read_bytes()


def test_what_has_no_model_is_refused(run: Run, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(run.directory, tmp_path / "run"))
    told = {
        0: "iteration 0 is the untouched base, of which the run has no model of its own; those that have one are 1, 2.",
        7: "iteration 7 has no model; those that have one are 1, 2.",
    }
    for number, what in told.items():
        with pytest.raises(UserError) as caught:
            export(run, tmp_path / "to", "adapter", Wanted(number))
        assert caught.value.what == what
    (copy / "iteration-00" / "scores.json").write_text('{"lamb": {"accuracy": {"value": 1.0}}}')
    for number in (1, 2):
        (copy / f"iteration-{number:02d}" / "scores.json").write_text('{"lamb": {"accuracy": {"value": 0.5}}}')
    with pytest.raises(UserError, match="the best iteration is 0, the untouched base"):
        export(Run.read(copy), tmp_path / "to", "merged")
    for number in (0, 1, 2):
        (copy / f"iteration-{number:02d}" / "scores.json").unlink()
    with pytest.raises(UserError, match="nothing was measured that would say which model is the best"):
        export(Run.read(copy), tmp_path / "to", "merged")
    assert not (tmp_path / "to").exists()


def test_a_folder_with_something_in_it_is_left_alone(run: Run, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").touch()
    (tmp_path / "file").touch()
    inside = run.directory / "exported"
    for to, what in (
        (tmp_path / "full", "is not empty"),
        (tmp_path / "file", "is a file"),
        (tmp_path / "no" / "folder", "there is no folder"),
        (inside, "lies in the directory of the run"),
    ):
        for kind in ("adapter", "merged"):
            with pytest.raises(UserError, match=what):
                export(run, to, kind, Wanted(LAST))
    assert sorted(one.name for one in tmp_path.rglob("*")) == ["file", "full", "thesis.tex"]
    (tmp_path / "empty").mkdir()
    export(run, tmp_path / "empty", "adapter", Wanted(LAST))
    assert (tmp_path / "empty" / ADAPTER_CONFIG).is_file()


@pytest.fixture(scope="module")
def on_tiny(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """An adapter on a base in a folder of this machine."""
    directory = tmp_path_factory.mktemp("on-tiny") / "run"
    train_in(directory, make_recipe(tiny_model))
    return Run.read(directory)


def test_a_local_base_is_named_without_its_place(on_tiny: Run, tiny_model: Path, tmp_path: Path) -> None:
    config = json.loads((on_tiny.iteration(1).weights_path / ADAPTER_CONFIG).read_text())
    assert str(tiny_model.parent) in config["base_model_name_or_path"]
    for kind in ("adapter", "merged"):
        export(on_tiny, tmp_path / kind, kind, Wanted(1))
    exported = json.loads((tmp_path / "adapter" / ADAPTER_CONFIG).read_text())
    assert exported == config | {"base_model_name_or_path": f"./{tiny_model.name}"}
    for file in tmp_path.rglob("*.*"):
        assert str(tiny_model.parent).encode() not in file.read_bytes(), file
    assert f'"path/to/{tiny_model.name}"' in (tmp_path / "adapter" / "README.md").read_text()


def test_a_cast_that_loses_numbers_is_an_error_and_leaves_nothing(
    on_tiny: Run, tiny_model: Path, tmp_path: Path
) -> None:
    """Weights that float16 has no number for: base and adapter answer, the cast answers NaN."""
    base, directory = tmp_path / "base", tmp_path / "run"
    shutil.copytree(tiny_model, base)
    weights = load_file(base / "model.safetensors")
    name = next(name for name in weights if "gate_proj" in name)
    weights[name] = weights[name] * 1e6
    save_file(weights, base / "model.safetensors", {"format": "pt"})
    train_in(directory, make_recipe(base, steps=1))
    with pytest.raises(NotTheSame, match=r"the cast to float16 changed a logit by inf .* Give another --dtype\."):
        export(Run.read(directory), tmp_path / "to", "merged", Wanted(1, dtype="float16"))
    assert sorted(one.name for one in tmp_path.iterdir()) == ["base", "run"]
    export(Run.read(directory), tmp_path / "to", "merged", Wanted(1, dtype="float32"))


def test_an_adapter_that_is_broken_is_not_merged(on_tiny: Run, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(on_tiny.directory, tmp_path / "run"))
    file = copy / "iteration-01" / "adapter" / ADAPTER
    weights = load_file(file)
    next(one for name, one in weights.items() if "lora_B" in name).fill_(math.nan)
    save_file(weights, file, {"format": "pt"})
    with pytest.raises(NotTheSame, match="cannot be merged"):
        export(Run.read(copy), tmp_path / "to", "merged", Wanted(1))
    assert not (tmp_path / "to").exists()


def test_a_qlora_adapter_is_merged_into_the_base_as_it_is(tiny_model: Path, tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes")
    train_in(tmp_path / "run", make_recipe(tiny_model, method="qlora", dtype="bfloat16"))
    run = Run.read(tmp_path / "run")
    export(run, tmp_path / "whole", "merged", Wanted(1, dtype="float32"))
    export(run, tmp_path / "half", "merged", Wanted(1))
    base = load_file(tiny_model / "model.safetensors")
    adapter = load_file(run.iteration(1).weights_path / ADAPTER)
    whole, half = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "half"))
    scale = run.recipe.train.lora.alpha / run.recipe.train.lora.rank
    changed = 0
    for name, weight in base.items():
        a, b = (adapter.get(f"base_model.model.{name[: -len('weight')]}lora_{x}.weight") for x in "AB")
        expected = weight if a is None or b is None else weight + scale * (b @ a)
        changed += not torch.equal(expected, weight)
        torch.testing.assert_close(whole[name], expected, rtol=1e-6, atol=1e-6)
        assert torch.equal(half[name], whole[name].bfloat16())
    assert changed == 2 * 7
    for name in ("whole", "half"):
        assert "quantization_config" not in json.loads((tmp_path / name / "config.json").read_text())


def test_a_base_of_fewer_bits_is_not_merged_into(on_tiny: Run, tiny_model: Path, tmp_path: Path) -> None:
    copy, base = tmp_path / "run", tmp_path / "base"
    shutil.copytree(on_tiny.directory, copy)
    shutil.copytree(tiny_model, base)
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps(config | {"quantization_config": {"quant_method": "bitsandbytes"}}))
    recipe = (copy / "recipe.yaml").read_text().replace(str(tiny_model), str(base))
    (copy / "recipe.yaml").write_text(recipe)
    with pytest.raises(UserError, match="holds quantized weights"):
        export(Run.read(copy), tmp_path / "to", "merged", Wanted(1))
    export(Run.read(copy), tmp_path / "to", "adapter", Wanted(1))


def test_a_full_training_is_copied_and_has_no_adapter(tiny_model: Path, tmp_path: Path) -> None:
    recipe = make_recipe(tiny_model, **FULL)
    with Run.create_or_resume(tmp_path / "run", recipe) as owned, owned.iteration(1).new_weights("model") as folder:
        shutil.copytree(tiny_model, folder, dirs_exist_ok=True)
    run = Run.read(tmp_path / "run")
    with pytest.raises(UserError, match=r"so there is no adapter\. Give --as merged"):
        export(run, tmp_path / "to", "adapter", Wanted(1))
    with pytest.raises(UserError, match="stands in float32, and is copied as it is"):
        export(run, tmp_path / "to", "merged", Wanted(1, dtype="bfloat16"))
    assert export(run, tmp_path / "to", "merged", Wanted(1)) == "model of iteration 1, as the full training left it"
    weights = "model.safetensors"
    assert (tmp_path / "to" / weights).read_bytes() == (run.iteration(1).weights_path / weights).read_bytes()
    assert set(GenerationConfig.from_pretrained(tmp_path / "to").eos_token_id) == {0, 2}
    assert AutoTokenizer.from_pretrained(tmp_path / "to").chat_template
    assert not (tmp_path / "to" / "merge.json").exists()


def test_too_little_room_is_found_before_anything_is_loaded(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    little = tmp_path / "meminfo"
    little.write_text("MemTotal: 9 kB\nMemAvailable:     9 kB\n")
    monkeypatch.setattr("isheep.check.resources.MEMINFO", little)
    with pytest.raises(UserError, match=r"takes 4 MiB in float32, in which it is merged, and 0 MiB are available"):
        export(run, tmp_path / "to", "merged", Wanted(LAST))
    assert not (tmp_path / "to").exists()
    export(run, tmp_path / "to", "adapter", Wanted(LAST))


def test_probes_are_had_without_the_seed_file(run: Run) -> None:
    encoder = Encoder.load(LAMB, "chatml")
    gone = Run(run.directory, load_recipe("lamb", ["seeds.path=nowhere.jsonl"]), None)
    names = [probe.name for probe in probes_of(gone, 1, encoder, 384)]
    rows = run.iteration(1).training_set_path.read_text(encoding="utf-8").splitlines()
    assert names == [json.loads(row)["id"] for row in rows[:8]]
    nothing = Run(Path("nowhere"), gone.recipe, None)
    with pytest.raises(UserError, match="nothing to compare by"):
        probes_of(nothing, 1, encoder, 384)
