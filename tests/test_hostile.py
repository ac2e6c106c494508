"""Models, adapters, checkpoints, recipes, task files and data by somebody who wants to run code here, or read files.

Each payload would write a file, `marker`; a test that shows it refused also shows that there is none.
"""

from __future__ import annotations

import gzip
import json
import os
import time
import zipfile
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from isheep.check import check
from isheep.checkpoint import read_checkpoint
from isheep.encoder import Encoder
from isheep.engines.loading import load_model
from isheep.engines.transformers import TransformersEngine
from isheep.errors import IsheepError, UserError
from isheep.evaluation import data_files, local_data
from isheep.evaluation.lm_eval_task import LmEvalTask
from isheep.measure import measure_models
from isheep.recipe import RUNS_CODE, Recipe, load_recipe, settings_of, without_code
from isheep.recipe.settings import EvaluateSettings
from isheep.store import files
from isheep.store.files import WHOLE
from isheep.store.run import Run
from isheep.training.examples import Example
from isheep.training.trainer import Training

CPU = torch.device("cpu")


class Payload:
    """Pickled, it writes a file when it is read."""

    def __init__(self, marker: Path) -> None:
        self._marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self._marker),)


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    return tmp_path / "marker"


@pytest.fixture
def folder(tiny_model: Path, tmp_path: Path) -> Path:
    return Path(copytree(tiny_model, tmp_path / "model"))


def python_that_writes(marker: Path) -> str:
    return f"from pathlib import Path\nPath({str(marker)!r}).touch()\n\ndef own(*given, **named):\n    return []\n"


def change(file: Path, **entries: Any) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **entries}))


def test_the_payload_works_where_nothing_holds_it(marker: Path, tmp_path: Path) -> None:
    torch.save({"weight": Payload(marker)}, tmp_path / "weights.bin")
    torch.load(tmp_path / "weights.bin", weights_only=False)
    assert marker.exists()


class TestModels:
    def test_weights_in_a_pickle_are_not_read(self, folder: Path, marker: Path) -> None:
        (folder / "model.safetensors").unlink()
        torch.save({"weight": Payload(marker)}, folder / "pytorch_model.bin")
        with pytest.raises(UserError, match="is a pickle, which can run any code"):
            read_checkpoint(folder)
        with pytest.raises(UserError, match="does not load as a model"):
            load_model(folder, "float32", CPU)
        assert not marker.exists()

    def test_a_pickle_is_not_read_even_where_it_is_harmless(self, folder: Path) -> None:
        torch.save(load_model(folder, "float32", CPU).state_dict(), folder / "pytorch_model.bin")
        (folder / "model.safetensors").unlink()
        with pytest.raises(UserError, match="does not load as a model"):
            load_model(folder, "float32", CPU)

    def test_an_index_names_files_of_its_own_folder_alone(self, folder: Path) -> None:
        (folder / "model.safetensors").rename(folder.parent / "elsewhere.safetensors")
        index = folder / "model.safetensors.index.json"
        for name in ("../elsewhere.safetensors", str(folder.parent / "elsewhere.safetensors")):
            index.write_text(json.dumps({"weight_map": {"lm_head.weight": name}}))
            with pytest.raises(UserError, match="names a file outside of its folder"):
                read_checkpoint(folder)

    @pytest.mark.parametrize("known", [True, False])
    def test_code_beside_the_weights_is_not_run(self, folder: Path, marker: Path, known: bool) -> None:
        (folder / "own.py").write_text(python_that_writes(marker))
        classes = {"AutoConfig": "own.Config", "AutoModelForCausalLM": "own.Model", "AutoTokenizer": ["own.T", "own.T"]}
        change(folder / "config.json", auto_map=classes, **({} if known else {"model_type": "own"}))
        change(folder / "tokenizer_config.json", auto_map=classes, tokenizer_class="OwnTokenizer")
        if known:
            load_model(folder, "float32", CPU)
        else:
            with pytest.raises(UserError, match="does not load as a model"):
                load_model(folder, "float32", CPU)
        try:
            Encoder.load(folder, "chatml")
        except UserError as error:
            assert "its tokenizer does not load" in str(error)  # noqa: PT017  # either is right
        assert not marker.exists()

    def test_a_chat_template_reaches_no_python(self, folder: Path, marker: Path) -> None:
        template = "{{ cycler.__init__.__globals__.os.mkdir('MARKER') }}<|im_end|>".replace("MARKER", str(marker))
        (folder / "evil.jinja").write_text(template)
        with pytest.raises(UserError, match="the template refuses"):
            Encoder.load(folder, str(folder / "evil.jinja"))
        change(folder / "tokenizer_config.json", chat_template=template)
        with pytest.raises(UserError, match="the template refuses"):
            Encoder.load(folder, "carried")
        assert not marker.exists()


