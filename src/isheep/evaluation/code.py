"""HumanEval and MBPP, with and without evalplus' further tests: our engine writes, evalplus grades in a sandbox."""

from __future__ import annotations

import ast
import re
import warnings
import zlib
from functools import cached_property
from pathlib import Path
from typing import Any

from isheep.errors import UserError
from isheep.evaluation.base import Measured, Row, figure
from isheep.evaluation.data_files import WHERE, data_folder, find
from isheep.evaluation.grading import Grader, Verdict
from isheep.evaluation.rounds import Generation, generate
from isheep.models import Model
from isheep.progress import bar
from isheep.prompts import Prompt
from isheep.recipe import Recipe, locate
from isheep.seeding import derive_seed
from isheep.store.files import read_json_lines, sha256_file

MOST_TOKENS = 768
"""Of an answer, as evalplus generates."""

FILES = {"humaneval": "HumanEvalPlus.jsonl", "mbpp": "MbppPlus.jsonl"}
"""evalplus' files, `.gz` or not; the original tests are in them, too."""

_ENDS = ("<|endoftext|>", "<|endofmask|>", "</s>", "\nif __name__", "\ndef main(", "\nprint(", "\n```")
ENDS = {
    "humaneval": (*_ENDS, "\ndef ", "\nclass ", "\nimport ", "\nfrom ", "\nassert "),
    "mbpp": (*_ENDS, '\n"""', "\nassert"),
}
"""Where the base has gone past the function: evalplus' own strings, and the end of a code block."""

FAULTS = {
    ("humaneval", "0.3.1"): "HumanEval/32 cannot be passed: evalplus 0.3.1 does not count its tests, neither the base "
    "nor the plus tests, and fails the canonical solution, too; at most 163 of 164 can pass."
}
"""What the grader itself gets wrong."""

_FIELDS = ("task_id", "prompt", "entry_point", "canonical_solution", "base_input", "plus_input", "atol")
_BLOCK = re.compile(r"^[ \t]*```[^\n`]*\n(.*?)(?:^[ \t]*```|\Z)", re.DOTALL | re.MULTILINE)
_BEGIN = re.compile(r"^(?:import |from |def |async def |class |@)", re.MULTILINE)


