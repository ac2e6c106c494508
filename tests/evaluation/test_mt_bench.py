"""MT-Bench end to end: lamb answers, a real server or lamb itself judges; files of our own in FastChat's schema."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from isheep.errors import StageError, UserError
from isheep.evaluation.base import Row
from isheep.evaluation.mt_bench import CATEGORIES, MtBench, read_rating
from isheep.models import Model, Models
from isheep.recipe import Recipe, load_recipe
from isheep.stages.evaluate import evaluate
from isheep.store.run import Run
from tests.data import SHARED
from tests.evaluation.judged import NAME, Reply, judged_by, judging
from tests.evaluation.measured import measure_all

FASTCHAT = SHARED / "mt_bench"

QUESTIONS: list[dict[str, Any]] = [
    {"question_id": 81, "category": "writing", "turns": ["Name a bird.", "Name another {answer_1}."]},
    {"question_id": 111, "category": "math", "turns": ["Add 2 and 3.", "Add 1."]},
    {"question_id": 141, "category": "stem", "turns": ["Say he.", "Say so again."]},
]
REFERENCES = [{"question_id": 111, "choices": [{"index": 0, "turns": ["It is five.", "It is six."]}]}]
PROMPTS = [
    {"name": "single-v1", "prompt_template": "ONE q={question} a={answer}"},
    {"name": "single-math-v1", "prompt_template": "MATH-ONE q={question} r={ref_answer_1} a={answer}"},
    {"name": "single-v1-multi-turn", "prompt_template": "TWO {question_1}|{answer_1}|{question_2}|{answer_2}"},
    {
        "name": "single-math-v1-multi-turn",
        "prompt_template": "MATH-TWO {question_1}|{ref_answer_1}|{question_2}|{ref_answer_2}|{answer_1}|{answer_2}",
    },
]


def write_files(folder: Path) -> Path:
    """The three files, with another benchmark's of the same names beside them, as in FastChat's repository."""
    rows = {
        "question.jsonl": QUESTIONS,
        "reference_answer/gpt-4.jsonl": REFERENCES,
        "judge_prompts.jsonl": [{"system_prompt": "Judge.", "type": "single", **prompt} for prompt in PROMPTS],
    }
    for name, lines in rows.items():
        file = folder / "data" / "mt_bench" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    other = folder / "data" / "another"
    other.mkdir()
    (other / "question.jsonl").write_text("{}\n")
    return folder


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder that holds the files somewhere."""
    return write_files(tmp_path / "files")


def recipe_of(data: Path | None, *settings: str) -> Recipe:
    named = [f"evaluate.data_dir={data}"] if data else []
    return load_recipe("lamb", ["evaluate.benchmarks=[mt_bench]", *named, *settings])


RATINGS = {
    "ONE q=Name": "Good. Rating: [[6]] and not [[9]]",
    "TWO Name": "[[8.0]]",
    "MATH-ONE": "Rating: [[3]]",
    "MATH-TWO": "Rating: [[11]]",
    "ONE q=Say": "As [7.5] has it.",
    "TWO Say": "I will not tell.",
}


def rate(number: int, payload: dict[str, Any]) -> Reply:
    text = payload["messages"][-1]["content"]
    return Reply(next((reply for begin, reply in RATINGS.items() if text.startswith(begin)), "yes"))


def by_place(rows: list[Row]) -> dict[tuple[int, int], Row]:
    return {(row["doc"]["question_id"], row["doc"]["turn"]): row for row in rows}


def test_ratings_by_hand(models: Models, data: Path) -> None:
    with judging(rate) as server:
        measured = measure_all(["mt_bench"], recipe_of(data, *judged_by(server)), models.base)
    scores = measured.scores["mt_bench"]
    assert {name: (found["value"], found["n"]) for name, found in scores.items()} == {
        "rating": (pytest.approx((6 + 8 + 3 + 7.5) / 4), 4),
        "rating_turn_1": (pytest.approx((6 + 3 + 7.5) / 3), 3),
        "rating_turn_2": (8, 1),
        "rating_writing": (7, 2),
        "rating_math": (3, 1),
        "rating_stem": (7.5, 1),
        "unparsed": (pytest.approx(2 / 6), 6),
    }
    rows = by_place(measured.items["mt_bench"])
    assert len(rows) == 6
    assert rows[111, 2]["metrics"] == rows[141, 2]["metrics"] == {"rating": None, "unparsed": 1}
    assert rows[111, 2]["target"] == "It is six."
    assert rows[81, 1]["target"] == ""
    assert rows[141, 2]["judged"]["judgement"] == "I will not tell."
    assert rows[81, 1]["judged"]["judge"] == NAME


