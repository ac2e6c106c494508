"""Seed files."""

from __future__ import annotations

import json

from tests.bad_input.case import Case, Lay, file, folder, lines

TASK = {"instruction": "Name a bird.", "input": "", "output": "A lark."}


def _seeds(name: str, input_: str, says: str, *lay: Lay) -> Case:
    return Case(name, input_, "run lamb seeds.path=DIR/seeds.jsonl --dir DIR/run", says, lay)


def _rows(*rows: object) -> Lay:
    return lines("seeds.jsonl", *rows)


CASES = [
    _seeds(
        "seeds-missing",
        "no such file",
        ("DIR/seeds.jsonl: there is no such seed file. Give a seed file that exists and can be read."),
    ),
    Case(
        "seeds-name-too-long",
        "a name that no disk can hold",
        f"check lamb seeds.path={'n' * 300}",
        ("…: the seed file cannot be read (File name too long). Give a seed file that exists and can be read."),
    ),
    _seeds(
        "seeds-folder",
        "a folder",
        ("DIR/seeds.jsonl: this is a folder, not a seed file. Give a seed file that exists and can be read."),
        folder("seeds.jsonl"),
    ),
    _seeds(
        "seeds-empty",
        "an empty file",
        (
            'DIR/seeds.jsonl: the seed file holds no task. A line holds {"id", "instruction", '
            '"instances": [{"input", "output"}], "is_classification"} or {"instruction", "input", '
            '"output"}.'
        ),
        file("seeds.jsonl"),
    ),
    _seeds(
        "seeds-blank",
        "nothing but blank lines",
        (
            'DIR/seeds.jsonl: the seed file holds no task. A line holds {"id", "instruction", '
            '"instances": [{"input", "output"}], "is_classification"} or {"instruction", "input", '
            '"output"}.'
        ),
        file("seeds.jsonl", "\n \n\n"),
    ),
    _seeds(
        "seeds-csv",
        "a table in CSV",
        ("DIR/seeds.jsonl, line 1: not valid JSON (Expecting value, column 1). Write one JSON object a line."),
        file("seeds.jsonl", "instruction,input,output\nName a bird.,,A lark.\n"),
    ),
    _seeds(
        "seeds-json-list",
        "one JSON list instead of lines",
        ("DIR/seeds.jsonl, line 1: not valid JSON (Expecting value, column 2). Write one JSON object a line."),
        file("seeds.jsonl", json.dumps([TASK], indent=1)),
    ),
    _seeds(
        "seeds-list-line",
        "a line that is a list",
        (
            'DIR/seeds.jsonl, line 2: holds a list, not an object. A line holds {"id", "instruction", '
            '"instances": [{"input", "output"}], "is_classification"} or {"instruction", "input", '
            '"output"}.'
        ),
        _rows(TASK, ["Name a bird.", "A lark."]),
    ),
    _seeds(
        "seeds-other-keys",
        "keys of another schema",
        (
            'DIR/seeds.jsonl, line 1: the key "instances" is missing. A line holds {"id", "instruction", '
            '"instances": [{"input", "output"}], "is_classification"} or {"instruction", "input", '
            '"output"}.'
        ),
        _rows({"prompt": "Name a bird.", "completion": "A lark."}),
    ),
    _seeds(
        "seeds-no-input",
        "a line without its input",
        (
            'DIR/seeds.jsonl, line 1: the key "input" is missing. A line holds {"id", "instruction", '
            '"instances": [{"input", "output"}], "is_classification"} or {"instruction", "input", '
            '"output"}.'
        ),
        _rows({"instruction": "Name a bird.", "output": "A lark."}),
    ),
    _seeds(
        "seeds-number",
        "an instruction that is a number",
        (
            'DIR/seeds.jsonl, line 2: "instruction" is a number, not a string. A line holds {"id", '
            '"instruction", "instances": [{"input", "output"}], "is_classification"} or {"instruction", '
            '"input", "output"}.'
        ),
        _rows(TASK, {**TASK, "instruction": 3}),
    ),
    _seeds(
        "seeds-null",
        "an answer that is null",
        (
            'DIR/seeds.jsonl, line 1: "output" is null, not a string. A line holds {"id", "instruction", '
            '"instances": [{"input", "output"}], "is_classification"} or {"instruction", "input", '
            '"output"}.'
        ),
        _rows({**TASK, "output": None}),
    ),
    _seeds(
        "seeds-empty-instruction",
        "an instruction of white space",
        'DIR/seeds.jsonl, line 1: "instruction" is empty. Fill it in or take the line out.',
        _rows({**TASK, "instruction": " \t"}),
    ),
    _seeds(
        "seeds-id-twice",
        "an id that comes twice",
        ('DIR/seeds.jsonl, line 2: the id "a" was already used on line 1. Give each task its own.'),
        _rows({**TASK, "id": "a"}, {**TASK, "id": "a"}),
    ),
    _seeds(
        "seeds-no-instance",
        "a task without instances",
        ('DIR/seeds.jsonl, line 1: "instances" is empty. Give at least one input with its output.'),
        _rows({"id": "a", "instruction": "Go.", "instances": []}),
    ),
    _seeds(
        "seeds-too-few",
        "fewer tasks than are to be shown",
        (
            "synthesize.shots: 3 examples are to be shown, but DIR/seeds.jsonl holds 1 task. Give at most"
            " 1, or more seed tasks."
        ),
        _rows(TASK),
    ),
    _seeds(
        "seeds-utf-16",
        "a file in UTF-16",
        "DIR/seeds.jsonl, line 1: byte 1 of the line is not valid UTF-8. Save the file as UTF-8.",
        file("seeds.jsonl", json.dumps(TASK).encode("utf-16")),
    ),
    _seeds(
        "seeds-surrogate",
        "half of a surrogate pair",
        ('DIR/seeds.jsonl, line 1: "output" holds half of a surrogate pair, which is no character. Take it out.'),
        _rows({**TASK, "output": "\ud800"}),
    ),
    _seeds(
        "seeds-number-too-long",
        "a number of ten thousand digits",
        (
            "DIR/seeds.jsonl, line 1: this JSON is nested too deep or holds a number too long to read. "
            "Write one JSON object a line."
        ),
        _rows('{"instruction": ' + "9" * 10_000 + "}"),
    ),
    _seeds(
        "seeds-too-deep",
        "a hundred thousand brackets",
        (
            "DIR/seeds.jsonl, line 1: this JSON is nested too deep or holds a number too long to read. "
            "Write one JSON object a line."
        ),
        _rows("[" * 100_000),
    ),
    _seeds(
        "seeds-cut",
        "a line of megabytes that is cut off",
        (
            "DIR/seeds.jsonl, line 1: not valid JSON (Unterminated string starting at, column 17). Write "
            "one JSON object a line."
        ),
        file("seeds.jsonl", '{"instruction": "' + "a" * 5_000_000),
    ),
    _seeds(
        "seeds-mark",
        "a task that holds the mark of the list",
        (
            "DIR/seeds.jsonl, task seed-1: its instruction holds `###`, which the list of examples uses "
            "as a mark. Take it out."
        ),
        _rows({**TASK, "instruction": "Write a ### heading."}),
    ),
    _seeds(
        "seeds-no-input-mark",
        "an input that says that there is none",
        (
            "DIR/seeds.jsonl, task seed-1: its input holds `<noinput>`, which the list of examples uses "
            "as a mark. Leave the input empty."
        ),
        _rows({**TASK, "input": "<noinput>"}),
    ),
]
