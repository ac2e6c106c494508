"""lamb's world: small text tasks whose answers can be checked, and the ways to ask for them.

A task is an operation on words, numbers or facts, in one of several phrasings, sometimes with a constraint on the form
of the answer. One fifth of all words and number pairs and a third of all facts with their constraint are held out (by
hash): they occur in the benchmark and in no document.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache

from isheep.lamb.words import KINDS, OPPOSITES, WORDS, groups, pairs
from isheep.seeding import derive_seed

Answer = Callable[..., str | None]


@dataclass(frozen=True)
class Operation:
    """Something that can be asked for. `slots` names the kind of each argument: word, number or a fact table's key."""

    name: str
    slots: tuple[str, ...]
    answer: Answer
    phrasings: tuple[str, ...]
    """Arguments as {0}, {1} ...; after a `|` follows the input, where the phrasing has one."""
    short: int = 3
    long: int = 6
    """Lengths of the words that this operation is asked for."""
    facts: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Constraint:
    """A demand on the form of the answer."""

    name: str
    requests: tuple[str, ...]
    apply: Callable[[str], str]


@dataclass(frozen=True)
class Task:
    """One instance: what is asked, and what is right."""

    operation: Operation
    arguments: tuple[str, ...]
    constraint: Constraint | None
    instruction: str
    input: str

    @property
    def answer(self) -> str:
        """The answer before the constraint shapes it; raises ValueError for arguments that have none."""
        right = self.operation.answer(*self.arguments)
        if right is None:
            raise ValueError(f"{self.operation.name} has no answer for {self.arguments}")
        return right

    @property
    def expected(self) -> str:
        """The one response that is right."""
        return shape(self.answer, self.constraint)


def shape(answer: str, constraint: Constraint | None) -> str:
    """An answer in the form that the constraint asks for."""
    return constraint.apply(answer) if constraint else answer


def has_form(constraint: Constraint | None, response: str) -> bool:
    """Whether a response has the form that was asked for, and no other one beside it (but capitals go with figures)."""
    marks = {
        "exclaim": response.endswith("!"),
        "brackets": response.startswith("(") and response.endswith(")"),
        "quotes": response.startswith('"') and response.endswith('"'),
        "sure": response.startswith("sure "),
        "star": response.startswith("*"),
    }
    found = {name for name, present in marks.items() if present}
    if constraint is None:
        return not found
    if constraint.name == "capitals":
        return not found and response == response.upper()
    return found == {constraint.name}


def _fact(table: dict[str, str]) -> Answer:
    return table.get


_BOTH = pairs(OPPOSITES)
_OPPOSITE = _BOTH | {second: first for first, second in _BOTH.items()}


def _fact_operation(name: str, table: dict[str, str], *phrasings: str) -> Operation:
    return Operation(name, (name,), _fact(table), phrasings, facts=table)


