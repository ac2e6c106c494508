"""Seed files."""

from __future__ import annotations

import json

from tests.bad_input.case import Case, Lay, file, folder, lines

TASK = {"instruction": "Name a bird.", "input": "", "output": "A lark."}


def _seeds(name: str, input_: str, says: str, *lay: Lay) -> Case:
    return Case(name, input_, "run lamb seeds.path=DIR/seeds.jsonl --dir DIR/run", says, lay)


def _table(name: str, input_: str, says: str, content: str | bytes, words: str = "") -> Case:
    return Case(name, input_, f"check lamb seeds.path=DIR/seeds.csv{words}", says, (file("seeds.csv", content),))


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
        "keys that say nothing",
        (
            "DIR/seeds.jsonl: which column holds the instruction and which the output is not clear from its names. "
            "Say it with `seeds.columns.instruction=NAME seeds.columns.output=NAME`. Its columns are "
            '"left", "right".'
        ),
        _rows({"left": "Name a bird.", "right": "A lark."}),
    ),
    _seeds(
        "seeds-no-input",
        "a line without the input that another has",
        (
            'DIR/seeds.jsonl, line 2: the key "input" is missing. A line holds {"id", "instruction", '
            '"instances": [{"input", "output"}], "is_classification"} or {"instruction", "input", '
            '"output"}.'
        ),
        _rows(TASK, {"instruction": "Name a bird.", "output": "A lark."}),
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
    _table(
        "seeds-csv-two-answers",
        "a table in which two columns may be the output",
        (
            'DIR/seeds.csv: the output may be in "answer" or in "response". Say it with '
            '`seeds.columns.output=NAME`. Its columns are "question", "answer", "response".'
        ),
        "question,answer,response\nName a bird.,A lark.,Lark.\n",
    ),
    _table(
        "seeds-csv-no-header",
        "a table without names",
        (
            "DIR/seeds.csv: which column holds the instruction and which the output is not clear from its names. "
            "Say it with `seeds.columns.instruction=NAME seeds.columns.output=NAME`. Its columns are "
            '"Name a bird.", "A lark.".'
        ),
        "Name a bird.,A lark.\nName a fish.,A carp.\n",
    ),
    _table(
        "seeds-column-missing",
        "a column that the table does not have",
        ('seeds.columns.output: DIR/seeds.csv has no column `reply`. Its columns are "question", "answer".'),
        "question,answer\nName a bird.,A lark.\n",
        " seeds.columns.output=reply",
    ),
    _table(
        "seeds-csv-ragged",
        "a row with a comma that stands in no quotes",
        (
            "DIR/seeds.csv, row 3: has 3 cells, and the first row has 2. Put what holds the separator or a line "
            "break in double quotes."
        ),
        "question,answer\nName a bird.,A lark.\nName a bird, please.,A lark.\n",
    ),
    _table(
        "seeds-csv-quote",
        "a quote that nobody closes",
        (
            "DIR/seeds.csv, row 2: does not read as CSV (unexpected end of data). Close every double quote, and "
            "write one inside a cell as two."
        ),
        'question,answer\nName a bird.,"A lark.\n',
    ),
    _table(
        "seeds-csv-latin-1",
        "a table in Latin-1",
        "DIR/seeds.csv, row 3: holds a byte that is not valid UTF-8. Save the table as CSV in UTF-8.",
        "question,answer\nName a bird.,A lark.\nName a drink.,Caf\xe9\n".encode("latin-1"),
    ),
    _table(
        "seeds-csv-nul",
        "a NUL in a table",
        "DIR/seeds.csv, row 2: holds a NUL, as no text does. Save the table as CSV in UTF-8.",
        "question,answer\nName a bird.,A\0lark.\n",
    ),
    _table(
        "seeds-csv-twice",
        "a column of the same name twice",
        "DIR/seeds.csv, row 1: names the column `answer` twice. Give each column its own name.",
        "question,answer,answer\nName a bird.,A lark.,Lark.\n",
    ),
    _table(
        "seeds-csv-empty",
        "a table of names alone",
        (
            "DIR/seeds.csv: the seed file holds no task. A table has a column of texts for the instruction and one "
            "for the output, and may have one for the input."
        ),
        "question,answer\n",
    ),
    Case(
        "seeds-parquet",
        "a file that is no Parquet",
        "check lamb seeds.path=DIR/seeds.parquet",
        "DIR/seeds.parquet: does not read as Parquet (…). Save it again.",
        (file("seeds.parquet", "question,answer\n"),),
    ),
    Case(
        "seeds-spreadsheet",
        "a spreadsheet",
        "check lamb seeds.path=DIR/seeds.xlsx",
        "DIR/seeds.xlsx: is a spreadsheet of many sheets, which isheep does not read. Save it as CSV.",
        (file("seeds.xlsx", b"PK\3\4"),),
    ),
    Case(
        "seeds-chat",
        "a chat of several exchanges",
        "check lamb seeds.path=DIR/seeds.json",
        (
            'DIR/seeds.json, item 1: "messages" is not one question with its answer: it holds 3 messages. Keep one '
            "exchange of each chat."
        ),
        (file("seeds.json", json.dumps([{"messages": [{"role": "user", "content": "Hi."}] * 3}])),),
    ),
    Case(
        "seeds-splits",
        "a data set with splits, none of which is for training",
        "check lamb seeds.path=DIR/data",
        ("DIR/data: has several splits, and none is called train. There are validation, test. Give one file."),
        (lines("data/validation.jsonl", TASK), lines("data/test.jsonl", TASK)),
    ),
    Case(
        "seeds-hub-offline",
        "data of a hub that cannot be reached",
        "check lamb seeds.path=hf:someone/tasks",
        (
            "seeds.path: hf:someone/tasks is not here yet, and the hub, which may have a data set of this id, cannot "
            "be reached. Give a file, or connect (HF_HUB_OFFLINE has to be unset)."
        ),
    ),
    Case(
        "seeds-hub-spelling",
        "data of a hub without its owner",
        "check lamb seeds.path=hf:tasks",
        (
            "seeds.path: `hf:tasks` names no data set. Write it like `hf:owner/name`, or `hf:owner/name:train` for "
            "one of its splits."
        ),
    ),
]
