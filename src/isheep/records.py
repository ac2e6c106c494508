"""The vocabulary: one record type a stage, joined on `id`, and the Arrow schemas that they are stored in.

A dropped record stays in its table, with `dropped_by` (a rule's name) and `reason`; nothing is deleted.
"Could not tell" is None, never 0 or -1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa


@dataclass(frozen=True, slots=True)
class SeedTask:
    """One task of the seed file: an instruction, its input (may be empty) and an answer that people wrote."""

    id: str
    instruction: str
    input: str
    output: str
    is_classification: bool


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction that a model wrote in an iteration, kept or dropped."""

    id: str
    iteration: int
    index: int
    instruction: str
    input: str
    shot_ids: list[str]
    source: int
    """Whose model wrote it: the number of the iteration that it came out of (0 is the base)."""
    prompt_id: str
    """Hash of the prompt template that asked for it."""
    dropped_by: str | None = None
    reason: str | None = None
    rouge_max: float | None = None
    """Highest ROUGE-L F-measure against the seeds and every kept instruction; None where nothing was compared."""
    rouge_id: str | None = None


@dataclass(frozen=True, slots=True)
class Response:
    """The answer to a kept instruction."""

    id: str
    response: str
    finish_reason: str
    """`stop` (the model ended by itself) or `length` (cut)."""
    tokens: int
    dropped_by: str | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Assessment:
    """What the assessor said of a pair: two scores in 1..10 (None: could not tell) and what they were read from.

    A score that was not asked for has nothing that it was read from, either.
    """

    id: str
    """The pair's."""
    quality: float | None
    """From 1 to 10."""
    following: float | None
    """From 1 to 10: how well it follows the instruction."""
    quality_raw: str | None
    """What the model wrote, or the distribution over the ten scores as JSON."""
    following_raw: str | None
    """The same of `following`."""
    assessor: str
    """`base`, `iteration-N`, the folder of another model, `random`, `plugin:NAME`; `none` where nothing was asked."""

    @property
    def asked(self) -> tuple[str, ...]:
        """The scores that were asked for, by name."""
        told = {"quality": (self.quality, self.quality_raw), "following": (self.following, self.following_raw)}
        return tuple(name for name, found in told.items() if found != (None, None))

    def lowest(self, questions: Sequence[str]) -> float | None:
        """The lowest score, from 1 to 10, of these `questions`; None where one could not be told, or none is asked."""
        scores: list[float | None] = [getattr(self, question) for question in questions]
        told = [score for score in scores if score is not None]
        return min(told) if told and len(told) == len(scores) else None


@dataclass(frozen=True, slots=True)
class Selection:
    """Whether a pair is trained on, and if not, why not. One row for each assessed pair."""

    id: str
    kept: bool
    dropped_by: str | None = None
    reason: str | None = None
    ppl_response: float | None = None
    ppl_pair: float | None = None
    """Perplexities under the iteration's model, of the response given its prompt and of the whole pair."""
    cluster: int | None = None

    @property
    def figures(self) -> list[str]:
        """What was computed of the pair, for people."""
        told = {"the response": self.ppl_response, "the pair": self.ppl_pair}
        found = [f"perplexity of {name} {value:.4g}" for name, value in told.items() if value is not None]
        return found if self.cluster is None else [*found, f"cluster {self.cluster}"]


@dataclass(frozen=True, slots=True)
class Alternative:
    """A further response to a kept instruction, with its scores; None where a rule dropped it, or could not tell."""

    id: str
    """Of the instruction."""
    draw: int
    """1 is the first after the one that stands in the responses."""
    response: str
    finish_reason: str
    tokens: int
    dropped_by: str | None = None
    reason: str | None = None
    quality: float | None = None
    following: float | None = None
    quality_raw: str | None = None
    following_raw: str | None = None


@dataclass(frozen=True, slots=True)
class Pair:
    """An instruction with its response: what is assessed and, if selected, trained on."""

    id: str
    """Stable for the run's seed, the iteration and the place in it."""
    instruction: str
    """What is to be done."""
    input: str
    """What it is done to; may be empty."""
    response: str
    """What the model answered."""


@dataclass(frozen=True, slots=True)
class AssessedPair:
    """A pair with what was said of it: what a filter of pairs judges."""

    pair: Pair
    """Instruction, input and response."""
    assessment: Assessment
    """Its two scores."""


_DROP = [pa.field("dropped_by", pa.string()), pa.field("reason", pa.string())]

SCHEMAS: dict[type, pa.Schema] = {
    Instruction: pa.schema(
        [
            pa.field("id", pa.string(), nullable=False),
            pa.field("iteration", pa.int32(), nullable=False),
            pa.field("index", pa.int32(), nullable=False),
            pa.field("instruction", pa.string(), nullable=False),
            pa.field("input", pa.string(), nullable=False),
            pa.field("shot_ids", pa.list_(pa.string()), nullable=False),
            pa.field("source", pa.int32(), nullable=False),
            pa.field("prompt_id", pa.string(), nullable=False),
            *_DROP,
            pa.field("rouge_max", pa.float64()),
            pa.field("rouge_id", pa.string()),
        ]
    ),
    Response: pa.schema(
        [
            pa.field("id", pa.string(), nullable=False),
            pa.field("response", pa.string(), nullable=False),
            pa.field("finish_reason", pa.string(), nullable=False),
            pa.field("tokens", pa.int32(), nullable=False),
            *_DROP,
        ]
    ),
    Assessment: pa.schema(
        [
            pa.field("id", pa.string(), nullable=False),
            pa.field("quality", pa.float64()),
            pa.field("following", pa.float64()),
            pa.field("quality_raw", pa.string()),
            pa.field("following_raw", pa.string()),
            pa.field("assessor", pa.string(), nullable=False),
        ]
    ),
    Selection: pa.schema(
        [
            pa.field("id", pa.string(), nullable=False),
            pa.field("kept", pa.bool_(), nullable=False),
            *_DROP,
            pa.field("ppl_response", pa.float64()),
            pa.field("ppl_pair", pa.float64()),
            pa.field("cluster", pa.int32()),
        ]
    ),
    Alternative: pa.schema(
        [
            pa.field("id", pa.string(), nullable=False),
            pa.field("draw", pa.int32(), nullable=False),
            pa.field("response", pa.string(), nullable=False),
            pa.field("finish_reason", pa.string(), nullable=False),
            pa.field("tokens", pa.int32(), nullable=False),
            *_DROP,
            pa.field("quality", pa.float64()),
            pa.field("following", pa.float64()),
            pa.field("quality_raw", pa.string()),
            pa.field("following_raw", pa.string()),
        ]
    ),
}
"""Field by field the dataclasses above (a test compares them)."""

TABLES: dict[str, type] = {
    "instructions": Instruction,
    "responses": Response,
    "assessments": Assessment,
    "selection": Selection,
    "draws": Response,
    "alternatives": Alternative,
}
"""Folder of an iteration -> the record type that its parts hold, in the order in which they are made. The last two are
there where several responses are drawn; `draws` only until they are judged."""
