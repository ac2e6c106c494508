"""One prompt to several of a run's models: each asked as the loop asks it, one after the other, a few tokens at a time.

The work has a thread of its own, so that a page that is closed half-way leaves no lock behind.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from isheep.engines import Request
from isheep.errors import IsheepError, UserError, first_line
from isheep.hub import known_folder
from isheep.models import Model, Models
from isheep.seeding import derive_seed
from isheep.stages.respond import asker
from isheep.store.run import Run

logger = logging.getLogger(__name__)

CHUNK = 12
"""Tokens that are asked for at once: what a reader sees appear together."""
IDLE_S = 300.0
"""The engine's memory is given back when nobody has asked anything for so long."""
LONGEST = 4096
"""Tokens of an answer, at most."""


@dataclass(slots=True)
class Answer:
    """What one model has written so far."""

    number: int
    """Of the iteration that it came out of; 0 is the base."""
    text: str = ""
    tokens: int = 0
    state: str = "waiting"
    """Then `writing`, and in the end `stop` (by itself), `length` (cut) or `stopped` (by the user)."""

    @property
    def name(self) -> str:
        """As people call it."""
        return f"iteration {self.number}" if self.number else "base"


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked, and how it is to be answered."""

    instruction: str
    input: str = ""
    temperature: float = 0.0
    """0 is greedy: the same answer every time."""
    seed: int = 0
    limit: int = 256
    """Tokens of an answer, at most."""


@dataclass(slots=True)
class Conversation:
    """One question and the answers to it, which grow while a thread works."""

    answers: list[Answer]
    error: str = ""
    ended: threading.Event = field(default_factory=threading.Event)
    stopping: threading.Event = field(default_factory=threading.Event)


def models_of(run: Run) -> list[int]:
    """The iterations whose models can be asked: 0, the base, and those that left weights."""
    return [0, *(one.number for one in run.iterations() if one.number and one.weights_path.is_dir())]


class Talk:
    """All conversations of a workbench, one at a time, with one engine at most in memory."""

    def __init__(self, idle_s: float = IDLE_S) -> None:
        self._idle_s = idle_s
        self._lock = threading.Lock()
        self._current: Conversation | None = None
        self._models: Models | None = None
        self._of: Any = None
        self._closing: threading.Timer | None = None

    def ask(self, run: Run, numbers: Sequence[int], question: Question) -> Conversation:
        """Begins to answer; the conversation that is returned grows until it has ended.

        Raises:
            UserError: another one is under way, nothing is asked, or nobody.
        """
        if not question.instruction.strip():
            raise UserError("the prompt", "is empty.", "Write something.")
        if not numbers:
            raise UserError("the models", "are none.", "Choose at least one.")
        with self._lock:
            if self._current is not None:
                raise UserError("the engine", "is in use by another chat.", "Wait for it, or stop it.")
            if self._closing is not None:
                self._closing.cancel()
            conversation = self._current = Conversation([Answer(number) for number in sorted(set(numbers))])
        threading.Thread(target=self._work, args=(run, question, conversation), daemon=True).start()
        return conversation

    def stop(self) -> None:
        """Ends the conversation under way after the tokens that are being written."""
        current = self._current
        if current is not None:
            current.stopping.set()

    @property
    def is_open(self) -> bool:
        """Whether an engine is in memory."""
        return self._models is not None

    def close(self) -> None:
        """Gives the engine's memory back, unless somebody is talking."""
        with self._lock:
            if self._current is None:
                self._release()

    def _work(self, run: Run, question: Question, conversation: Conversation) -> None:
        try:
            for answer in conversation.answers:
                for _ in self._written(run, question, answer):
                    if conversation.stopping.is_set():
                        break
                if conversation.stopping.is_set():
                    break
        except IsheepError as error:
            conversation.error = str(error)
        except Exception as error:
            # A library's, of any kind: the page says what, the log says where.
            logger.exception("the chat broke off")
            conversation.error = f"{type(error).__name__}: {first_line(error)}"
        finally:
            for answer in conversation.answers:
                answer.state = "stopped" if answer.state in ("waiting", "writing") else answer.state
            with self._lock:
                if conversation.error:
                    self._release()
                self._current = None
                self._closing = threading.Timer(self._idle_s, self.close)
                self._closing.daemon = True
                self._closing.start()
            conversation.ended.set()

    def _written(self, run: Run, question: Question, answer: Answer) -> Iterator[None]:
        """Lets one model write, some tokens at each step.

        A prompt that is read again with what was written rounds otherwise than one that was gone on with: at
        temperature 0 an answer may leave the loop's own where two tokens are as good as equally likely.
        """
        model = self._model(run, answer.number)
        prompt = asker(run.recipe, model)(question.instruction, question.input)
        tokens: tuple[int, ...] = ()
        answer.state = "writing"
        yield
        while answer.state == "writing":
            left = min(question.limit, LONGEST) - len(tokens)
            request = Request(
                id="chat",
                prompt=prompt + tokens,
                max_new_tokens=min(CHUNK, left),
                stop_ids=model.encoder.stop_ids,
                temperature=question.temperature,
                top_p=run.recipe.respond.top_p,
                seed=derive_seed("chat", question.seed, answer.number, len(tokens)),
            )
            completion = next(iter(model.engine.generate([request])))
            tokens += completion.tokens
            answer.text, answer.tokens = model.encoder.decode(tokens).strip(), len(tokens)
            if completion.finish_reason == "stop":
                answer.state = "stop"
            elif not completion.tokens or len(completion.tokens) >= left:
                answer.state = "length"
            yield

    def _model(self, run: Run, number: int) -> Model:
        """A model of the run, its tokenizer read; the engine starts when it is first asked."""
        iteration = run.iteration(number)
        if number and not iteration.weights_path.is_dir():
            raise UserError(f"iteration {number}", "has no weights.", "It is not trained yet, or they are gone.")
        of = run.directory, _stamp(run)
        with self._lock:
            if self._of != of:
                self._release()
            if self._models is None:
                if known_folder(run.recipe.model.path) is None:
                    raise UserError(run.recipe.model.path, "is not here.", "Put the model back.")
                # One at a time asks, so one copy answers, whatever the run worked with.
                engine = run.recipe.engine.model_copy(update={"workers": 0})
                self._models, self._of = Models(run.recipe.model_copy(update={"engine": engine})), of
            return self._models.out_of(iteration)

    def _release(self) -> None:
        if self._models is not None:
            self._models.release()
            self._models = self._of = None


def _stamp(run: Run) -> list[tuple[str, int]]:
    """Equal for as long as no weights come, go or change."""
    folders = [one.weights_path for one in run.iterations() if one.number and one.weights_path.is_dir()]
    return [(str(folder), folder.stat().st_mtime_ns) for folder in folders]
