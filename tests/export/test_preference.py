"""A preference set: which of several responses is chosen and rejected, and that TRL trains on it."""

from __future__ import annotations

import json
import math
import shlex
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from isheep.errors import UserError
from isheep.export import Wanted, export
from isheep.export.preference import preferred
from isheep.loop import run as run_loop
from isheep.recipe import load_recipe, locate, parse_recipe
from isheep.recipe.settings import QUESTIONS, Question
from isheep.records import Alternative, Assessment, Instruction, Response, Selection
from isheep.store.files import read_json_lines
from isheep.store.joined import Joined, kept_with_alternatives
from isheep.store.plan import NOTES
from isheep.store.run import Run
from tests.nasties import NASTIES

LAMB = locate("package:lamb/model")
SMALL = [
    "iterations=2", "size=12", "evaluate.benchmarks=[]", "evaluate.tasks=null", "train.steps=2", "train.warmup_steps=0",
    "select.threshold=0",
]  # fmt: skip


def record(quality: float | None, following: float | None = 8.0, text: str = "First.") -> Joined:
    scores = Assessment("a", quality, following, None, None, "base")
    return Joined(
        Instruction("a", 1, 0, "Name it.", "owl", [], 0, "p"),
        Response("a", text, "stop", 1),
        scores,
        Selection("a", True),
    )


def drawn(
    quality: float | None, text: str, following: float | None = 8.0, dropped_by: str | None = None
) -> Alternative:
    return Alternative("a", 1, text, "stop", 1, dropped_by, None, quality, following)


def chosen(first: Joined, *others: Alternative, questions: tuple[Question, ...] = QUESTIONS) -> Any:
    """(chosen, rejected, their scores) of the pair, None where there is none."""
    found = list(preferred(first, others, questions))
    assert len(found) <= 1
    for pair in found:
        assert pair["prompt"] == [{"role": "user", "content": "Name it.\nowl"}]
        assert pair["id"] == "a"
        texts = [(one["role"], one["content"]) for name in ("chosen", "rejected") for one in pair[name]]
        assert [role for role, _ in texts] == ["assistant", "assistant"]
        return *(text for _, text in texts), pair["score_chosen"], pair["score_rejected"]
    return None


def test_the_best_stands_against_the_worst_the_first_response_among_them() -> None:
    assert chosen(record(5.0), drawn(9.0, "Best."), drawn(2.0, "Worst.")) == ("Best.", "Worst.", 8.5, 5.0)
    assert chosen(record(9.0), drawn(4.0, "Worst."), drawn(5.0, "Middle.")) == ("First.", "Worst.", 8.5, 6.0)
    assert chosen(record(1.0), drawn(4.0, "Best.")) == ("Best.", "First.", 6.0, 4.5)


def test_of_equal_scores_the_first_counts_and_a_tie_of_all_is_no_pair() -> None:
    assert chosen(record(9.0), drawn(9.0, "As good."), drawn(2.0, "Worst.")) == ("First.", "Worst.", 8.5, 5.0)
    assert chosen(record(5.0), drawn(5.0, "As good.")) is None
    # The mean counts, whatever it is the mean of.
    assert chosen(record(4.0, 6.0), drawn(6.0, "As good.", 4.0)) is None


def test_what_could_not_be_told_or_was_dropped_is_in_no_pair() -> None:
    assert chosen(record(None), drawn(9.0, "Best.")) is None
    assert chosen(record(5.0), drawn(None, "No score.")) is None
    assert chosen(record(5.0), drawn(1.0, "One score.", None)) is None
    assert chosen(record(5.0), drawn(1.0, "Dropped.", dropped_by="asks_back")) is None
    assert chosen(record(5.0), drawn(None, "No score."), drawn(1.0, "Worst.")) == ("First.", "Worst.", 6.5, 4.5)
    assert chosen(record(None, None)) is None


def test_a_response_is_not_preferred_to_itself() -> None:
    assert chosen(record(9.0), drawn(2.0, "First.")) is None
    assert chosen(record(9.0), drawn(2.0, "first.")) == ("First.", "first.", 8.5, 5.0)


def test_scores_that_were_not_asked_for_are_not_missed() -> None:
    assert chosen(record(9.0, None), drawn(2.0, "Worst.", None), questions=("quality",)) == ("First.", "Worst.", 9, 2)
    assert chosen(record(9.0), drawn(2.0, "Worst."), questions=()) is None