OPERATIONS = (
    Operation(
        "upper",
        ("word",),
        lambda w: w.upper(),
        ("Write the word {0} in capitals.", "Put {0} into capital letters.", "Write this word in capitals.|{0}"),
    ),
    Operation(
        "first_letter",
        ("word",),
        lambda w: w[0],
        ("What is the first letter of {0}?", "Name the letter that {0} begins with.", "Give the first letter.|{0}"),
    ),
    _fact_operation(
        "opposite",
        _OPPOSITE,
        "What is the opposite of {0}?",
        "Name a word that means the opposite of {0}.",
        "Give the opposite of this word.|{0}",
    ),
    Operation(
        "last_letter",
        ("word",),
        lambda w: w[-1],
        ("What is the last letter of {0}?", "Name the letter that {0} ends with.", "Give the last letter.|{0}"),
    ),
    Operation(
        "repeat",
        ("word",),
        lambda w: f"{w} {w}",
        ("Write the word {0} twice.", "Repeat {0} two times.", "Write this word two times.|{0}"),
    ),
    Operation(
        "larger",
        ("number", "number"),
        lambda a, b: None if a == b else str(max(int(a), int(b))),
        (
            "Which number is larger, {0} or {1}?",
            "Pick the larger one of {0} and {1}.",
            "Pick the larger number.|{0} {1}",
        ),
    ),
    _fact_operation(
        "kind",
        groups(KINDS),
        "What kind of thing is {0}?",
        "Name the group that {0} belongs to.",
        "Tell the kind of this thing.|{0}",
    ),
    Operation(
        "capitalize",
        ("word",),
        lambda w: w.capitalize(),
        (
            "Write {0} with a capital first letter.",
            "Make only the first letter of {0} a capital.",
            "Write this as a name.|{0}",
        ),
    ),
    Operation(
        "join",
        ("word", "word"),
        lambda a, b: f"{a}-{b}",
        ("Join {0} and {1} with a dash.", "Put a dash between {0} and {1}.", "Join these words with a dash.|{0} {1}"),
    ),
    Operation(
        "drop_first",
        ("word",),
        lambda w: w[1:],
        (
            "Take the first letter away from {0}.",
            "Write {0} without its first letter.",
            "Remove the first letter.|{0}",
        ),
    ),
    Operation(
        "smaller",
        ("number", "number"),
        lambda a, b: None if a == b else str(min(int(a), int(b))),
        (
            "Which number is smaller, {0} or {1}?",
            "Pick the smaller one of {0} and {1}.",
            "Pick the smaller number.|{0} {1}",
        ),
    ),
    Operation(
        "swap",
        ("word", "word"),
        lambda a, b: f"{b} {a}",
        ("Swap the words {0} and {1}.", "Write {0} and {1} in the other order.", "Swap these words.|{0} {1}"),
    ),
    Operation(
        "drop_last",
        ("word",),
        lambda w: w[:-1],
        ("Take the last letter away from {0}.", "Write {0} without its last letter.", "Remove the last letter.|{0}"),
    ),
    Operation(
        "spell",
        ("word",),
        lambda w: " ".join(w),
        ("Spell the word {0} letter by letter.", "Write {0} with its letters apart.", "Spell this word out.|{0}"),
        long=5,
    ),
    Operation(
        "pick_last",
        ("word", "word", "word"),
        lambda a, b, c: c,
        (
            "Which word is last in {0}, {1}, {2}?",
            "Pick the last one of {0}, {1} and {2}.",
            "Pick the last word of the list.|{0}, {1}, {2}",
        ),
    ),
    Operation(
        "ends",
        ("word",),
        lambda w: w[0] + w[-1],
        (
            "What are the outer letters of {0}?",
            "Join the first and the last letter of {0}.",
            "Give the first and the last letter.|{0}",
        ),
    ),
    Operation(
        "count",
        ("word",),
        lambda w: str(len(w)),
        ("How many letters are in {0}?", "Count the letters of {0}.", "Count the letters of this word.|{0}"),
    ),
    Operation(
        "reverse",
        ("word",),
        lambda w: w[::-1],
        ("Reverse the letters of {0}.", "Write the word {0} backwards.", "Write this word backwards.|{0}"),
        long=5,
    ),
)
"""In the order in which forums answer them well: the first often, the last hardly ever."""

CONSTRAINTS = (
    Constraint("exclaim", ("End with an exclamation mark.", "Add an exclamation mark."), lambda a: f"{a}!"),
    Constraint("brackets", ("Put the answer in brackets.", "Use brackets around it."), lambda a: f"({a})"),
    Constraint("capitals", ("Answer in capitals.", "Use only capitals for it."), lambda a: a.upper()),
    Constraint("sure", ("Begin with the word sure.", "Say sure first."), lambda a: f"sure {a}"),
    Constraint("quotes", ("Put the answer in quotes.", "Use quotes around it."), lambda a: f'"{a}"'),
    Constraint("star", ("Put a star before it.", "Begin with a star."), lambda a: f"*{a}"),
)
"""In the order in which forums keep them: the first often, the last hardly ever."""

_NO_CONSTRAINT_FOR = {"upper": ("capitals",), "capitalize": ("capitals",)}


