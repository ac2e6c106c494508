"""What `isheep init` asks, what follows from the answers, and that `check` accepts what it writes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from shutil import copytree, rmtree
from typing import Any

import huggingface_hub.constants
import pytest
import torch

from isheep.check import Finding, check
from isheep.errors import UserError
from isheep.estimate.memory import training_memory
from isheep.estimate.shape import shape_of
from isheep.init import Answers, Made, init
from isheep.init.choices import Base, base_of, choose
from isheep.init.devices import Device, device_of
from isheep.recipe import Recipe, load_recipe, locate, parse_recipe
from tests.conftest import BuildTokenizer

TASKS = [("Write the word lamp in capitals.", "LAMP"), ("Give the first letter of tent.", "t"), ("Add 1 and 2.", "3")]
CPU = Device("2 CPU cores", 0, 8e9, bfloat16=False)

Make = Callable[..., Made]


@pytest.fixture
def seeds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, without a hub, and a table of three tasks."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.chdir(tmp_path)
    file = Path("my.csv")
    file.write_text("question,answer\n" + "".join(f"{question},{answer}\n" for question, answer in TASKS))
    return file


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model of one's own: lamb's weights in another folder, 384 positions."""
    return Path(copytree(locate("package:lamb/model"), tmp_path / "model"))


def answered(**given: Any) -> Answers:
    return Answers(**{"model": "lamb", "seeds": "my.csv", "hardware": "cpu", **given})


def lasting(findings: list[Finding]) -> list[Finding]:
    """Without how much memory is free, which changes meanwhile."""
    return [one for one in findings if one.what != "memory"]


def recipe_of(made: Made) -> Recipe:
    return load_recipe(str(made.file))


def refusal(answers: Answers, to: str = "my.yaml") -> str:
    with pytest.raises(UserError) as caught:
        init(answers, Path(to), None)
    assert not Path(to).exists()
    return str(caught.value)


def test_the_recipe_of_lamb_is_the_shipped_one_with_the_users_seeds(seeds: Path) -> None:
    made = init(answered(), Path("my.yaml"), None)
    recipe = recipe_of(made)
    assert lasting(made.findings) == lasting(check(recipe))
    shipped = load_recipe("lamb", ["seeds.path=my.csv"])
    assert recipe == shipped
    assert made.commands[-1] == "isheep run my.yaml --dir runs/my"
    text = made.file.read_text()
    assert '# 3 tasks, CSV: instruction from "question", output from "answer", no input' in text
    unsaid = [line for line in text.splitlines() if ": " in line and "#" not in line]
    assert unsaid == ["extends: lamb", '  path: "my.csv"'], "every other value has its reason beside it"


def test_only_what_is_not_given_is_asked_and_enter_takes_what_is_proposed(seeds: Path) -> None:
    asked: list[tuple[str, str]] = []

    def ask(question: str, proposal: str) -> str:
        asked.append((question, proposal))
        return "" if question.startswith("Base") else "cpu"

    made = init(Answers(seeds="my.csv"), Path("my.yaml"), ask)
    assert [proposal for _, proposal in asked] == ["lamb", "gpu" if torch.cuda.is_available() else "cpu"]
    assert "found here: " in asked[1][0]
    assert recipe_of(made).model.path == "package:lamb/model"


def test_nobody_is_waited_for(seeds: Path) -> None:
    assert refusal(Answers(model="lamb")) == (
        "--seeds, --hardware: are not given, and there is no terminal to ask at. Give them, or --yes to take what is "
        "proposed."
    )
    assert refusal(Answers("lamb", "shipped")).startswith("--hardware: is not given")


def test_a_file_is_replaced_only_where_that_is_said(seeds: Path) -> None:
    file = Path("my.yaml")
    file.write_text("mine")
    with pytest.raises(UserError, match=r"my\.yaml: is there already\. Give another --to, or --force"):
        init(answered(), file, None)
    assert file.read_text() == "mine"
    assert recipe_of(init(answered(), file, None, force=True)).seeds.path == "my.csv"


