"""IFEval on answers that are known: the right ones score 1, mixed ones what the reference's checkers say one by one."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from isheep.errors import UserError
from isheep.measure import grade, measure_models
from tests.data import SHARED, needs_data

pytestmark = needs_data  # nltk's punkt_tab lies there

ITEMS: list[tuple[str, list[str], list[dict[str, Any]], str, str]] = [
    ("Say hello without a comma.", ["punctuation:no_comma"], [{}], "Hello there", "Hello, there"),
    (
        "Use only small letters and say owl twice.",
        ["change_case:english_lowercase", "keywords:frequency"],
        [{}, {"keyword": "owl", "frequency": 2, "relation": "at least"}],
        "an owl is a bird and this owl sleeps all day in the old tree",
        "An Owl is a bird that sleeps all day in the old tree",
    ),
    ("Answer in JSON.", ["detectable_format:json_format"], [{}], '{"bird": "owl"}', "bird: owl"),
    (
        "Two placeholders, please.",
        ["detectable_content:number_placeholders"],
        [{"num_placeholders": 2}],
        "Dear [name], meet me at [place].",
        "Dear [name], meet me.",
    ),
    ("Put it in quotes.", ["startend:quotation"], [{}], '"An owl."', "An owl."),
    (
        "At least three sentences, and end with: That is all.",
        ["length_constraints:number_sentences", "startend:end_checker"],
        [{"num_sentences": 3, "relation": "at least"}, {"end_phrase": "That is all."}],
        "An owl sleeps. It wakes at night. That is all.",
        "An owl sleeps. That is all.",
    ),
    (
        "First some words, then *one* highlighted.",
        ["detectable_format:number_highlighted_sections"],
        [{"num_highlights": 1}],
        "This is *very important* here.",
        "This is important here.",
    ),
]
"""Prompt, instructions, their settings, an answer that follows and one that does not follow all of them."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    data = tmp_path / "data"
    data.mkdir()
    rows = [
        {"key": key, "prompt": prompt, "instruction_id_list": ids, "kwargs": settings}
        for key, (prompt, ids, settings, _, _) in enumerate(ITEMS)
    ]
    (data / "ifeval.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    shutil.copytree(SHARED / "nltk_data", data / "nltk", copy_function=shutil.copyfile)
    return tmp_path


def written(folder: Path, answers: list[str]) -> Path:
    file = folder / "answers.jsonl"
    rows = [{"prompt": item[0], "response": answer} for item, answer in zip(ITEMS, answers, strict=True)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


def measured(folder: Path, answers: list[str]) -> dict[str, float]:
    settings = [f"evaluate.data_dir={folder / 'data'}"]
    (scores,) = grade(written(folder, answers), ["ifeval"], settings=settings).scores.values()
    return {metric: float(figure["value"] or 0) for metric, figure in scores["ifeval"].items()}


def test_right_answers_score_one_on_all_four(folder: Path) -> None:
    assert measured(folder, [item[3] for item in ITEMS]) == {
        "prompt_level_strict_acc": 1.0,
        "inst_level_strict_acc": 1.0,
        "prompt_level_loose_acc": 1.0,
        "inst_level_loose_acc": 1.0,
    }


def test_mixed_answers_score_what_the_checkers_say(folder: Path) -> None:
    from lm_eval.tasks.ifeval.instructions_registry import INSTRUCTION_DICT

    answers = [item[4] if number % 2 else item[3] for number, item in enumerate(ITEMS)]
    # The fourth follows when its first line is taken away: loosely it is right.
    answers[4] = 'Here it is:\n"An owl."'
    held: list[list[bool]] = []
    for (_, ids, settings, _, _), answer in zip(ITEMS, answers, strict=True):
        checkers = [INSTRUCTION_DICT[name](name) for name in ids]
        for checker, kwargs in zip(checkers, settings, strict=True):
            checker.build_description(**kwargs)
        held.append([bool(checker.check_following(answer)) for checker in checkers])
    flat = [one for item in held for one in item]
    found = measured(folder, answers)
    assert found["prompt_level_strict_acc"] == pytest.approx(sum(map(all, held)) / len(held))
    assert found["inst_level_strict_acc"] == pytest.approx(sum(flat) / len(flat))
    assert found["prompt_level_loose_acc"] == pytest.approx((sum(map(all, held)) + 1) / len(held))
    assert found["inst_level_loose_acc"] == pytest.approx((sum(flat) + 1) / len(flat))
    assert 0 < sum(map(all, held)) < len(held)


def test_what_is_no_answer_is_refused(folder: Path) -> None:
    settings = [f"evaluate.data_dir={folder / 'data'}"]
    file = written(folder, [item[3] for item in ITEMS])
    lines = file.read_text().split("\n")
    file.write_text("\n".join(lines[1:]))
    with pytest.raises(UserError, match="no answer to `Say hello"):
        measure_models(file, ["ifeval"], None, settings)
    file.write_text('{"prompt": "Say hello without a comma."}\n')
    with pytest.raises(UserError, match="line 1"):
        grade(file, ["ifeval"], settings=settings)
    with pytest.raises(UserError, match="does not take answers"):
        grade(written(folder, [item[3] for item in ITEMS]), ["mt_bench"], settings=settings)


def test_missing_punkt_is_found_before_anything_is_generated(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import nltk.data

    (folder / "data" / "nltk" / "tokenizers").rename(folder / "elsewhere")
    monkeypatch.setattr(nltk.data, "path", [])
    with pytest.raises(UserError, match="punkt_tab"):
        measured(folder, [item[3] for item in ITEMS])
