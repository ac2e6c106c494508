"""The heuristic rules on instructions and responses (paper section 3.1); their words come from a language file."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterable, Iterator
from difflib import get_close_matches
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from isheep.errors import UserError
from isheep.filters import Drop, together
from isheep.recipe import Recipe, locate
from isheep.recipe.refusals import nearest

_URL = re.compile(r"https?://|\bwww\.\w", re.IGNORECASE)
_CHOICE = re.compile(r"(?<![^\s(])([A-Ea-e])[.)](?=\s)")
"""A choice's label before a space: `A.`, `b)` or `(C)`. One alone says nothing: think of "vitamin C."."""
INSTRUCTION_RULES = (
    "too_short",
    "too_long",
    "beyond_text",
    "bad_start",
    "placeholder_input",
    "url",
    "marker",
    "input_repeated",
)
RESPONSE_RULES = ("empty_response", "new_turn", "marker", "answer_choices", "asks_back", "other_script")
"""Names, in the order in which the rules are asked; `marker` looks at both."""
RULES = (*INSTRUCTION_RULES, *RESPONSE_RULES)

_INVISIBLE = dict.fromkeys(map(ord, "\u200b\u200c\u200d\u2060\ufeff"))


class Language(BaseModel):
    """What rules and health know about one language; the shipped `english.yaml` explains every entry."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    word_pattern: str
    first_character_pattern: str
    beyond_text: list[str]
    beyond_text_allowed_patterns: list[str]
    task_markers: list[str]
    no_input_markers: list[str]
    placeholders: list[str]
    placeholder_patterns: list[str]
    turn_markers: list[str]
    answer_labels: list[str]
    turns_wanted_patterns: list[str]
    choices_wanted_patterns: list[str]
    choices_heading_patterns: list[str]
    asks_back_patterns: list[str]
    asks_back_lead_pattern: str
    other_scripts: dict[str, list[str]]
    any_script_words: list[str]
    courtesies: list[str]
    function_words: list[str]


class Rules:
    """Drops what no text model can do, what the parser left behind, and responses that do not answer.

    A drop names the first rule that is broken, and its reason tells of every one. Rules can be switched off.
    Not covered: whether a response is right, or whether an instruction can be answered. The published rules fire on
    "vitamin C.", "Nonetheless", a lone "(a)", any question after a blank line and any Chinese character, even in a
    translation that was asked for; these do not.
    """

    def __init__(self, language: Language, min_words: int, max_words: int, off: Collection[str] = ()) -> None:
        """Compiles the language's patterns; raises re.error if one is not a regular expression."""
        self._min_words, self._max_words, self._off = min_words, max_words, frozenset(off)
        self._word = re.compile(language.word_pattern)
        self._first_character = re.compile(language.first_character_pattern)
        self._beyond_text = _words(language.beyond_text)
        self._beyond_text_allowed = _any(language.beyond_text_allowed_patterns, whole_words=True)
        self._no_input_marker = _words(language.no_input_markers)
        self._task_marker = re.compile(
            f"{_words(language.task_markers, flags=re.NOFLAG).pattern}|(?i:{self._no_input_marker.pattern})"
        )
        self._placeholders = frozenset(word.casefold() for word in language.placeholders)
        self._placeholder = _any(language.placeholder_patterns)
        turns, labels = _words(language.turn_markers).pattern, _words(language.answer_labels).pattern
        self._turn = re.compile(
            rf"^[ \t#*>]*{turns}[ \t*]*:|(?<=\n)[ \t#*>]*{labels}[ \t*]*:", re.IGNORECASE | re.MULTILINE
        )
        self._turns_wanted = _any(language.turns_wanted_patterns, flags=re.IGNORECASE | re.DOTALL)
        self._choices_wanted = _any(language.choices_wanted_patterns)
        self._choices_heading = _any(language.choices_heading_patterns, flags=re.IGNORECASE | re.MULTILINE)
        self._asks_back = re.compile(
            rf"\s*{language.asks_back_lead_pattern}{_any(language.asks_back_patterns).pattern}", re.IGNORECASE
        )
        self._other_scripts = {
            script: _words([*names, *language.any_script_words]) for script, names in language.other_scripts.items()
        }

    @classmethod
    def of(cls, recipe: Recipe) -> Rules:
        """The recipe's rules; `select.threshold` -1 switches all of them off. Raises UserError as `load` does."""
        settings = recipe.rules
        off = RULES if recipe.select.threshold < 0 else settings.off
        return cls.load(locate(settings.language), settings.min_words, settings.max_words, off)

    @classmethod
    def load(cls, path: Path, min_words: int, max_words: int, off: Collection[str] = ()) -> Rules:
        """Rules of the language that the YAML file at `path` describes.

        Args:
            path: a file like the shipped `filters/english.yaml`.
            min_words: an instruction of fewer words is dropped.
            max_words: an instruction of more words is dropped.
            off: names of rules that drop nothing.

        Raises:
            UserError: unreadable file, unknown or missing entry, an entry of a wrong type, a broken pattern, or a name
                that is no rule's.
        """
        if unknown := next((name for name in off if name not in RULES), None):
            mend = nearest(unknown, RULES) or f"Rules are {', '.join(dict.fromkeys(RULES))}."
            raise UserError("rules.off", f"there is no rule `{unknown}`.", mend)
        if min_words > max_words:
            raise UserError("rules.min_words", f"{min_words} is greater than max_words {max_words}.", "Swap them.")
        language = read_language(path)
        try:
            return cls(language, min_words, max_words, off)
        except re.error as error:
            raise UserError(
                str(path), f"the pattern {error.pattern!r} is not a regular expression: {error.msg}.", "Mend it."
            ) from None

    def instruction(self, instruction: str, input: str) -> Drop | None:
        """By the first rule that an instruction with its input (may be empty) breaks, or None: keep."""
        return self._verdict(self._on_instruction(instruction.strip(), input))

    def response(self, instruction: str, input: str, response: str) -> Drop | None:
        """By the first rule that the response to an instruction and input breaks, or None: keep."""
        return self._verdict(self._on_response(instruction, input, response.translate(_INVISIBLE).strip()))

    def _verdict(self, drops: Iterable[Drop | None]) -> Drop | None:
        return together(drop for drop in drops if drop is not None and drop.rule not in self._off)

    def _on_instruction(self, text: str, input: str) -> Iterator[Drop | None]:
        yield self._length(text)
        yield self._beyond(text)
        yield self._bad_start(text)
        yield self._placeholder_input(input.strip())
        yield _found("url", "holds a URL:", _URL, text, input)
        yield _found("marker", "holds the marker", self._task_marker, text, input)
        yield _input_repeated(text, input)

    def _on_response(self, instruction: str, input: str, text: str) -> Iterator[Drop | None]:
        if not text:
            yield Drop("empty_response", "the response is empty")
            return
        yield self._new_turn(instruction, text)
        yield _found("marker", "holds the marker", self._no_input_marker, text)
        yield self._answer_choices(instruction, text)
        yield self._asks(text)
        yield self._other_script(f"{instruction}\n{input}", text)

    def _length(self, text: str) -> Drop | None:
        words = len(self._word.findall(text))
        if words < self._min_words:
            return Drop("too_short", f"{words} words, fewer than {self._min_words}")
        if words > self._max_words:
            return Drop("too_long", f"{words} words, more than {self._max_words}")
        return None

    def _beyond(self, text: str) -> Drop | None:
        bare = self._beyond_text_allowed.sub(" ", text)
        return _found("beyond_text", "names what is beyond a text model:", self._beyond_text, bare)

    def _bad_start(self, text: str) -> Drop | None:
        if not text or self._first_character.match(text):
            return None
        return Drop("bad_start", f"starts with {text[:1]!r}")

    def _placeholder_input(self, text: str) -> Drop | None:
        bare = text.strip(" \t\n.!\"'`()<>[]").casefold()
        found = self._placeholder.search(text)
        if text and (bare in self._placeholders or found):
            return Drop("placeholder_input", f"the input is a placeholder: {found.group() if found else text!r}")
        return None

    def _new_turn(self, instruction: str, text: str) -> Drop | None:
        found = self._turn.search(text)
        if found is None or self._turns_wanted.search(instruction):
            return None
        return Drop("new_turn", f"opens a new turn with {_quoted(found)}")

    def _answer_choices(self, instruction: str, text: str) -> Drop | None:
        if self._choices_wanted.search(instruction):
            return None
        if heading := self._choices_heading.search(text):
            return Drop("answer_choices", f"lists choices under {_quoted(heading)}")
        labels = "".join(_CHOICE.findall(text)).upper()
        return Drop("answer_choices", "lists the choices A, B, C") if "ABC" in labels else None

    def _asks(self, text: str) -> Drop | None:
        found = self._asks_back.match(text)
        return Drop("asks_back", f"asks the user: {_quoted(found)}") if found else None

    def _other_script(self, task: str, text: str) -> Drop | None:
        if text.isascii():
            return None
        asked = _scripts(task)
        for script, example in _scripts(text).items():
            names = self._other_scripts.get(script)
            if names is not None and script not in asked and not names.search(task):
                return Drop("other_script", f"holds {example!r} of the script {script}")
        return None


