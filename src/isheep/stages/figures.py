"""What a model tells of pairs without writing a word: how likely it finds them, and where it puts them."""

from __future__ import annotations

from collections.abc import Sequence

from isheep.filters.density import Vectors
from isheep.filters.perplexity import Perplexities, perplexity
from isheep.models import Model
from isheep.prompts import whole
from isheep.records import Pair
from isheep.stages.stream import Tokens, piecewise


def perplexities(pairs: Sequence[Pair], names: Sequence[str], iteration: int, model: Model) -> dict[str, Perplexities]:
    """Id -> the perplexities of these names, one forward pass a text (paper section 3.3).

    `ppl_response` is of the response's tokens given the prompt that the model answered, `ppl_pair` of the plain text
    of instruction, input and response, all but its first token. What lies beyond the model's positions is left out.

    Args:
        pairs: whose.
        names: `ppl_response`, `ppl_pair` or both.
        iteration: stands before the bar.
        model: under which.
    """
    if not pairs:
        return {}
    limit = model.engine.positions
    wanted: dict[tuple[str, str], tuple[Tokens, int]] = {}
    for pair in pairs:
        for name in names:
            if name == "ppl_response":
                ids, first = model.answered(pair.instruction, pair.input, pair.response)
            else:
                ids, first = model.encoder.plain(_text(pair)), 1
            wanted[pair.id, name] = ids[:limit], first
    texts = list(dict.fromkeys(ids for ids, _ in wanted.values()))
    scores = dict(zip(texts, piecewise(f"Perplexity {iteration}", model.engine, "score_sequences", texts), strict=True))
    found = {key: perplexity(scores[ids][first - 1 :]) for key, (ids, first) in wanted.items()}
    return {pair.id: {name: found[pair.id, name] for name in names} for pair in pairs}


def vectors(pairs: Sequence[Pair], iteration: int, model: Model) -> list[Vectors]:
    """The mean state of the last layer over each pair's plain text, cut to the model's positions: float32 [width]."""
    if not pairs:
        return []
    limit = model.engine.positions
    texts = [model.encoder.plain(_text(pair))[:limit] for pair in pairs]
    return piecewise(f"Embed {iteration}", model.engine, "embed", texts)


def _text(pair: Pair) -> str:
    return whole(pair.instruction, pair.input, pair.response)
