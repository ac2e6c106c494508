"""lamb's held-out benchmark: its items, its verifier, and the whole way from the task file to a figure."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import LlamaConfig, LlamaForCausalLM

from isheep.evaluation.harness import Answer
from isheep.lamb.benchmark import FILE, draw
from isheep.lamb.benchmark.checks import check_loose, check_strict, over_instructions, process_results
from isheep.lamb.tokenizer import build_tokenizer
from isheep.lamb.world import CONSTRAINTS, OPERATIONS, is_held_out, parse, shape
from isheep.models import Models
from isheep.prompts import bare
from isheep.recipe import locate, parse_recipe
from isheep.seeds import load_seeds
from tests.evaluation.measured import measure_all

ITEMS: list[dict[str, Any]] = [json.loads(line) for line in FILE.read_text(encoding="utf-8").splitlines()]


def item(instruction: str, input_: str = "") -> dict[str, Any]:
    task = parse(instruction, input_)
    assert task is not None
    return {
        "instruction": instruction,
        "input": input_,
        "operation": task.operation.name,
        "arguments": list(task.arguments),
        "constraint": task.constraint.name if task.constraint else None,
        "expected": task.expected,
    }


PLAIN = item("Write this word backwards.", "goat")
EXCLAIM = item("Write this word backwards. End with an exclamation mark.", "goat")
CAPITALS = item("Write the word goat backwards. Answer in capitals.")
NUMBER = item("Which number is larger, 42 or 17? Answer in capitals.")
SURE = item("Count the letters of goat. Say sure first.")
NAME = item("Write this as a name. Put the answer in quotes.", "goat")
UPPER = item("Write the word goat in capitals. Put a star before it.")


@pytest.mark.parametrize(
    ("doc", "response", "strict", "loose"),
    [
        (PLAIN, "taog", [True], [True]),
        (PLAIN, " \ntaog\n", [True], [True]),
        (PLAIN, "", [False], [False]),
        (PLAIN, "goat", [False], [False]),
        (PLAIN, "Write this word backwards.\ngoat", [False], [False]),
        (PLAIN, "taog.", [False], [True]),
        (PLAIN, "taog!", [False], [True]),
        (PLAIN, "Taog", [False], [True]),
        (PLAIN, "taog\nI think that this is a good question.", [False], [True]),
        (PLAIN, "I think so.\ntaog", [False], [False]),
        (PLAIN, "(taog)", [False], [False]),
        (PLAIN, "taog taog", [False], [False]),
        (EXCLAIM, "taog!", [True, True], [True, True]),
        (EXCLAIM, "taog", [True, False], [True, False]),
        (EXCLAIM, "(taog)", [True, False], [True, False]),
        (EXCLAIM, "goat!", [False, True], [False, True]),
        (EXCLAIM, "taog!.", [False, False], [True, False]),
        (EXCLAIM, "TAOG!", [False, True], [True, True]),
        (EXCLAIM, "(taog!)", [False, False], [False, False]),
        (EXCLAIM, "taog!\nMy friend told me.", [False, False], [True, True]),
        (CAPITALS, "TAOG", [True, True], [True, True]),
        (CAPITALS, "taog", [True, False], [True, False]),
        (CAPITALS, "GOAT", [False, True], [False, True]),
        (CAPITALS, "Taog", [False, False], [False, False]),
        (NUMBER, "42", [True, True], [True, True]),
        (NUMBER, "(42)", [True, False], [True, False]),
        (NUMBER, "42.", [False, True], [True, True]),
        (SURE, "sure 4", [True, True], [True, True]),
        (SURE, "Sure 4.", [False, False], [True, True]),
        (SURE, "4", [True, False], [True, False]),
        (NAME, '"Goat"', [True, True], [True, True]),
        (NAME, "Goat", [True, False], [True, False]),
        (NAME, '"goat"', [False, True], [False, True]),
        (NAME, "GOAT", [False, False], [False, False]),
        (UPPER, "*GOAT", [True, True], [True, True]),
        (UPPER, "*goat", [False, True], [False, True]),
    ],
)
def test_what_holds(doc: dict[str, Any], response: str, strict: list[bool], loose: list[bool]) -> None:
    assert (check_strict(doc, response), check_loose(doc, response)) == (strict, loose)
    assert process_results(doc, [response]) == {
        "prompt_level_strict_acc": all(strict),
        "inst_level_strict_acc": strict,
        "prompt_level_loose_acc": all(loose),
        "inst_level_loose_acc": loose,
    }


def test_an_answer_that_had_to_be_cut_holds_loosely_only() -> None:
    answer = Answer("taog!\n\n\n")
    assert check_strict(EXCLAIM, answer) == [True, True]
    answer.cut = True
    assert check_strict(EXCLAIM, answer) == [False, False]
    assert check_loose(EXCLAIM, answer) == [True, True]


RESPONSES = st.one_of(
    st.text(max_size=12),
    st.builds(
        lambda doc, form, twice: shape(shape(doc["expected"], form), twice),
        st.sampled_from(ITEMS),
        st.sampled_from([None, *CONSTRAINTS]),
        st.sampled_from([None, *CONSTRAINTS]),
    ),
)


@given(st.sampled_from(ITEMS), RESPONSES)
def test_all_strict_instructions_hold_just_where_the_response_is_the_expected_one(
    doc: dict[str, Any], response: str
) -> None:
    assert all(check_strict(doc, response)) == (response.strip() == doc["expected"])


@pytest.mark.parametrize("form", [None, *CONSTRAINTS], ids=lambda form: form.name if form else "none")
def test_no_item_accepts_its_answer_in_another_form(form: Any) -> None:
    for doc in ITEMS:
        task = parse(doc["instruction"], doc["input"])
        assert task is not None
        response = shape(task.answer, form)
        assert all(check_strict(doc, response)) == (response == doc["expected"])
        assert check_strict(doc, doc["expected"]) == [True] * (1 + (doc["constraint"] is not None))


def test_a_share_over_no_instructions_could_not_be_told() -> None:
    assert over_instructions([]) is None
    assert over_instructions([[True, False], [True]]) == pytest.approx(2 / 3)


def test_every_item_asks_for_what_it_expects_and_is_held_out() -> None:
    for doc in ITEMS:
        task = parse(doc["instruction"], doc["input"])
        assert task is not None
        constraint = task.constraint.name if task.constraint else None
        assert (task.operation.name, list(task.arguments), constraint) == (
            doc["operation"],
            doc["arguments"],
            doc["constraint"],
        )
        assert task.expected == doc["expected"]
        assert is_held_out(task.operation, task.arguments, task.constraint)


def test_the_items_cover_all_operations_alike_and_none_comes_twice() -> None:
    assert len(ITEMS) == 2000
    counts = Counter(doc["operation"] for doc in ITEMS)
    assert set(counts) == {operation.name for operation in OPERATIONS}
    assert max(counts.values()) - min(counts.values()) <= 1
    assert len({(doc["instruction"], doc["input"]) for doc in ITEMS}) == 2000
    assert len({doc["id"] for doc in ITEMS}) == 2000
    assert {doc["constraint"] for doc in ITEMS} == {None, *(constraint.name for constraint in CONSTRAINTS)}


def test_the_shipped_file_is_what_its_command_writes(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "isheep.lamb.benchmark", "--draw", "3", "--items", "2000"]
    subprocess.run([*command, "--to", str(tmp_path / "drawn.jsonl")], check=True)
    assert (tmp_path / "drawn.jsonl").read_bytes() == FILE.read_bytes()


def test_the_draw_for_tuning_is_another_one() -> None:
    tuning = {(doc["instruction"], doc["input"]) for doc in draw(1, 100)}
    shipped = {(doc["instruction"], doc["input"]) for doc in draw(3, 100)}
    assert shipped == {(doc["instruction"], doc["input"]) for doc in ITEMS[:100]}
    assert len(tuning & shipped) < 10


def test_no_seed_task_is_an_item() -> None:
    asked = {bare(doc["instruction"], doc["input"]) for doc in ITEMS}
    files = list(locate("package:lamb").rglob("*seeds*.jsonl"))
    if not files:
        pytest.skip("lamb has no seed tasks here")
    for file in files:
        assert not asked & {bare(seed.instruction, seed.input) for seed in load_seeds(file)}


def test_a_model_is_measured_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A random model of lamb's shape: what it answers and how that counts, through the real engine."""
    tokenizer = build_tokenizer()
    tokenizer.save_pretrained(tmp_path)
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1}
    config = LlamaConfig(vocab_size=len(tokenizer), num_attention_heads=4, eos_token_id=0, pad_token_id=3, **sizes)
    LlamaForCausalLM(config).save_pretrained(tmp_path)
    monkeypatch.chdir(tmp_path)
    model = {"path": str(tmp_path), "dtype": "float32"}
    recipe = parse_recipe({"model": model, "evaluate": {"tasks": "package:lamb/benchmark", "limit": 30}}, "test")
    with Models(recipe) as models:
        measured, again = (measure_all(["lamb"], recipe, models.base) for _ in range(2))
    scores, items = measured.scores, measured.items
    assert again.scores == scores
    assert [row["doc"] for row in items["lamb"]] == ITEMS[:30]
    assert [row["prompt"] for row in items["lamb"]] == [bare(doc["instruction"], doc["input"]) for doc in ITEMS[:30]]
    assert all(row["target"] == row["doc"]["expected"] for row in items["lamb"])
    constrained = sum(doc["constraint"] is not None for doc in ITEMS[:30])
    assert {metric: figure["n"] for metric, figure in scores["lamb"].items()} == {
        "prompt_level_strict_acc": 30,
        "inst_level_strict_acc": 30 + constrained,
        "prompt_level_loose_acc": 30,
        "inst_level_loose_acc": 30 + constrained,
    }
    for row in items["lamb"]:
        answer = Answer(row["responses"][0])
        answer.cut = row["cut"][0]
        assert row["metrics"] == process_results(row["doc"], [answer])
    assert scores["lamb"]["prompt_level_strict_acc"]["value"] == 0.0
