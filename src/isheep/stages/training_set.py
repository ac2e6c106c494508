"""The training set of an iteration: the kept pairs that train its model (the paper's iterative settings)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from isheep.prompts import bare
from isheep.recipe import Recipe
from isheep.records import Pair
from isheep.run import Iteration
from isheep.stages.assess import pairs_to_assess


def gather(iteration: Iteration, earlier: Sequence[Iteration], recipe: Recipe) -> None:
    """Writes training-set.jsonl, unless it is there: {"id", "messages"} a line, in the order of iterations and records.

    Under `total_base` it holds the kept pairs of all iterations so far; otherwise the iteration's own. `select.cap`
    bounds what each iteration keeps, so iteration t of `total_base` has up to t times as many. The user's turn is the
    bare task whatever the model was shown when it answered (`respond.principles`).
    """
    if iteration.training_set_path.is_file():
        return
    sources = [*earlier, iteration] if recipe.setting == "total_base" else [iteration]
    iteration.write_training_set(
        [
            {
                "id": pair.id,
                "messages": [
                    {"role": "user", "content": bare(pair.instruction, pair.input)},
                    {"role": "assistant", "content": pair.response},
                ],
            }
            for source in sources
            for pair in kept_pairs(source)
        ]
    )


def kept_pairs(iteration: Iteration) -> Iterator[Pair]:
    """The pairs that the iteration's selection kept, in the order in which they were made."""
    kept = {row.id for row in iteration.table("selection").rows() if row.kept}
    return (pair for pair in pairs_to_assess(iteration) if pair.id in kept)
