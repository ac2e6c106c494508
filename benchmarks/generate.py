"""The embedded engine beside transformers' own `generate`: `python benchmarks/generate.py [--json]`, on one core.

1. The requests that synthesis sends in iteration 1 of lamb, both sides at the recipe's temperature and top_p. With our
   sampler and the seeds of the requests in the peer's loop, and greedy, both write the same tokens: the share of
   completions that are equal is a row of its own.
2. Responses of very different lengths from random weights, as many tokens on both sides: each request says how many.

Tokens per CPU second, stop tokens included, medians of three. Both sides have batches of the same size.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import torch
from checkpoints import random_checkpoint
from side import Row, alternately, compared, cpu_seconds, measured, parser, show
from static import Static, count_tokens, share_equal
from workload import synthesis_requests

from isheep.engines import Completion, Engine, Request
from isheep.hub import model_folder
from isheep.models import Models
from isheep.recipe import Recipe, load_recipe

PACKAGES = ("isheep", "torch", "transformers")
GOAL = "2.5x"
SYNTHESIS, RESPONSES = 192, 128
SPREAD_BATCH = 32
MEDIAN, SIGMA, LONGEST = 24, 1.0, 256
"""Of the lengths of responses, whose logarithms are normal: most are short, and few are ten times as long."""


def main() -> None:
    """Measures, then prints."""
    given = parser(__doc__).parse_args()
    show([*synthesis(), *spread_lengths()], given.json)


def synthesis() -> Iterator[Row]:
    """Lamb's own requests."""
    recipe = load_recipe("lamb")
    requests = synthesis_requests(recipe, SYNTHESIS)
    with Models(recipe) as models:
        peer = Static(model_folder(recipe.model.path), recipe, recipe.engine.batch_size, models.encoder.pad_id)
        yield speeds(f"{SYNTHESIS} synthesis requests of lamb", models.engine(None), peer, requests)
        greedy = [replace(request, temperature=0.0) for request in requests]
        for what, asked in (("sampled with the same seeds", requests), ("greedy", greedy)):
            share = share_equal(list(models.engine(None).generate(asked)), peer.generate(asked, pick_as_ours=True))
            yield compared(f"completions equal to the peer's, {what}", measured([share]), None, "share", "1", PACKAGES)


def spread_lengths() -> Iterator[Row]:
    """Responses whose lengths have a long tail."""
    folder = random_checkpoint("30m", torch.float32)
    recipe = load_recipe("lamb", [f"model.path={folder}", f"engine.batch_size={SPREAD_BATCH}", "engine.window=4"])
    requests = long_tailed(recipe, RESPONSES)
    lengths = sorted(request.max_new_tokens for request in requests)
    what = f"{RESPONSES} responses of {lengths[0]} to {lengths[-1]} tokens (median {lengths[len(lengths) // 2]}), 30M"
    with Models(recipe) as models:
        peer = Static(folder, recipe, SPREAD_BATCH, models.encoder.pad_id)
        yield speeds(what, models.engine(None), peer, requests)


def long_tailed(recipe: Recipe, count: int) -> list[Request]:
    """Random prompts, each with the number of tokens that it gets; nothing else ends a response."""
    draw = random.Random(0)  # noqa: S311  # it has to repeat, no secret
    return [
        Request(
            id=str(number),
            prompt=tuple(draw.choices(range(10, 200), k=draw.randint(10, 40))),
            max_new_tokens=min(LONGEST, math.ceil(draw.lognormvariate(math.log(MEDIAN), SIGMA))),
            stop_ids=frozenset(),
            temperature=recipe.respond.temperature,
            top_p=recipe.respond.top_p,
            seed=number,
        )
        for number in range(count)
    ]


def speeds(what: str, engine: Engine, peer: Static, requests: Sequence[Request]) -> Row:
    """Tokens per CPU second of both."""
    ours, theirs = alternately(
        lambda: tokens_per_second(lambda: list(engine.generate(requests))),
        lambda: tokens_per_second(lambda: peer.generate(requests)),
    )
    return compared(what, ours, theirs, "tokens per CPU-s", GOAL, PACKAGES, more_is_better=True)


def tokens_per_second(
    generate: Callable[[], Sequence[Completion]], seconds_of: Callable[[Callable[[], object]], float] = cpu_seconds
) -> float:
    """Of one call, by the clock that is given."""
    made: list[Completion] = []
    seconds = seconds_of(lambda: made.extend(generate()))
    return count_tokens(made) / seconds


if __name__ == "__main__":
    main()