class TestAdapters:
    @pytest.fixture
    def adapter(self, tiny_model: Path, tmp_path: Path) -> Path:
        base = AutoModelForCausalLM.from_pretrained(tiny_model)
        get_peft_model(base, LoraConfig(r=2, target_modules="all-linear")).save_pretrained(tmp_path / "adapter")
        return tmp_path / "adapter"

    def test_weights_in_a_pickle_are_not_read(self, adapter: Path, tiny_model: Path, marker: Path) -> None:
        (adapter / "adapter_model.safetensors").unlink()
        torch.save({"weight": Payload(marker)}, adapter / "adapter_model.bin")
        engine = TransformersEngine(tiny_model, "float32", "cpu", 4, None, 3)
        with pytest.raises(UserError, match=r"adapter_model\.bin: is a pickle"):
            engine.use(adapter)
        assert not marker.exists()

    def test_what_it_says_of_classes_is_not_imported(self, adapter: Path, tiny_model: Path, marker: Path) -> None:
        (adapter / "own.py").write_text(python_that_writes(marker))
        change(adapter / "adapter_config.json", auto_mapping={"base_model_class": "own", "parent_library": "own"})
        TransformersEngine(tiny_model, "float32", "cpu", 4, None, 3).use(adapter)
        assert not marker.exists()


class TestCheckpoints:
    """Of a training that was cut: somebody else's run directory may be gone on with."""

    def begun(self, tiny_model: Path, folder: Path, steps: int) -> Training:
        model = {"path": str(tiny_model), "dtype": "float32"}
        train = {"steps": steps, "batch_size": 1, "held_out": 0.0, "warmup_steps": 0, "evaluate_every": 1}
        recipe = Recipe.model_validate({"model": model, "train": train, "engine": {"device": "cpu"}})
        return Training(recipe, Encoder.load(tiny_model, "chatml"), folder, 0, "training")

    @pytest.mark.parametrize("name", ["optimizer.pt", "scheduler.pt", "rng_state.pth", "training_args.bin"])
    def test_pickles_in_it_run_nothing(self, tiny_model: Path, tmp_path: Path, marker: Path, name: str) -> None:
        pairs = [Example((5, 6, 7), (-100, 6, 7))] * 2
        self.begun(tiny_model, tmp_path / "checkpoints", 1).run(pairs[:1], [])
        planted = tmp_path / "checkpoints" / "checkpoint-1" / name
        assert planted.is_file()
        torch.save({"state": Payload(marker)}, planted)
        # Who plants it also makes it look whole.
        sizes = {file.name: file.stat().st_size for file in planted.parent.iterdir() if file.name != WHOLE}
        (planted.parent / WHOLE).write_text(json.dumps(sizes))
        going_on = self.begun(tiny_model, tmp_path / "checkpoints", 2)
        if name == "training_args.bin":
            going_on.run(pairs, [])
        else:
            with pytest.raises(UserError, match="holds more than numbers") as caught:
                going_on.run(pairs, [])
            assert caught.value.where == str(planted.parent)
        assert not marker.exists()


