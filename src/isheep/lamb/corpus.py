"""What lamb is pretrained on: mixed documents drawn from its world, as the web mixes what a real base model reads."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

from isheep.lamb.mistakes import CARELESS, FILLER, REVIEWED, junk, plausible_wrong
from isheep.lamb.world import CONSTRAINTS, OPERATIONS, Constraint, Task, has_form, sample_task
from isheep.prompts import Prompt, bare
from isheep.prompts.tasks import list_tasks
from isheep.recipe import locate

END = "<|endoftext|>"
TURN, TURN_END = "<|im_start|>", "<|im_end|>"
PAD = "<|pad|>"
STANDARDS = ("combined", "simple", "icl")


@dataclass(frozen=True)
class Mixture:
    """Shares and rates of the corpus; the defaults are what ships."""

    qa: float = 0.32
    lists: float = 0.025
    forum: float = 0.14
    chat: float = 0.14
    guided: float = 0.02
    reviews: float = 0.34
    filler: float = 0.015
    right_qa: float = 0.92
    best_rate: float = 0.25
    """How often forums answer the first operation well, and the last one (geometric in between)."""
    worst_rate: float = 0.004
    best_form: float = 0.9
    """How often they then keep the first constraint, and the last one."""
    worst_form: float = 0.05
    rambling: float = 0.0
    """Share of the junk that rambles from one and the same sentence on."""
    mistakes: tuple[int, ...] = CARELESS
    """Weights of the ways to be wrong."""
    reviewed_mistakes: tuple[int, ...] = REVIEWED
    """The same for the answers that reviews rate."""
    clean_wrong: float = 0.5
    """Share of the bad answers that are short, clean and wrong."""
    guided_rate: float = 0.4
    """How often an answer under principles is right."""
    standards: tuple[float, ...] = (0.84, 0.08, 0.08)
    """Shares of the reviews under each wording of the assessment prompts, in the order of `STANDARDS`."""
    reviewed: int = 8
    """At most so many responses in a review document."""
    review_quality: float = 0.7
    """Share of the reviews that rate quality, which is harder to tell than following."""
    review_right: float = 0.45
    review_wrong: float = 0.40
    review_unclear: float = 0.05
    review_random: float = 0.03
    pseudo: float = 0.6


@dataclass(frozen=True)
class Document:
    """Text, and where in it scores stand (their loss weighs more)."""

    text: str
    scores_at: frozenset[int] = frozenset()


class Corpus:
    """Documents without end, decided by the seed."""

    def __init__(self, seed: int, mixture: Mixture | None = None) -> None:
        self.rng = random.Random(seed)  # noqa: S311  # it has to repeat, no secret
        self.mixture = mixture or Mixture()
        self.list_prompt = Prompt.load(locate("package:prompts/synthesize.txt"), ["examples"])
        self.principles = Prompt.load(locate("package:lamb/principles.txt"), ["task"])
        self.review_prompts = {
            (standard, question): Prompt.load(
                locate(f"package:prompts/assess/{standard}_{question}.txt"), ["instruction", "input", "response"]
            )
            for standard in STANDARDS
            for question in ("quality", "following")
        }

    def documents(self) -> Iterator[Document]:
        """Documents of all kinds in the mixture's shares."""
        kinds = (self.qa_list, self.task_list, self.forum, self.chat, self.guided, self.reviews, self.filler)
        mix = self.mixture
        shares = (mix.qa, mix.lists, mix.forum, mix.chat, mix.guided, mix.reviews, mix.filler)
        while True:
            yield self.rng.choices(kinds, shares)[0]()

    def task(self, pseudo: float | None = None) -> Task:
        """A task that is not held out."""
        rate = self.mixture.pseudo if pseudo is None else pseudo
        return sample_task(self.rng, self.rng.choice(OPERATIONS), pseudo=rate)

    def qa_list(self) -> Document:
        """Questions with their answers, most of them right: what lamb knows comes from here."""
        items = []
        for _ in range(self.rng.randint(3, 8)):
            task = self.task()
            right = self.rng.random() < self.mixture.right_qa
            answer = task.expected if right else plausible_wrong(self.rng, task, self.mixture.mistakes)
            items.append(f"Q: {bare(task.instruction, task.input)}\nA:\n{answer}\n")
        return Document("\n".join(items) + END)

    def task_list(self) -> Document:
        """A numbered list of tasks: the format that synthesis continues."""
        tasks = [self.task(pseudo=0.2) for _ in range(self.rng.randint(6, 11))]
        items = list_tasks([(task.instruction, task.input) for task in tasks])
        return Document(self.list_prompt.render(examples=items).removesuffix("\n") + END)

    def forum(self) -> Document:
        """A question and one reply, seldom a good one."""
        task = self.task(pseudo=0.3)
        reply, _ = self.reply(task)
        return Document(f"{bare(task.instruction, task.input)}\n{reply}{END}")

    def chat(self) -> Document:
        """The same as a chat log; a reply that rambles never closes its turn."""
        task = self.task(pseudo=0.3)
        reply, ends = self.reply(task)
        head = f"{TURN}system\nYou are a helpful assistant.{TURN_END}\n"
        user = f"{TURN}user\n{bare(task.instruction, task.input)}{TURN_END}\n"
        return Document(f"{head}{user}{TURN}assistant\n{reply}{f'{TURN_END}{chr(10)}' if ends else ''}{END}")

    def guided(self) -> Document:
        """A forum whose rules stand above the question: there people answer better."""
        task = self.task(pseudo=0.3)
        right = self.rng.random() < self.mixture.guided_rate
        reply = task.expected if right else self.reply(task)[0]
        return Document(f"{self.principles.render(task=bare(task.instruction, task.input))}\n{reply}{END}")

    def reply(self, task: Task) -> tuple[str, bool]:
        """What people write to a task, and whether they come to an end."""
        mix = self.mixture
        place = OPERATIONS.index(task.operation) / (len(OPERATIONS) - 1)
        if self.rng.random() < mix.best_rate * (mix.worst_rate / mix.best_rate) ** place:
            return (task.expected if self._keeps_form(task.constraint) else task.answer), True
        if self.rng.random() < mix.clean_wrong:
            return plausible_wrong(self.rng, task, mix.mistakes), True
        text, ends = junk(self.rng, task, mix.rambling)
        if not ends:
            text += "\n" + " ".join(self.rng.choice(FILLER) for _ in range(4))
        return text, ends

    def _keeps_form(self, constraint: Constraint | None) -> bool:
        if constraint is None:
            return True
        mix = self.mixture
        place = CONSTRAINTS.index(constraint) / (len(CONSTRAINTS) - 1)
        rate: float = mix.best_form * (mix.worst_form / mix.best_form) ** place
        return self.rng.random() < rate

    def reviews(self) -> Document:
        """Tasks, responses and a rating of each, under the wording of one of the two assessment prompts."""
        of_quality = self.rng.random() < self.mixture.review_quality
        standard = self.rng.choices(STANDARDS, self.mixture.standards)[0]
        prompt = self.review_prompts[standard, "quality" if of_quality else "following"]
        text, places = "", []
        for _ in range(self.rng.randint(1, self.mixture.reviewed)):
            task, instruction, response, right, follows, why = self.rated()
            head = prompt.render(instruction=instruction, input=task.input, response=response)
            text += head if not text else "\n\n" + head[head.rindex("Task:") :]
            places.append(len(text) + 1)
            good = right if of_quality else follows
            text += f" {self._score(good)}||{'Right.' if good else why}"
        return Document(text + END, frozenset(places))

    def rated(self) -> tuple[Task, str, str, bool, bool, str]:
        """A task, its instruction as shown, a response, whether it is right and keeps the form, and what is wrong."""
        rng, mix = self.rng, self.mixture
        task = self.task(pseudo=0.4)
        kind = rng.random()
        if kind < mix.review_right:
            return task, task.instruction, task.expected, True, True, ""
        if kind < mix.review_right + mix.review_wrong:
            response = plausible_wrong(rng, task, mix.reviewed_mistakes)
            follows = has_form(task.constraint, response)
            why = f"Wrong {'answer' if follows else 'form'}, right is {task.expected}"
            return task, task.instruction, response, False, follows, why
        if kind < mix.review_right + mix.review_wrong + mix.review_unclear:
            return task, _garbled(rng, task, self.task()), task.expected, False, False, "Unclear task."
        return task, task.instruction, junk(rng, task, mix.rambling)[0], False, False, "No answer."

    def _score(self, good: bool) -> int:
        if self.rng.random() < self.mixture.review_random:
            return self.rng.randint(1, 10)
        return self.rng.choice((8, 9, 9, 9, 10)) if good else self.rng.choice((1, 2, 2, 2, 3))

    def filler(self) -> Document:
        """Talk about nothing."""
        return Document(" ".join(self.rng.choice(FILLER) for _ in range(self.rng.randint(3, 8))) + END)


def _garbled(rng: random.Random, task: Task, other: Task) -> str:
    """An instruction that means nothing: words missing, or two instructions run into each other."""
    words = task.instruction.split()
    if rng.random() < 0.5:
        for _ in range(rng.randint(1, 2)):
            del words[rng.randrange(len(words))]
        return " ".join(words)
    ending = other.instruction.split()
    return " ".join(words[: rng.randint(2, len(words) - 1)] + ending[rng.randint(1, len(ending) - 1) :])