def test_the_judge_sees_both_turns_and_the_references_and_no_field_is_filled_twice(models: Models, data: Path) -> None:
    with judging(rate) as server:
        measured = measure_all(["mt_bench"], recipe_of(data, *judged_by(server)), models.base)
    answers = {place: row["responses"][0] for place, row in by_place(measured.items["mt_bench"]).items()}
    seen = {payload["messages"][-1]["content"]: payload for payload in server.requests}
    assert set(seen) == {
        f"ONE q=Name a bird. a={answers[81, 1]}",
        f"TWO Name a bird.|{answers[81, 1]}|Name another {{answer_1}}.|{answers[81, 2]}",
        f"MATH-ONE q=Add 2 and 3. r=It is five. a={answers[111, 1]}",
        f"MATH-TWO Add 2 and 3.|It is five.|Add 1.|It is six.|{answers[111, 1]}|{answers[111, 2]}",
        f"ONE q=Say he. a={answers[141, 1]}",
        f"TWO Say he.|{answers[141, 1]}|Say so again.|{answers[141, 2]}",
    }
    for payload in seen.values():
        assert payload["messages"][0] == {"role": "system", "content": "Judge."}
        assert (payload["temperature"], payload["max_tokens"]) == (0.0, 2048)


def test_the_base_goes_on_with_plain_text_and_a_trained_model_with_turns(models: Models, data: Path) -> None:
    with judging(rate) as server:
        recipe = recipe_of(data, *judged_by(server))
        for model in (models.base, Model(models, 1, None)):
            rows = by_place(measure_all(["mt_bench"], recipe, model).items["mt_bench"])
            first = rows[111, 1]["responses"][0]
            if model.number:
                turns = [("user", "Add 2 and 3."), ("assistant", first), ("user", "Add 1.")]
                prompt = models.encoder.chat([{"role": role, "content": text} for role, text in turns])
            else:
                prompt = models.encoder.plain(f"Add 2 and 3.\n{first}\nAdd 1.\n")
            assert rows[111, 2]["prompt"] == models.encoder.spell(prompt)


def test_a_repeated_evaluation_pays_nothing(models: Models, data: Path) -> None:
    with judging(rate) as server:
        recipe = recipe_of(data, *judged_by(server))
        first = measure_all(["mt_bench"], recipe, models.base)
        assert len(server.requests) == 6
        assert measure_all(["mt_bench"], recipe, models.base) == first
        assert len(server.requests) == 6


def test_the_stage_writes_scores_and_items_and_a_resumed_one_pays_the_rest(
    models: Models, data: Path, tmp_path: Path
) -> None:
    broken = True

    def breaks(number: int, payload: dict[str, Any]) -> Reply:
        return Reply(status=500) if broken and number >= 4 else rate(number, payload)

    with judging(breaks) as server:
        settings = ["evaluate.judge.retries=0", "evaluate.judge.connections=1"]
        recipe = recipe_of(data, *judged_by(server), *settings)
        with Run.create_or_resume(tmp_path / "run", recipe) as run:
            with pytest.raises(StageError, match="failed in 1 tries"):
                evaluate(run.iteration(0), recipe, models.base)
            assert run.iteration(0).read_json("scores.json") is None
            broken = False
            before = {json.dumps(payload) for payload in server.requests[:4]}
            evaluate(run.iteration(0), recipe, models.base)
            scores = run.iteration(0).read_json("scores.json")
        again = [json.dumps(payload) for payload in server.requests[4:]]
    assert not before & set(again)
    assert scores is not None
    assert scores["mt_bench"]["unparsed"]["n"] == 6
    lines = (tmp_path / "run" / "iteration-00" / "evaluation" / "mt_bench.jsonl").read_text().splitlines()
    assert [json.loads(line)["doc_id"] for line in lines] == ["81-1", "81-2", "111-1", "111-2", "141-1", "141-2"]


def test_lamb_as_its_own_judge_gives_no_rating_and_that_counts_apart(models: Models, data: Path) -> None:
    recipe = recipe_of(data, "evaluate.judge.model=package:lamb/model", "evaluate.judge.max_new_tokens=20")
    scores = measure_all(["mt_bench"], recipe, models.base).scores["mt_bench"]
    assert scores["rating"] == {"value": None, "low": None, "high": None, "n": 0}
    assert (scores["unparsed"]["value"], scores["unparsed"]["n"]) == (1, 6)


