"""MT-Bench as its authors measure it: two turns, and a judge that rates each answer alone from 1 to 10.

Questions, reference answers and judge prompts are FastChat's files, read as data. Intervals take turns for independent
of each other, which the two of one question are not. Not covered: the pairwise modes.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

from isheep.errors import UserError
from isheep.evaluation.base import Figure, Measured, Row, figure
from isheep.evaluation.data_files import WHERE, data_folder, find, read_lines
from isheep.evaluation.judge import Answer, Judge, Question, open_judge
from isheep.evaluation.rounds import Generation, generate
from isheep.models import Model
from isheep.prompts import whole
from isheep.recipe import Recipe
from isheep.seeding import derive_seed
from isheep.store.files import sha256_file

NAME = "mt_bench"

CATEGORIES = ("writing", "roleplay", "reasoning", "math", "coding", "extraction", "stem", "humanities")
TEMPERATURES = {"writing": 0.7, "roleplay": 0.7, "stem": 0.1, "humanities": 0.1}
"""Of the model's answers, by category; 0 where there is none."""
REFERENCED = ("math", "reasoning", "coding")
"""Categories whose answers the judge holds against a reference."""

MAX_NEW_TOKENS = 1024
TURNS = (1, 2)

PROMPTS = {
    ("general", 1): ("single-v1", ("question", "answer")),
    ("general", 2): ("single-v1-multi-turn", ("question_1", "answer_1", "question_2", "answer_2")),
    ("referenced", 1): ("single-math-v1", ("question", "ref_answer_1", "answer")),
    ("referenced", 2): (
        "single-math-v1-multi-turn",
        ("question_1", "ref_answer_1", "question_2", "ref_answer_2", "answer_1", "answer_2"),
    ),
}
"""(Kind, turn) -> the judge prompt's name and its fields."""

_RATING = re.compile(r"\[\[(\d+\.?\d*)\]\]")
_RATING_FALLBACK = re.compile(r"\[(\d+\.?\d*)\]")
_LOWEST, _HIGHEST = 1, 10
_FIELD = re.compile(r"\{(\w+)\}")

_SOURCE = "They are in FastChat's repository (lm-sys/FastChat), folder fastchat/llm_judge/data."


@dataclass(frozen=True, slots=True)
class Files:
    """What FastChat publishes."""

    questions: Path
    references: Path
    prompts: Path


@dataclass(frozen=True, slots=True)
class Asked:
    """A question of two turns."""

    id: int | str
    category: str
    turns: tuple[str, str]
    reference: tuple[str, str] | None

    @property
    def kind(self) -> str:
        """Which judge prompts it takes."""
        return "general" if self.reference is None else "referenced"


