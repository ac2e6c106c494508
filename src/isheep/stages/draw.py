"""Several responses to one instruction, which a preference set is made of; no line of Algorithm 1.

Each kept instruction is answered again by the model, in the words and by the rules of the first time, and the assessor
judges these responses like the first. Nothing in the loop reads them.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from shutil import rmtree

from isheep import drain
from isheep.engines import part_size
from isheep.models import Model
from isheep.progress import bar
from isheep.recipe import Recipe
from isheep.records import Alternative, Assessment, Pair, Response
from isheep.stages.assess import Judge
from isheep.stages.respond import answer
from isheep.stages.stream import parts
from isheep.store.joined import kept_pairs
from isheep.store.run import Iteration


def draw(iteration: Iteration, recipe: Recipe, model: Model) -> None:
    """Fills the iteration's alternatives: `respond.draws` - 1 rows for each kept instruction, in their order.

    All are drawn before the first is judged, since the assessor may be a model with an engine of its own; until then
    they wait in the table `draws`.
    """
    table, drawn = iteration.table("alternatives"), iteration.table("draws")
    if not table.is_done:
        total = sum(kept for (kept,) in iteration.table("selection").values("kept")) * (recipe.respond.draws - 1)
        if not drawn.is_done:
            answer(f"Draw {iteration.number}", drawn, _tasks(iteration, recipe), total, iteration.number, recipe, model)
        with model.models.assessor(model) as assessor:
            _judge(iteration, total, recipe, assessor)
    rmtree(drawn.path, ignore_errors=True)


def _tasks(iteration: Iteration, recipe: Recipe) -> Iterator[Pair]:
    """What is answered again, each time under an id of its own, so that its seeds are others."""
    for pair in kept_pairs(iteration):
        for number in range(1, recipe.respond.draws):
            yield Pair(f"{pair.id}/{number}", pair.instruction, pair.input, "")


def _judge(iteration: Iteration, total: int, recipe: Recipe, assessor: Model) -> None:
    table, size = iteration.table("alternatives"), part_size(recipe.engine)
    judge, done = Judge(iteration.number, recipe, assessor), table.length()
    answered = itertools.islice(_answered(iteration, recipe), done, None)
    with bar(f"Assess draws {iteration.number}", total, done=done) as advance:
        for several in parts(answered, size * (judge.workers if done < total else 1)):
            drain.stop_here()
            rows = _judged(several, judge)
            for part in parts(rows, size):
                table.append(part)
                advance(len(part))
    table.close()


def _answered(iteration: Iteration, recipe: Recipe) -> Iterator[tuple[Pair, Response]]:
    tasks = zip(_tasks(iteration, recipe), iteration.table("draws"), strict=True)
    return ((Pair(task.id, task.instruction, task.input, row.response), row) for task, row in tasks)


def _judged(answered: Sequence[tuple[Pair, Response]], judge: Judge) -> list[Alternative]:
    """What a rule dropped is not judged."""
    scored = {one.id: one for one in judge([pair for pair, row in answered if row.dropped_by is None])}
    return [_record(row, scored.get(row.id)) for _, row in answered]


def _record(row: Response, found: Assessment | None) -> Alternative:
    id_, _, number = row.id.rpartition("/")
    told = (found.quality, found.following, found.quality_raw, found.following_raw) if found else ()
    return Alternative(id_, int(number), row.response, row.finish_reason, row.tokens, row.dropped_by, row.reason, *told)