@pytest.mark.parametrize(
    ("answers", "says"),
    [
        (answered(model="nowhere"), "--model: there is no folder nowhere."),
        (answered(seeds="none.csv"), "none.csv: there is no such seed file."),
        (answered(hardware="h10"), "--hardware: no data of a GPU `h10`. Give cpu, gpu or a GPU. Did you mean `h100`?"),
        (answered(hardware="0xh100"), "--hardware: 0 is no number of GPUs."),
        (answered(columns=["instruction"]), "--column: `instruction` is not COLUMN=NAME."),
        (answered(columns=["task=a"]), "--column: a seed task has no `task`. It has instruction, input, output."),
        (answered(columns=["output=reply"]), "--column output: my.csv has no column `reply`."),
    ],
)
def test_an_answer_of_which_no_run_can_be_made(seeds: Path, answers: Answers, says: str) -> None:
    assert refusal(answers).startswith(says)


def test_a_recipe_by_another_name(seeds: Path) -> None:
    assert refusal(answered(), "my.txt") == "my.txt: a recipe's name ends in .yaml. Give such a name."


def test_columns_that_say_nothing_are_said_by_a_flag(seeds: Path) -> None:
    seeds.write_text(seeds.read_text().replace("question,answer", 'Frage,"die ""Antwort"""'))
    assert "Say it with `--column instruction=NAME --column output=NAME`." in refusal(answered())
    columns = ["instruction=Frage", 'output=die "Antwort"']
    recipe = recipe_of(init(answered(columns=columns), Path("my.yaml"), None))
    assert recipe.seeds.columns.model_dump() == {"instruction": "Frage", "input": None, "output": 'die "Antwort"'}


def test_names_that_mean_something_to_yaml(seeds: Path) -> None:
    folder = Path('a\tb: {c} # "d" é\x1b\'')
    folder.mkdir()
    file = folder / "1e5.csv"
    file.write_text(seeds.read_text().replace("question", '"question\n# x: y"'))
    answers = answered(seeds=str(file), columns=["instruction=question\n# x: y"])
    recipe = recipe_of(init(answers, folder / "my.yaml", None))
    assert recipe.seeds.path == str(file)
    assert recipe.seeds.columns.instruction == "question\n# x: y"
    assert "\x1b" not in (folder / "my.yaml").read_text()


def test_a_model_of_ones_own_on_processors(seeds: Path, model: Path) -> None:
    made = init(answered(model=str(model)), Path("my.yaml"), None)
    recipe = recipe_of(made)
    found = [one for one in made.findings if not one.found.startswith("left out: ")]
    assert lasting(check(recipe)) == lasting(found)
    assert (recipe.model.dtype, recipe.model.template, recipe.engine.device) == ("float32", "chatml", "cpu")
    assert (recipe.size, recipe.iterations, recipe.train.method) == (200, 2, "lora")
    # Its 384 positions have to do for the examples and for what is written.
    assert (recipe.synthesize.shots, recipe.synthesize.max_new_tokens, recipe.train.cutoff) == (3, 128, 384)
    # What of the usual benchmarks is on this machine is another matter; without a hub none is fetched.
    assert set(recipe.evaluate.benchmarks) <= {"ifeval", "arc_easy", "openbookqa", "winogrande"}


def test_gpus_of_another_machine(seeds: Path, model: Path) -> None:
    made = init(answered(model=str(model), hardware="2x t4"), Path("my.yaml"), None)
    recipe = recipe_of(made)
    assert (recipe.model.dtype, recipe.engine.device, recipe.engine.name) == ("float16", "auto", "transformers")
    assert (recipe.size, recipe.iterations, recipe.train.warmup_steps) == (10_000, 3, 20)
    assert made.commands == ["isheep estimate my.yaml --gpu t4 --gpus 2", "isheep run my.yaml --dir runs/my"]
    assert device_of("8xH100").bfloat16
    assert (device_of("h100").gpus, device_of("8 x h100").gpus) == (1, 8)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_here(seeds: Path) -> None:
    assert refusal(answered(hardware="gpu")).startswith("--hardware: torch finds no GPU on this machine.")


