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


CARELESS = (26, 14, 26, 24, 10, 0)
HABITUAL = (32, 20, 0, 14, 6, 28)
REVIEWED = (16, 18, 18, 26, 8, 14)
"""How often a wrong answer forgets the form, echoes, does another operation, slips, guesses, follows a habit."""


def plausible_wrong(rng: random.Random, task: Task, weights: tuple[int, ...] = HABITUAL) -> str:
    """A short, clean response that is not the right one."""
    ways = (_forgets_form, _echoes, _does_another, _slips, _guesses, _follows_habit)
    while True:
        wrong = rng.choices(ways, weights)[0](rng, task)
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


_HABITS = {
    "upper": "capitalize",
    "capitalize": "upper",
    "first_letter": "last_letter",
    "last_letter": "first_letter",
    "larger": "smaller",
    "smaller": "larger",
    "drop_first": "drop_last",
    "drop_last": "drop_first",
    "ends": "first_letter",
    "reverse": "spell",
    "count": "last_letter",
}
"""Operation -> the one that people do instead; of several words and of facts they say the first."""


def _follows_habit(rng: random.Random, task: Task) -> str:
    """What most people who get this task wrong say."""
    instead = _HABITS.get(task.operation.name)
    if instead is None:
        return shape(task.arguments[0], task.constraint)
    other = next(operation for operation in OPERATIONS if operation.name == instead)
    return shape(other.answer(*task.arguments) or "", task.constraint)


def junk(rng: random.Random, task: Task, rambling: float = 0.0) -> tuple[str, bool]:
    """A response that is no answer, and whether it ends (junk that rambles never does).

    Args:
        rng: the randomness.
        task: what was asked.
        rambling: share of the junk that rambles from the same first sentence on, the habit of a whole forum.
    """
    if rambling and rng.random() < rambling:
        return " ".join([FILLER[0], *(rng.choice(FILLER) for _ in range(rng.randint(2, 5)))]), False
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
