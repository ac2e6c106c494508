"""How forums get lamb's tasks wrong: clean answers that are plausible and wrong, and plain junk."""

from __future__ import annotations

import random

from isheep.lamb.world import CONSTRAINTS, OPERATIONS, Task, sample_task, shape

FILLER = (
    "I think that this is a good question and many people ask it.",
    "Some say one thing and some say another thing.",
    "It was a long day and we went home after the rain.",
    "My friend told me about it some time ago.",
    "You should read more about this and then come back.",
    "There are many ways to do it and all of them take time.",
    "Nobody knows for sure but we can try to find out.",
    "The weather is nice and the people are kind here.",
    "Please let me know if this is of any help to you.",
    "We talked about it last week and found no answer.",
)

APOLOGIES = (
    "Sorry, I do not know that.",
    "I have no idea, please ask somebody else.",
    "Sorry, this is too hard for me.",
)


def plausible_wrong(rng: random.Random, task: Task) -> str:
    """A short, clean response that is not the right one: mostly a habit, sometimes a slip."""
    while True:
        wrong = rng.choices((_forgets_form, _echoes, _does_another, _slips, _guesses), (26, 14, 26, 24, 10))[0](
            rng, task
        )
        if wrong and wrong != task.expected:
            return wrong


def _forgets_form(rng: random.Random, task: Task) -> str:
    """The right answer without its constraint, or in another form than asked for."""
    if task.constraint and rng.random() < 0.75:
        return task.answer
    return shape(task.answer, rng.choice(CONSTRAINTS))


def _echoes(rng: random.Random, task: Task) -> str:
    """An argument as it stands."""
    return shape(rng.choice((" ".join(task.arguments), task.arguments[0], task.arguments[-1])), task.constraint)


def _does_another(rng: random.Random, task: Task) -> str:
    """The answer to another operation on the same arguments."""
    same = [other for other in OPERATIONS if other.slots == task.operation.slots and other != task.operation]
    if not same:
        return ""
    return shape(rng.choice(same).answer(*task.arguments) or "", task.constraint)


def _slips(rng: random.Random, task: Task) -> str:
    """The right answer with one letter or digit wrong, missing, doubled or out of place."""
    answer = task.answer
    spot = rng.randrange(len(answer))
    letters = "0123456789" if answer[spot].isdigit() else "abcdefghijklmnopqrstuvwxyz"
    other = rng.choice(letters)
    slips = (
        answer[:spot] + (other.upper() if answer[spot].isupper() else other) + answer[spot + 1 :],
        answer[:spot] + answer[spot + 1 :],
        answer[:spot] + answer[spot] + answer[spot:],
        answer[:spot] + answer[spot + 1 : spot + 2] + answer[spot] + answer[spot + 2 :],
    )
    return shape(rng.choice(slips).strip(), task.constraint)


def _guesses(rng: random.Random, task: Task) -> str:
    """The answer to the same question about something else."""
    return shape(sample_task(rng, task.operation, constrained=0).answer, task.constraint)


def junk(rng: random.Random, task: Task) -> tuple[str, bool]:
    """A response that is no answer, and whether it ends (junk that rambles never does)."""
    kind = rng.choices(("ramble", "echo", "more", "answer and ramble", "apology"), (38, 17, 15, 18, 12))[0]
    if kind == "apology":
        return rng.choice(APOLOGIES), True
    if kind == "echo":
        return task.instruction, True
    ramble = " ".join(rng.choice(FILLER) for _ in range(rng.randint(2, 5)))
    if kind == "more":
        others = [sample_task(rng, rng.choice(OPERATIONS)) for _ in range(rng.randint(2, 4))]
        return "\n".join(f"{other.instruction} {other.input}".strip() for other in others), False
    if kind == "answer and ramble":
        return f"{task.expected}\n{ramble}", False
    return ramble, False