class MtBench:
    """`mt_bench`: the mean rating, of each turn and of each category too, and the share that could not be read.

    The base model, which knows no turns, goes on with plain text: question, answer and next question, each on lines of
    their own.
    """

    formulaic = False

    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe

    def prepare(self) -> None:
        """Raises UserError: a file is missing or not as it should be, or the judge is not there."""
        _ = self._questions, self._prompts
        self._judge.prepare()

    def protocol(self) -> dict[str, Any]:
        """Questions, references and judge prompts by hash, the judge, and how the model is asked."""
        prompts = {
            name: hashlib.sha256(f"{found['system_prompt']}\n{found['prompt_template']}".encode()).hexdigest()
            for name, found in self._prompts.items()
        }
        return {
            "library": "isheep",
            "version": version("isheep"),
            "questions": sha256_file(self._files.questions),
            "references": sha256_file(self._files.references),
            "items": len(self._questions),
            "judge": {"id": self._judge.id, **self._judge.settings, "temperature": 0.0},
            "judge_prompts": prompts,
            "generation": {"max_new_tokens": MAX_NEW_TOKENS, "temperature": {"others": 0.0, **TEMPERATURES}},
        }

    def texts(self) -> list[str]:
        """Both turns of every question."""
        return [turn for question in self._questions for turn in question.turns]

    def measure(self, model: Model, seed: int) -> Measured:
        """See `Benchmark.measure`."""
        first = self._write(model, seed, None)
        second = self._write(model, seed, first)
        pairs = list(zip(first, second, strict=True))
        asked = [(place, turn) for place in range(len(self._questions)) for turn in TURNS]
        judgements = self._judge.ask([self._judged(place, turn, pairs[place]) for place, turn in asked], model)
        rows = [
            self._row(model, place, turn, pairs[place], judgement)
            for (place, turn), judgement in zip(asked, judgements, strict=True)
        ]
        return Measured({NAME: _figures(rows, seed)}, {NAME: rows})

    @cached_property
    def _judge(self) -> Judge:
        return open_judge(self._recipe)

    @cached_property
    def _files(self) -> Files:
        folder = data_folder(self._recipe)
        if folder is None:
            what = "is not set, and the questions, references and judge prompts of mt_bench are files."
            raise UserError(WHERE, what, f"Give a folder that holds them. {_SOURCE}")
        found: dict[str, Path] = {}
        for name, patterns in {
            "question.jsonl": ["question.jsonl"],
            "reference_gpt-4.jsonl": ["reference_gpt-4.jsonl", "reference_answer/gpt-4.jsonl", "reference*.jsonl"],
            "judge_prompts.jsonl": ["judge_prompts.jsonl"],
        }.items():
            file = find(folder, patterns, NAME)
            if file is None:
                raise UserError(WHERE, f"{folder} holds no {name} for mt_bench.", f"Put it there. {_SOURCE}")
            found[name] = file
        return Files(*found.values())

    @cached_property
    def _questions(self) -> list[Asked]:
        file, where = self._files.questions, self._files.references
        references = {row["question_id"]: row for row in read_lines(where, ["question_id", "choices"])}
        rows = read_lines(file, ["question_id", "category", "turns"])
        found = []
        for row in rows[: self._recipe.evaluate.limit]:
            number, category = row["question_id"], str(row["category"])
            reference = None
            if category in REFERENCED:
                if number not in references:
                    raise UserError(str(where), f"has no answer to question {number!r} of {file}.", _SOURCE)
                reference = _two(where, number, _reference(references[number]))
            found.append(Asked(number, category, _two(file, number, row["turns"]), reference))
        if not found:
            raise UserError(str(file), "holds no question.", _SOURCE)
        return found

    @cached_property
    def _prompts(self) -> dict[str, dict[str, Any]]:
        """The judge prompts by name, each with just the fields that are filled in."""
        file = self._files.prompts
        rows = {row["name"]: row for row in read_lines(file, ["name", "system_prompt", "prompt_template"])}
        for name, fields in PROMPTS.values():
            if name not in rows:
                raise UserError(str(file), f"holds no judge prompt {name}.", _SOURCE)
            found = set(_FIELD.findall(str(rows[name]["prompt_template"])))
            if found != set(fields):
                what = f"the judge prompt {name} has the fields {', '.join(sorted(found)) or 'none'}."
                raise UserError(str(file), what, f"It needs {', '.join(fields)}. {_SOURCE}")
        return {name: rows[name] for name, _ in PROMPTS.values()}

    def _write(self, model: Model, seed: int, first: Sequence[Generation] | None) -> list[Generation]:
        """The answers of the first turn, or, after those, of the second."""
        turn = 1 if first is None else 2
        answers = [
            Generation(
                _prompt(model, question.turns[0])
                if first is None
                else _second_prompt(model, question.turns, first[place].text),
                most=MAX_NEW_TOKENS,
                temperature=TEMPERATURES.get(question.category, 0.0),
                seed=derive_seed(seed, NAME, str(question.id), turn),
            )
            for place, question in enumerate(self._questions)
        ]
        generate(model, answers, seed)
        for answer in answers:
            answer.text = answer.text.strip()
        return answers

    def _judged(self, place: int, turn: int, answers: tuple[Generation, Generation]) -> Question:
        question = self._questions[place]
        name, _ = PROMPTS[question.kind, turn]
        fields = {"question": question.turns[0], "answer": answers[0].text}
        for number in TURNS:
            fields[f"question_{number}"] = question.turns[number - 1]
            fields[f"answer_{number}"] = answers[number - 1].text
            if question.reference is not None:
                fields[f"ref_answer_{number}"] = question.reference[number - 1]
        prompt = self._prompts[name]
        # In one pass: what stands in an answer is not looked at again.
        text = _FIELD.sub(lambda match: fields[match[1]], str(prompt["prompt_template"]))
        system = {"role": "system", "content": str(prompt["system_prompt"])}
        return Question((system, {"role": "user", "content": text}))

    def _row(
        self, model: Model, place: int, turn: int, answers: tuple[Generation, Generation], judgement: Answer | None
    ) -> Row:
        question, written = self._questions[place], answers[turn - 1]
        rating = None if judgement is None else read_rating(judgement.text)
        if turn == 1:
            prompt = _prompt(model, question.turns[0])
        else:
            prompt = _second_prompt(model, question.turns, answers[0].text)
        return {
            "doc_id": f"{question.id}-{turn}",
            "filter": "none",
            "prompt": model.encoder.spell(prompt),
            "responses": [written.text],
            "cut": [written.cut],
            "target": question.reference[turn - 1] if question.reference else "",
            "metrics": {"rating": rating, "unparsed": int(rating is None)},
            "doc": {
                "question_id": question.id,
                "category": question.category,
                "turn": turn,
            },
            "judged": {"judge": self._judge.id, "judgement": None if judgement is None else judgement.text},
        }