class TestRecipes:
    @pytest.mark.parametrize("text", ["!!python/object/apply:os.mkdir [MARKER]", "!!python/name:os.system"])
    def test_yaml_makes_no_objects(self, tmp_path: Path, marker: Path, text: str) -> None:
        file = tmp_path / "recipe.yaml"
        file.write_text(f"extends: lamb\nseed: {text.replace('MARKER', str(marker))}\n")
        with pytest.raises(UserError, match="cannot be read as YAML"):
            load_recipe(str(file))
        with pytest.raises(UserError, match="does not read as YAML"):
            load_recipe("lamb", [f"seed={text.replace('MARKER', str(marker))}"])
        assert not marker.exists()

    @pytest.mark.parametrize("place", ["evaluate: {benchmarks: *a9}", "seed: *a9", "other: *a9", "extends: *a9"])
    def test_a_bomb_of_aliases_is_refused_at_once(self, tmp_path: Path, place: str) -> None:
        rows = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
        rows += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 10)]
        (tmp_path / "recipe.yaml").write_text("\n".join([*rows, place, "model: {path: none}"]))
        began = time.monotonic()
        with pytest.raises(UserError) as caught:
            load_recipe(str(tmp_path / "recipe.yaml"))
        assert len(str(caught.value)) < 5000
        assert time.monotonic() - began < 5

    def test_a_file_that_is_no_recipe_by_its_size(self, tmp_path: Path) -> None:
        file = tmp_path / "recipe.yaml"
        file.write_text("#" * 1_000_001)
        with pytest.raises(UserError, match="has 1,000,001 bytes, and no recipe is so long"):
            load_recipe(str(file))

    def test_what_it_extends_is_not_shown_where_it_is_no_recipe(self, tmp_path: Path) -> None:
        (tmp_path / "secret.txt").write_text("password hunter2\n")
        (tmp_path / "inner").mkdir()
        (tmp_path / "inner" / "recipe.yaml").write_text("extends: ../secret.txt\n")
        with pytest.raises(UserError) as caught:
            load_recipe(str(tmp_path / "inner" / "recipe.yaml"))
        assert "hunter2" not in str(caught.value)

    @pytest.mark.parametrize(("key", "value"), zip(RUNS_CODE, ("true", "./program", "./program", "false"), strict=True))
    def test_only_the_command_line_lets_code_in(self, tmp_path: Path, key: str, value: str) -> None:
        group, name = key.split(".")
        file = tmp_path / "recipe.yaml"
        file.write_text(f"extends: lamb\n{group}: {{{name}: {value}}}\n")
        (tmp_path / "above.yaml").write_text("extends: recipe.yaml\n")
        for written in (file, tmp_path / "above.yaml"):
            with pytest.raises(UserError, match="lets code run, which a recipe file may not say") as caught:
                load_recipe(str(written))
            assert caught.value.where.endswith(key)
        recipe = load_recipe("lamb", [f"{key}={value}"])
        assert settings_of(recipe)[key] != RUNS_CODE[key]
        with Run.create_or_resume(tmp_path / "run", recipe) as begun:
            assert Run.read(begun.directory).recipe == recipe
        assert without_code(recipe) == load_recipe("lamb")

    def test_another_ones_run_starts_no_program_when_it_is_measured(self, tmp_path: Path, marker: Path) -> None:
        program = tmp_path / "python"
        program.write_text(f"#!/bin/sh\ntouch {marker}\n")
        program.chmod(0o755)
        words = ["evaluate.benchmarks=[humaneval]", f"evaluate.evalplus={program}"]
        with Run.create_or_resume(tmp_path / "run", load_recipe("lamb", words)):
            pass
        with pytest.raises(IsheepError):
            measure_models(tmp_path / "run")
        assert not marker.exists()


TASK = """
task: own
dataset_path: json
dataset_kwargs: {data_files: {test: FOLDER/own.jsonl}}
test_split: test
output_type: generate_until
doc_to_text: text
doc_to_target: text
metric_list:
  - {metric: exact_match, aggregation: mean, higher_is_better: true}
"""