def test_a_model_on_a_hub_that_cannot_be_reached(seeds: Path) -> None:
    made = init(answered(model="someone/some-model"), Path("my.yaml"), None)
    told = {one.what: one.found for one in made.findings if one.warning}
    assert told["model"] == "is not here yet; `isheep check` fetches it and looks at the rest"
    assert told["template"].startswith("chatml is a guess")
    assert made.commands[0] == "isheep check my.yaml"
    assert recipe_of(made).model.path == "someone/some-model"


def with_tokenizer(folder: Path, model: Path, tokenizer: Any) -> Base:
    rmtree(folder, ignore_errors=True)
    copytree(model, folder, ignore=lambda _, names: [name for name in names if "token" in name or "chat" in name])
    tokenizer.save_pretrained(folder)
    return base_of(str(folder))


TURNS = (
    "{% for message in messages %}<turn>{{ message['role'] }}\n{{ message['content'] }}</turn>\n{% endfor %}"
    "{% if add_generation_prompt %}<turn>assistant\n{% endif %}"
)


def test_the_template_is_one_that_the_tokenizer_has_the_tokens_for(
    seeds: Path, tiny_model: Path, tmp_path: Path, build_tokenizer: BuildTokenizer
) -> None:
    def chosen(specials: tuple[str, ...], template: str | None = None) -> str:
        tokenizer = build_tokenizer(("<|endoftext|>", *specials, "<pad>", "<s>"), template)
        return str(choose(with_tokenizer(tmp_path / "other", tiny_model, tokenizer), 3, CPU).values["template"])

    assert chosen(("<|im_start|>", "<|im_end|>")) == "chatml"
    assert chosen(("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")) == "llama3"
    assert chosen(("<turn>", "</turn>"), TURNS) == "carried"
    with pytest.raises(UserError, match="has no token that ends a turn"):
        chosen(("<a>", "<b>"))


def test_method_and_batch_follow_from_memory(seeds: Path, tiny_model: Path, tmp_path: Path) -> None:
    """By the configuration of a model of three billion parameters, of which there are no weights."""
    folder = Path(copytree(tiny_model, tmp_path / "large", ignore=lambda _, names: [n for n in names if "safet" in n]))
    config = json.loads((folder / "config.json").read_text())
    sizes = {"hidden_size": 3072, "intermediate_size": 8192, "num_hidden_layers": 28, "num_attention_heads": 24}
    config |= {**sizes, "num_key_value_heads": 8, "head_dim": 128, "max_position_embeddings": 8192}
    (folder / "config.json").write_text(json.dumps(config))
    base = base_of(str(folder))
    assert base.shape
    assert (base.whole, base.shape.drafted) == (False, True)
    data = {"model": {"path": str(folder), "dtype": "bfloat16"}}
    recipe = parse_recipe(data, "test")
    lora = training_memory(recipe, shape_of(recipe), True, 1024, 1)

    def on(memory: float) -> dict[str, Any]:
        return choose(base, 10, Device("gpu", 1, memory, True, here=False)).values

    large, tight = on(80e9), on((lora - 1e6) / 0.85)
    assert (large["method"], large["micro_batch_size"], large["batch_size"]) == ("lora", 4, 64)
    assert tight["method"] == "qlora"
    assert tight["batch_size"] < large["batch_size"]
    small = choose(base, 10, Device("gpu", 1, 2e9, True, here=False))
    assert small.values["method"] == "lora"
    assert any(what == "memory" and "is wanted; this is less" in found for what, found in small.notes)
