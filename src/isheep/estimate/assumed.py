"""What an iteration does where no probe was made: prompts as the run's own seeds make them, and stated guesses."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from statistics import fmean
from typing import Any

import yaml

from isheep.check.resources import TOKEN_BYTES
from isheep.encoder import TOKENIZER_FILES, Encoder
from isheep.errors import IsheepError
from isheep.estimate.shape import Shape
from isheep.estimate.workload import Habits, Tokens
from isheep.evaluation.registry import prepared
from isheep.prompts import Prompt, bare, whole
from isheep.prompts.tasks import list_tasks
from isheep.recipe import Recipe, locate
from isheep.records import SeedTask
from isheep.stages.assess import load_prompt, prompt_files
from isheep.stages.respond import FIELDS as PRINCIPLES
from isheep.stages.scores import SCORES
from isheep.stages.shots import Pool, Shot
from isheep.stages.synthesize import FIELDS, asked_to_continue

PASSED = 0.8
"""Of the tasks that a model lists, those that pass rules and novelty."""
KEPT = 0.3
"""Of the pairs, those that the filters of scores and figures keep; without such a filter all are kept."""
RAMBLED = 0.5
"""How far an untrained model goes from the length of a seed's output to the limit of tokens."""
TURN_TOKENS = 12
"""Of a template around a user's text, where no tokenizer tells."""
DRAWS = 100
"""Lists of examples whose length is looked at."""
RULED = {"threshold", "perplexity", "density"}
"""Filters that leave a share."""


@dataclass(frozen=True, slots=True)
class Assumed:
    """Habits of the untouched base and of every trained model, and what was taken for granted."""

    base: Habits
    trained: Habits
    untouched: Tokens
    """The evaluation of the base."""
    items: int
    context: int
    """Tokens of an average prompt with its completion at its limit, in the stage where these are the longest."""
    pair: int
    """Tokens of a pair in training whose response goes to its limit."""
    said: list[str] = field(default_factory=list)

    def habits(self, iteration: int) -> Habits:
        """Of an iteration: the base writes the first one, and a trained model every later one."""
        if iteration == 0:
            return Habits(self.untouched, text=self.base.text)
        return self.base if iteration == 1 else self.trained


def assumed(recipe: Recipe, shape: Shape, seeds: Sequence[SeedTask], evaluated: bool) -> Assumed:
    """What can be told without running the model; `evaluated`: whether benchmarks are looked at, too."""
    said = [
        f"{PASSED:.0%} of the tasks that the model lists pass rules and novelty",
        f"an untrained model goes {RAMBLED:.0%} of the way from a seed's output to the limit of tokens, a trained one "
        "answers at the length of a seed's output",
    ]
    texts = _Texts.of(recipe, shape)
    if texts.encoder is None:
        said.append(f"there is no tokenizer: a token stands for {TOKEN_BYTES} bytes")
    if ruled := sorted(RULED & set(recipe.select.filters)):
        said.append(f"{' and '.join(ruled)}: {KEPT:.0%} of the pairs are kept")
    request, yielded, longest = _requests(recipe, shape, seeds, texts)
    said.append(f"a synthesis request writes on to its limit, and {yielded:.2g} of its tasks pass")
    answer = _mean(texts.plain, [seed.output for seed in seeds])
    evaluations, items, about = _evaluations(recipe if evaluated else _unmeasured(recipe), texts, answer)
    found: list[Habits] = []
    for trained in (False, True):
        response, context = _response(recipe, shape, seeds, texts, trained)
        assessment, judged = _assessment(recipe, seeds, texts, response.written)
        longest = max(longest, context, judged)
        text = _mean(texts.plain, [whole(one.instruction, one.input, one.output) for one in seeds])
        task = _mean(texts.chat, [bare(one.instruction, one.input) for one in seeds])
        pair, most = task + response.written + 1, min(task + recipe.respond.max_new_tokens, recipe.train.cutoff)
        found.append(
            Habits(
                evaluation=evaluations[1],
                yielded=yielded,
                request=request,
                response=response,
                assessment=assessment,
                selection=Tokens(text * _figures(recipe)),
                kept=KEPT if ruled else 1.0,
                pair=min(pair, recipe.train.cutoff),
                text=text,
            )
        )
    base, trained_one = found
    return Assumed(base, trained_one, evaluations[0], items, round(longest), round(most), [*said, *about])


@dataclass(frozen=True, slots=True)
class _Texts:
    """Lengths of texts in tokens, of the model's tokenizer or by their bytes."""

    encoder: Encoder | None

    @classmethod
    def of(cls, recipe: Recipe, shape: Shape) -> _Texts:
        folder = shape.checkpoint.folder
        there = any((folder / name).is_file() for name in TOKENIZER_FILES)
        return cls(Encoder.load(folder, recipe.model.template) if there else None)

    def plain(self, text: str) -> int:
        return len(self.encoder.plain(text)) if self.encoder else math.ceil(len(text.encode()) / TOKEN_BYTES)

    def chat(self, text: str) -> int:
        """A user's turn up to the answer."""
        turns = [{"role": "user", "content": text}]
        return len(self.encoder.chat(turns)) if self.encoder else self.plain(text) + TURN_TOKENS