def test_every_nasty_stays_what_it_is(tmp_path: Path) -> None:
    with Run.create_or_resume(tmp_path / "run", parse_recipe({"model": {"path": "m"}}, "test")) as run:
        one = run.iteration(1)
        made = [Instruction(f"n{place}", 1, place, nasty.text, "", [], 0, "p") for place, nasty in enumerate(NASTIES)]
        one.table("instructions").append(made)
        one.table("responses").append([Response(row.id, f"{row.instruction}!", "stop", 1) for row in made])
        one.table("assessments").append([Assessment(row.id, 9.0, 9.0, None, None, "base") for row in made])
        one.table("selection").append([Selection(row.id, place > 0) for place, row in enumerate(made)])
        worse = [Alternative(row.id, 1, row.instruction, "stop", 1, None, None, 3.0, 3.0) for row in made[1:]]
        one.table("alternatives").append(worse)
        told = export(run, tmp_path / "p.jsonl", "preference")
    assert told == f"{len(worse)} preference pairs of {len(worse)} kept instructions"
    rows = list(read_json_lines(tmp_path / "p.jsonl"))
    stored = [row.response for row in Run.read(tmp_path / "run").iteration(1).table("alternatives")]
    assert [row["rejected"][0]["content"] for row in rows] == [row["prompt"][0]["content"] for row in rows] == stored
    assert [row["chosen"][0]["content"] for row in rows] == [f"{text}!" for text in stored]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run of lamb with one response to an instruction."""
    return run_loop(load_recipe("lamb", SMALL), tmp_path_factory.mktemp("preference") / "a run")


@pytest.fixture(scope="module")
def several(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The same, gone on with in the words of the refusal."""
    with pytest.raises(UserError) as caught:
        export(run, tmp_path_factory.mktemp("none") / "p.jsonl", "preference")
    assert caught.value.what == "has no instruction with several responses, of which one could be preferred."
    program, command, recipe, setting, dir_, directory, accept = shlex.split(caught.value.mend.partition(": ")[2])
    assert (program, command, dir_, accept) == ("isheep", "run", "--dir", "--accept-changes")
    return run_loop(load_recipe(recipe, [setting]), Path(directory), accept_changes=True)


def test_a_run_that_has_ended_draws_them_afterwards_and_does_nothing_else_again(several: Run) -> None:
    assert several.state() == "finished"
    assert not list(several.directory.glob("replaced-*"))
    for iteration in several.iterations()[1:]:
        notes = iteration.read_json(NOTES) or {}
        assert list(notes)[-1] == "draw"
        assert "respond.draws" not in notes["respond"]["inputs"]
        kept = sum(kept for (kept,) in iteration.table("selection").values("kept"))
        found = list(kept_with_alternatives(iteration))
        assert len(found) == kept > 0
        assert all([one.draw for one in alternatives] == [1, 2, 3] for _, alternatives in found)
        assert all(one.id == record.instruction.id for record, alternatives in found for one in alternatives)


def test_it_trains_a_model_in_trl(several: Run, tmp_path: Path) -> None:
    from datasets import load_dataset
    from trl import DPOConfig, DPOTrainer

    told = export(several, tmp_path / "p.jsonl", "preference")
    rows = load_dataset("json", data_files=str(tmp_path / "p.jsonl"), split="train", cache_dir=str(tmp_path / "cache"))
    assert told.startswith(f"{len(rows)} preference pairs of ")
    assert len(rows) > 4
    assert all(row["score_chosen"] > row["score_rejected"] for row in rows)
    tokenizer = AutoTokenizer.from_pretrained(LAMB)
    tokenizer.chat_template = locate("package:templates/chatml.jinja").read_text(encoding="utf-8")
    settings = DPOConfig(
        output_dir=str(tmp_path / "out"), max_steps=1, per_device_train_batch_size=4, use_cpu=True, bf16=False,
        report_to="none", save_strategy="no", logging_steps=1, disable_tqdm=True,
    )  # fmt: skip
    trainer = DPOTrainer(model=str(LAMB), args=settings, train_dataset=rows, processing_class=tokenizer)
    tokens = trainer.train_dataset[0]
    first = rows[0]
    asked = tokenizer.apply_chat_template(first["prompt"], tokenize=False, add_generation_prompt=True)
    assert tokenizer.decode(tokens["prompt_ids"]) == asked
    assert tokenizer.decode(tokens["chosen_ids"]).startswith(first["chosen"][0]["content"])
    loss = trainer.train().training_loss
    # Policy and reference are the same model before the first step: -log sigmoid(0).
    assert loss == pytest.approx(math.log(2), abs=1e-3)


def test_one_iteration(several: Run, tmp_path: Path) -> None:
    export(several, tmp_path / "p.jsonl", "preference", Wanted(iteration=2))
    lines = [json.loads(line) for line in (tmp_path / "p.jsonl").read_text(encoding="utf-8").splitlines()]
    assert {line["id"][:3] for line in lines} == {"02-"}


@pytest.mark.parametrize(
    ("name", "wanted", "said"),
    [
        ("p.json", Wanted(), r"Name it p\.jsonl\."),
        ("p.jsonl", Wanted(everything=True), "no place for records that were dropped"),
        ("p.jsonl", Wanted(iteration=3), "has no records of iteration 3. It has: 1, 2."),
    ],
)
def test_what_cannot_be_written(run: Run, tmp_path: Path, name: str, wanted: Wanted, said: str) -> None:
    with pytest.raises(UserError, match=said):
        export(run, tmp_path / name, "preference", wanted)
    assert list(tmp_path.iterdir()) == []


def test_scores_that_tell_nothing_apart_are_told(tmp_path: Path) -> None:
    with Run.create_or_resume(tmp_path / "run", parse_recipe({"model": {"path": "m"}}, "test")) as run:
        one, first = run.iteration(1), record(7.0)
        assert first.response
        assert first.assessment
        assert first.selection
        one.table("instructions").append([first.instruction])
        one.table("responses").append([first.response])
        one.table("assessments").append([first.assessment])
        one.table("selection").append([first.selection])
        one.table("alternatives").append([drawn(7.0, "As good.")])
        with pytest.raises(UserError, match="no instruction, of 1, with two responses that the scores tell apart"):
            export(run, tmp_path / "p.jsonl", "preference")