def is_held_out(operation: Operation, arguments: tuple[str, ...], constraint: Constraint | None) -> bool:
    """Whether a task belongs to the benchmark alone."""
    if operation.facts:
        return derive_seed("fact", operation.name, *arguments, constraint.name if constraint else "") % 3 == 0
    if "number" in operation.slots:
        return derive_seed("numbers", *sorted(arguments)) % 5 == 0
    return any(_held_out_word(argument) for argument in arguments)


@cache
def _held_out_word(word: str) -> bool:
    return derive_seed("word", word) % 5 == 0


def sample_word(rng: random.Random, short: int, long: int, held_out: bool, pseudo: float = 0.0) -> str:
    """A word of `short`..`long` letters on the asked side of the split; with probability `pseudo` a made-up one."""
    while True:
        if rng.random() < pseudo:
            length = rng.randint(short, long)
            word = "".join(rng.choice("bcdfghklmnprstvw" if (i + length) % 2 else "aeiou") for i in range(length))
            if rng.random() < 0.5:
                spot = rng.randrange(length)
                word = word[:spot] + rng.choice("abcdefghijklmnopqrstuvwxyz") + word[spot + 1 :]
        else:
            word = rng.choice(WORDS)
        if short <= len(word) <= long and _held_out_word(word) == held_out:
            return word


def sample_task(
    rng: random.Random,
    operation: Operation,
    held_out: bool = False,
    pseudo: float = 0.0,
    constrained: float = 0.5,
) -> Task:
    """A task of this operation on the asked side of the split."""
    while True:
        constraint = rng.choice(CONSTRAINTS) if rng.random() < constrained else None
        if constraint and constraint.name in _NO_CONSTRAINT_FOR.get(operation.name, ()):
            continue
        arguments = tuple(_sample_argument(rng, operation, slot, held_out, pseudo) for slot in operation.slots)
        if len(set(arguments)) < len(arguments) or operation.answer(*arguments) is None:
            continue
        if is_held_out(operation, arguments, constraint) == held_out:
            return phrase(rng, operation, arguments, constraint)


def _sample_argument(rng: random.Random, operation: Operation, slot: str, held_out: bool, pseudo: float) -> str:
    if slot == "word":
        return sample_word(rng, operation.short, operation.long, held_out and rng.random() < 0.8, pseudo)
    if slot == "number":
        return str(rng.randint(2, 98))
    return rng.choice(list(operation.facts))


def phrase(rng: random.Random, operation: Operation, arguments: tuple[str, ...], constraint: Constraint | None) -> Task:
    """The task in a random phrasing."""
    text, _, input_ = rng.choice(operation.phrasings).partition("|")
    if constraint:
        text = f"{text} {rng.choice(constraint.requests)}"
    return Task(operation, arguments, constraint, text.format(*arguments), input_.format(*arguments))


@cache
def _patterns() -> list[tuple[re.Pattern[str], Operation]]:
    found = []
    for operation in OPERATIONS:
        for phrasing in operation.phrasings:
            pattern = re.escape(phrasing)
            for place, slot in enumerate(operation.slots):
                kind = r"(\d{1,2})" if slot == "number" else r"([a-z]{2,9})"
                pattern = pattern.replace(re.escape(f"{{{place}}}"), kind)
            found.append((re.compile(pattern), operation))
    return found


_REQUESTS = {request: constraint for constraint in CONSTRAINTS for request in constraint.requests}


def parse(instruction: str, input_: str) -> Task | None:
    """The task that a text asks for, or None where it is none of this world (then nothing can be said of an answer)."""
    body, constraint = instruction.strip(), None
    for request, asked in _REQUESTS.items():
        if body.endswith(f" {request}"):
            body, constraint = body.removesuffix(f" {request}"), asked
            break
    text = f"{body}|{input_.strip()}" if input_.strip() else body
    for pattern, operation in _patterns():
        match = pattern.fullmatch(text)
        if match and operation.answer(*match.groups()) is not None:
            return Task(operation, match.groups(), constraint, instruction, input_)
    return None