class TestTaskFiles:
    @pytest.fixture
    def tasks(self, tmp_path: Path, marker: Path) -> Path:
        folder = tmp_path / "tasks"
        folder.mkdir()
        (folder / "own.jsonl").write_text(json.dumps({"text": "Say he."}) + "\n")
        (folder / "own.py").write_text(python_that_writes(marker))
        return folder

    def prepare(self, folder: Path, text: str, *, trusted: bool = False) -> LmEvalTask:
        (folder / "own.yaml").write_text(text.replace("FOLDER", str(folder)))
        task = LmEvalTask("own", EvaluateSettings(tasks=str(folder), trust_tasks=trusted))
        task.prepare()
        return task

    def test_one_without_code_is_read(self, tasks: Path) -> None:
        assert self.prepare(tasks, TASK).texts() == ["Say he."]

    @pytest.mark.parametrize(
        "line",
        [
            "process_results: !function own.own",
            "custom_dataset: !function subprocess.Popen\nmetadata: {args: [mkdir, MARKER]}",
            "process_docs: !function lm_eval.tasks._yaml_loader._import_fun_from_str",
        ],
    )
    def test_a_function_needs_the_users_word(self, tasks: Path, marker: Path, line: str) -> None:
        with pytest.raises(UserError, match="names the Python function") as caught:
            self.prepare(tasks, TASK + line.replace("MARKER", str(marker)) + "\n")
        assert "evaluate.trust_tasks=true" in caught.value.mend
        assert not marker.exists()

    def test_what_the_user_trusts_is_run_and_said(self, tasks: Path, marker: Path) -> None:
        self.prepare(tasks, TASK + "process_results: !function own.own\n", trusted=True)
        assert marker.exists()
        words = [f"evaluate.tasks={tasks}", "evaluate.trust_tasks=true", "evaluate.benchmarks=[own]"]
        said = [
            finding for finding in check(load_recipe("lamb", [*words, "stop.metric=null"])) if finding.what == "code"
        ]
        assert [finding.warning for finding in said] == [True]
        assert "run with all your rights (evaluate.trust_tasks)" in said[0].found

    @pytest.mark.parametrize("trusted", [True, False])
    def test_a_template_reaches_no_python(self, tasks: Path, marker: Path, trusted: bool) -> None:
        evil = "doc_to_text: \"{{ cycler.__init__.__globals__.os.mkdir('MARKER') }}{{ text }}\""
        text = TASK.replace("doc_to_text: text", evil.replace("MARKER", str(marker)))
        with pytest.raises(UserError, match="access to attribute '__init__'"):
            self.prepare(tasks, text, trusted=trusted)
        assert not marker.exists()

    def test_includes_stay_in_the_folder(self, tasks: Path) -> None:
        (tasks / "below.yaml").write_text(TASK.replace("FOLDER", str(tasks)).replace("task: own", "num_fewshot: 0"))
        assert self.prepare(tasks, "include: below.yaml\ntask: own\n").texts() == ["Say he."]
        (tasks / "below.yaml").rename(tasks.parent / "outside.yaml")
        with pytest.raises(UserError, match="lies outside its folder"):
            self.prepare(tasks, "include: ../outside.yaml\ntask: own\ndescription: moved\n")

    def test_a_metric_is_no_script_of_the_hub(self, tasks: Path, marker: Path) -> None:
        (tasks / "evil").mkdir()
        (tasks / "evil" / "evil.py").write_text(python_that_writes(marker))
        for entry in ("{metric: FOLDER/evil}", "{metric: exact_match, hf_evaluate: true}"):
            with pytest.raises(UserError, match="would be fetched as a script, and run"):
                self.prepare(tasks, TASK + f"  - {entry}\n")
        assert not marker.exists()

    def test_a_loading_script_is_not_run(self, tasks: Path, marker: Path) -> None:
        (tasks / "evil").mkdir()
        (tasks / "evil" / "evil.py").write_text(python_that_writes(marker))
        for path in (tasks / "evil", tasks / "evil" / "evil.py"):
            with pytest.raises(UserError, match="cannot be loaded"):
                self.prepare(tasks, TASK.replace("dataset_path: json", f"dataset_path: {path}"))
        assert not marker.exists()


class TestData:
    def test_a_link_out_of_the_folder_is_no_data(self, tmp_path: Path) -> None:
        (tmp_path / "secret.jsonl").write_text('{"secret": 1}\n')
        (tmp_path / "data").mkdir()
        (tmp_path / "data" / "arc_easy_test.jsonl").symlink_to(tmp_path / "secret.jsonl")
        with pytest.raises(UserError, match="is a link that leads out of"):
            local_data.LocalData(tmp_path / "data").splits("arc_easy")
        with pytest.raises(UserError, match="is a link that leads out of"):
            data_files.find(tmp_path / "data", ["arc_*"], "")

    def test_links_within_it_and_within_the_hubs_cache_are(self, tmp_path: Path) -> None:
        blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshots" / "1"
        for folder in (blobs, snapshot):
            folder.mkdir(parents=True)
        (blobs / "abc").write_text('{"text": "he"}\n')
        (snapshot / "own_test.jsonl").symlink_to(blobs / "abc")
        (snapshot / "own_dev.jsonl").symlink_to(snapshot / "own_test.jsonl")
        splits = local_data.LocalData(snapshot).splits("own")
        assert splits["test"]["text"] == splits["dev"]["text"] == ["he"]

    def test_a_packed_file_is_not_unpacked_for_ever(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        file = tmp_path / "own_test.jsonl.gz"
        file.write_bytes(gzip.compress(b" " * 100_000 + b'{"text": "he"}'))
        assert [*files.read_json_lines(file)] == [{"text": "he"}]
        monkeypatch.setattr(files, "LARGEST_UNPACKED", 100_000)
        with pytest.raises(UserError, match="unpacks to more than 100,000 bytes"):
            _ = local_data.LocalData(tmp_path).splits("own")["test"]

    def test_an_archive_is_no_data(self, tmp_path: Path, marker: Path) -> None:
        with zipfile.ZipFile(tmp_path / "own_test.zip", "w") as archive:
            archive.writestr("../marker", "out")
        with pytest.raises(UserError, match="has no data of own"):
            local_data.LocalData(tmp_path).splits("own")
        assert not marker.exists()
