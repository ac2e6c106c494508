"""What is found before anything is spent: one test for each message, each with its exit code, and nothing written."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from isheep.check import Finding, check, resources
from isheep.check.resources import RESERVE, disk_needed
from isheep.check.select import most_pairs, training_pairs
from isheep.checkpoint import read_checkpoint
from isheep.cli import main
from isheep.errors import UserError
from isheep.recipe import Recipe, dump_recipe, load_recipe, locate
from isheep.store.files import write_json
from isheep.store.run import Run

BuildTokenizer = Callable[..., Any]
Make = Callable[..., Recipe]

GIB = 2**30
TASKS = [
    {"instruction": f"Name {number} birds of {place}.", "input": "", "output": "Owl"}
    for number, place in enumerate(("Peru", "Chad", "Fiji", "Oman", "Iran", "Cuba"), start=2)
]


@pytest.fixture
def folder(tiny_model: Path, tmp_path: Path) -> Path:
    """A model folder of one's own, to be broken."""
    return Path(shutil.copytree(tiny_model, tmp_path / "model"))


@pytest.fixture
def make(folder: Path, tmp_path: Path) -> Make:
    """A recipe of that model, six seed tasks and prompts that leave room in its small context, with overrides."""
    write_seeds(tmp_path, *TASKS)
    judge = tmp_path / "judge.txt"
    judge.write_text("# A short one.\n---\n{{instruction}} {{input}} {{response}} Score:\n")
    file = tmp_path / "mine.yaml"
    file.write_text(
        f"model: {{path: {folder}, dtype: float32}}\n"
        f"seeds: {{path: {tmp_path / 'seeds.jsonl'}}}\n"
        "iterations: 2\nsize: 100\n"
        "synthesize: {max_new_tokens: 30}\nrespond: {max_new_tokens: 20}\n"
        f"assess: {{max_new_tokens: 10, quality_prompt: {judge}, following_prompt: {judge}}}\n"
        "train: {warmup_steps: 2}\n"
    )
    return lambda *overrides: load_recipe(str(file), overrides)


def write_seeds(folder: Path, *tasks: dict[str, Any]) -> None:
    (folder / "seeds.jsonl").write_text("".join(json.dumps(task) + "\n" for task in tasks))


def refusal(recipe: Recipe, directory: Path | None = None) -> tuple[str, str, str]:
    """Where, what and mend of the UserError that the check raises."""
    with pytest.raises(UserError) as caught:
        check(recipe, directory)
    assert caught.value.exit_code == 2
    assert str(caught.value) == f"{caught.value.where}: {caught.value.what} {caught.value.mend}"
    return caught.value.where, caught.value.what, caught.value.mend


def found(findings: list[Finding], what: str) -> str:
    return next(finding.found for finding in findings if finding.what == what)


def change(file: Path, **entries: Any) -> None:
    write_json(file, {**json.loads(file.read_text()), **entries})


def test_a_sound_recipe_passes_with_what_was_looked_at_and_writes_nothing(
    make: Make, folder: Path, tmp_path: Path
) -> None:
    before = sorted(tmp_path.rglob("*"))
    own = ("evaluate.tasks=package:lamb/benchmark", "evaluate.benchmarks=[lamb, lamb_tuning]", "evaluate.limit=9")
    recipe = make(*own, "synthesize.shots=1")
    findings = check(recipe, tmp_path / "runs" / "new")
    assert sorted(tmp_path.rglob("*")) == before
    assert [finding.what for finding in findings] == [
        "training", "prompts", "rules", "seeds", "engine", "stop", "directory", "model", "disk", "memory",
        "template", "context", "benchmark", "benchmark",
    ]  # fmt: skip
    assert found(findings, "training") == "at most 90 pairs, 12 steps of 16 in each iteration"
    assert found(findings, "rules") == "package:filters/english.yaml  4 to 150 words"
    assert found(findings, "seeds") == f"{tmp_path / 'seeds.jsonl'}  6 tasks, JSON lines in Alpaca's schema"
    assert found(findings, "benchmark") == f"lamb  lm_eval {version('lm_eval')}, 9 items"
    assert found(findings, "engine") == f"transformers {version('transformers')}, 32 requests at once"
    assert found(findings, "stop") == "goes by the first metric of lamb; ends early after 2 iterations without a gain"
    assert found(findings, "directory") == f"{tmp_path / 'runs' / 'new'}  new"
    assert found(findings, "model") == f"{folder}  {read_checkpoint(folder).parameters:,} parameters"
    assert found(findings, "template") == "chatml  stops at <|endoftext|> (0), <|im_end|> (2), pads with <pad> (3)"
    assert [finding.what for finding in findings if finding.warning] == ["context"]


