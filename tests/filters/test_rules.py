"""Each rule fires on what it is for, says so by its name and reason, and leaves the published false alarms alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from isheep.errors import UserError
from isheep.filters import Drop
from isheep.filters.rules import Rules
from isheep.recipe import locate

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
        ("Turn it into a plural.", "<No input>", "placeholder_input", "the input is a placeholder: '<No input>'"),
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
    for drop in (RULES.instruction(instruction, given_input), RULES.response(instruction, given_input, response)):
        assert drop is None or (drop.rule and drop.reason)


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
