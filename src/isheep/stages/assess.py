"""Self-assessment: the model scores its own pairs for quality and instruction following (paper section 3.2)."""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from isheep import drain
from isheep.engines import NoLogProbabilities, Request, part_size
from isheep.errors import UserError
from isheep.models import Model
from isheep.progress import bar, say
from isheep.prompts import Prompt
from isheep.recipe import Recipe, locate
from isheep.recipe.settings import QUESTIONS, AssessSettings, Question, Reader
from isheep.records import Assessment, Pair
from isheep.seeding import derive_seed
from isheep.stages.plugged import plugged_assessor
from isheep.stages.scores import NOT_ASKED, SCORES, Reading, parse_score, read_distributions
from isheep.stages.stream import in_order, parts
from isheep.store.joined import answered_pairs
from isheep.store.run import Iteration
from isheep.store.table import passed

FIELDS = ("instruction", "input", "response")

RANDOM, NOBODY = "random", "none"
"""The assessor's name in the records where chance judged, and where no question was asked."""

_EXAMPLE = re.compile(r":[ \t]*(?P<score>[-+]?\d+(?:\.\d+)?)[ \t]*\|\|")


def prompt_files(settings: AssessSettings) -> dict[Question, str]:
    """Question -> prompt file, of the questions that are put to a model: the user's own file, else the variant's."""
    if settings.assessor == "random" or settings.plugin is not None:
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
    assessor is not asked where the level is `none`, or chance or a plug-in judges.

    Raises:
        UserError: a plug-in that judges does not import, or its settings are wrong.
        StageError: it fails, or gives something else than scores.
        Interrupted: the user asked to stop.
    """
    table = iteration.table("assessments")
    if table.is_done:
        return
    judge, size = Judge(iteration.number, recipe, assessor), part_size(recipe.engine)
    done, total = table.length(), passed(iteration.table("responses"))
    waiting = itertools.islice(answered_pairs(iteration), done, None)
    with bar(f"Assess {iteration.number}", total, done=done) as advance:
        # Each worker of the engine has a part at the same time.
        for several in parts(waiting, size * (judge.workers if done < total else 1)):
            drain.stop_here()
            for part in parts(judge(several), size):
                table.append(part)
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
            say(line)
            return "generate"
    return settings.read


class Judge:
    """Who judges pairs of an iteration, and how: the recipe's assessor, its prompts, its way to read a score."""

    def __init__(self, iteration: int, recipe: Recipe, assessor: Model) -> None:
        """Reads the prompts, or opens the plug-in that judges; the engine starts with the first pair.

        Raises:
            UserError: a prompt or the plug-in is wrong.
            StageError: the plug-in fails.
        """
        settings = recipe.assess
        self._iteration, self._recipe, self._assessor = iteration, recipe, assessor
        self._prompts = {question: load_prompt(locate(file)) for question, file in prompt_files(settings).items()}
        self._outside = plugged_assessor(recipe) if settings.questions else None
        own = self._outside is not None or settings.assessor == "random"
        self._name = NOBODY if settings.level == "none" else settings.assessor if own else assessor.name

    @property
    def workers(self) -> int:
        """How many parts can be judged at the same time."""
        return self._assessor.engine.workers if self._prompts else 1

    def __call__(self, pairs: Sequence[Pair]) -> list[Assessment]:
        """The assessment of each pair; its id decides the seeds of what is sampled."""
        if not pairs:
            return []
        asked = self._recipe.assess.questions
        readings = {question: self._read(pairs, question) for question in asked}
        quality, following = (readings.get(question, [NOT_ASKED] * len(pairs)) for question in QUESTIONS)
        return [
            Assessment(pair.id, one.score, other.score, one.raw, other.raw, self._name)
            for pair, one, other in zip(pairs, quality, following, strict=True)
        ]

    @cached_property
    def _how(self) -> Reader:
        return how_to_read(self._recipe.assess, self._assessor)

    def _read(self, pairs: Sequence[Pair], question: Question) -> list[Reading]:
        if self._outside is not None:
            return self._outside(pairs, question)
        if self._recipe.assess.assessor == "random":
            return [self._by_chance(pair, question) for pair in pairs]
        render = self._prompts[question].render
        texts = [render(instruction=p.instruction, input=p.input, response=p.response) for p in pairs]
        if self._how == "distribution":
            return read_distributions(texts, self._assessor)
        readings = self._generate(pairs, texts, question, 0)
        unread = [place for place, reading in enumerate(readings) if reading.score is None]
        again = [pairs[place] for place in unread], [texts[place] for place in unread]
        for place, reading in zip(unread, self._generate(*again, question, 1), strict=True):
            readings[place] = reading if reading.score is not None else readings[place]
        return readings

    def _by_chance(self, pair: Pair, question: Question) -> Reading:
        """A whole score of 1 to 10, each as likely: the control that shows what the assessor's judgement is worth."""
        seed = derive_seed(self._recipe.seed, self._iteration, f"assess {question}", pair.id, RANDOM)
        return Reading(float(random.Random(seed).choice(SCORES)), RANDOM)  # noqa: S311  # it has to repeat, no secret

    def _generate(self, pairs: Sequence[Pair], texts: Sequence[str], question: str, attempt: int) -> list[Reading]:
        """Lets the assessor write `<score>||<explanation>`; a second attempt is sampled even after a greedy first."""
        settings, encoder = self._recipe.assess, self._assessor.encoder
        requests = (
            Request(
                id=pair.id,
                prompt=encoder.plain(text),
                max_new_tokens=settings.max_new_tokens,
                stop_ids=encoder.stop_ids,
                temperature=settings.temperature if attempt == 0 else settings.temperature or 1.0,
                seed=derive_seed(self._recipe.seed, self._iteration, f"assess {question}", pair.id, attempt),
            )
            for pair, text in zip(pairs, texts, strict=True)
        )
        written = [encoder.decode(answer.tokens) for answer in in_order(self._assessor.engine, requests)]
        return [Reading(parse_score(text), text) for text in written]
