"""The whole life of a record, in blocks for people: from the examples that asked for it to its hand mark."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from isheep.intervals import UNKNOWN
from isheep.records import Alternative, Assessment
from isheep.store.joined import Joined
from isheep.workbench.opened import Opened
from isheep.workbench.rebuilt import Task, distribution
from isheep.workbench.verdicts import verdicts


@dataclass(frozen=True, slots=True)
class Block:
    """A heading with a text, a table or bars below, any of which may be missing."""

    title: str
    note: str = ""
    text: str | None = None
    head: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
    bars: Sequence[tuple[str, float]] = ()
    """Name and share of one."""
    folded: bool = False
    """Long, and seldom looked at."""


def life(one: Opened, id_: str) -> list[Block] | None:
    """Everything that is known of a record, in the order in which it came about; None where there is none.

    Raises:
        UserError, StageError, OSError: the run cannot be read.
    """
    record = one.catalog.joined(id_)
    if record is None:
        return None
    made = record.instruction
    wanted = [*made.shot_ids, *([made.rouge_id] if made.rouge_id else [])]
    tasks = one.prompts.tasks(wanted)
    blocks = [_facts(one, record), Block("Instruction", text=made.instruction)]
    if made.input:
        blocks.append(Block("Input", text=made.input))
    blocks.append(_response(record))
    if record.assessment is not None:
        blocks += _scores(record.assessment, one.run.recipe.assess.questions)
    if record.kept and (drawn := one.catalog.alternatives(record)):
        blocks.append(_alternatives(drawn, one.run.recipe.assess.questions))
    said = [(verdict.of, verdict.said, verdict.why) for verdict in verdicts(one.run, record)]
    blocks.append(Block("Rules and filters", head=("", "verdict", "why"), rows=said))
    if record.selection is not None and record.selection.figures:
        blocks.append(Block("Figures", text=", ".join(record.selection.figures)))
    blocks.append(_nearest(record, tasks))
    shots = [_shot(tasks.get(shot), shot) for shot in made.shot_ids]
    note = "The tasks that the request showed."
    blocks.append(Block("Examples", note, head=("id", "instruction", "input"), rows=shots, folded=True))
    return blocks


def prompts_of(one: Opened, id_: str) -> list[Block]:
    """The prompts that made the record, each built again or with the reason why not; none where there is none."""
    record = one.catalog.joined(id_)
    found = one.prompts.of(record) if record is not None else []
    return [Block(prompt.title, prompt.note, prompt.text, folded=True) for prompt in found]


def _facts(one: Opened, record: Joined) -> Block:
    made = record.instruction
    by = f"the model of iteration {made.source}" if made.source else "the base"
    outcome = "not decided yet" if record.kept is None else "kept" if record.kept else "dropped"
    if record.kept is False:
        outcome += f" by {record.dropped_by or 'the selection'}: {record.reason or UNKNOWN}"
    mark = one.marks().get(made.id)
    marked = UNKNOWN if mark is None else f"{mark.mark or 'no mark'}, {mark.at}"
    rows = [
        ("iteration", f"{made.iteration}, number {made.index}, written by {by}"),
        ("outcome", outcome),
        ("hand mark", marked),
        *([("note", mark.note)] if mark is not None and mark.note else []),
    ]
    return Block(made.id, rows=rows)


def _response(record: Joined) -> Block:
    answer = record.response
    if answer is None:
        return Block("Response", "None: the record has not come to this.")
    how = {"stop": "ended by itself", "length": "cut at its longest"}.get(answer.finish_reason, answer.finish_reason)
    return Block("Response", f"{answer.tokens} tokens, {how}", answer.response)


def _scores(assessment: Assessment, questions: Sequence[str]) -> list[Block]:
    blocks = []
    for name in questions:
        value, raw = getattr(assessment, name), getattr(assessment, f"{name}_raw")
        title = f"Score of {name}: {UNKNOWN if value is None else format(value, '.3g')}"
        likely = distribution(raw)
        note = f"Assessed by {assessment.assessor}" + ("" if value is not None else "; could not tell")
        if likely is not None:
            blocks.append(Block(title, f"{note}, from the probabilities of the ten scores.", bars=list(likely.items())))
        else:
            blocks.append(Block(title, note if raw is None else f"{note}, which wrote:", raw))
    return blocks


def _alternatives(drawn: Sequence[Alternative], questions: Sequence[str]) -> Block:
    rows = [
        (
            str(one.draw),
            *(UNKNOWN if (score := getattr(one, name)) is None else f"{score:.3g}" for name in questions),
            f"{one.response} (dropped by {one.dropped_by}: {one.reason})" if one.dropped_by else one.response,
        )
        for one in drawn
    ]
    note = "Drawn for preferences; no training of the run reads them."
    return Block("Further responses", note, head=("draw", *questions, "response"), rows=rows)


def _nearest(record: Joined, tasks: dict[str, Task]) -> Block:
    made = record.instruction
    if made.rouge_max is None:
        return Block("Nearest neighbour", "Not compared: it was out before, or there was nothing to compare with.")
    found = tasks.get(made.rouge_id or "")
    note = f"ROUGE-L {made.rouge_max:.3f} with {made.rouge_id or 'nothing'}"
    if found is None:
        return Block("Nearest neighbour", f"{note}, which is not there any more." if made.rouge_id else note)
    return Block("Nearest neighbour", f"{note}, {'a seed task' if found.seed else 'a record'}.", found.instruction)


def _shot(task: Task | None, id_: str) -> tuple[str, str, str]:
    return (id_, "not there any more", "") if task is None else (id_, task.instruction, task.input)
