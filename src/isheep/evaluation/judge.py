"""Who rates answers: a model on a server of the OpenAI kind, or one on this machine. What it said is never asked twice.

Not covered: judges that take no temperature or no `max_tokens` (models that only think), and answers that are drawn
rather than the likeliest: the first that was drawn stays.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from isheep import drain
from isheep.checkpoint import read_checkpoint
from isheep.encoder import Encoder, Message
from isheep.engines import Request, answers, open_engine
from isheep.engines.http import Call, Client, Refused
from isheep.engines.metered import Metered
from isheep.errors import StageError, UserError
from isheep.evaluation.judge_cache import JudgeCache, content_key
from isheep.hub import model_folder
from isheep.models import Model
from isheep.progress import bar
from isheep.recipe import Recipe
from isheep.recipe.settings import ServerSettings
from isheep.seeding import derive_seed
from isheep.store.files import fingerprint

logger = logging.getLogger(__name__)

WHERE = "evaluate.judge"

TOO_MUCH = (400, 413, 422)
"""Statuses of a server that does not do this one question: too long for it, or against its rules."""

PROBE_TRIES, PROBE_TIMEOUT_S = 4, 60.0
"""A server that does not say a word in these is none to begin with."""

_PROBE: Message = {"role": "user", "content": "Say yes."}


@dataclass(frozen=True, slots=True)
class Question:
    """One judgement to make."""

    messages: tuple[Message, ...]
    temperature: float = 0.0
    max_new_tokens: int | None = None
    """None: as many as `evaluate.judge.max_new_tokens` says."""
    likeliest: int = 0
    """How many of the likeliest tokens are wanted beside each one that is said."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the judge said."""

    text: str
    likeliest: list[dict[str, float]] | None = None
    """Of each token: text -> log-probability."""


class Judge(ABC):
    """A model that is asked for ratings."""

    id: str
    """What stands in items and tables."""
    is_local: bool
    """It wants the memory that the candidate's engine has."""

    def __init__(self, max_new_tokens: int) -> None:
        self._max_new_tokens = max_new_tokens

    @property
    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """What decides its answers beside the questions; never a key."""

    @abstractmethod
    def prepare(self) -> None:
        """Sees that it is there.

        Raises:
            UserError: it is not.
            StageError: its server has too much to do, or fails.
        """

    @abstractmethod
    def tells_likeliest(self) -> bool:
        """Whether it tells the probabilities of what it says; raises as `prepare` does."""

    @abstractmethod
    def _answers(self, questions: Sequence[Question]) -> Generator[tuple[int, Answer | None]]:
        """(Number of the question, answer), as they come."""

    def ask(self, questions: Sequence[Question], candidate: Model) -> list[Answer | None]:
        """The answers in the order of the questions; None where the judge does not do one of them.

        Every answer is stored as it comes, and what is stored is not asked for again.

        Args:
            questions: all at once, so that as many as it bears are with the judge at a time.
            candidate: whose engine makes room for a judge on this machine.

        Raises:
            StageError: the judge failed in every try; the same command goes on where it stopped.
            UserError: its server does not take the key any more.
            Interrupted: the user asked to stop.
        """
        keys = [self.key(question) for question in questions]
        with JudgeCache() as cache:
            known = {key: _stored(cache.get(key)) for key in dict.fromkeys(keys)}
            missing = {key: question for key, question in zip(keys, questions, strict=True) if known[key] is None}
            if missing and self.is_local:
                candidate.models.release()
            self._ask(missing, known, cache)
        return [known[key] for key in keys]

    def key(self, question: Question) -> str:
        """The question's name in the cache: of the judge, of how it is asked, and of what it is asked."""
        asked = {**asdict(question), "max_new_tokens": self._most(question)}
        return content_key({"judge": self.settings, "question": asked})

    def _ask(self, missing: dict[str, Question], known: dict[str, Answer | None], cache: JudgeCache) -> None:
        if not missing:
            return
        names, refused = list(missing), 0
        with (
            bar(f"Judge {self.id}", len(known), len(known) - len(missing)) as advance,
            closing(self._answers(list(missing.values()))) as coming,
        ):
            for number, answer in coming:
                if answer is None:
                    refused += 1
                else:
                    cache.put(names[number], asdict(answer))
                    known[names[number]] = answer
                advance(1)
                drain.stop_here()
        if refused:
            logger.warning("the judge %s did not do %d of %d questions", self.id, refused, len(missing))

    def _most(self, question: Question) -> int:
        return question.max_new_tokens or self._max_new_tokens


