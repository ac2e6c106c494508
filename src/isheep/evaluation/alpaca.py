"""AlpacaEval 2 through its own package: a judge says which of two answers is better, ours or a reference's.

The package works in a process, and where need be an environment, of its own (`alpaca_child`), which has no key and asks
nobody but us: so its questions take the judge's way like all others, with its patience, its cache, and a judge on this
machine.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import IO, Any

from isheep.errors import StageError, UserError
from isheep.evaluation import alpaca_child
from isheep.evaluation.base import Figure, Measured, Row, figure
from isheep.evaluation.data_files import WHERE as DATA
from isheep.evaluation.data_files import data_folder, find, read_list
from isheep.evaluation.judge import Judge, Question, open_judge
from isheep.evaluation.rounds import Generation, generate
from isheep.models import Model
from isheep.recipe import Recipe
from isheep.seeding import derive_seed
from isheep.store.files import sha256_file
from isheep.terminal import printable

NAME = "alpaca_eval"
WHERE = "evaluate.alpaca_eval"

ITEMS = ("alpaca_eval_gpt4_baseline.json", "alpaca_eval.json")
"""Version 2's reference answers first; what is in `alpaca_eval.json` on the hub is version 1's."""
GAMED = "df_gamed.csv"
DATASET = "tatsu-lab/alpaca_eval"

WEIGHTED, RANKING = "weighted_alpaca_eval_gpt4_turbo", "mistral-large-2402_ranking"
"""The package's annotators: version 2's own, by the judge's probabilities, and one that reads what it writes."""

MAX_NEW_TOKENS = 2048

_Z = 1.959963984540054
_OURS = "isheep"
_HAVE_IT = "Make an environment that has it (`make .venv-alpaca/installed`) and give its Python there."

Talk = Callable[[dict[str, Any]], dict[str, Any]]


class AlpacaEval:
    """`alpaca_eval`: the share of answers that the judge prefers to the reference's, 0 to 1, a tie counting one half.

    Length-controlled too where `df_gamed.csv` is at hand. A judgement that could not be read counts apart.
    """

    formulaic = False

    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe

    def prepare(self) -> None:
        """Raises UserError: no alpaca_eval, no items, or the judge is not there."""
        _ = self._items
        self._judge.prepare()
        _ = self._described

    def protocol(self) -> dict[str, Any]:
        """Package, annotator, prompt, judge, items and how the model is asked."""
        found = self._described
        why_not = None if self._gamed else f"{GAMED} is not at hand"
        return {
            "library": "alpaca_eval",
            "version": found["version"],
            "annotator": self._annotator,
            "judge_prompts": {self._annotator: found["prompt"]},
            "judge": {"id": self._judge.id, **self._judge.settings, **found["settings"]},
            "items": len(self._items),
            "data": sha256_file(self._items_file),
            "references": sorted({str(item["generator"]) for item in self._items}),
            "length_controlled": sha256_file(self._gamed) if self._gamed else None,
            "length_controlled_missing": why_not,
            "generation": {"max_new_tokens": MAX_NEW_TOKENS, "temperature": 0.0},
        }

    def texts(self) -> list[str]:
        """The instructions."""
        return [str(item["instruction"]) for item in self._items]

    def measure(self, model: Model, seed: int) -> Measured:
        """See `Benchmark.measure`."""
        written = [Generation(model.ask(text), most=MAX_NEW_TOKENS) for text in self.texts()]
        generate(model, written, seed)
        pairs = [
            {
                "instruction": str(item["instruction"]),
                "output_1": str(item["output"]),
                "output_2": one.text,
                "generator_1": str(item["generator"]),
                "generator_2": _OURS,
            }
            for item, one in zip(self._items, written, strict=True)
        ]

        def answer(asked: dict[str, Any]) -> dict[str, Any]:
            questions = [
                Question(tuple(messages), float(asked["temperature"]), int(asked["max_tokens"]), asked["likeliest"])
                for messages in asked["ask"]
            ]
            found = self._judge.ask(questions, model)
            return {"answers": [None if one is None else asdict(one) for one in found]}

        job = {"annotator": self._annotator, "rows": pairs, "gamed": str(self._gamed) if self._gamed else None}
        try:
            told = self._run(job, answer)
        except _ChildError as error:
            raise StageError(f"alpaca_eval failed: {error}") from None
        rows = [self._row(model, place, one, told) for place, one in enumerate(written)]
        return Measured({NAME: _figures(rows, told, seed)}, {NAME: rows})

    @cached_property
    def _judge(self) -> Judge:
        return open_judge(self._recipe)

    @property
    def _python(self) -> str:
        own = self._recipe.evaluate.alpaca_eval
        return sys.executable if own is None else str(Path(own).expanduser().absolute())

    def _run(self, job: dict[str, Any], answer: Talk | None) -> dict[str, Any]:
        return _run_child(self._python, self._recipe.evaluate.judge.key_variable, job, answer)

    @cached_property
    def _annotator(self) -> str:
        return WEIGHTED if self._judge.tells_likeliest() else RANKING

    @cached_property
    def _described(self) -> dict[str, Any]:
        try:
            return self._run({"annotator": self._annotator, "rows": None, "gamed": None}, None)
        except _ChildError as error:
            raise UserError(WHERE, f"{self._python} has no alpaca_eval that works ({error}).", _HAVE_IT) from None

    @cached_property
    def _items_file(self) -> Path:
        folder = data_folder(self._recipe)
        found = _from_hub(ITEMS[0]) if folder is None else find(folder, ITEMS, NAME)
        if found is None:
            mend = f"Put {ITEMS[0]} from the hub's data set {DATASET} into a folder, and set evaluate.data_dir to it."
            where = "the hub cannot be reached" if folder is None else f"{folder} holds no {' or '.join(ITEMS)}"
            raise UserError(DATA, f"{where} for {NAME}.", mend)
        return found

    @cached_property
    def _items(self) -> list[dict[str, Any]]:
        found = read_list(self._items_file, ["instruction", "output", "generator"])[: self._recipe.evaluate.limit]
        if not found:
            raise UserError(str(self._items_file), "holds no item.", f"Fetch it anew from {DATASET}.")
        return found

    @cached_property
    def _gamed(self) -> Path | None:
        folder = data_folder(self._recipe)
        return _from_hub(GAMED) if folder is None else find(folder, [GAMED], NAME)

    def _row(self, model: Model, place: int, written: Generation, told: dict[str, Any]) -> Row:
        item, preference = self._items[place], told["preferences"][place]
        return {
            "doc_id": place,
            "filter": "none",
            "prompt": model.encoder.spell(model.ask(str(item["instruction"]))),
            "responses": [written.text],
            "cut": [written.cut],
            "target": str(item["output"]),
            "metrics": {
                # 1 is the reference's answer, 2 is ours.
                "win_rate": None if preference is None else preference - 1,
                "unparsed": int(preference is None),
                "avg_length": len(written.text),
            },
            "doc": {
                "instruction": item["instruction"],
                "dataset": item.get("dataset"),
                "generator": item["generator"],
            },
            "judged": {
                "judge": self._judge.id,
                "annotator": self._annotator,
                "judgement": told["judgements"][place],
            },
        }