def read_language(path: Path) -> Language:
    """The language file; raises UserError where it is unreadable or an entry is unknown, missing or of a wrong type."""
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(str(path), f"cannot be read as YAML: {error}.", "Give a file like english.yaml.") from None
    if not isinstance(data, dict):
        raise UserError(str(path), "holds no entries.", "Give a YAML mapping like english.yaml.")
    try:
        return Language.model_validate(data)
    except ValidationError as error:
        problems = " ".join(_explain(detail["type"], detail["loc"], detail["msg"]) for detail in error.errors())
        raise UserError(str(path), problems, "See the shipped english.yaml.") from None


def _explain(kind: str, location: tuple[int | str, ...], message: str) -> str:
    key = ".".join(map(str, location))
    if kind == "extra_forbidden":
        near = get_close_matches(key, Language.model_fields, n=1)
        return f"unknown entry `{key}`" + (f" (did you mean `{near[0]}`?)." if near else ".")
    if kind == "missing":
        return f"entry `{key}` is missing."
    return f"entry `{key}`: {message}."


def _any(patterns: Iterable[str], flags: re.RegexFlag = re.IGNORECASE, whole_words: bool = False) -> re.Pattern[str]:
    """One pattern that matches where any of them does; of none, it matches nowhere."""
    patterns = list(patterns)
    for pattern in patterns:
        re.compile(pattern, flags)  # by itself, so that an error names the entry and not the union
    union = "|".join(f"(?:{pattern})" for pattern in patterns) or "(?!)"
    return re.compile(rf"\b(?:{union})\b" if whole_words else f"(?:{union})", flags)


