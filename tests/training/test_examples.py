"""Examples: what is cut, what is left out, what is held out, and in which order the others come."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from isheep.encoder import IGNORED, Encoder
from isheep.errors import StageError
from isheep.store.run import Iteration, Run
from isheep.training.examples import Example, read_examples, split, training_order
from tests.stages.test_train import ROWS, make_recipe


@pytest.fixture
def iteration(tiny_model: Path, tmp_path: Path) -> Iterator[Iteration]:
    with Run.create_or_resume(tmp_path / "run", make_recipe(tiny_model)) as run:
        yield run.iteration(1)


def make_examples(count: int) -> list[Example]:
    return [Example((number, number), (IGNORED, number)) for number in range(count)]


def test_long_pair_is_cut_and_still_stops(iteration: Iteration, encoder: Encoder) -> None:
    iteration.write_training_set(ROWS[:3])
    whole = read_examples(iteration.training_set_path, encoder, 10_000)
    prompt = len(encoder.chat(ROWS[2]["messages"][:1]))
    (*_, long) = read_examples(iteration.training_set_path, encoder, len(whole[2].ids) - 2)
    assert long.ids == (*whole[2].ids[:-3], encoder.turn_end_id)
    assert long.labels == (*[IGNORED] * prompt, *long.ids[prompt:])


def test_prompt_that_fills_the_cutoff_is_left_out(
    iteration: Iteration, encoder: Encoder, caplog: pytest.LogCaptureFixture
) -> None:
    iteration.write_training_set([ROWS[0], ROWS[4]])
    room = len(encoder.chat(ROWS[0]["messages"][:1])) + 2
    kept = read_examples(iteration.training_set_path, encoder, room)
    assert [len(example.ids) for example in kept] == [room]
    assert "1 pairs are left out" in caplog.text
    with pytest.raises(StageError, match="no pair to train on"):
        read_examples(iteration.training_set_path, encoder, 5)


def test_held_out_are_drawn_once_for_a_seed() -> None:
    examples = make_examples(40)
    training, held_out = split(examples, 0.1, 1)
    assert (len(training), len(held_out)) == (36, 4)
    assert sorted([*training, *held_out], key=lambda example: example.ids) == examples
    assert split(examples, 0.1, 1) == (training, held_out)
    assert split(examples, 0.1, 2)[1] != held_out
    assert split(examples, 0.0, 1) == (examples, [])


def test_order_goes_through_every_example_before_any_comes_again() -> None:
    order = training_order([1] * 16, steps=8, batch_size=4, seed=0)
    assert sorted(order) == sorted(list(range(16)) * 2)
    assert len(training_order([1] * 16, steps=7, batch_size=4, seed=0)) == 28
    assert training_order([1] * 16, steps=8, batch_size=4, seed=0) == order
    assert training_order([1] * 16, steps=8, batch_size=4, seed=1) != order


def test_batches_are_of_about_equal_length_and_in_no_order_of_length() -> None:
    lengths = random.Random(0).sample(range(10, 1000), 320)
    order = training_order(lengths, steps=20, batch_size=16, seed=0)
    batches = [[lengths[index] for index in order[start : start + 16]] for start in range(0, 320, 16)]
    padded = sum(max(batch) * len(batch) for batch in batches)
    assert padded < 1.15 * sum(lengths)
    longest = [max(batch) for batch in batches[:8]]
    assert longest != sorted(longest)


def test_a_text_may_hold_what_other_programs_take_for_the_end_of_a_line(iteration: Iteration, encoder: Encoder) -> None:
    text = "one\u2028two\u2029three\x85four\x0bfive\x0csix\x1cseven\r\neight"
    turns = [{"role": "user", "content": text}, {"role": "assistant", "content": text}]
    iteration.write_training_set([{"id": "0", "messages": turns}])
    (example,) = read_examples(iteration.training_set_path, encoder, 1024)
    assert (example.ids, example.labels) == encoder.supervised(turns)