def _figures(rows: list[Row], told: dict[str, Any], seed: int) -> dict[str, Figure]:
    """The plain win rate first; the length-controlled one where there is one."""

    def of(metric: str) -> Figure:
        return figure([row["metrics"][metric] for row in rows], derive_seed(seed, "evaluate", NAME, metric))

    found = {"win_rate": of("win_rate")}
    if told["length_controlled"] is not None:
        value, half = told["length_controlled"] / 100, _Z * (told["error"] or 0.0) / 100
        low, high = max(0.0, value - half), min(1.0, value + half)
        found["length_controlled_win_rate"] = {"value": value, "low": low, "high": high, "n": len(rows)}
    return found | {"avg_length": of("avg_length"), "unparsed": of("unparsed")}


class _ChildError(Exception):
    """The package's process did not do its work; says what it said at last."""


def _run_child(python: str, secret: str, job: dict[str, Any], answer: Talk | None) -> dict[str, Any]:
    """The last line of the package's process, whose questions in between are answered.

    Args:
        python: the one that has the package.
        secret: an environment variable that the process must not see.
        job: what `alpaca_child` takes.
        answer: to its questions; None where it has none.

    Raises:
        _ChildError: it ended otherwise.
    """
    with _child(python, secret) as (process, last_words):
        told: dict[str, Any] | None = job
        while told is not None:
            told = _exchange(process, told)
            if told is not None:
                if "ask" not in told or answer is None:
                    return told
                told = answer(told)
        process.wait()
        raise _ChildError(last_words())


def _exchange(process: subprocess.Popen[str], line: dict[str, Any]) -> dict[str, Any] | None:
    """What the process says to a line; None where it says nothing any more."""
    if process.stdin is None or process.stdout is None:
        return None
    try:
        process.stdin.write(json.dumps(line) + "\n")
        process.stdin.flush()
        said: dict[str, Any] = json.loads(process.stdout.readline())
    except (BrokenPipeError, ValueError):
        return None
    return said


@contextmanager
def _child(python: str, secret: str) -> Iterator[tuple[subprocess.Popen[str], Callable[[], str]]]:
    """The process, and what it says at last; it is gone at the end of the block."""
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as log:

        def last_words() -> str:
            log.seek(0)
            lines = [line for line in log.read()[-4000:].splitlines() if line.strip()]
            return printable(lines[-1])[:300] if lines else "it said nothing"

        try:
            process = subprocess.Popen(  # noqa: S603  # the Python that the recipe names, a script of ours, no shell
                [python, "-I", str(Path(alpaca_child.__file__).absolute())],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                encoding="utf-8",
                env=_environment(secret),
                start_new_session=True,  # Ctrl-C is ours to answer.
            )
        except OSError as error:
            raise _ChildError(f"it cannot be started: {error.strerror}") from None
        try:
            yield process, last_words
        finally:
            process.kill()
            for pipe in (process.stdin, process.stdout):
                _close(pipe)
            process.wait()


def _close(pipe: IO[str] | None) -> None:
    try:
        if pipe is not None:
            pipe.close()
    except BrokenPipeError:
        pass  # It ended with something unread.


def _environment(own_secret: str) -> dict[str, str]:
    """Of the package's process: no key of anybody, and no hub, which it needs for nothing."""
    secret = ("KEY", "TOKEN", "SECRET", "PASSWORD")
    kept = {
        name: value
        for name, value in os.environ.items()
        if name != own_secret and not any(word in name.upper() for word in secret)
    }
    offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "IS_ALPACA_EVAL_2": "True"}
    # Imported, it asks for the user's name, which not every container knows.
    return {"LOGNAME": "isheep", **kept, **offline}


def _from_hub(name: str) -> Path | None:
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(repo_id=DATASET, filename=name, repo_type="dataset"))
    except Exception:  # However it says that the hub is not there: what is missing then is said in our words.
        return None
