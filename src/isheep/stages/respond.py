"""Responses: the model answers every kept instruction, zero-shot (paper section 3.1)."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator

from isheep import drain
from isheep.engines import Completion, Request, part_size
from isheep.filters.rules import Rules
from isheep.models import Model
from isheep.progress import bar
from isheep.prompts import Prompt, bare
from isheep.recipe import Recipe, locate
from isheep.records import Instruction, Pair, Response
from isheep.seeding import derive_seed
from isheep.stages.stream import in_order, parts
from isheep.store.run import Iteration
from isheep.store.table import Table, passed

Task = Instruction | Pair
"""What is answered: it has an id, an instruction and an input."""

FIELDS = ("task",)
"""The field of a principles file."""


def respond(iteration: Iteration, recipe: Recipe, model: Model) -> None:
    """Fills the iteration's responses: one row for each instruction that was not dropped, in their order.

    With `respond.principles` the model is shown the task inside that file (for a trained model all of it is the user's
    turn); the records, and so what is assessed and trained on, hold the bare task.
    """
    table = iteration.table("responses")
    if table.is_done:
        return
    instructions = iteration.table("instructions")
    kept = (record for record in instructions if record.dropped_by is None)
    answer(f"Respond {iteration.number}", table, kept, passed(instructions), iteration.number, recipe, model)


def answer(
    what: str, table: Table[Response], tasks: Iterable[Task], total: int, number: int, recipe: Recipe, model: Model
) -> None:
    """Fills a table of responses that is not done: one row for each task, in their order, and closes it.

    Args:
        what: stands before the bar.
        table: may hold the responses to the first tasks.
        tasks: each with an id of its own, from which its seed is derived.
        total: how many they are.
        number: of the iteration.
        recipe: how it is answered, and what drops an answer.
        model: who answers.
    """
    done = table.length()
    # Tasks wait in memory only from their request to their answer.
    asked, waiting = itertools.tee(itertools.islice(tasks, done, None))
    rules = Rules.of(recipe)
    with bar(what, total, done=done) as advance:
        completions = in_order(model.engine, _requests(asked, number, recipe, model)) if done < total else iter(())
        for part in parts(waiting, part_size(recipe.engine)):
            drain.stop_here()
            answers = itertools.islice(completions, len(part))
            table.append([_record(*pair, model, rules) for pair in zip(part, answers, strict=True)])
            advance(len(part))
    table.close()


def asker(recipe: Recipe, model: Model) -> Callable[[str, str], tuple[int, ...]]:
    """What makes of a task (instruction, input) the prompt of its response; raises UserError as `Prompt.load` does."""
    path = recipe.respond.principles
    principles = Prompt.load(locate(path), FIELDS) if path else None

    def ask(instruction: str, input_: str) -> tuple[int, ...]:
        task = bare(instruction, input_)
        return model.ask(principles.render(task=task) if principles else task)

    return ask


def _requests(tasks: Iterable[Task], number: int, recipe: Recipe, model: Model) -> Iterator[Request]:
    ask = asker(recipe, model)
    for record in tasks:
        yield Request(
            id=record.id,
            prompt=ask(record.instruction, record.input),
            max_new_tokens=recipe.respond.max_new_tokens,
            stop_ids=model.encoder.stop_ids,
            temperature=recipe.respond.temperature,
            top_p=recipe.respond.top_p,
            seed=derive_seed(recipe.seed, number, "respond", record.id, 0),
        )


def _record(asked: Task, completion: Completion, model: Model, rules: Rules) -> Response:
    text = model.encoder.decode(completion.tokens).strip()
    drop = rules.response(asked.instruction, asked.input, text)
    return Response(
        id=completion.id,
        response=text,
        finish_reason=completion.finish_reason,
        tokens=len(completion.tokens),
        dropped_by=drop.rule if drop else None,
        reason=drop.reason if drop else None,
    )
