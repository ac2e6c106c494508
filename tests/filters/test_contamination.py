"""Pairs that hold a benchmark's question."""

from __future__ import annotations

import json
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isheep.evaluation.lm_eval_task import LmEvalTask
from isheep.filters.contamination import Hit, Questions, hits, rows_of, without_frame, words
from isheep.recipe.settings import EvaluateSettings
from isheep.records import Pair
from tests.data import SHARED, needs_data

LONG = (
    "Question: Which of these metals, when it is heated in air for an hour, keeps its colour and its weight?\nAnswer:"
)
MIDDLE = "Question: Why do ships of heavy iron swim on water?\nAnswer:"
SHORT = "Question: Who drew the first map?\nAnswer:"
OTHERS = [f"Question: Number {number}, is that even or odd, small or large?\nAnswer:" for number in range(20)]
TEXTS = [LONG, MIDDLE, SHORT, *OTHERS]


def pair(instruction: str = "Tell me something new.", input_: str = "", response: str = "There is nothing.") -> Pair:
    return Pair("one", instruction, input_, response)


def found(*pairs: Pair, texts: list[str] = TEXTS, formulaic: bool = False) -> list[int]:
    return [hit.item for hit in held(pairs, texts, formulaic)]


def held(pairs: Iterable[Pair], texts: list[str], formulaic: bool = False) -> list[Hit]:
    (found,) = hits(pairs, [Questions("quiz", texts, formulaic)])
    return found


@pytest.mark.parametrize(
    ("asked", "items"),
    [
        (pair("Say which of these metals when it is heated in AIR for an hour -- keeps its form."), [0]),
        (pair(response="of these metals, when it is heated in air for an hour, keeps its colour"), [0]),
        (pair("which of these metals when it is heated in air", "for an hour keeps its colour"), [0]),
        (pair("Do ships of heavy iron swim on the water?"), []),
        (pair("I ask: do ships of heavy iron swim on water?"), [1]),
        (pair("Who drew the first map?"), [2]),
        (pair(response="who drew the first map"), [2]),
        (pair("Who drew the first map of Spain?"), []),
        (pair("Question: what is the answer?"), []),
        (pair("Is that even or odd, small or large?"), []),
        (pair("Number 7, is that even or odd, small or large?"), [10]),
        (pair(), []),
    ],
)
def test_a_planted_question_is_found(asked: Pair, items: list[int]) -> None:
    assert found(asked) == items


def test_every_pair_that_holds_a_question_is_told_once() -> None:
    pairs = [Pair(str(number), "Why do ships of heavy iron swim on water?", "", "x") for number in range(3)]
    told = held([*pairs, Pair("clean", "Name a bird.", "", "Owl.")], TEXTS)
    assert [(hit.id, hit.benchmark, hit.shared) for hit in told] == [
        (str(number), "quiz", "why do ships of heavy iron swim on") for number in range(3)
    ]


def test_benchmarks_are_held_against_the_same_pairs_and_earlier_questions_come_first() -> None:
    pairs = iter(
        [Pair("late", "Who drew the first map?", "", "x"), Pair("early", MIDDLE, "", "Who drew the first map?")]
    )
    told = hits(pairs, [Questions("quiz", TEXTS), Questions("maps", [SHORT])])
    assert [[(hit.id, hit.benchmark, hit.item) for hit in one] for one in told] == [
        [("early", "quiz", 1), ("late", "quiz", 2)],
        [],
    ]


def test_a_formulaic_benchmark_is_found_by_whole_questions_alone() -> None:
    texts = ["Write this word two times. Put a star before it.\nlizard", "Name a bird that swims."]
    near = pair("Write this word two times. Put a star before it.", "owl")
    assert found(near, texts=texts) == [0]
    assert found(near, texts=texts, formulaic=True) == []
    assert found(pair("Write this word two times. Put a star before it.", "Lizard"), texts=texts, formulaic=True) == [0]


def test_a_way_of_speaking_does_not_count() -> None:
    texts = [f"Do not use any commas in your response to {name}, please." for name in ("him", "her", "them")]
    assert found(pair("Do not use any commas in your response to me."), texts=texts) == []


@given(st.lists(st.text(max_size=60), max_size=6), st.text(max_size=80))
def test_whatever_the_texts_a_whole_question_as_an_instruction_is_found(texts: list[str], question: str) -> None:
    if words(question) and question not in texts:
        everything = [*texts, question]
        own = without_frame([words(text) for text in everything])[-1]
        told = held([pair(" ".join(own))], everything) if own else []
        repeated = sum(len(set(rows_of(own, 8)) & set(rows_of(words(text), 8))) > 0 for text in set(texts))
        assert len(told) == 1 or not own or repeated


@needs_data
def test_the_released_records_are_nearly_clean() -> None:
    settings = EvaluateSettings(data_dir=str(SHARED))
    rows = json.loads((SHARED / "isheep_72b" / "kept_iteration_1.json").read_text(encoding="utf-8"))
    pairs = [Pair(str(n), row["instruction"], row["input"] or "", row["output"]) for n, row in enumerate(rows)]
    for task, most in (("ifeval", 0), ("arc_challenge", 5)):
        questions = LmEvalTask(task, settings).texts()
        assert len(held(pairs, questions)) <= most
        planted = Pair("planted", questions[7], "", "I do not know.")
        assert "planted" in {hit.id for hit in held([*pairs, planted], questions)}
