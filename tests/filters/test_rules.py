"""Each rule fires on what it is for, says so by its name and reason, and leaves the published false alarms alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from isheep.errors import UserError
from isheep.filters import Drop
from isheep.filters.rules import INSTRUCTION_RULES, RESPONSE_RULES, Rules
from isheep.filters.rules import RULES as RULES_BY_NAME
from isheep.recipe import locate, parse_recipe

ENGLISH = locate("package:filters/english.yaml")
RULES = Rules.load(ENGLISH, min_words=4, max_words=150)
TASK = "Answer the question below."


@pytest.mark.parametrize(
    ("instruction", "given_input", "rule", "reason"),
    [
        ("Name three fruits", "", "too_short", "3 words, fewer than 4"),
        ("word " * 151, "", "too_long", "151 words, more than 150"),
        (
            "Describe the image in words.",
            "",
            "beyond_text",
            'names what is beyond a text model: "image"',
        ),
        (
            "Please Go  To the next page.",
            "",
            "beyond_text",
            'names what is beyond a text model: "Go To"',
        ),
        ("Plot a curve of it.", "", "beyond_text", 'names what is beyond a text model: "Plot"'),
        ("- List four large rivers.", "", "bad_start", "starts with '-'"),
        ("Écris une phrase sur Paris.", "", "bad_start", "starts with 'É'"),
        ("", "", "too_short", "0 words, fewer than 4"),
        ("Summarize what is found there.", "https://a.example/b", "url", 'holds a URL: "https://"'),
        ("Summarize www.example.org in a line.", "", "url", 'holds a URL: "www.e"'),
        ("Name a fruit. Input: none given", "", "marker", 'holds the marker "Input:"'),
        ("Name a fruit you like.", "x\nInstruction: y", "marker", 'holds the marker "Instruction:"'),
        ("Name a fruit. <NoInput> Then stop.", "", "marker", 'holds the marker "NoInput"'),
        ("Turn it into a plural.", "None.", "placeholder_input", "the input is a placeholder: 'None.'"),
        (
            "Turn it into a plural.",
            "<No input>",
            "placeholder_input",
            "the input is a placeholder: '<No input>'; holds the marker \"<No input>\"",
        ),
        ("Turn it into a plural.", "N/A", "placeholder_input", "the input is a placeholder: 'N/A'"),
        ("Turn it into a plural.", "<a noun>", "placeholder_input", "the input is a placeholder: '<a noun>'"),
        (
            "Shorten the following text.",
            "Text: [insert text here]",
            "placeholder_input",
            "the input is a placeholder: '[insert text here]'",
        ),
        ("Turn it into a plural.", "...", "placeholder_input", "the input is a placeholder: '...'"),
        (
            'Translate "the grey\ncat" into French.',
            "The grey cat.",
            "input_repeated",
            "the instruction already holds the input",
        ),
    ],
)
def test_instruction_is_dropped(instruction: str, given_input: str, rule: str, reason: str) -> None:
    assert RULES.instruction(instruction, given_input) == Drop(rule, reason)


@pytest.mark.parametrize(
    ("instruction", "given_input"),
    [
        ("Name three ripe fruits", ""),
        ("word " * 150, ""),
        ("2 plus 2 is what?", ""),
        ("Imagine a paragraph about profiles.", ""),  # whole words only: not "image", "graph" or "file"
        ("Draw a clear conclusion from it.", "It rained."),
        ("Summarize the plot of Hamlet.", ""),
        ("Rewrite the sentence in plain words.", "Nonetheless, she stayed."),
        ("Rewrite the sentence in plain words.", "None of them stayed."),
        ("Give the opposite of this word.", "empty"),
        ("Say what this tag does.", "<b>bold</b>"),
        ("Sum the numbers of the list.", "[1, 2, 3]"),
        ("Name the capital of the country.", "a"),  # a letter of a word is not a repetition
        ("Check the user input for errors.", "there is no input voltage"),
        ("Fill in the name of the sender.", "Yours, [Your Name]"),
        ("Translate into English, please do.", "Где вокзал?"),
        ("Name the capital of it.", ""),
    ],
)
def test_instruction_is_kept(instruction: str, given_input: str) -> None:
    assert RULES.instruction(instruction, given_input) is None


@pytest.mark.parametrize(
    ("instruction", "given_input", "response", "rule", "reason"),
    [
        (TASK, "", " \n\u200b", "empty_response", "the response is empty"),
        (TASK, "", "Paris.\nUser: And Italy?", "new_turn", 'opens a new turn with "User:"'),
        (TASK, "", "human: hello", "new_turn", 'opens a new turn with "human:"'),
        (TASK, "", "Paris.\n  ## Question : next", "new_turn", 'opens a new turn with "## Question :"'),
        (TASK, "", "Paris.\n**Assistant:** yes", "new_turn", 'opens a new turn with "**Assistant:"'),
        (TASK, "", "Paris.\nsystem: x", "new_turn", 'opens a new turn with "system:"'),
        (TASK, "", "Paris.\nOutput: Paris", "new_turn", 'opens a new turn with "Output:"'),
        (TASK, "", "Paris.\nInstruction: Name it.", "new_turn", 'opens a new turn with "Instruction:"'),
        (TASK, "", "Paris. <noinput>", "marker", 'holds the marker "noinput"'),
        ("Answer it step by step.", "", "A. red\nB. blue\nC. green", "answer_choices", "lists the choices A, B, C"),
        ("Put it more briefly.", "", "Paris.\nQuestion: why", "new_turn", 'opens a new turn with "Question:"'),
        (TASK, "", "Answer Choices: red, blue", "answer_choices", 'lists choices under "Answer Choices:"'),
        (TASK, "", "A. red\nB. blue\nC. green", "answer_choices", "lists the choices A, B, C"),
        (TASK, "", "It is (a) red, (b) blue or (c) green.", "answer_choices", "lists the choices A, B, C"),
        (
            "Shorten the text.",
            "",
            "Please provide the text that you mean.",
            "asks_back",
            'asks the user: "Please provide the text"',
        ),
        (
            "Shorten the text.",
            "",
            "I'm sorry, but could you please give me more context?",
            "asks_back",
            'asks the user: "I\'m sorry, but could you please give me more context"',
        ),
        (
            "Help me with it.",
            "",
            "What would you like me to do?",
            "asks_back",
            'asks the user: "What would you like me to"',
        ),
        (TASK, "", "The capital is 北京.", "other_script", "holds '北' of the script CJK"),
        (TASK, "", "Это Париж", "other_script", "holds 'Э' of the script CYRILLIC"),
        # Another language's name does not allow this one's script.
        ("Translate it into Russian.", "Paris", "巴黎", "other_script", "holds '巴' of the script CJK"),
    ],
)
def test_response_is_dropped(instruction: str, given_input: str, response: str, rule: str, reason: str) -> None:
    assert RULES.response(instruction, given_input, response) == Drop(rule, reason)


@pytest.mark.parametrize(
    ("instruction", "given_input", "response"),
    [
        (TASK, "", "Oranges hold vitamin C. Milk holds vitamin D."),
        (TASK, "", "(a)"),
        (TASK, "", "Plan B. Then plan C."),
        (TASK, "", "A. red\nB. blue"),
        ("Write a multiple-choice question on colours.", "", "Which is it?\nA. red\nB. blue\nC. green"),
        (TASK, "", "None"),
        (TASK, "", "Nonetheless, it holds."),
        ("Put it as a question.", "It rains.", "What falls from the sky?"),
        ("Rewrite it politely.", "Send it!", "Could you please send it to me?"),
        (TASK, "", "Ask yourself this.\n\nWhat do you want?"),
        (TASK, "", "Output: 2"),
        (TASK, "", "The user: a person. The system: a machine."),
        ("Write a dialogue between a user and a system.", "", "User: Hi\nSystem: Hello"),
        ("Put it as a question and answer it.", "", "Question: Who fell?\nAnswer: Tom."),
        ("Summarize a question and its answer.", "", "Question: Who fell?\nAnswer: Tom."),
        ("Describe the stages of it.", "", "1. First\na) warm\nb) hot\nc) gone"),
        ("Translate it into Chinese.", "Beijing", "北京"),
        ("Give it in another language.", "Paris", "Париж"),
        ("Which letter comes next?", "ж, ю", "я"),
        (TASK, "", "Café naïve, 5 µm, λ ± π, ½, ª, and 🦖."),
        (TASK, "", "!"),
    ],
)
def test_response_is_kept(instruction: str, given_input: str, response: str) -> None:
    assert RULES.response(instruction, given_input, response) is None


def test_bounds_of_length_come_from_the_caller() -> None:
    rules = Rules.load(ENGLISH, min_words=2, max_words=3)
    assert rules.instruction("Name it", "") is None
    assert rules.instruction("Name it, please do", "") == Drop("too_long", "4 words, more than 3")
    with pytest.raises(UserError, match=r"rules\.min_words: 5 is greater than max_words 4"):
        Rules.load(ENGLISH, min_words=5, max_words=4)


@given(st.text(), st.text(), st.text())
def test_any_text_gets_a_verdict(instruction: str, given_input: str, response: str) -> None:
    verdicts = RULES.instruction(instruction, given_input), RULES.response(instruction, given_input, response)
    for drop, names in zip(verdicts, (INSTRUCTION_RULES, RESPONSE_RULES), strict=True):
        assert drop is None or (drop.rule in names and drop.reason)


def _changed(tmp_path: Path, **changes: object) -> Path:
    data = yaml.safe_load(ENGLISH.read_text(encoding="utf-8")) | changes
    file = tmp_path / "language.yaml"
    file.write_text(yaml.safe_dump(data), encoding="utf-8")
    return file


def test_another_language_is_another_file(tmp_path: Path) -> None:
    file = _changed(tmp_path, beyond_text=["imagen"], first_character_pattern=r"\w", placeholders=[], turn_markers=[])
    rules = Rules.load(file, 4, 150)
    assert rules.instruction("Écris sur l'image de Paris.", "none") is None
    dropped = rules.instruction("Describe esta imagen en detalle.", "")
    assert dropped == Drop("beyond_text", 'names what is beyond a text model: "imagen"')
    assert rules.response(TASK, "", "Paris.\nUser: no") is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"beyond_txt": []}, "unknown entry `beyond_txt` (did you mean `beyond_text`?)."),
        ({"zzz": 1}, "unknown entry `zzz`."),
        ({"placeholders": [True]}, "entry `placeholders.0`: Input should be a valid string."),
        ({"asks_back_patterns": ["(open"]}, "the pattern '(open' is not a regular expression: missing )"),
    ],
)
def test_a_wrong_entry_is_named(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    file = _changed(tmp_path, **changes)
    with pytest.raises(UserError) as raised:
        Rules.load(file, 4, 150)
    assert raised.value.where == str(file)
    assert message in raised.value.what


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"word_pattern: x\n", "entry `first_character_pattern` is missing."),
        (b"[]\n", "holds no entries."),
        (b"a: [\n", "cannot be read as YAML"),
        (b"\xff\xfe", "cannot be read as YAML"),
        (None, "cannot be read as YAML"),
    ],
)
def test_an_unreadable_file_is_named(tmp_path: Path, content: bytes | None, message: str) -> None:
    file = tmp_path / "language.yaml"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(UserError) as raised:
        Rules.load(file, 4, 150)
    assert raised.value.where == str(file)
    assert message in raised.value.what


def test_a_drop_names_the_first_rule_and_tells_every_reason() -> None:
    dropped = RULES.instruction("- image https://a.example", "")
    assert dropped == Drop(
        "too_short",
        '3 words, fewer than 4; names what is beyond a text model: "image"; starts with \'-\'; holds a URL: "https://"',
    )
    assert RULES.response(TASK, "", "Please provide the text.\nUser: 北京") == Drop(
        "new_turn",
        'opens a new turn with "User:"; asks the user: "Please provide the text"; holds \'北\' of the script CJK',
    )


BROKEN: dict[str, tuple[str, str, str | None]] = {
    "too_short": ("Name fruits", "", None),
    "too_long": ("word " * 151, "", None),
    "beyond_text": ("Describe the image in words.", "", None),
    "bad_start": ("- List four large rivers.", "", None),
    "placeholder_input": ("Turn it into a plural.", "None", None),
    "url": ("Summarize www.example.org in a line.", "", None),
    "marker": ("Name a fruit. Input: none given", "", None),
    "input_repeated": ("Translate the cat into French.", "the cat", None),
    "empty_response": (TASK, "", " \n"),
    "new_turn": (TASK, "", "Paris.\nUser: And Italy?"),
    "answer_choices": (TASK, "", "A. red\nB. blue\nC. green"),
    "asks_back": (TASK, "", "Please provide the text."),
    "other_script": (TASK, "", "The capital is 北京."),
}
"""Rule -> an instruction, its input and (where the rule is about responses) a response that break it alone."""


def _verdict(rules: Rules, rule: str) -> Drop | None:
    instruction, given_input, response = BROKEN[rule]
    if response is None:
        return rules.instruction(instruction, given_input)
    return rules.response(instruction, given_input, response)


def test_every_rule_is_there() -> None:
    assert set(BROKEN) == set(RULES_BY_NAME)


@pytest.mark.parametrize("rule", BROKEN)
def test_a_rule_can_be_switched_off(rule: str) -> None:
    dropped = _verdict(RULES, rule)
    assert dropped is not None
    assert dropped.rule == rule
    assert _verdict(Rules.load(ENGLISH, 4, 150, [rule]), rule) is None
    others = [name for name in RULES_BY_NAME if name != rule]
    assert _verdict(Rules.load(ENGLISH, 4, 150, others), rule) == dropped


def test_the_marker_rule_is_off_for_responses_too() -> None:
    assert RULES.response(TASK, "", "Paris. <noinput>") is not None
    assert Rules.load(ENGLISH, 4, 150, ["marker"]).response(TASK, "", "Paris. <noinput>") is None


def test_a_rule_switched_off_leaves_the_others_reasons() -> None:
    rules = Rules.load(ENGLISH, 4, 150, ["too_short"])
    assert rules.instruction("- image", "") == Drop(
        "beyond_text", "names what is beyond a text model: \"image\"; starts with '-'"
    )
    assert rules.instruction("", "") is None


@pytest.mark.parametrize(
    ("name", "mend"),
    [
        ("to_short", "Did you mean `too_short`?"),
        ("not_novel", f"Rules are {', '.join(dict.fromkeys(RULES_BY_NAME))}."),
    ],
)
def test_a_name_that_is_no_rule_is_refused(name: str, mend: str) -> None:
    with pytest.raises(UserError) as raised:
        Rules.load(ENGLISH, 4, 150, ["url", name])
    assert (raised.value.where, raised.value.what, raised.value.mend) == (
        "rules.off",
        f"there is no rule `{name}`.",
        mend,
    )


@pytest.mark.parametrize(
    ("settings", "off"),
    [
        ({}, set()),
        ({"rules": {"off": ["url", "new_turn"]}}, {"url", "new_turn"}),
        ({"select": {"threshold": 0}}, set()),
        ({"select": {"threshold": -1}}, set(BROKEN)),
        ({"select": {"threshold": -1, "filters": ["cap"]}}, set(BROKEN)),
    ],
)
def test_the_recipe_says_which_rules_are_off(settings: dict[str, Any], off: set[str]) -> None:
    rules = Rules.of(parse_recipe({"model": {"path": "m"}, **settings}, "test"))
    assert {rule for rule in BROKEN if _verdict(rules, rule) is None} == off


def test_the_recipe_gives_language_and_bounds(tmp_path: Path) -> None:
    settings = {"language": str(_changed(tmp_path, beyond_text=["imagen"])), "min_words": 2, "max_words": 5}
    rules = Rules.of(parse_recipe({"model": {"path": "m"}, "rules": settings}, "test"))
    assert rules.instruction("Describe the image.", "") is None
    dropped = rules.instruction("Describe esta imagen en detalle ahora.", "")
    assert dropped is not None
    assert dropped.reason == '6 words, more than 5; names what is beyond a text model: "imagen"'


def test_what_is_wrong_with_a_language_is_told_with_how_to_mend_it(tmp_path: Path) -> None:
    def refused(file: Path, least: int = 4, most: int = 150) -> tuple[str, str, str]:
        with pytest.raises(UserError) as raised:
            Rules.load(file, least, most)
        return raised.value.where, raised.value.what, raised.value.mend

    empty = tmp_path / "empty.yaml"
    empty.write_text("- a list")
    assert refused(empty) == (str(empty), "holds no entries.", "Give a YAML mapping like english.yaml.")
    gone = tmp_path / "gone.yaml"
    where, what, mend = refused(gone)
    assert (where, what[:22], mend) == (str(gone), "cannot be read as YAML", "Give a file like english.yaml.")
    broken = _changed(tmp_path, word_pattern="(")
    what = "the pattern '(' is not a regular expression: missing ), unterminated subpattern."
    assert refused(broken) == (str(broken), what, "Mend it.")
    wrong = _changed(tmp_path, placeholders="none", courtesies="please")
    where, what, mend = refused(wrong)
    assert mend == "See the shipped english.yaml."
    assert what == (
        "entry `placeholders`: Input should be a valid list. entry `courtesies`: Input should be a valid list."
    )
    assert refused(ENGLISH, 5, 4) == ("rules.min_words", "5 is greater than max_words 4.", "Swap them.")
    assert Rules.load(ENGLISH, 4, 4)


def test_lists_that_are_empty_match_nowhere(tmp_path: Path) -> None:
    lists = ("beyond_text", "beyond_text_allowed_patterns", "no_input_markers", "placeholder_patterns", "turn_markers")
    rules = Rules.load(_changed(tmp_path, **{key: [] for key in lists}), 1, 150)
    assert rules.instruction("Draw XXX on a sheet (?!) XX XX", "one picture") is None


def test_what_is_allowed_of_words_beyond_text_is_whole_words(tmp_path: Path) -> None:
    file = _changed(tmp_path, beyond_text=["image"], beyond_text_allowed_patterns=["self image"])
    rules = Rules.load(file, 1, 150)
    assert rules.instruction("What is a good self image for you", "") is None
    assert rules.instruction("What is a good SELF IMAGE for you", "") is None
    assert rules.instruction("Describe myself image by image", "") is not None