def read_rating(text: str) -> float | None:
    """The rating that a judgement gives, as FastChat reads it; None where there is none from 1 to 10."""
    found = _RATING.search(text) or _RATING_FALLBACK.search(text)
    # A number of thousands of digits is none; Python would not even read it.
    if found is None or len(found[1]) > 16:
        return None
    rating = float(found[1])
    return rating if _LOWEST <= rating <= _HIGHEST else None


def _prompt(model: Model, question: str) -> tuple[int, ...]:
    return model.ask(question)


def _second_prompt(model: Model, questions: tuple[str, str], answer: str) -> tuple[int, ...]:
    first, second = questions
    if not model.trained:
        return model.ask(f"{whole(first, '', answer)}\n{second}")
    turns = [("user", first), ("assistant", answer), ("user", second)]
    return model.encoder.chat([{"role": role, "content": content} for role, content in turns])


def _figures(rows: Sequence[Row], seed: int) -> dict[str, Figure]:
    """Over all turns first, by which the loop goes unless it is told otherwise."""
    categories = [row["doc"]["category"] for row in rows]
    own = [category for category in dict.fromkeys(categories) if category not in CATEGORIES]
    parts: dict[str, list[Any]] = {"rating": [row["metrics"]["rating"] for row in rows]}
    for turn in TURNS:
        parts[f"rating_turn_{turn}"] = [row["metrics"]["rating"] for row in rows if row["doc"]["turn"] == turn]
    for category in (*CATEGORIES, *own):
        if category in categories:
            of = [row["metrics"]["rating"] for row in rows if row["doc"]["category"] == category]
            parts[f"rating_{category}"] = of
    parts["unparsed"] = [row["metrics"]["unparsed"] for row in rows]
    return {name: figure(values, derive_seed(seed, "evaluate", NAME, name)) for name, values in parts.items()}


def _reference(row: Mapping[str, Any]) -> Any:
    choices = row["choices"]
    first = choices[0] if isinstance(choices, list) and choices else None
    return first.get("turns") if isinstance(first, dict) else None


def _two(file: Path, number: Any, turns: Any) -> tuple[str, str]:
    if not isinstance(turns, list) or len(turns) != len(TURNS) or not all(isinstance(turn, str) for turn in turns):
        raise UserError(str(file), f"question {number!r} has not two turns of text.", _SOURCE)
    return turns[0], turns[1]
