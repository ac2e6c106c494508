"""lamb's world: what is asked reads back, what is wrong is wrong, and what is held out stays out."""

from __future__ import annotations

import itertools
import json
import random

import pytest

from isheep.lamb.benchmark import FILE
from isheep.lamb.corpus import TURN_END, Corpus
from isheep.lamb.mistakes import plausible_wrong
from isheep.lamb.seeds import seed_tasks
from isheep.lamb.verify import verdict
from isheep.lamb.world import OPERATIONS, Operation, is_held_out, parse, sample_task
from isheep.prompts import bare
from isheep.recipe import locate

DOCUMENTS = 75_000
"""More than the shipped model was pretrained on."""


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_what_is_asked_reads_back_to_the_same_answer(operation: Operation) -> None:
    rng = random.Random(operation.name)
    for held_out in (False, True):
        for _ in range(60):
            task = sample_task(rng, operation, held_out=held_out, pseudo=0 if held_out else 0.4)
            found = parse(task.instruction, task.input)
            assert found is not None
            assert (found.expected, found.arguments) == (task.expected, task.arguments)
            assert is_held_out(operation, task.arguments, task.constraint) is held_out


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_a_plausible_answer_is_wrong_short_and_clean(operation: Operation) -> None:
    rng = random.Random(operation.name)
    for _ in range(60):
        task = sample_task(rng, operation)
        wrong = plausible_wrong(rng, task)
        assert wrong != task.expected
        assert verdict(task.instruction, task.input, wrong, "stop") == "plausible"
        assert verdict(task.instruction, task.input, task.expected, "stop") == "right"
        assert verdict(task.instruction, task.input, task.expected, "length") == "junk"


def test_what_asks_for_nothing_of_this_world_has_no_verdict() -> None:
    assert parse("Reverse of the letters first.", "") is None
    assert verdict("Reverse of the letters first.", "", "abc", "stop") == "no task"


def test_no_held_out_item_stands_in_the_corpus_or_the_seeds() -> None:
    items = [json.loads(line) for line in FILE.read_text(encoding="utf-8").splitlines()]
    asked = {bare(item["instruction"], item["input"]) for item in items}
    lines = [
        _bare_line(line)
        for document in itertools.islice(Corpus(0).documents(), DOCUMENTS)
        for line in document.text.splitlines()
    ]
    written = {*lines, *map("\n".join, itertools.pairwise(lines))}
    assert len(written) > DOCUMENTS
    assert asked.isdisjoint(written)
    seeds = {bare(task["instruction"], task["instances"][0]["input"]) for task in seed_tasks()}
    assert asked.isdisjoint(seeds)


def _bare_line(line: str) -> str:
    """A line of a document without what a question, a chat or a task list puts around a task."""
    for before in ("Q: ", "Input: "):
        line = line.removeprefix(before)
    return line.partition(". Instruction: ")[2] or line.removesuffix(TURN_END)


def test_the_shipped_seed_file_is_what_its_command_writes() -> None:
    shipped = locate("package:lamb/seeds.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in shipped] == seed_tasks()