def test_the_check_starts_without_torch() -> None:
    code = "import sys, isheep.check; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["train.micro_batch_size=3"],
            ("train.micro_batch_size", "3 does not divide train.batch_size 16.", "Give a divisor of it."),
        ),
        (
            ["train.steps=20", "train.warmup_steps=20"],
            (
                "train.warmup_steps",
                "20 leaves nothing of train.steps 20: the learning rate would only rise.",
                "Give less than 20.",
            ),
        ),
        (
            ["select.filters=[random, threshold]", "select.random=[50, 9]"],
            (
                "train.held_out",
                "0.1 of at most 9 pairs is none to evaluate on.",
                "Give 0 to hold nothing out, or raise it or one of size, select.random.",
            ),
        ),
        (
            ["rules.min_words=9", "rules.max_words=8"],
            ("rules.min_words", "9 is greater than max_words 8.", "Swap them."),
        ),
        (
            ["respond.max_new_tokens=256"],
            (
                "respond.max_new_tokens",
                "256 leaves no room for a prompt in the model's 256 tokens.",
                "Give less than 256.",
            ),
        ),
        (
            ["model.template=carried"],
            (
                "{model}, model.template=carried",
                "the tokenizer carries no template.",
                "Choose chatml, llama3 or a Jinja file.",
            ),
        ),
    ],
)
def test_settings_that_are_wrong_together(
    make: Make, folder: Path, overrides: list[str], message: tuple[str, str, str]
) -> None:
    where, what, mend = message
    assert refusal(make(*overrides)) == (where.format(model=folder), what, mend)


def test_settings_that_are_just_right_together(make: Make) -> None:
    check(
        make(
            "train.steps=20",
            "train.warmup_steps=19",
            "train.micro_batch_size=8",
            "select.filters=[random]",
            "select.random=10",
        )
    )
    check(make("size=1", "train.held_out=0", "respond.max_new_tokens=255"))


def test_most_pairs_is_the_tightest_limit(make: Make) -> None:
    assert most_pairs(make())[0] == 100
    assert most_pairs(make("select.cap=60"))[0] == 60
    assert most_pairs(make("select.cap=60", "select.filters=[threshold]"))[0] == 100
    chosen = ["select.filters=[random, cap, density, top]", "select.cap=60", "select.random=[70, 50]"]
    loose = make(*chosen, "iterations=3", "select.density.clusters=90", "select.top=90")
    assert most_pairs(loose) == [60, 50, 50]
    assert most_pairs(make(*chosen, "select.density.clusters=40", "select.top=90"))[0] == 40
    assert most_pairs(make(*chosen, "select.density.clusters=40", "select.top=30"))[0] == 30


def test_a_training_set_holds_its_own_pairs_or_all_so_far(make: Make) -> None:
    asked = ["select.filters=[random]", "select.random=[70, 50]", "iterations=3"]
    assert training_pairs(make(*asked)) == [70, 50, 50]
    assert training_pairs(make(*asked, "setting=total_base")) == [70, 120, 170]


