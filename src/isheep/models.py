"""Which weights answer: one engine at a time, on the base model with or without an adapter or on a model of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from isheep.encoder import Encoder
from isheep.engines import Engine, open_engine
from isheep.engines.metered import Metered
from isheep.hub import model_folder
from isheep.prompts import bare, whole
from isheep.recipe import Recipe
from isheep.store.run import Iteration


class Models:
    """Context manager over the run's one engine, which starts when a stage first needs it."""

    def __init__(self, recipe: Recipe, encoder: Encoder | None = None, base_name: str = "base") -> None:
        """Reads the tokenizer unless it is given; `base_name` is how records name the untouched model."""
        self.encoder = encoder or Encoder.load(model_folder(recipe.model.path), recipe.model.template)
        self.base_name = base_name
        self.base = Model(self, 0, None)
        self._recipe = recipe
        self._engine: Engine | None = None
        self._folder: Path | None = None
        self._adapter: Path | None = None

    def out_of(self, iteration: Iteration) -> Model:
        """The model that an iteration ended with; iteration 0 is the untouched base."""
        return Model(self, iteration.number, iteration.weights_path) if iteration.number else self.base

    @contextmanager
    def assessor(self, current: Model) -> Iterator[Model]:
        """Who judges (`assess.assessor`): `current`, the base, or another model with its own engine and tokenizer.

        Another model's engine lives within the block only, and the run's is closed before: a GPU might not hold both.
        """
        settings = self._recipe.assess
        if settings.other_model is None or not settings.questions:
            yield self.base if settings.assessor == "base" else current
            return
        self.release()
        other = self._recipe.model.model_copy(update={"path": settings.other_model})
        encoder = Encoder.load(model_folder(other.path), None)
        with Models(self._recipe.model_copy(update={"model": other}), encoder, other.path) as others:
            yield others.base

    def engine(self, weights: Path | None) -> Engine:
        """The engine, started if need be, with these weights: an adapter on the base, a whole model, None: the base."""
        folder = weights if weights is not None and (weights / "config.json").is_file() else None
        adapter = None if folder else weights
        if folder != self._folder:
            self.release()
        if self._engine is None:
            path = str(folder) if folder else self._recipe.model.path
            model = self._recipe.model.model_copy(update={"path": path})
            self._engine = Metered(open_engine(self._recipe.model_copy(update={"model": model}), self.encoder))
            self._folder, self._adapter = folder, None
        if adapter != self._adapter:
            self._engine.use(adapter)
            self._adapter = adapter
        return self._engine

    def release(self) -> None:
        """Gives the engine's memory back (to training, say); the next stage that needs it starts it again."""
        if self._engine is not None:
            self._engine.close()
            self._engine = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.release()


@dataclass(frozen=True, slots=True)
class Model:
    """The weights of one iteration, ready to be asked."""

    models: Models
    number: int
    weights: Path | None
    """Folder of an adapter or of a whole model; None: the base."""

    @property
    def engine(self) -> Engine:
        """The engine with this model's weights in it."""
        return self.models.engine(self.weights)

    @property
    def encoder(self) -> Encoder:
        """Text to token ids and back."""
        return self.models.encoder

    @property
    def name(self) -> str:
        """How records name it: `iteration-N`, `base`, or the folder of another model."""
        return f"iteration-{self.number}" if self.number else self.models.base_name

    @property
    def trained(self) -> bool:
        """Whether it is spoken to in the template; the base is asked in bare text."""
        return self.number > 0

    def ask(self, instruction: str, input_: str = "") -> tuple[int, ...]:
        """The prompt of a zero-shot task (section 3.1): bare text for the base, the template for a trained model."""
        text = bare(instruction, input_)
        if not self.trained:
            return self.encoder.plain(f"{text}\n")
        return self.encoder.chat([{"role": "user", "content": text}])

    def answered(self, instruction: str, input_: str, response: str) -> tuple[tuple[int, ...], int]:
        """The prompt of `ask` with the response after it (no turn end), and how many of the ids are the prompt's."""
        prompt = self.ask(instruction, input_)
        if self.trained:
            text = bare(instruction, input_)
            turns = [{"role": "user", "content": text}, {"role": "assistant", "content": response}]
            return self.encoder.supervised(turns)[0][:-1], len(prompt)
        ids = self.encoder.plain(whole(instruction, input_, response))
        if ids[: len(prompt)] != prompt:
            # The response would melt into the prompt's last token, which the model had already read as it was.
            ids = prompt + self.encoder.plain(response)[len(self.encoder.plain("")) :]
        return ids, len(prompt)
