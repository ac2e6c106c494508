"""Instructions: the model continues a list of tasks that begins with sampled ones (paper section 3.1)."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from isheep import drain
from isheep.engines import Completion, Request, part_size
from isheep.errors import StageError
from isheep.filters.novelty import Novelty
from isheep.filters.rules import Rules
from isheep.models import Model
from isheep.progress import bar
from isheep.prompts import Prompt, compared_text
from isheep.prompts.tasks import list_tasks, next_task, parse_tasks
from isheep.recipe import Recipe, locate
from isheep.records import Instruction, SeedTask
from isheep.seeding import derive_seed, record_id
from isheep.stages.shots import Pool, gather_shots
from isheep.stages.stream import in_order
from isheep.store.run import Iteration

FIELDS = ("examples",)
"""Of the synthesis prompt."""


def synthesize(
    iteration: Iteration, earlier: Sequence[Iteration], seeds: Sequence[SeedTask], recipe: Recipe, model: Model
) -> None:
    """Fills the iteration's instructions until `size` of them have passed the rules and novelty.

    Raises:
        StageError: the model writes too few that pass (`synthesize.patience`).
    """
    table = iteration.table("instructions")
    if table.is_done:
        return
    pool = gather_shots(iteration, earlier, seeds, recipe, model)
    writer = _Writer(iteration.number, model.number, recipe, pool, seeds, earlier, table)
    per_part = part_size(recipe.engine)
    requests = writer.requests(model, first=table.parts() * per_part)
    with bar(f"Synthesize {iteration.number}", recipe.size, done=writer.kept) as advance:
        completions = in_order(model.engine, requests) if writer.kept < recipe.size else iter(())
        while writer.kept < recipe.size:
            drain.stop_here()
            before = writer.kept
            part: list[Instruction] = []
            for completion in itertools.islice(completions, per_part):
                part += writer.take(completion, model)
            table.append(part)
            advance(writer.kept - before)
            if table.parts() * per_part > recipe.synthesize.patience * recipe.size:
                _refuse_if_short(iteration, recipe, writer, table.parts() * per_part)
    table.close()


def asked_to_continue(prompt: Prompt, tasks: Sequence[tuple[str, str]]) -> str:
    """The text that a model is shown: tasks (instruction, input) as a list, up to the opening of the next one."""
    return prompt.render(examples=list_tasks(tasks) + next_task(len(tasks) + 1))


class _Writer:
    """Turns completions into records, one after the other: each is held against everything kept before it."""

    def __init__(
        self,
        iteration: int,
        source: int,
        recipe: Recipe,
        pool: Pool,
        seeds: Sequence[SeedTask],
        earlier: Sequence[Iteration],
        made: Iterable[Instruction],
    ) -> None:
        self.iteration, self.source, self.recipe, self.pool = iteration, source, recipe, pool
        self.prompt = Prompt.load(locate(recipe.synthesize.prompt), FIELDS)
        self.rules = Rules.of(recipe)
        self.novelty = Novelty(recipe.novelty.limit, recipe.novelty.tokenizer)
        for seed in seeds:
            self.novelty.add(seed.id, self._compared(seed.instruction, seed.input))
        self._remember(itertools.chain.from_iterable(past.table("instructions") for past in earlier))
        self.drops = self._remember(made)
        """How many of the iteration's each rule dropped; None: kept."""

    @property
    def kept(self) -> int:
        """How many of the iteration's passed the rules and novelty."""
        return self.drops[None]

    def requests(self, model: Model, first: int) -> Iterator[Request]:
        """Requests number `first`, `first` + 1 ... without end."""
        settings = self.recipe.synthesize
        for number in itertools.count(first):
            shots = self.pool.draw(number)
            examples = [(shot.instruction, shot.input) for shot in shots]
            yield Request(
                id=str(number),
                prompt=model.encoder.plain(asked_to_continue(self.prompt, examples)),
                max_new_tokens=settings.max_new_tokens,
                stop_ids=model.encoder.stop_ids,
                temperature=settings.temperature,
                top_p=settings.top_p,
                seed=derive_seed(self.recipe.seed, self.iteration, "synthesize", number, 0),
            )

    def take(self, completion: Completion, model: Model) -> list[Instruction]:
        """The records of one completion; once enough are kept, the rest of it is left unread."""
        shot_ids = [shot.id for shot in self.pool.draw(int(completion.id))]
        text = next_task(len(shot_ids) + 1) + model.encoder.decode(completion.tokens)
        records: list[Instruction] = []
        for instruction, input_, malformed in parse_tasks(text, cut=completion.finish_reason == "length"):
            if self.kept == self.recipe.size:
                break
            index = self.drops.total()
            record = Instruction(
                id=record_id(self.recipe.seed, self.iteration, index),
                iteration=self.iteration,
                index=index,
                instruction=instruction,
                input=input_,
                shot_ids=shot_ids,
                source=self.source,
                prompt_id=self.prompt.id,
            )
            records.append(self._judged(record, malformed))
            self.drops[records[-1].dropped_by] += 1
        return records

    def _remember(self, records: Iterable[Instruction]) -> Counter[str | None]:
        """Puts what was not dropped into the pool; what dropped the rest is counted."""
        drops: Counter[str | None] = Counter()
        for record in records:
            drops[record.dropped_by] += 1
            if record.dropped_by is None:
                self.novelty.add(record.id, self._compared(record.instruction, record.input))
        return drops

    def _judged(self, record: Instruction, malformed: bool) -> Instruction:
        if malformed:
            return replace(record, dropped_by="malformed", reason="not of the form Instruction: ... Input: ...")
        if drop := self.rules.instruction(record.instruction, record.input):
            return replace(record, dropped_by=drop.rule, reason=drop.reason)
        compared = self._compared(record.instruction, record.input)
        match = self.novelty.nearest(compared)
        if match:
            record = replace(record, rouge_max=match.f, rouge_id=match.id)
        if drop := self.novelty.verdict(match):
            return replace(record, dropped_by=drop.rule, reason=drop.reason)
        self.novelty.add(record.id, compared)
        return record

    def _compared(self, instruction: str, input_: str) -> str:
        return compared_text(instruction, input_, self.recipe.novelty.compare)


def _refuse_if_short(iteration: Iteration, recipe: Recipe, writer: _Writer, requests: int) -> None:
    if writer.kept < recipe.size:
        reasons = [(rule, count) for rule, count in writer.drops.most_common() if rule is not None]
        counted = ", ".join(f"{rule} {count}" for rule, count in reasons) or "nothing was written"
        raise StageError(
            f"iteration {iteration.number}: {requests} requests gave {writer.kept} of {recipe.size} instructions "
            f"({writer.drops.total()} written; dropped: {counted}). "
            "Lower `size`, add seed tasks, or raise `synthesize.patience`."
        )