def _requests(recipe: Recipe, shape: Shape, seeds: Sequence[SeedTask], texts: _Texts) -> tuple[Tokens, float, float]:
    """A synthesis request, how many instructions pass of it, and the longest context; shots as if drawn alike."""
    settings = recipe.synthesize
    alike = recipe.model_copy(update={"synthesize": settings.model_copy(update={"shots_drawn": "uniform"})})
    pool = Pool([Shot(seed.id, seed.instruction, seed.input) for seed in seeds], alike, 1)
    prompt = Prompt.load(locate(settings.prompt), FIELDS)
    shown = [[(shot.instruction, shot.input) for shot in pool.draw(number)] for number in range(DRAWS)]
    lengths = [texts.plain(asked_to_continue(prompt, tasks)) for tasks in shown]
    written = fmean(_room(shape, length, settings.max_new_tokens) for length in lengths)
    task = _mean(texts.plain, [list_tasks([(seed.instruction, seed.input)]) for seed in seeds])
    # The last one is cut and left out: on average half a task, and of one that fills all there is to write, that one.
    whole_tasks = max(written / task - 0.5, 0.5 * written / task)
    return Tokens(fmean(lengths), written), PASSED * whole_tasks, fmean(lengths) + written


def _response(
    recipe: Recipe, shape: Shape, seeds: Sequence[SeedTask], texts: _Texts, trained: bool
) -> tuple[Tokens, float]:
    settings = recipe.respond
    around = Prompt.load(locate(settings.principles), PRINCIPLES) if settings.principles else None
    tasks = [bare(seed.instruction, seed.input) for seed in seeds]
    shown = [around.render(task=task) if around else task for task in tasks]
    read = _mean(texts.chat if trained else texts.plain, shown)
    most = _room(shape, read, settings.max_new_tokens)
    return Tokens(read, _written(_mean(texts.plain, [seed.output for seed in seeds]), most, trained)), read + most


def _assessment(recipe: Recipe, seeds: Sequence[SeedTask], texts: _Texts, written: float) -> tuple[Tokens, float]:
    """All questions of a pair whose response is so long, and the longest of their contexts."""
    settings = recipe.assess
    longer = written - _mean(texts.plain, [seed.output for seed in seeds])
    candidates = sum(texts.plain(f" {score}") for score in SCORES)
    found, longest = Tokens(), 0.0
    for file in prompt_files(settings).values():
        render = load_prompt(locate(file)).render
        rendered = [render(instruction=one.instruction, input=one.input, response=one.output) for one in seeds]
        read = _mean(texts.plain, rendered) + longer
        one = Tokens(read + candidates) if settings.read == "distribution" else Tokens(read, settings.max_new_tokens)
        found, longest = found + one, max(longest, read + one.written)
    return found, longest


def _evaluations(recipe: Recipe, texts: _Texts, answer: float) -> tuple[list[Tokens], int, list[str]]:
    """Of the base and of a trained model, how many items, and what has to be said of it."""
    found, items, unknown, guessed = [Tokens(), Tokens()], 0, [], []
    for name in recipe.evaluate.benchmarks:
        told = _of_data(name, recipe, texts)
        if told is None and name in (table := _benchmarks()):
            known = table[name]
            told = (
                min(known["items"], recipe.evaluate.limit or math.inf),
                known["read"],
                known["read"],
                known["written"],
            )
            guessed.append(name)
        if told is None:
            unknown.append(name)
            continue
        number, *reads, most = told
        items += int(number)
        for place, trained in enumerate((False, True)):
            written = _written(answer, most, trained) if most else 0.0
            found[place] += Tokens(reads[place], written).times(number)
    said = []
    if guessed:
        said.append(f"items and their lengths as known of {', '.join(guessed)}, whose data was not looked at")
    if unknown:
        said.append(f"not in the figures, for their data is not here: {', '.join(unknown)}")
    if any(name in ("mt_bench", "alpaca_eval") for name in recipe.evaluate.benchmarks):
        said.append("what a judge reads and writes is not in the figures")
    return found, items, said


def _unmeasured(recipe: Recipe) -> Recipe:
    return recipe.model_copy(update={"evaluate": recipe.evaluate.model_copy(update={"benchmarks": []})})


def _of_data(name: str, recipe: Recipe, texts: _Texts) -> tuple[float, float, float, float] | None:
    """Items, tokens read for each by the base and by a trained model, and most tokens written; None: not here.

    Data that would have to be fetched first is left where it is.
    """
    if not (recipe.evaluate.tasks or recipe.evaluate.data_dir):
        return None
    try:
        benchmark = prepared([name], recipe)[name]
        protocol, asked = benchmark.protocol(), benchmark.texts()
    except (IsheepError, OSError):
        return None
    tasks: list[dict[str, Any]] = list(protocol.get("tasks", {}).values())
    if not tasks or not asked:
        return None
    settings = [task["generation_kwargs"] or {} for task in tasks if task["output_type"] == "generate_until"]
    most = fmean(float(one.get("max_gen_toks", 256)) for one in settings) if settings else 0.0
    times = 1 if settings else 4 * (2 if recipe.evaluate.ppl else 1)
    base = times * _mean(texts.plain, asked)
    return protocol["items"], base, _mean(texts.chat, asked) if settings else base, most


@cache
def _benchmarks() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((Path(__file__).parent / "benchmarks.yaml").read_text(encoding="utf-8"))
    return loaded


def _figures(recipe: Recipe) -> int:
    """How often the filters have a pair read."""
    filters, settings = recipe.select.filters, recipe.select
    likely = "perplexity" in filters or ("density" in filters and settings.density.keep == "lowest_perplexity")
    return ("density" in filters) + likely * (2 if settings.perplexity.of == "both" else 1)


def _written(answer: float, most: float, trained: bool) -> float:
    answer = min(answer, most)
    return answer if trained else answer + RAMBLED * (most - answer)


def _room(shape: Shape, prompt: float, wanted: int) -> float:
    positions = shape.checkpoint.positions
    return wanted if positions is None else max(0.0, min(wanted, positions - prompt))


def _mean(count: Callable[[str], int], texts: Sequence[str]) -> float:
    return fmean(map(count, texts))
