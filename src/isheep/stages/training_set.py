"""The training set of an iteration: the kept pairs that train its model (the paper's iterative settings)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from isheep.errors import NothingKept
from isheep.prompts import bare
from isheep.recipe import Recipe
from isheep.records import Selection
from isheep.store.joined import kept_pairs
from isheep.store.run import Iteration

ADVICE = {
    "threshold": "Choose `select.threshold` between the modes of the scores",
    "unparsed": "Set `assess.read` to distribution, or mend the assessment prompts",
    "perplexity": "Raise `select.perplexity.limit`",
}
"""Rule -> what to do where it dropped the most, and nothing is left."""
READ_ON = "Read what they dropped (`isheep records --dropped`) and change `select`"


def gather(iteration: Iteration, earlier: Sequence[Iteration], recipe: Recipe) -> None:
    """Writes training-set.jsonl, unless it is there: {"id", "messages"} a line, in the order of iterations and records.

    Under `total_base` it holds the kept pairs of all iterations so far; otherwise the iteration's own. `select.cap`
    bounds what each iteration keeps, so iteration t of `total_base` has up to t times as many. The user's turn is the
    bare task whatever the model was shown when it answered (`respond.principles`).

    Raises:
        NothingKept: the filters left none of the iteration's own; what dropped them is counted.
    """
    if iteration.training_set_path.is_file():
        return
    selection = iteration.table("selection")
    if not any(kept for (kept,) in selection.values("kept")):
        raise NothingKept(nothing_kept(iteration.number, selection))
    sources = [*earlier, iteration] if recipe.setting == "total_base" else [iteration]
    iteration.write_training_set(
        {
            "id": pair.id,
            "messages": [
                {"role": "user", "content": bare(pair.instruction, pair.input)},
                {"role": "assistant", "content": pair.response},
            ],
        }
        for source in sources
        for pair in kept_pairs(source)
    )


def nothing_kept(iteration: int, rows: Iterable[Selection]) -> str:
    """What is said where the filters left no pair: how many each dropped, and how to go on."""
    reasons = Counter(row.dropped_by for row in rows if row.dropped_by is not None).most_common()
    counted = ", ".join(f"{rule} {count}" for rule, count in reasons) or "there were no pairs"
    advice = ADVICE.get(reasons[0][0], READ_ON) if reasons else "Look at what the rules dropped (`isheep status`)"
    return (
        f"iteration {iteration} kept nothing to train on ({counted}). {advice}, and give the command the changed "
        "setting with --accept-changes to go on, or another --dir to start anew."
    )
