"""What is found out about the self-assessment before anything is spent."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from transformers import LlamaConfig, LlamaForCausalLM

from isheep.check import Finding, check
from isheep.check.resources import disk_needed
from isheep.checkpoint import read_checkpoint
from isheep.errors import UserError
from isheep.recipe import Recipe, load_recipe
from isheep.store.files import write_json

BuildTokenizer = Callable[..., Any]
Make = Callable[..., Recipe]

PROMPT = "# A short one.\n---\n{{instruction}} {{input}} {{response}} Score:\n"


@pytest.fixture
def folder(tiny_model: Path, tmp_path: Path) -> Path:
    """A second model folder, to judge and to be broken."""
    return Path(shutil.copytree(tiny_model, tmp_path / "judge"))


@pytest.fixture
def make(tiny_model: Path, tmp_path: Path) -> Make:
    """A recipe of the tiny model with short prompts, with overrides."""
    tasks = [{"instruction": f"Name {n} birds of Peru.", "input": "", "output": "Owl"} for n in range(2, 8)]
    (tmp_path / "seeds.jsonl").write_text("".join(json.dumps(task) + "\n" for task in tasks))
    (tmp_path / "short.txt").write_text(PROMPT)
    file, short = tmp_path / "mine.yaml", tmp_path / "short.txt"
    file.write_text(
        f"model: {{path: {tiny_model}, dtype: float32}}\nseeds: {{path: {tmp_path / 'seeds.jsonl'}}}\n"
        "iterations: 2\nsize: 100\nsynthesize: {max_new_tokens: 30}\nrespond: {max_new_tokens: 20}\n"
        f"assess: {{max_new_tokens: 10, quality_prompt: {short}, following_prompt: {short}}}\n"
        "train: {warmup_steps: 2}\n"
    )
    return lambda *overrides: load_recipe(str(file), overrides)


def refusal(recipe: Recipe) -> tuple[str, str, str]:
    """Where, what and mend of the UserError that the check raises."""
    with pytest.raises(UserError) as caught:
        check(recipe)
    return caught.value.where, caught.value.what, caught.value.mend


def change(file: Path, **entries: Any) -> None:
    write_json(file, {**json.loads(file.read_text()), **entries})


@pytest.mark.parametrize(
    ("override", "what", "mend"),
    [
        ("variant=strict", "cannot be 'strict'.", "Give `simple`, `combined` or `icl`."),
        ("level=quantity", "cannot be 'quantity'.", "Give `none`, `quality`, `following` or `both`."),
        ("level=null", "cannot be null.", "Give `none`, `quality`, `following` or `both`."),
        ("level=[quality]", "cannot be ['quality'].", "Give `none`, `quality`, `following` or `both`."),
        ("assessor=''", "cannot be ''.", "Give `current`, `base` or `random`, or text."),
        ("assessor=7", "cannot be 7.", "Give `current`, `base` or `random`, or text, in quotes."),
        ("quality_prompt=''", "cannot be ''.", "Give text, or null."),
        ("following_prompt=3", "cannot be 3.", "Give text, or null, in quotes."),
        ("read=written", "cannot be 'written'.", "Give `generate` or `distribution`."),
    ],
)
def test_a_wrong_setting_is_told_with_what_it_would_take(make: Make, override: str, what: str, mend: str) -> None:
    with pytest.raises(UserError) as caught:
        make(f"assess.{override}")
    assert caught.value.where.endswith(f"mine.yaml, assess.{override.partition('=')[0]}")
    assert (caught.value.what, caught.value.mend) == (what, mend)


def test_a_threshold_without_scores_is_refused_with_both_keys(make: Make) -> None:
    assert refusal(make("assess.level=none", "select.threshold=6.5")) == (
        "assess.level",
        "none asks for no score, so that select.threshold 6.5 would drop every pair.",
        "Set select.threshold to 0, or assess.level to both.",
    )
    assert refusal(make("assess.level=none"))[0] == "assess.level"
    check(make("assess.level=none", "select.threshold=0"))
    check(make("assess.level=none", "select.threshold=-1"))
    check(make("assess.level=quality", "select.threshold=6.5"))


def test_an_example_outside_the_scale_is_found_before_the_start(make: Make, tmp_path: Path) -> None:
    file = tmp_path / "icl.txt"
    file.write_text(PROMPT.replace("---\n", "---\nOwl\nQuality: 12||too much\n"))
    for question, other in (("quality", "following"), ("following", "quality")):
        assert refusal(make(f"assess.{question}_prompt={file}")) == (
            f"{file}, line 4",
            "its example has the score 12, which lies outside 1 to 10.",
            "Give a score of 1 to 10.",
        )
        # What nobody is shown is not looked at.
        check(make(f"assess.{question}_prompt={file}", f"assess.level={other}"))


def test_a_prompt_of_ones_own_that_nobody_is_shown_is_a_warning(make: Make) -> None:
    def warned(*overrides: str) -> list[str]:
        return [
            found.found.split()[0] for found in check(make(*overrides)) if found.what == "prompts" and found.warning
        ]

    assert warned() == []
    assert warned("assess.level=quality") == ["assess.following_prompt"]
    assert warned("assess.level=following") == ["assess.quality_prompt"]
    assert warned("assess.assessor=random") == ["assess.quality_prompt", "assess.following_prompt"]
    nobody = ["assess.level=none", "select.threshold=0", "assess.quality_prompt=null", "assess.following_prompt=null"]
    assert warned(*nobody) == []


def test_a_prompt_that_fills_the_context_is_refused(make: Make, folder: Path) -> None:
    where, what, mend = refusal(make("assess.quality_prompt=null"))
    file = "package:prompts/assess/combined_quality.txt"
    assert (where, what) == (
        "assess",
        f"{file} alone takes {taken(file)} of the assessor's 256 tokens and leaves no room for a pair.",
    )
    assert mend == "Give a shorter assess.quality_prompt, another assess.variant or another assess.assessor."
    assert "icl_following" in refusal(make("assess.following_prompt=null", "assess.variant=icl"))[1]
    change(folder / "config.json", max_position_embeddings=2048)
    check(make("assess.quality_prompt=null", f"assess.assessor={folder}"))


def taken(file: str) -> int:
    """Tokens of a shipped prompt without a pair, for a tokenizer of bytes with `he` and `ll`."""
    from isheep.recipe import locate

    text = locate(file).read_text().partition("\n---\n")[2].removesuffix("\n")
    for field in ("instruction", "input", "response"):
        text = text.replace(f"{{{{{field}}}}}\n", "")
    return len(text.encode()) - text.count("he") - text.count("ll")


def test_the_answer_has_to_fit_the_context_of_whoever_judges(make: Make, folder: Path) -> None:
    message = (
        "assess.max_new_tokens",
        "256 leaves no room for a prompt in the model's 256 tokens.",
        "Give less than 256.",
    )
    assert refusal(make("assess.max_new_tokens=256")) == message
    check(make("assess.max_new_tokens=255"))
    check(make("assess.max_new_tokens=256", "assess.read=distribution"))
    check(make("assess.max_new_tokens=256", "assess.assessor=random"))
    change(folder / "config.json", max_position_embeddings=300)
    check(make("assess.max_new_tokens=299", f"assess.assessor={folder}"))
    assert refusal(make("assess.max_new_tokens=300", f"assess.assessor={folder}"))[0] == "assess.max_new_tokens"


def test_another_assessor_is_looked_at_as_the_model_is(make: Make, folder: Path) -> None:
    recipe = make(f"assess.assessor={folder}")
    found = {finding.what: finding.found for finding in check(recipe)}
    assert found["assessor"] == f"{folder}  {read_checkpoint(folder).parameters:,} parameters"
    assert not any(finding.what == "assessor" for finding in check(make("assess.assessor=base")))


def test_an_assessor_that_is_no_folder(make: Make, tmp_path: Path) -> None:
    mend = "a local folder with the model"
    where, what, said = refusal(make("assess.assessor=curent"))
    assert (where, what) == ("assess.assessor", "there is no folder curent.")
    assert said.startswith(f"Did you mean `current`? Give current, base, random, {mend}")
    file = tmp_path / "short.txt"
    where, what, said = refusal(make(f"assess.assessor={file}"))
    assert (where, what) == ("assess.assessor", f"{file} is a file, not a folder.")
    assert said.startswith(f"Give current, base, random, {mend}")
    # Nobody would open it.
    check(make("assess.assessor=curent", "assess.level=none", "select.threshold=0"))


def test_a_broken_assessor_is_named_file_by_file(make: Make, folder: Path) -> None:
    recipe = make(f"assess.assessor={folder}")
    change(folder / "config.json", model_type="unheard_of")
    assert refusal(recipe)[1] == "the installed transformers knows no model_type `unheard_of`."
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer_config.json").unlink()
    change(folder / "config.json", model_type="llama")
    assert refusal(recipe)[:2] == (str(folder), "holds no tokenizer.")
    with (folder / "model.safetensors").open("r+b") as weights:
        weights.truncate(99)
    assert refusal(recipe)[0] == str(folder / "model.safetensors")
    (folder / "config.json").unlink()
    assert refusal(recipe)[:2] == (str(folder / "config.json"), "is missing.")


@pytest.mark.parametrize(
    ("rows", "what"),
    [
        (2, "its turn end <|im_end|> (2) lies outside the model's 2 embedding rows."),
        (60, "which lies outside the model's 60 embedding rows."),
    ],
)
def test_an_assessor_with_the_tokenizer_of_another(make: Make, folder: Path, rows: int, what: str) -> None:
    config = LlamaConfig(
        vocab_size=rows, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    change(
        folder / "tokenizer_config.json", chat_template="{% for m in messages %}{{ m.content }}<|im_end|>{% endfor %}"
    )
    where, said, _ = refusal(make(f"assess.assessor={folder}"))
    assert where == str(folder)
    assert said.endswith(what)


def test_the_disk_holds_what_is_asked_for(make: Make, tiny_model: Path) -> None:
    checkpoint = read_checkpoint(tiny_model)

    def needed(level: str) -> int:
        return disk_needed(make(f"assess.level={level}", "select.threshold=0"), checkpoint)

    none, quality, following, both = map(needed, ("none", "quality", "following", "both"))
    assert quality - none == following - none == both - quality == 2 * (2 * 4 * 100 * 10)


def test_memory_is_told_of_each_model(make: Make, folder: Path) -> None:
    memory = [finding for finding in check(make(f"assess.assessor={folder}")) if finding.what == "memory"]
    assert len(memory) == 2


def test_a_judgement_by_chance_is_a_warning(make: Make) -> None:
    warning = Finding("assessor", "random: the scores will mean nothing, which spoils the run on purpose", warning=True)
    assert warning in check(make("assess.assessor=random"))
    assert warning not in check(make("assess.assessor=random", "assess.level=none", "select.threshold=0"))
    assert warning not in check(make())