def test_a_number_for_an_iteration_that_there_is_not_refuses_nothing(make: Make) -> None:
    asked = ["select.filters=[random]", "select.random=[70, 5]", "train.warmup_steps=0", "train.held_out=0.1"]
    assert check(make(*asked, "iterations=1"))
    assert check(make(*asked, "iterations=2", "setting=total_base"))
    assert refusal(make(*asked, "iterations=2")) == (
        "train.held_out",
        "0.1 of at most 5 pairs is none to evaluate on.",
        "Give 0 to hold nothing out, or raise it or one of size, select.random.",
    )


def test_a_warm_up_longer_than_the_epochs_is_a_warning(make: Make) -> None:
    assert Finding("training", "all 12 steps lie within train.warmup_steps 12", warning=True) in check(
        make("train.warmup_steps=12")
    )
    assert not any(finding.what == "training" and finding.warning for finding in check(make("train.warmup_steps=11")))


def test_prompts_have_their_fields(make: Make, tmp_path: Path) -> None:
    file = tmp_path / "prompt.txt"
    assert refusal(make(f"synthesize.prompt={file}")) == (
        str(file),
        f"the prompt cannot be read ([Errno 2] No such file or directory: '{file}').",
        "Give a UTF-8 text file.",
    )
    file.write_text("# judge\n---\n{{instruction}} {{answer}}\n")
    for key in ("synthesize.prompt", "assess.quality_prompt", "assess.following_prompt"):
        where, what, _ = refusal(make(f"{key}={file}"))
        assert (where, what) == (str(file), "has the fields ['answer', 'instruction'].")


def test_a_missing_language_file(make: Make, tmp_path: Path) -> None:
    where, what, mend = refusal(make(f"rules.language={tmp_path / 'welsh.yaml'}"))
    assert (where, mend) == (str(tmp_path / "welsh.yaml"), "Give a file like english.yaml.")
    assert what.startswith("cannot be read as YAML: [Errno 2] No such file or directory")


def test_a_missing_model(make: Make, tmp_path: Path) -> None:
    mend = "Give a local folder with the model, or a hub id such as `Qwen/Qwen3-0.6B-Base`."
    assert refusal(make("model.path=no/such/model")) == ("model.path", "there is no folder no/such/model.", mend)
    file = tmp_path / "seeds.jsonl"
    assert refusal(make(f"model.path={file}")) == ("model.path", f"{file} is a file, not a folder.", mend)
    assert refusal(make("model.path=package:no/model")) == (
        "model.path",
        "the package holds no package:no/model.",
        "Install isheep anew, or give a local folder.",
    )