class CodeBenchmark:
    """`humaneval`, `humaneval_plus`, `mbpp`, `mbpp_plus`: one greedy answer to each problem, `pass@1`.

    The base goes on with the problem as plain text; a trained model is asked through its template, and its last code
    block that defines the function counts. `_plus` wants the base tests and evalplus' passed.
    """

    formulaic = False

    def __init__(self, name: str, recipe: Recipe) -> None:
        self._name, self._recipe = name, recipe
        self._dataset = name.removesuffix("_plus")
        self._tests = ["base", "plus"] if name.endswith("_plus") else ["base"]
        self._grader = Grader(recipe.evaluate.evalplus, recipe.evaluate.sandbox)
        self._prompt = Prompt.load(locate("package:prompts/code.txt"), ("problem",))

    def prepare(self) -> None:
        """Raises UserError: no evalplus, no data that can be read, or no sandbox where one is wanted."""
        self._grader.prepare()
        _ = self._problems

    def protocol(self) -> dict[str, Any]:
        """The grader, the tests, the data and how answers are made; `notes` on what the grader gets wrong."""
        version = self._grader.version
        fault = FAULTS.get((self._dataset, version))
        return {
            "library": "evalplus",
            "version": version,
            "tests": "+".join(self._tests),
            "items": len(self._problems),
            "data": {"file": self._file.name, "sha256": sha256_file(self._file)},
            "generation": {
                "max_new_tokens": MOST_TOKENS,
                "temperature": 0.0,
                "answers": 1,
                "base": "goes on with the problem",
                "base_until": list(ENDS[self._dataset]),
                "trained": f"is asked (prompt {self._prompt.id})",
            },
            "sandbox": self._recipe.evaluate.sandbox,
            "notes": [fault] if fault else [],
        }

    def texts(self) -> list[str]:
        """The problems."""
        return [str(problem["prompt"]) for problem in self._problems]

    def measure(self, model: Model, seed: int) -> Measured:
        """See `Benchmark.measure`; answers are greedy, so the seed decides the bootstrap only.

        Raises:
            Interrupted: the user asked to stop.
            StageError: the sandbox is not to be had any more.
        """
        problems = self._problems
        prompts = [self._asked(model, problem) for problem in problems]
        continues = not model.trained
        generations = [
            Generation(
                model.encoder.plain(prompt) if continues else model.ask(prompt),
                most=MOST_TOKENS,
                until=list(ENDS[self._dataset]) if continues else [],
            )
            for prompt in prompts
        ]
        generate(model, generations, seed)
        solutions = [
            solution_of(prompt if continues else "", generation.text, problem["entry_point"])
            for prompt, generation, problem in zip(prompts, generations, problems, strict=True)
        ]
        jobs = [
            {"dataset": self._dataset, "problem": problem, "solution": solution, "tests": self._tests}
            for problem, solution in zip(problems, solutions, strict=True)
        ]
        with bar(f"Grade {model.name}", len(jobs)) as advance:
            verdicts = self._grader.grade(jobs, advance)
        rows = [
            _row(number, prompt, solution, generation.cut, problem, verdict)
            for number, (prompt, solution, generation, problem, verdict) in enumerate(
                zip(prompts, solutions, generations, problems, verdicts, strict=True)
            )
        ]
        scores = figure([verdict.passed for verdict in verdicts], derive_seed(seed, "evaluate", self._name))
        return Measured({self._name: {"pass@1": scores}}, {self._name: rows})

    def _asked(self, model: Model, problem: dict[str, Any]) -> str:
        """The problem as evalplus shows it, with the instruction around it unless the base goes on with it."""
        text = problem["prompt"].strip()
        return f"{text}\n" if not model.trained else self._prompt.render(problem=text)

    @cached_property
    def _file(self) -> Path:
        name, folder = FILES[self._dataset], data_folder(self._recipe)
        if folder is None:
            return self._grader.download(self._dataset)
        found = find(folder, (name, f"{name}.gz"), preferred="evalplus")
        if found is None:
            what = f"{folder} holds no {name} or {name}.gz, which {self._name} needs."
            raise UserError(WHERE, what, f"Put evalplus' file there, or leave {WHERE} out and it is downloaded.")
        return found

    @cached_property
    def _problems(self) -> list[dict[str, Any]]:
        """The first `evaluate.limit` problems."""
        try:
            problems = [{field: row[field] for field in _FIELDS} for row in read_json_lines(self._file)]
        except (OSError, EOFError, zlib.error, ValueError, KeyError, TypeError) as error:
            what = f"{self._file} is no file of evalplus' ({type(error).__name__}: {error})."
            raise UserError(WHERE, what, "Get it anew.") from error
        return problems[: self._recipe.evaluate.limit]


def solution_of(prompt: str, answer: str, entry_point: str) -> str:
    """The program that an answer holds.

    Args:
        prompt: what the answer goes on with; empty where the answer stands for itself.
        answer: the model's.
        entry_point: the function that is wanted.

    Returns:
        After a prompt, all of it; else the last code block that defines the function, or the text from the first
        definition or import on. An end that does not parse (an answer that was cut, or talk) is left out if the
        function stands before it.
    """
    answer = answer.replace("\t", "    ")
    defines = re.compile(rf"^[ \t]*(?:async )?def {re.escape(entry_point)}\b", re.MULTILINE)
    if prompt:
        return _whole(prompt + answer, defines)
    blocks = [block for block in _BLOCK.findall(answer) if defines.search(block)]
    if blocks:
        return _whole(blocks[-1], defines)
    begin = _BEGIN.search(answer)
    return _whole(answer[begin.start() :], defines) if begin else ""


def _whole(program: str, defines: re.Pattern[str]) -> str:
    """The longest beginning, in lines, that parses and defines the function; the program as it is if none does."""
    lines = program.split("\n")
    for end in range(len(lines), 0, -1):
        part = "\n".join(lines[:end])
        if not defines.search(part):
            break
        if _parses(part):
            return part
    return program


def _parses(program: str) -> bool:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ast.parse(program)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True


def _row(number: int, prompt: str, solution: str, cut: bool, problem: dict[str, Any], verdict: Verdict) -> Row:
    return {
        "doc_id": number,
        "filter": "none",
        "prompt": prompt,
        "responses": [solution],
        "cut": [cut],
        "target": problem["canonical_solution"],
        "metrics": {"pass@1": verdict.passed},
        "doc": {"task_id": problem["task_id"]},
        "judged": {"status": verdict.status, "reason": verdict.reason},
    }