def _words(words: Iterable[str], flags: re.RegexFlag = re.IGNORECASE) -> re.Pattern[str]:
    """Matches any of the words or phrases as a whole; inside a phrase, any white space."""
    union = "|".join(r"\s+".join(map(re.escape, word.split())) for word in words) or "(?!)"
    return re.compile(rf"(?<!\w)(?:{union})(?!\w)", flags)


def _found(rule: str, what: str, pattern: re.Pattern[str], *texts: str) -> Drop | None:
    found = next((match for text in texts if (match := pattern.search(text))), None)
    return Drop(rule, f"{what} {_quoted(found)}") if found else None


def _input_repeated(instruction: str, input: str) -> Drop | None:
    """Whole words only: the input `a` is not contained in `Name the capital`."""
    bare = input.strip().strip("\"'.,;:!?")
    if not bare:
        return None
    repeated = _words([bare]).search(instruction) is not None
    return Drop("input_repeated", "the instruction already holds the input") if repeated else None


def _scripts(text: str) -> dict[str, str]:
    """First word of the Unicode name of every letter beyond ASCII -> the first such letter."""
    found: dict[str, str] = {}
    for letter in text:
        if not letter.isascii() and letter.isalpha():
            found.setdefault(unicodedata.name(letter, "").split(" ", 1)[0], letter)
    return found


def _quoted(match: re.Match[str]) -> str:
    return f'"{" ".join(match.group().split())}"'