def test_a_model_without_config_or_weights(make: Make, folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    assert refusal(make()) == (
        str(folder / "pytorch_model.bin"),
        "is a pickle, which can run any code when it is read; isheep reads no pickle.",
        "Save the model as safetensors.",
    )
    (folder / "pytorch_model.bin").unlink()
    assert refusal(make())[:2] == (str(folder), "holds no weights.")
    (folder / "config.json").unlink()
    assert refusal(make()) == (
        str(folder / "config.json"),
        "is missing.",
        "Give a folder with config.json, safetensors and a tokenizer.",
    )


def test_a_model_of_an_unknown_kind(make: Make, folder: Path) -> None:
    change(folder / "config.json", model_type="lamma")
    assert refusal(make()) == (
        str(folder / "config.json"),
        "the installed transformers knows no model_type `lamma`.",
        "Update transformers, or choose another model.",
    )


def test_a_model_without_tokenizer(make: Make, folder: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()
    assert refusal(make()) == (
        str(folder),
        "holds no tokenizer.",
        "Give a folder with config.json, weights and tokenizer.json.",
    )


def test_a_model_without_a_usable_stop_token(make: Make, folder: Path, build_tokenizer: BuildTokenizer) -> None:
    build_tokenizer(specials=("<|endoftext|>", "<pad>")).save_pretrained(folder)
    assert refusal(make()) == (
        f"{folder}, model.template=chatml",
        "its turn end <|im_end|> is not one token of the vocabulary.",
        "Choose a template whose turn end the tokenizer has, or add the token and train its embedding.",
    )


def test_a_model_whose_pad_is_the_stop_token(make: Make, folder: Path, build_tokenizer: BuildTokenizer) -> None:
    build_tokenizer(specials=("<|endoftext|>", "<|im_end|>"), pad_token="<|endoftext|>").save_pretrained(folder)
    assert refusal(make()) == (
        str(folder),
        "its only pad token is a stop token, so a model would never learn to stop.",
        "Add a pad token to the tokenizer.",
    )


def test_a_turn_end_without_embedding(make: Make, folder: Path, build_tokenizer: BuildTokenizer) -> None:
    tokenizer = build_tokenizer(specials=("<|endoftext|>", "<|im_start|>", "<x>", "<pad>", "<s>"))
    rows = len(tokenizer)
    tokenizer.add_special_tokens({"extra_special_tokens": ["<|im_end|>"]})
    tokenizer.save_pretrained(folder)
    assert refusal(make()) == (
        str(folder),
        f"its turn end <|im_end|> ({rows}) lies outside the model's {rows} embedding rows.",
        "Choose another template, or resize and train the embedding.",
    )


def test_a_tokenizer_of_another_model(make: Make, folder: Path, build_tokenizer: BuildTokenizer) -> None:
    more = tuple(f"<extra-{number}>" for number in range(40))
    build_tokenizer(specials=("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<pad>", *more)).save_pretrained(folder)
    where, what, mend = refusal(make())
    assert (where, mend) == (str(folder), "Take the tokenizer and the weights from the same model.")
    assert what.endswith(", which lies outside the model's 263 embedding rows.")


def test_a_seed_file_that_is_missing_or_malformed(make: Make, tmp_path: Path) -> None:
    recipe, file = make(), tmp_path / "seeds.jsonl"
    file.write_text(json.dumps(TASKS[0]) + '\n{"instruction": }\n')
    assert refusal(recipe) == (
        f"{file}, line 2",
        "not valid JSON (Expecting value, column 17).",
        "Write one JSON object a line.",
    )
    file.unlink()
    assert refusal(recipe) == (
        str(file),
        "there is no such seed file.",
        "Give a seed file that exists and can be read.",
    )


def test_fewer_seeds_than_shots(make: Make, tmp_path: Path) -> None:
    recipe, file = make(), tmp_path / "seeds.jsonl"
    write_seeds(tmp_path, *TASKS[:5])
    assert found(check(recipe), "seeds") == f"{file}  5 tasks, JSON lines in Alpaca's schema"
    write_seeds(tmp_path, TASKS[0])
    assert refusal(recipe) == (
        "synthesize.shots",
        f"5 examples are to be shown, but {file} holds 1 task.",
        "Give at most 1, or more seed tasks.",
    )


@pytest.mark.parametrize(
    ("entries", "what", "mend"),
    [
        ({"input": "<noInput>"}, "its input holds `<noinput>`", "Leave the input empty."),
        ({"input": "so <noinput>"}, "its input holds `<noinput>`", "Take it out."),
        ({"instruction": "Write a ### heading."}, "its instruction holds `###`", "Take it out."),
    ],
)
def test_a_seed_that_would_break_the_list(
    make: Make, tmp_path: Path, entries: dict[str, str], what: str, mend: str
) -> None:
    recipe = make()
    write_seeds(tmp_path, *TASKS[1:], {**TASKS[0], **entries})
    where = f"{tmp_path / 'seeds.jsonl'}, task seed-6"
    assert refusal(recipe) == (where, f"{what}, which the list of examples uses as a mark.", mend)


def test_benchmarks_of_ones_own(make: Make, tmp_path: Path) -> None:
    folder = tmp_path / "bench"
    recipe = make(f"evaluate.tasks={folder}")
    assert refusal(recipe) == ("evaluate.tasks", f"{folder} is no folder.", "Give a folder with lm-eval task files.")
    folder.mkdir()
    assert refusal(recipe)[1] == f"{folder} holds no lm-eval task file (*.yaml)."
    (folder / "a.yaml").write_text("task: a\n")
    assert Finding("benchmark", "none: nothing will be measured", warning=True) in check(recipe)


def test_a_directory_that_cannot_be_written(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, mend = tmp_path / "mine.yaml", "Give another --dir or mend the rights."
    recipe = make()
    assert refusal(recipe, file / "run") == (str(file / "run"), "cannot be written (Not a directory).", mend)
    assert refusal(recipe, file) == (str(file), "cannot be written (File exists).", mend)
    asked: list[Path] = []

    def denied(path: Path, mode: int, **options: bool) -> bool:
        asked.append(path)
        return False

    monkeypatch.setattr("os.access", denied)
    directory = tmp_path / "deep" / "run"
    assert refusal(recipe, directory) == (str(directory), "cannot be written (Permission denied).", mend)
    assert asked == [tmp_path]


def test_a_foreign_directory(make: Make, tmp_path: Path) -> None:
    directory = tmp_path / "thesis"
    directory.mkdir()
    assert found(check(make(), directory), "directory") == f"{directory}  empty"
    (directory / "thesis.tex").write_text("mine")
    assert refusal(make(), directory) == (
        str(directory),
        "is not a run (it has no recipe.yaml) and not empty (`thesis.tex`).",
        "Give a new or an empty --dir.",
    )
    assert [path.name for path in directory.iterdir()] == ["thesis.tex"]


def test_a_run_of_another_recipe(make: Make, tmp_path: Path) -> None:
    directory = tmp_path / "run"
    Run.create_or_resume(directory, make()).release()
    before = {path.name: path.stat().st_mtime_ns for path in directory.iterdir()}
    assert found(check(make(), directory), "directory") == f"{directory}  a run to go on with"
    assert refusal(make("seed=4", "train.lora.rank=4"), directory) == (
        str(directory),
        "was begun with other settings:\n  train.lora.rank: 8 -> 4\n  seed: 0 -> 4\n",
        "Resume it with the same settings, accept the change with --accept-changes, or give another --dir.",
    )
    assert {path.name: path.stat().st_mtime_ns for path in directory.iterdir()} == before


def test_the_disk_that_a_run_needs(make: Make, folder: Path) -> None:
    # Two layers of q, k, v, o, gate, up, down: rank x (inputs + outputs).
    adapter = 8 * 2 * (64 + 48 + 48 + 64 + 96 + 96 + 96)
    checkpoint = read_checkpoint(folder)
    assert checkpoint.adapter_parameters(8) == adapter
    records = 2 * 4 * 100 * (30 + 20 + 2 * 10)
    assert disk_needed(make(), checkpoint) == RESERVE + 2 * (records + 4 * adapter) + 9 * 4 * adapter
    read = 2 * 4 * 100 * (30 + 20 + 2 * 40)
    distribution = make("assess.read=distribution", "iterations=1")
    assert disk_needed(distribution, checkpoint) == RESERVE + read + 4 * adapter + 9 * 4 * adapter


def test_too_little_disk(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory, asked = tmp_path / "runs" / "one", []

    def usage(place: Path) -> Any:
        asked.append(place)
        return type("Usage", (), {"free": free})

    monkeypatch.setattr(resources, "disk_usage", usage)
    free = 2 * GIB
    assert found(check(make(), directory), "disk") == "2.0 GiB free, the run writes at most 64 MiB"
    assert refusal(make("size=10_000_000", "iterations=3"), directory) == (
        str(directory),
        f"too little disk: 2.0 GiB are free at {tmp_path}, the run may write 15.7 GiB.",
        "Make room, give another --dir, or lower size or iterations.",
    )
    free = 50 * 2**20
    assert refusal(make(), directory)[1] == f"too little disk: 50 MiB are free at {tmp_path}, the run may write 64 MiB."
    assert set(asked) == {tmp_path}
    assert found(check(make()), "disk") == "a run writes at most 64 MiB"


def test_what_a_run_has_written_already_is_not_needed_again(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, directory = make("size=1_000_000", "iterations=1"), tmp_path / "run"
    Run.create_or_resume(directory, recipe).release()
    monkeypatch.setattr(resources, "disk_usage", lambda place: type("Usage", (), {"free": 500 * 2**20}))
    assert "the run may write 598 MiB" in refusal(recipe, directory)[1]
    (directory / "iteration-01").mkdir()
    with (directory / "iteration-01" / "lots").open("wb") as file:
        file.truncate(200 * 2**20)
    assert found(check(recipe, directory), "disk") == "500 MiB free, the run writes at most 398 MiB"


def test_memory_is_a_warning(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    meminfo = tmp_path / "meminfo"
    monkeypatch.setattr(resources, "MEMINFO", meminfo)
    assert Finding("memory", "the weights take 0 MiB in float32") in check(make())
    meminfo.write_text("MemTotal:  9 kB\nMemAvailable:    2097152 kB\n")
    assert Finding("memory", "the weights take 0 MiB in float32, 2.0 GiB are available") in check(make())
    meminfo.write_text("MemTotal:  9 kB\nMemAvailable:    10 kB\n")
    warning = "the weights take 0 MiB in float32, more than the 0 MiB available (fine on a GPU)"
    assert Finding("memory", warning, warning=True) in check(make())


def test_a_list_longer_than_the_context_is_a_warning(make: Make, folder: Path) -> None:
    def warned() -> list[bool]:
        return [finding.warning for finding in check(make()) if finding.what == "context"]

    assert warned() == [True]
    change(folder / "config.json", max_position_embeddings=4096)
    assert warned() == [False]


def test_the_terminal_sees_one_message_and_no_traceback(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for command in (["check", "lamb"], ["run", "lamb", "--dir", str(tmp_path / "run")]):
        monkeypatch.setattr(sys, "argv", ["isheep", *command, "model.path=/no/such/model"])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == 2
        said = capsys.readouterr()
        assert said.err == (
            "model.path: there is no folder /no/such/model. "
            "Give a local folder with the model, or a hub id such as `Qwen/Qwen3-0.6B-Base`.\n"
        )
        assert said.out == ""
    assert not (tmp_path / "run").exists()


def test_a_change_that_is_accepted_may_write_everything_again(
    make: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    made = make("size=1_000_000", "iterations=1")
    needed = disk_needed(made, read_checkpoint(locate(made.model.path)))
    written = tmp_path / "run" / "iteration-01" / "instructions" / "part-00000.parquet"
    aside = tmp_path / "run" / "replaced-1" / "iteration-01" / "adapter" / "weights"
    for file, size in ((written, needed // 2), (aside, needed)):
        file.parent.mkdir(parents=True)
        with file.open("wb") as opened:
            opened.truncate(size)
    (tmp_path / "run" / "recipe.yaml").write_text(dump_recipe(made))
    monkeypatch.setattr(resources, "disk_usage", lambda place: type("Usage", (), {"free": 3 * needed // 4}))
    assert check(made, tmp_path / "run")
    with pytest.raises(UserError, match="too little disk"):
        check(made, tmp_path / "run", accept_changes=True)


def test_a_folder_that_may_not_be_looked_into_is_no_place_for_a_run(
    make: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    inside, stat = tmp_path / "closed" / "run", Path.stat

    def closed(self: Path, **more: Any) -> Any:
        if self.is_relative_to(inside):
            raise PermissionError(13, "Permission denied")
        return stat(self, **more)

    monkeypatch.setattr(Path, "stat", closed)
    monkeypatch.setattr("os.access", lambda place, mode, **more: False)
    inside.parent.mkdir()
    assert refusal(make(), inside / "deeper")[1] == "cannot be written (Permission denied)."
