"""Reading scores beside generating them: `python benchmarks/assess.py [--json]`, on one core.

1. CPU seconds per pair, both questions: our stage's way (the expected score over the probabilities of the ten, one
   forward pass that shares the prompts' common beginning) beside the published one (64 tokens are generated greedily
   by transformers' own `generate` in batches of 8, and parsed). Pairs of lamb's first iteration; lamb, and random
   weights of 30M parameters. Medians of three.
2. What the two are worth: AUROC of the lower score of right pairs against all others, and against the plausible wrong
   ones alone, by lamb's verifier, which the loop never sees. A pair without a score is left out, and counted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from checkpoints import random_checkpoint
from side import Measured, Row, alternately, compared, cpu_seconds, measured, parser, show
from static import Static
from workload import first_iteration

from isheep.engines import Request
from isheep.hub import model_folder
from isheep.intervals import auroc
from isheep.lamb.verify import Verdict, verdict
from isheep.models import Model, Models
from isheep.recipe import Recipe, load_recipe, locate
from isheep.recipe.settings import QUESTIONS, Question
from isheep.records import Pair
from isheep.seeds import load_seeds
from isheep.stages.assess import load_prompt, prompt_files
from isheep.stages.respond import respond
from isheep.stages.scores import parse_score, read_distributions
from isheep.stages.stream import parts
from isheep.stages.synthesize import synthesize
from isheep.store.joined import answered_pairs

PACKAGES = ("isheep", "torch", "transformers")
PEER_BATCH, PEER_TOKENS = 8, 64
TIMED = {"lamb": 200, "30m": 16}
"""Pairs that are timed."""

Scores = list[tuple[float | None, float | None]]
"""Quality and following of each pair."""


def main() -> None:
    """Measures, then prints."""
    given = parser(__doc__).parse_args()
    recipe = load_recipe("lamb")
    pairs, told = first_pairs(recipe)
    with Models(recipe) as models:
        peer = Static(model_folder(recipe.model.path), recipe, PEER_BATCH, models.encoder.pad_id)
        rows = [costs("lamb", pairs, recipe, models.base, peer)]
        read, written = by_distribution(pairs, recipe, models.base), by_writing(pairs, recipe, models.base, peer)
        rows += worth(read, written, told)
    folder = random_checkpoint("30m", torch.float32)
    recipe = load_recipe("lamb", [f"model.path={folder}"])
    with Models(recipe) as models:
        peer = Static(folder, recipe, PEER_BATCH, models.encoder.pad_id)
        rows.append(costs("30m", pairs, recipe, models.base, peer))
    show(rows, given.json)


def first_pairs(recipe: Recipe) -> tuple[list[Pair], list[Verdict]]:
    """What lamb's first iteration assesses, and what somebody who knows the answers says of each."""
    with first_iteration(recipe) as (iteration, models):
        synthesize(iteration, [], load_seeds(locate(recipe.seeds.path)), recipe, models.base)
        respond(iteration, recipe, models.base)
        ends = {row.id: row.finish_reason for row in iteration.table("responses").rows()}
        pairs = list(answered_pairs(iteration))
    return pairs, [verdict(pair.instruction, pair.input, pair.response, ends[pair.id]) for pair in pairs]


def costs(name: str, pairs: Sequence[Pair], recipe: Recipe, model: Model, peer: Static) -> Row:
    """CPU seconds per pair of both ways."""
    timed = pairs[: TIMED[name]]
    ours, theirs = alternately(
        lambda: cpu_seconds(lambda: by_distribution(timed, recipe, model)) / len(timed),
        lambda: cpu_seconds(lambda: by_writing(timed, recipe, model, peer)) / len(timed),
    )
    return compared(f"both scores of a pair, {name}, {len(timed)} pairs", ours, theirs, "CPU-s", "8x", PACKAGES)


def by_distribution(pairs: Sequence[Pair], recipe: Recipe, model: Model) -> Scores:
    """As `isheep.stages.assess` does with `assess.read=distribution`."""
    found: dict[Question, list[float | None]] = {}
    for question, texts in questions(pairs, recipe).items():
        read = (read_distributions(part, model) for part in parts(texts, recipe.engine.batch_size))
        found[question] = [reading.score for readings in read for reading in readings]
    return list(zip(*(found[question] for question in QUESTIONS), strict=True))


def by_writing(pairs: Sequence[Pair], recipe: Recipe, model: Model, peer: Static) -> Scores:
    """The published way, with our prompts and our parser."""
    found: dict[Question, list[float | None]] = {}
    encoder = model.encoder
    for question, texts in questions(pairs, recipe).items():
        asked = [Request(str(at), encoder.plain(one), PEER_TOKENS, encoder.stop_ids) for at, one in enumerate(texts)]
        found[question] = [parse_score(encoder.decode(done.tokens)) for done in peer.generate(asked)]
    return list(zip(*(found[question] for question in QUESTIONS), strict=True))


def questions(pairs: Sequence[Pair], recipe: Recipe) -> Mapping[Question, list[str]]:
    """What is asked about each pair."""
    prompts = {question: load_prompt(locate(file)) for question, file in prompt_files(recipe.assess).items()}
    return {
        question: [prompt.render(instruction=p.instruction, input=p.input, response=p.response) for p in pairs]
        for question, prompt in prompts.items()
    }


def worth(read: Scores, written: Scores, told: Sequence[Verdict]) -> Iterator[Row]:
    """How well each way tells right pairs from others, and for how many it had no score."""
    everything: tuple[Verdict, ...] = ("plausible", "junk")
    for what, others in (("all others", everything), ("plausible wrong", everything[:1])):
        ours, theirs = told_apart(read, told, others), told_apart(written, told, others)
        label = f"AUROC of right pairs against {what}, {len(told)} pairs"
        if ours is not None:
            yield compared(label, ours, theirs, "AUROC", "", PACKAGES, more_is_better=True)
    for way, scores in (("read from the distribution", read), ("generated", written)):
        share = measured([sum(None in pair for pair in scores) / len(scores)])
        yield compared(f"pairs without a score, {way}", share, None, "share", "", PACKAGES)


def told_apart(scores: Scores, told: Sequence[Verdict], others: Sequence[Verdict]) -> Measured | None:
    """AUROC of the lower score, which is what the threshold reads; None where a side is empty."""
    lower = [(min(one, other), what) for (one, other), what in zip(scores, told, strict=True) if one and other]
    right, wrong = ([low for low, what in lower if what in group] for group in (("right",), others))
    value = auroc(right, wrong)
    return None if value is None else measured([value])


if __name__ == "__main__":
    main()
