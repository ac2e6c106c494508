"""The chat on a real run: each model answers as it does in the loop, one conversation at a time."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from isheep.engines import Request
from isheep.errors import UserError
from isheep.models import Models
from isheep.stages.respond import asker
from isheep.store.joined import join
from isheep.store.run import Run
from isheep.workbench.talk import CHUNK, Conversation, Question, Talk, models_of

ASKED = Question("Write this word in capital letters.", "mouse", limit=60)


@pytest.fixture(scope="module")
def talk() -> Iterator[Talk]:
    made = Talk()
    yield made
    made.close()


def finished(conversation: Conversation) -> Conversation:
    assert conversation.ended.wait(120)
    assert conversation.error == ""
    return conversation


def test_the_base_and_every_trained_iteration_can_be_asked(lamb_run: Path, tmp_path: Path) -> None:
    assert models_of(Run.read(lamb_run)) == [0, 1, 2]
    shutil.copytree(lamb_run, tmp_path / "run", ignore=shutil.ignore_patterns("adapter"))
    assert models_of(Run.read(tmp_path / "run")) == [0]


def test_a_chat_says_what_the_loop_would(lamb_run: Path, talk: Talk) -> None:
    run = Run.read(lamb_run)
    answers = finished(talk.ask(run, [2, 0], ASKED)).answers
    assert [answer.number for answer in answers] == [0, 2]
    with Models(run.recipe) as models:
        for answer in answers:
            model = models.out_of(run.iteration(answer.number))
            prompt = asker(run.recipe, model)(ASKED.instruction, ASKED.input)
            (whole,) = model.engine.generate([Request("x", prompt, ASKED.limit, model.encoder.stop_ids)])
            assert answer.text == model.encoder.decode(whole.tokens).strip()
            assert (answer.tokens, answer.state) == (len(whole.tokens), whole.finish_reason)


def test_answers_differ_by_model_seed_and_temperature_and_repeat(lamb_run: Path, talk: Talk) -> None:
    run, asked = Run.read(lamb_run), list(join(Run.read(lamb_run).iteration(1)))[:4]
    questions = [Question(one.instruction.instruction, one.instruction.input, limit=40) for one in asked]
    found = [finished(talk.ask(run, [0, 2], question)).answers for question in questions]
    assert any(base.text != last.text for base, last in found)
    warm = Question(questions[0].instruction, questions[0].input, 1.0, seed=1, limit=40)
    first, again = (finished(talk.ask(run, [0], warm)).answers[0] for _ in range(2))
    assert first.text == again.text
    others = {finished(talk.ask(run, [0], Question(warm.instruction, warm.input, 1.0, seed, 40))).answers[0].text
              for seed in range(2, 7)}  # fmt: skip
    assert len(others | {first.text}) > 1


def test_an_answer_is_cut_at_its_limit(lamb_run: Path, talk: Talk) -> None:
    for limit in (1, CHUNK, CHUNK + 1):
        (answer,) = finished(talk.ask(Run.read(lamb_run), [0], Question("Tell a long story.", limit=limit))).answers
        assert answer.tokens <= limit
        assert answer.state in ("length", "stop")
        assert (answer.tokens == limit) == (answer.state == "length")


def test_only_one_at_a_time_and_it_can_be_stopped(lamb_run: Path, talk: Talk) -> None:
    run = Run.read(lamb_run)
    conversation = talk.ask(run, [0, 1, 2], Question("Tell a long story.", temperature=2.0, limit=4000))
    with pytest.raises(UserError, match="in use by another chat"):
        talk.ask(run, [0], ASKED)
    talk.close()
    talk.stop()
    assert conversation.ended.wait(60)
    assert conversation.answers[-1].state == "stopped"
    finished(talk.ask(run, [0], ASKED))


@pytest.mark.parametrize(("numbers", "text"), [([], "Hello"), ([0], " \n")])
def test_nothing_and_nobody_is_refused(lamb_run: Path, talk: Talk, numbers: list[int], text: str) -> None:
    with pytest.raises(UserError):
        talk.ask(Run.read(lamb_run), numbers, Question(text))


def test_a_model_that_is_gone_is_one_line_and_the_next_chat_works(lamb_run: Path, tmp_path: Path, talk: Talk) -> None:
    shutil.copytree(lamb_run, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "iteration-02" / "adapter")
    run = Run.read(tmp_path / "run")
    conversation = talk.ask(run, [2], ASKED)
    assert conversation.ended.wait(60)
    assert conversation.error.startswith("iteration 2: has no weights.")
    (tmp_path / "run" / "iteration-02" / "adapter").mkdir()
    conversation = talk.ask(run, [2], ASKED)
    assert conversation.ended.wait(60)
    assert "holds no adapter" in conversation.error
    finished(talk.ask(Run.read(lamb_run), [0], ASKED))


def test_the_memory_is_given_back_when_nobody_asks(lamb_run: Path) -> None:
    talk = Talk(idle_s=0.2)
    finished(talk.ask(Run.read(lamb_run), [0], ASKED))
    deadline = time.monotonic() + 30
    while talk.is_open and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not talk.is_open
    finished(talk.ask(Run.read(lamb_run), [0], ASKED))
    talk.close()
