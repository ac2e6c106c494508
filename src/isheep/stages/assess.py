"""Self-assessment: the model scores its own pairs for quality and instruction following (paper section 3.2)."""

from __future__ import annotations

import json
import math
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from isheep import drain
from isheep.engines import NoLogProbabilities, Request, part_size
from isheep.errors import UserError
from isheep.models import Model
from isheep.progress import CONSOLE, bar
from isheep.prompts import Prompt
from isheep.recipe import QUESTIONS, AssessSettings, Question, Reader, Recipe, locate
from isheep.records import Assessment, Pair
from isheep.run import Iteration
from isheep.seeding import derive_seed
from isheep.stages.stream import in_order, parts

SCORES = range(1, 11)
FIELDS = ("instruction", "input", "response")

RANDOM, NOBODY = "random", "none"
"""The assessor's name in the records where chance judged, and where no question was asked."""

LEAST_MASS = 0.01
"""Where the ten scores together are less likely than this, the model did not mean to give one: could not tell."""
TOO_LONG = "longer than the context of the assessor"
"""Stands in the record of a pair that the assessor could not read to its end."""

_NUMBER = r"\d{1,9}(?:\.\d{1,9})?"
_LEADING = re.compile(rf"[\s\W_]*?(?P<score>(?<![\d.-]){_NUMBER})(?![\d%])")
_BEFORE_BARS = re.compile(rf"(?<![\d.-])(?P<score>{_NUMBER})\s*\|\|")
_EXAMPLE = re.compile(r":[ \t]*(?P<score>[-+]?\d+(?:\.\d+)?)[ \t]*\|\|")


@dataclass(frozen=True, slots=True)
class Reading:
    """A score in 1..10 (None: could not tell) and what it was read from (None: nobody was asked)."""

    score: float | None
    raw: str | None


NOT_ASKED = Reading(None, None)


def prompt_files(settings: AssessSettings) -> dict[Question, str]:
    """Question -> prompt file, of the questions that are put to a model: the user's own file, else the variant's."""
    if settings.assessor == "random":
        return {}
    own = {"quality": settings.quality_prompt, "following": settings.following_prompt}
    variants = {question: f"package:prompts/assess/{settings.variant}_{question}.txt" for question in QUESTIONS}
    return {question: own[question] or variants[question] for question in settings.questions}


def load_prompt(file: Path) -> Prompt:
    """An assessment prompt; raises UserError as `Prompt.load` does, and for an example scored outside 1 to 10."""
    prompt = Prompt.load(file, FIELDS)
    lines = file.read_text(encoding="utf-8").split("\n")
    text = lines.index("---") + 1
    for number, line in enumerate(lines[text:], start=text + 1):
        for found in _EXAMPLE.finditer(line):
            if not SCORES[0] <= float(found["score"]) <= SCORES[-1]:
                what = f"its example has the score {found['score']}, which lies outside 1 to 10."
                raise UserError(f"{file}, line {number}", what, "Give a score of 1 to 10.")
    return prompt


def assess(iteration: Iteration, recipe: Recipe, assessor: Model) -> None:
    """Fills the iteration's assessments: one row for each response that was not dropped, in their order.

    A score that `assess.level` does not ask for stays None, and so does what it would have been read from. The
    assessor is not asked where the level is `none` or chance judges.
    """
    table = iteration.table("assessments")
    if table.is_done:
        return
    settings = recipe.assess
    name = NOBODY if settings.level == "none" else RANDOM if settings.assessor == "random" else assessor.name
    prompts = {question: load_prompt(locate(file)) for question, file in prompt_files(settings).items()}
    pairs = list(pairs_to_assess(iteration))
    waiting = pairs[len(table.rows()) :]
    read = how_to_read(settings, assessor) if waiting and prompts else settings.read
    with bar(f"Assess {iteration.number}", len(pairs), done=len(pairs) - len(waiting)) as advance:
        for part in parts(waiting, part_size(recipe.engine)):
            drain.stop_here()
            readings = {
                question: _read(part, question, read, prompts, iteration, recipe, assessor)
                for question in settings.questions
            }
            quality, following = (readings.get(question, [NOT_ASKED] * len(part)) for question in QUESTIONS)
            table.append(
                [
                    Assessment(pair.id, one.score, other.score, one.raw, other.raw, name)
                    for pair, one, other in zip(part, quality, following, strict=True)
                ]
            )
            advance(len(part))
    table.close()


def how_to_read(settings: AssessSettings, assessor: Model) -> Reader:
    """`assess.read`, or `generate` where the engine gives no log-probabilities, which is said aloud.

    The records tell which it was: what a distribution was read from is a JSON object, what was written is text.
    """
    if settings.read == "distribution":
        try:
            assessor.engine.score_next((), ())
        except NoLogProbabilities as error:
            line = f"! assess.read distribution: {error} The scores are written out and parsed instead."
            CONSOLE.print(line, markup=False, highlight=False, soft_wrap=True)
            return "generate"
    return settings.read