class ServerJudge(Judge):
    """`evaluate.judge.url`, asked over `/v1/chat/completions`."""

    is_local = False

    def __init__(self, recipe: Recipe) -> None:
        """Nothing is asked yet; raises UserError for settings that name no judge."""
        judge = recipe.evaluate.judge
        super().__init__(judge.max_new_tokens)
        if judge.url is None or judge.model is None:
            what = f"{judge.url} is given without the name of a model." if judge.url else "no judge is named."
            raise UserError(f"{WHERE}.model", what, HOW_TO_NAME)
        self.id, self._url = judge.model, judge.url
        self._server = ServerSettings(
            url=judge.url,
            model=judge.model,
            key_variable=judge.key_variable,
            connections=judge.connections,
            timeout=judge.timeout,
            retries=judge.retries,
        )

    @property
    def settings(self) -> dict[str, Any]:
        """Its name and where it is: another server may call another model so."""
        return {"url": self._url, "model": self.id, "max_new_tokens": self._max_new_tokens}

    def prepare(self) -> None:
        """Asks for one token."""
        try:
            self._probe(Question((_PROBE,), max_new_tokens=1))
        except Refused as refused:
            what = f"does not let {self.id} judge ({refused})."
            mend = f"Mend {WHERE}.model or {WHERE}.url."
            raise UserError(self._server.url, what, mend) from None

    def tells_likeliest(self) -> bool:
        """Asks for one token with the likeliest beside it."""
        try:
            return self._probe(Question((_PROBE,), max_new_tokens=1, likeliest=5)).likeliest is not None
        except Refused:
            return False

    def _probe(self, question: Question) -> Answer:
        with closing(Client(self._server, WHERE)) as client:
            payload = self._payload(question)
            return client.ask(
                Call(CHAT, payload, _answer, tries=PROBE_TRIES, timeout=min(PROBE_TIMEOUT_S, self._server.timeout))
            )

    def _answers(self, questions: Sequence[Question]) -> Generator[tuple[int, Answer | None]]:
        with closing(Client(self._server, WHERE)) as client:
            try:
                yield from client.each(map(self._call, questions))
            except Refused as refused:
                raise StageError(f"{client.url}: the judge {self.id} refuses a question ({refused}).") from None

    def _call(self, question: Question) -> Call[Answer | None]:
        return Call(CHAT, self._payload(question), _answer, refused=_left_out)

    def _payload(self, question: Question) -> dict[str, Any]:
        payload: dict[str, Any] = {
            "model": self.id,
            "messages": list(question.messages),
            "temperature": question.temperature,
            "max_tokens": self._most(question),
        }
        return payload | ({"logprobs": True, "top_logprobs": question.likeliest} if question.likeliest else {})


class LocalJudge(Judge):
    """A chat model on an engine like the run's, which has to be released before; spoken to in its own template.

    A model that carries no template is spoken to in the recipe's. Not covered: probabilities of what it says.
    """

    is_local = True

    def __init__(self, recipe: Recipe) -> None:
        """Nothing is opened yet; raises UserError where no engine of the run's kind could run it."""
        judge = recipe.evaluate.judge
        super().__init__(judge.max_new_tokens)
        if judge.model is None:
            raise UserError(WHERE, "no judge is named.", HOW_TO_NAME)
        if recipe.engine.name == "openai":
            what = f"is {judge.model} on this machine, but the run's server serves model.path alone (engine.name)."
            raise UserError(f"{WHERE}.model", what, f"Give {WHERE}.url, or choose another engine.name.")
        self.id, self._own_template = judge.model, recipe.model.template
        self._recipe = recipe.model_copy(update={"model": recipe.model.model_copy(update={"path": judge.model})})

    @property
    def settings(self) -> dict[str, Any]:
        """Its content, and what else decides what it says; a folder may be called anything."""
        recipe = self._recipe
        return {
            "content": self._content,
            "template": self._template,
            "dtype": recipe.model.dtype,
            "engine": recipe.engine.name,
            "max_new_tokens": self._max_new_tokens,
        }

    def prepare(self) -> None:
        """Reads its configuration and its tokenizer; its weights would take the candidate's place."""
        read_checkpoint(model_folder(self.id, f"{WHERE}.model"))
        self._spoken_to([_PROBE])

    def tells_likeliest(self) -> bool:
        """Never."""
        return False

    @cached_property
    def _content(self) -> str | None:
        return fingerprint(model_folder(self.id, f"{WHERE}.model"))

    @cached_property
    def _encoder(self) -> Encoder:
        bare = Encoder.load(model_folder(self.id, f"{WHERE}.model"), None)
        try:
            return Encoder(bare.tokenizer, "carried" if bare.tokenizer.chat_template else self._own_template)
        except UserError as error:
            what = f"{self.id} cannot be spoken to ({error.what})"
            raise UserError(f"{WHERE}.model", what, "Give a chat model with a template of its own.") from None

    @property
    def _template(self) -> str:
        return "its own" if self._encoder.tokenizer.chat_template else self._own_template

    def _answers(self, questions: Sequence[Question]) -> Generator[tuple[int, Answer | None]]:
        encoder = self._encoder
        requests = (
            Request(
                str(number),
                self._spoken_to(question.messages),
                self._most(question),
                encoder.stop_ids,
                question.temperature,
                seed=derive_seed("judge", self.key(question)),
            )
            for number, question in enumerate(questions)
        )
        with Metered(open_engine(self._recipe, encoder)) as engine:
            for completion in engine.generate(requests):
                yield int(completion.id), Answer(encoder.decode(completion.tokens))

    def _spoken_to(self, messages: Sequence[Message]) -> tuple[int, ...]:
        try:
            return self._encoder.chat(messages)
        except UserError:
            first, *rest = messages
            if first["role"] != "system" or not rest:
                raise
        # Some templates know no system's turn.
        opening = {**rest[0], "content": f"{first['content'].strip()}\n\n{rest[0]['content']}"}
        return self._encoder.chat([opening, *rest[1:]])


CHAT = "chat/completions"

HOW_TO_NAME = (
    f"Set {WHERE}.url and {WHERE}.model to a server of the OpenAI kind and its name for the judge, or {WHERE}.model "
    "alone to a folder or hub id of a chat model."
)


def open_judge(recipe: Recipe) -> Judge:
    """The recipe's judge, nothing asked or opened yet.

    Raises:
        UserError: it names none.
    """
    return ServerJudge(recipe) if recipe.evaluate.judge.url is not None else LocalJudge(recipe)


def _answer(body: bytes) -> Answer:
    found = answers.choice(body)
    return Answer(answers.spoken(found), answers.likeliest(found))


def _left_out(refused: Refused) -> Answer | None:
    if refused.status in TOO_MUCH:
        return None
    raise refused


def _stored(found: Any) -> Answer | None:
    return None if found is None else Answer(found["text"], found["likeliest"])