def test_the_protocol_changes_with_what_decides_the_figures(data: Path) -> None:
    recipe = recipe_of(data, "evaluate.judge.url=http://127.0.0.1:1/v1", "evaluate.judge.model=x")
    before = MtBench(recipe).protocol()
    assert json.loads(json.dumps(before)) == before
    assert before["judge"]["id"] == "x"
    assert set(before["judge_prompts"]) == {prompt["name"] for prompt in PROMPTS}
    file = data / "data" / "mt_bench" / "judge_prompts.jsonl"
    file.write_text(file.read_text().replace("Judge.", "Judge well."))
    after = MtBench(recipe).protocol()
    assert before["judge_prompts"] != after["judge_prompts"]
    assert before["questions"] == after["questions"]


def test_texts_are_the_turns_of_the_first_questions(data: Path) -> None:
    texts = MtBench(recipe_of(data, "evaluate.limit=2", "evaluate.judge.model=x")).texts()
    assert texts == [*QUESTIONS[0]["turns"], *QUESTIONS[1]["turns"]]


@pytest.mark.parametrize(
    ("name", "called"),
    [
        ("question.jsonl", "question.jsonl"),
        ("reference_answer/gpt-4.jsonl", "reference_gpt-4.jsonl"),
        ("judge_prompts.jsonl", "judge_prompts.jsonl"),
    ],
)
def test_a_missing_file_is_named_with_where_it_can_be_had(data: Path, name: str, called: str) -> None:
    (data / "data" / "mt_bench" / name).unlink()
    (data / "data" / "another" / "question.jsonl").unlink()
    with pytest.raises(UserError, match="lm-sys/FastChat") as caught:
        MtBench(recipe_of(data, "evaluate.judge.model=x")).prepare()
    assert caught.value.what == f"{data} holds no {called} for mt_bench."


def test_without_a_folder_it_says_what_to_set() -> None:
    with pytest.raises(UserError, match=r"evaluate\.data_dir: is not set"):
        MtBench(recipe_of(None, "evaluate.judge.model=x")).prepare()


@pytest.mark.parametrize(
    ("name", "line", "message"),
    [
        ("question.jsonl", "no json", "line 1: is no JSON"),
        ("question.jsonl", '{"question_id": 1}', "line 1: has no `category`"),
        ("question.jsonl", '{"question_id": 1, "category": "stem", "turns": ["a"]}', "has not two turns"),
        (
            "question.jsonl",
            '{"question_id": 1, "category": "math", "turns": ["a", "b"]}',
            "has no answer to question 1",
        ),
        ("question.jsonl", "", "holds no question"),
        ("reference_answer/gpt-4.jsonl", '{"question_id": 111, "choices": []}', "has not two turns"),
        ("judge_prompts.jsonl", '{"name": "single-v1"}', "has no `system_prompt`"),
        (
            "judge_prompts.jsonl",
            '{"name": "single-v1", "system_prompt": "", "prompt_template": "{question}"}',
            "single-v1 has the fields question",
        ),
    ],
)
def test_files_that_are_not_as_they_should_be(data: Path, name: str, line: str, message: str) -> None:
    (data / "data" / "mt_bench" / name).write_text(line + "\n")
    with pytest.raises(UserError, match=message):
        MtBench(recipe_of(data, "evaluate.judge.model=x")).prepare()


@pytest.mark.parametrize(
    ("text", "rating"),
    [
        ("Rating: [[5]]", 5),
        ("[[5.5]] then [[6]]", 5.5),
        ("[5]", 5),
        ("[3] but [[4]]", 4),
        ("[[10]]", 10),
        ("[[1]]", 1),
        ("[[0]]", None),
        ("[[11]]", None),
        ("[[-3]]", None),
        ("[[5/10]]", None),
        ("[[rating]]", None),
        ("5", None),
        ("", None),
        ("[[" + "9" * 5000 + "]]", None),
    ],
)
def test_reading_a_rating(text: str, rating: float | None) -> None:
    assert read_rating(text) == rating


@pytest.mark.skipif(not FASTCHAT.is_dir(), reason="FastChat's files are not here")
def test_fastchats_own_files(models: Models) -> None:
    with judging(lambda number, payload: Reply("Rating: [[4]]")) as server:
        recipe = recipe_of(FASTCHAT, *judged_by(server))
        benchmark = MtBench(recipe)
        benchmark.prepare()
        assert len(benchmark.texts()) == 160
        scores = benchmark.measure(models.base, 0).scores["mt_bench"]
    assert list(scores)[3:-1] == [f"rating_{category}" for category in CATEGORIES]
    assert (scores["rating"]["value"], scores["rating"]["n"], scores["unparsed"]["value"]) == (4, 160, 0)
    assert all(scores[f"rating_{category}"]["n"] == 20 for category in CATEGORIES)