def pairs_to_assess(iteration: Iteration) -> Iterator[Pair]:
    """Instructions with the responses that passed the rules."""
    asked = {record.id: record for record in iteration.table("instructions").rows()}
    for answer in iteration.table("responses").rows():
        if answer.dropped_by is None:
            task = asked[answer.id]
            yield Pair(answer.id, task.instruction, task.input, answer.response)


def _read(
    pairs: Sequence[Pair],
    question: Question,
    read: Reader,
    prompts: Mapping[Question, Prompt],
    iteration: Iteration,
    recipe: Recipe,
    assessor: Model,
) -> list[Reading]:
    if recipe.assess.assessor == "random":
        return [_by_chance(pair, question, iteration, recipe) for pair in pairs]
    render = prompts[question].render
    texts = [render(instruction=p.instruction, input=p.input, response=p.response) for p in pairs]
    if read == "distribution":
        return read_distributions(texts, assessor)
    readings = _generate(pairs, texts, question, 0, iteration, recipe, assessor)
    unread = [place for place, reading in enumerate(readings) if reading.score is None]
    again = [pairs[place] for place in unread], [texts[place] for place in unread]
    for place, reading in zip(unread, _generate(*again, question, 1, iteration, recipe, assessor), strict=True):
        readings[place] = reading if reading.score is not None else readings[place]
    return readings


def _by_chance(pair: Pair, question: Question, iteration: Iteration, recipe: Recipe) -> Reading:
    """A whole score of 1 to 10, each as likely: the control that shows what the assessor's judgement is worth."""
    seed = derive_seed(recipe.seed, iteration.number, f"assess {question}", pair.id, RANDOM)
    return Reading(float(random.Random(seed).choice(SCORES)), RANDOM)


def _generate(
    pairs: Sequence[Pair],
    texts: Sequence[str],
    question: str,
    attempt: int,
    iteration: Iteration,
    recipe: Recipe,
    assessor: Model,
) -> list[Reading]:
    """Lets the assessor write `<score>||<explanation>`; a second attempt is sampled even where the first was greedy."""
    settings = recipe.assess
    requests = (
        Request(
            id=pair.id,
            prompt=assessor.encoder.plain(text),
            max_new_tokens=settings.max_new_tokens,
            stop_ids=assessor.encoder.stop_ids,
            temperature=settings.temperature if attempt == 0 else settings.temperature or 1.0,
            seed=derive_seed(recipe.seed, iteration.number, f"assess {question}", pair.id, attempt),
        )
        for pair, text in zip(pairs, texts, strict=True)
    )
    written = [assessor.encoder.decode(answer.tokens) for answer in in_order(assessor.engine, requests)]
    return [Reading(parse_score(text), text) for text in written]


def parse_score(text: str) -> float | None:
    """The score that the text begins with, else the number before `||`; None where there is none in 1..10."""
    for pattern in (_LEADING.match, _BEFORE_BARS.search):
        found = pattern(text)
        if found:
            # Halves go up: round() would take 8.5 down to 8, a number that the model did not mean more than 9.
            score = math.floor(float(found["score"]) + 0.5)
            return float(score) if score in SCORES else None
    return None


def read_distributions(texts: Sequence[str], assessor: Model) -> list[Reading]:
    """The expected score over the probabilities of the ten, without decoding.

    Whole scores are compared, whatever tokens they take: where `1` begins `10`, what goes on to ten is not one.
    A text for which the assessor has no room could not be told.
    """
    encode, positions = assessor.encoder.plain, assessor.engine.positions
    written = [encode(f"{texts[0]} {score}") for score in SCORES]
    lead = len(_common_prefix(written))
    candidates = [ids[lead:] for ids in written]
    # Every text ends in the same words, so what follows the common lead is the same for all.
    prompts = [encode(f"{text} {SCORES[0]}")[: -len(candidates[0])] for text in texts]
    room = math.inf if positions is None else positions - max(map(len, candidates))
    readings = [Reading(None, TOO_LONG)] * len(prompts)
    places = [place for place, prompt in enumerate(prompts) if len(prompt) <= room]
    rows = assessor.engine.score_next([prompts[place] for place in places], candidates)
    for place, row in zip(places, rows, strict=True):
        readings[place] = _expected(row, candidates)
    return readings


def _common_prefix(sequences: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    length = 0
    for column in zip(*sequences, strict=False):
        if len(set(column)) > 1:
            break
        length += 1
    return sequences[0][:length]


def _expected(log_probabilities: Sequence[float], candidates: Sequence[tuple[int, ...]]) -> Reading:
    likely = [math.exp(value) for value in log_probabilities]
    whole = [
        max(0.0, p - sum(q for q, longer in zip(likely, candidates, strict=True) if _begins(candidate, longer)))
        for p, candidate in zip(likely, candidates, strict=True)
    ]
    raw = json.dumps({str(score): round(p, 6) for score, p in zip(SCORES, whole, strict=True)})
    mass = sum(whole)
    if not mass >= LEAST_MASS:
        return Reading(None, raw)
    return Reading(sum(score * p for score, p in zip(SCORES, whole, strict=True)) / mass, raw)


def _begins(short: tuple[int, ...], longer: tuple[int, ...]) -> bool:
    return len(short) < len(longer) and longer[: len(short)] == short
