"""The shipped checkpoint: an ordinary one, which knows its world, judges it, and answers badly when asked directly."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from isheep.encoder import Encoder
from isheep.engines import Request
from isheep.intervals import auroc
from isheep.lamb.mistakes import junk, plausible_wrong
from isheep.lamb.tokenizer import build_tokenizer
from isheep.lamb.world import OPERATIONS, sample_task
from isheep.models import Model, Models
from isheep.prompts import Prompt, bare
from isheep.recipe import load_recipe, locate
from isheep.stages.assess import FIELDS
from isheep.stages.scores import read_distributions

FOLDER = locate("package:lamb/model")
SENTENCE = "Write the word cat in capitals. Say sure first.\nsure CAT\n10||Right."


@pytest.fixture(scope="module")
def base() -> Iterator[Model]:
    with Models(load_recipe("lamb")) as models:
        yield models.base


def test_it_is_small_and_of_the_llama_class() -> None:
    assert sum(file.stat().st_size for file in FOLDER.iterdir()) <= 12_000_000
    model = AutoModelForCausalLM.from_pretrained(FOLDER)
    assert type(model).__name__ == "LlamaForCausalLM"
    assert model.num_parameters() <= 5_000_000
    assert model.generation_config.pad_token_id not in model.generation_config.eos_token_id


def test_every_path_to_the_tokenizer_gives_the_same_ids() -> None:
    expected = build_tokenizer()(SENTENCE)["input_ids"]
    loaded = AutoTokenizer.from_pretrained(FOLDER)
    assert loaded(SENTENCE)["input_ids"] == expected
    assert list(Encoder.load(FOLDER, "chatml").plain(SENTENCE)) == expected
    assert loaded.convert_ids_to_tokens(expected)[:9] == [
        "<|endoftext|>",
        "Write",
        "Ġthe",
        "Ġword",
        "Ġ",
        "c",
        "a",
        "t",
        "Ġin",
    ]
    assert loaded.decode(expected, skip_special_tokens=True) == SENTENCE


def test_it_knows_the_tasks_when_it_goes_on_with_a_list(base: Model) -> None:
    rng = random.Random(0)
    tasks = [sample_task(rng, operation, held_out=True) for operation in OPERATIONS for _ in range(5)]
    shown = "Q: What is the opposite of hot?\nA:\ncold\n\nQ: Repeat milk two times.\nA:\nmilk milk\n\n"
    requests = [
        Request(
            str(n), base.encoder.plain(f"{shown}Q: {bare(t.instruction, t.input)}\nA:\n"), 24, base.encoder.stop_ids
        )
        for n, t in enumerate(tasks)
    ]
    written = {done.id: base.encoder.decode(done.tokens) for done in base.engine.generate(requests)}
    right = [written[str(n)].partition("\n")[0] == task.expected for n, task in enumerate(tasks)]
    assert sum(right) / len(right) > 0.6


def test_it_answers_badly_when_asked_directly(base: Model) -> None:
    rng = random.Random(1)
    tasks = [sample_task(rng, operation, held_out=True) for operation in OPERATIONS for _ in range(5)]
    requests = [
        Request(str(n), base.ask(task.instruction, task.input), 40, base.encoder.stop_ids)
        for n, task in enumerate(tasks)
    ]
    done = {one.id: one for one in base.engine.generate(requests)}
    right = [
        done[str(n)].finish_reason == "stop" and base.encoder.decode(done[str(n)].tokens) == task.expected
        for n, task in enumerate(tasks)
    ]
    assert sum(right) / len(right) < 0.2


def test_it_judges_better_than_chance(base: Model) -> None:
    rng = random.Random(2)
    prompt = Prompt.load(locate("package:prompts/assess/combined_quality.txt"), FIELDS)
    scores: dict[str, list[float]] = {"right": [], "plausible": [], "junk": []}
    for operation in OPERATIONS:
        for _ in range(8):
            task = sample_task(rng, operation)
            responses = {"right": task.expected, "plausible": plausible_wrong(rng, task), "junk": junk(rng, task)[0]}
            texts = [
                prompt.render(instruction=task.instruction, input=task.input, response=text)
                for text in responses.values()
            ]
            for what, reading in zip(responses, read_distributions(texts, base), strict=True):
                assert reading.score is not None
                scores[what].append(reading.score)
    assert (auroc(scores["right"], scores["plausible"]) or 0) > 0.75
    assert (auroc(scores["right"], scores["junk"]) or 0) > 0.95
