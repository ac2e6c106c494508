"""The prompts of a record as its models saw them, built again by what built them first; or why that cannot be.

A prompt is built again only where everything that it was made from still is what the run noted: the settings and the
files that they name, the seed file, the tokenizer.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from isheep.errors import IsheepError
from isheep.hub import known_folder
from isheep.models import Model, Models
from isheep.prompts import Prompt
from isheep.recipe import locate
from isheep.recipe.settings import Question
from isheep.records import Assessment, SeedTask
from isheep.seeds import read_seeds
from isheep.stages.assess import NOBODY, RANDOM, load_prompt, prompt_files
from isheep.stages.respond import asker
from isheep.stages.synthesize import FIELDS, asked_to_continue
from isheep.store.files import sha256_file
from isheep.store.joined import Joined
from isheep.store.manifest import seed_hash
from isheep.store.plan import NOTES, changed, setting_inputs
from isheep.store.run import MANIFEST, Run
from isheep.workbench.catalog import Catalog

WEIGHTS = (".safetensors", ".bin")
"""Of a model's files these say nothing about its prompts, and are long to read."""


class Lost(Exception):
    """Why a prompt cannot be built again."""


@dataclass(frozen=True, slots=True)
class Task:
    """A task by its id, for people: a seed, or what a model wrote."""

    id: str
    instruction: str
    input: str
    response: str | None
    seed: bool


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """A prompt, its special tokens written out; or the reason why there is none."""

    title: str
    text: str | None
    note: str


class Prompts:
    """Builds the prompts of one run's records again; reads the seeds and the tokenizer once."""

    def __init__(self, run: Run, catalog: Catalog) -> None:
        self._run, self._catalog = run, catalog
        self._lock = threading.Lock()
        self._models: Models | None = None
        self._seeds: dict[str, SeedTask] | None = None

    def tasks(self, ids: list[str]) -> dict[str, Task]:
        """Id -> the seed task or the record of that id; those that nobody knows any more are left out."""
        seeds = self._seed_tasks()
        found = {
            id_: Task(id_, seed.instruction, seed.input, seed.output, True)
            for id_ in ids
            if (seed := seeds.get(id_)) is not None
        }
        rows = self._catalog.of_ids([id_ for id_ in ids if id_ not in found])
        return found | {id_: Task(id_, row.instruction, row.input, row.response, False) for id_, row in rows.items()}

    def of(self, record: Joined) -> list[Rebuilt]:
        """The prompts that made the record, as far as it has come."""
        made = [_rebuilt("Prompt that wrote it", lambda: self._synthesis(record))]
        if record.response is not None:
            made.append(_rebuilt("Prompt that was answered", lambda: self._response(record)))
        if record.assessment is not None:
            made += [self._assessed(record, record.assessment, name) for name in self._run.recipe.assess.questions]
        return made

    def _synthesis(self, record: Joined) -> str:
        one = record.instruction
        self._refuse_changed(one.iteration, "synthesize")
        prompt = Prompt.load(locate(self._run.recipe.synthesize.prompt), FIELDS)
        if prompt.id != one.prompt_id:
            raise Lost("the prompt file is another one now")
        tasks = self.tasks(one.shot_ids)
        if gone := [id_ for id_ in one.shot_ids if id_ not in tasks]:
            raise Lost(f"the example {gone[0]} is not there any more")
        encoder = self._encoder_of().encoder
        text = asked_to_continue(prompt, [(tasks[id_].instruction, tasks[id_].input) for id_ in one.shot_ids])
        return encoder.spell(encoder.plain(text))

    def _response(self, record: Joined) -> str:
        one = record.instruction
        self._refuse_changed(one.iteration, "respond")
        models = self._encoder_of()
        # Weights decide nothing of a prompt, so nothing is loaded.
        model = Model(models, one.iteration - 1, None)
        return models.encoder.spell(asker(self._run.recipe, model)(one.instruction, one.input))

    def _assessed(self, record: Joined, assessment: Assessment, question: Question) -> Rebuilt:
        def build() -> str:
            if assessment.assessor in (RANDOM, NOBODY) or self._run.recipe.assess.plugin is not None:
                raise Lost("nobody was asked")
            self._refuse_changed(record.instruction.iteration, "assess")
            file = prompt_files(self._run.recipe.assess)[question]
            one = record.instruction
            answer = record.response.response if record.response else ""
            text = load_prompt(locate(file)).render(instruction=one.instruction, input=one.input, response=answer)
            if self._run.recipe.assess.other_model is not None:
                return text
            encoder = self._encoder_of().encoder
            return encoder.spell(encoder.plain(text))

        made = _rebuilt(f"Prompt of the score of {question}", build)
        raw = getattr(assessment, f"{question}_raw")
        if made.text is None or distribution(raw) is None:
            return made
        return Rebuilt(made.title, made.text, "Behind it, the probabilities of the scores 1 to 10 were read.")

    def _refuse_changed(self, number: int, stage: str) -> None:
        """Raises Lost where a setting or a file is not what the stage noted."""
        noted = ((self._run.iteration(number).read_json(NOTES) or {}).get(stage) or {}).get("inputs")
        if noted is None:
            raise Lost("the run did not note what it was made from")
        manifest = self._run.read_json(MANIFEST) or {}
        hashes = {**manifest, "seeds": seed_hash(self._run.recipe)}
        before = {name: value for name, value in noted.items() if "/" not in name}
        if names := changed(before, setting_inputs(stage, self._run.recipe, hashes), ended=True):
            raise Lost(f"{names[0]} is not what it was then")

    def _encoder_of(self) -> Models:
        """The run's models with their tokenizer, which has to be the one that the run began with; no weights."""
        with self._lock:
            if self._models is None:
                path = self._run.recipe.model.path
                folder = known_folder(path)
                if folder is None:
                    raise Lost(f"the model {path} is not here")
                hashes: dict[str, str] = (self._run.read_json(MANIFEST) or {}).get("model", {})
                for name, noted in hashes.items():
                    file = folder / name
                    if not name.endswith(WEIGHTS) and not (file.is_file() and sha256_file(file) == noted):
                        raise Lost(f"{file} is not what it was then")
                self._models = Models(self._run.recipe)
            return self._models

    def _seed_tasks(self) -> dict[str, SeedTask]:
        with self._lock:
            if self._seeds is None:
                try:
                    self._seeds = {seed.id: seed for seed in read_seeds(self._run.recipe.seeds).tasks}
                except IsheepError:
                    return {}
            return self._seeds


def distribution(raw: str | None) -> dict[str, float] | None:
    """The probabilities of the ten scores where a score was read from them; None where it was written, or is none."""
    try:
        found: Any = json.loads(raw or "")
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict) or not all(isinstance(one, float | int) for one in found.values()):
        return None
    return {str(score): float(likely) for score, likely in found.items()}


def _rebuilt(title: str, build: Callable[[], str]) -> Rebuilt:
    try:
        return Rebuilt(title, build(), "")
    except Lost as why:
        return Rebuilt(title, None, f"Cannot be rebuilt: {why}.")
    except (IsheepError, OSError) as error:
        return Rebuilt(title, None, f"Cannot be rebuilt: {error}")
