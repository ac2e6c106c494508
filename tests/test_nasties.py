"""Every nasty goes through seeds, records, report, export, terminal, prompts and training set: it acts nowhere, and
no record of it is lost."""

from __future__ import annotations

import csv
import json
import logging
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isheep.cli import main
from isheep.encoder import Encoder
from isheep.errors import UserError
from isheep.export import export
from isheep.export.tables import spreadsheet_safe
from isheep.progress import say
from isheep.prompts import bare
from isheep.prompts.tasks import list_tasks, marked, parse_tasks
from isheep.recipe import locate, parse_recipe
from isheep.records import Assessment, Instruction, Response, Selection
from isheep.report.samples import SAMPLED
from isheep.seeds import load_seeds
from isheep.stages.assess import FIELDS, load_prompt
from isheep.stages.training_set import gather
from isheep.store.files import read_json_lines, storable, write_json_lines
from isheep.store.remote import is_url
from isheep.store.run import Run
from isheep.terminal import SafeLines, is_hidden, printable
from isheep.training.examples import read_examples
from tests.cli.conftest import isheep
from tests.data import LAMB
from tests.nasties import HUGE, NASTIES, TOKENS, Nasty
from tests.report.test_report import Page, report


def can_be_an_argument(nasty: Nasty) -> bool:
    """Of a command, and the name of a file."""
    return not nasty.surrogate and "\0" not in nasty.text and len(nasty.text.encode()) < 200


SMALL = [nasty for nasty in NASTIES if nasty not in HUGE]
each = pytest.mark.parametrize("nasty", NASTIES, ids=lambda nasty: nasty.name)
each_small = pytest.mark.parametrize("nasty", SMALL, ids=lambda nasty: nasty.name)
SUFFIXES = (".csv", ".jsonl", ".parquet")
LONG = 10_000
"""A text of more characters stands in a record once where it would stand twice, so that the tests take no minutes."""
NASTY_TEXT = st.lists(
    st.text(st.characters(categories=None), max_size=4) | st.sampled_from([one.text for one in SMALL]), max_size=4
).map("".join)
"""Any characters, halves of pairs among them, between nasties."""


def once(text: str) -> str:
    """What stands in a record's input beside the same text in its instruction."""
    return "" if len(text) > LONG else text


def fill(run: Run) -> None:
    """Every nasty as a kept record, as many an iteration as the report shows of one, and as a dropped one."""
    run.note_command(["isheep", "run", *(nasty.text for nasty in SMALL)])
    for start in range(0, len(NASTIES), SAMPLED):
        chosen = NASTIES[start : start + SAMPLED]
        one = run.iteration(start // SAMPLED + 1)
        records: list[tuple[str, str, str | None]] = [(f"kept-{nasty.name}", nasty.text, None) for nasty in chosen]
        records += [(f"dropped-{nasty.name}", nasty.text, "too_short") for nasty in chosen if nasty not in HUGE]
        one.table("instructions").append(
            [
                Instruction(
                    id_,
                    one.number,
                    index,
                    text,
                    "" if len(text) > LONG else text,
                    [text[:9]],
                    0,
                    "p",
                    rule,
                    rule and text,
                )
                for index, (id_, text, rule) in enumerate(records)
            ]
        )
        kept = records[: len(chosen)]
        one.table("responses").append([Response(id_, text, "stop", 1) for id_, text, _ in kept])
        one.table("assessments").append([Assessment(id_, 9.0, None, "9", text, "base") for id_, text, _ in kept])
        one.table("selection").append([Selection(id_, True) for id_, _, _ in kept])
        one.write_json("health.json", {"alarms": {nasty.name: nasty.text for nasty in chosen if nasty not in HUGE}})
        gather(one, [], run.recipe)
    run.note_end("failed", "".join(nasty.text for nasty in SMALL))


@dataclass(frozen=True)
class Made:
    """A run of nasties, and what the commands made of it, by record."""

    run: Run
    page: Page
    page_text: str
    source: str
    exported: dict[str, dict[str, dict[str, Any]]]
    shown: str
    shown_text: str
    as_json: dict[str, dict[str, Any]]
    training: dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("nasties")
    with Run.create_or_resume(folder / "run", parse_recipe({"model": {"path": "m"}}, "test")) as run:
        fill(run)
    run = Run.read(folder / "run")
    for suffix in SUFFIXES:
        export(run, folder / f"kept{suffix}")
    shown, as_json = isheep("records", run.directory, "--dropped"), isheep("records", run.directory, "--json")
    assert (shown.returncode, shown.stderr, as_json.stderr) == (0, "", "")
    return Made(
        run,
        (page := report(run)),
        joined(page.text),
        (run.directory / "report.html").read_text(encoding="utf-8"),
        {suffix: by_id(read_export(folder / f"kept{suffix}")) for suffix in SUFFIXES},
        shown.stdout,
        joined(shown.stdout),
        by_id(json.loads(as_json.stdout)),
        by_id([row for one in run.iterations() for row in read_json_lines(one.training_set_path)]),
    )


def by_id(rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    found = {row["id"]: row for row in rows}
    assert len(found) == len(rows)
    return found


def read_export(file: Path) -> list[dict[str, Any]]:
    """The rows, as the readers at hand read them."""
    if file.suffix == ".parquet":
        return list(pq.read_table(file).to_pylist())
    content = file.read_bytes().decode("utf-8-sig")
    if file.suffix == ".jsonl":
        return [json.loads(line) for line in content.splitlines()]
    csv.field_size_limit(sys.maxsize)
    return list(csv.DictReader(content.splitlines(keepends=True) if content.isascii() else lines(file)))


def lines(file: Path) -> Iterator[str]:
    with file.open(encoding="utf-8-sig", newline="") as opened:
        yield from opened


def joined(text: str) -> str:
    """Without white space, which a terminal's columns and a page's layout move."""
    return "".join(text.split())


def same(found: str, expected: str) -> bool:
    """Whether they are equal: a comparison that fails is not shown, since of a million characters that takes hours."""
    return found == expected


def hidden(text: str) -> list[str]:
    return sorted(character for character in set(text) if is_hidden(character))


def test_there_are_many_and_none_twice() -> None:
    assert len({nasty.name for nasty in NASTIES}) == len({nasty.text for nasty in NASTIES}) == len(NASTIES) >= 130
    assert all(nasty.why for nasty in NASTIES)


@each
@pytest.mark.parametrize("ascii_only", [True, False])
def test_a_seed_holds_it_or_one_error_names_the_line(nasty: Nasty, tmp_path: Path, ascii_only: bool) -> None:
    seeds = [{"id": f"s{n}", "instruction": "Say it.", "input": "", "output": text} for n, text in enumerate("abc")]
    seeds[1] |= {"instruction": nasty.text, "input": nasty.text, "output": nasty.text}
    file = tmp_path / "seeds.jsonl"
    content = "".join(json.dumps(seed, ensure_ascii=ascii_only) + "\n" for seed in seeds)
    file.write_bytes(content.encode("utf-8", "surrogatepass"))
    text = nasty.text if not ascii_only else storable(nasty.text)
    broken = nasty.surrogate and ("\ufffd" in storable(nasty.text) or not ascii_only)
    if broken or not text.strip():
        with pytest.raises(UserError) as caught:
            load_seeds(file)
        assert caught.value.where == f"{file}, line 2"
        assert not hidden(str(caught.value))
    else:
        _, found, _ = load_seeds(file)
        assert (found.instruction, found.input, found.output) == (text, text, text)


@each
def test_its_record_is_what_was_written(nasty: Nasty, made: Made) -> None:
    text = storable(nasty.text)
    row = made.as_json[f"kept-{nasty.name}"]
    assert all(same(row[key], text) for key in ("instruction", "response", "following_raw"))
    assert same(row["input"], once(text))
    assert row["kept"] is True
    if nasty not in HUGE:
        row = made.as_json[f"dropped-{nasty.name}"]
        assert [row[key] for key in ("instruction", "reason", "kept")] == [text, text, False]


@each
def test_the_report_shows_it_as_text(nasty: Nasty, made: Made) -> None:
    # A browser takes CR for LF; one that is text stands as an escape.
    found = joined(printable(storable(nasty.text))) in made.page_text
    assert found
    assert f">kept-{nasty.name}</span>" in made.source


def test_nothing_in_the_report_comes_of_it(made: Made) -> None:
    assert hidden(made.source) == []
    harmless = set(
        "html head meta title style body header main section nav p h1 h2 h3 h4 ul li a div table caption thead tbody "
        "tr th td span small strong code pre details summary article dl dt dd figure figcaption svg desc g path use "
        "defs text".split()
    )
    assert {tag for tag, _ in made.page.elements} <= harmless
    ours = set(
        "lang charset name content http-equiv class id href scope style dir tabindex role aria-label aria-labelledby "
        "colspan open viewbox x y d transform".split()
    )
    assert {name for _, pairs in made.page.elements for name, _ in pairs} <= ours
    meta = [dict(pairs) for tag, pairs in made.page.elements if tag == "meta"]
    assert [one["http-equiv"] for one in meta if "http-equiv" in one] == ["Content-Security-Policy"]


@each
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_an_export_holds_it(nasty: Nasty, made: Made, suffix: str) -> None:
    row, text = made.exported[suffix][f"kept-{nasty.name}"], storable(nasty.text)
    columns = ["instruction", "input", "output", "id", "iteration", "quality", "following"]
    assert list(row) == columns
    cell = spreadsheet_safe(text) if suffix == ".csv" else text
    assert same(row["instruction"], cell)
    assert same(row["input"], once(cell))
    assert same(row["output"], cell)
    number = NASTIES.index(nasty) // SAMPLED + 1
    figures = [str(number), "9.0", ""] if suffix == ".csv" else [number, 9.0, None]
    assert [row[name] for name in columns[4:]] == figures


def test_an_export_has_as_many_rows_as_there_are_records(made: Made) -> None:
    assert {len(rows) for rows in made.exported.values()} == {len(NASTIES)}


@each_small
def test_the_terminal_shows_it(nasty: Nasty, made: Made) -> None:
    assert joined(printable(storable(nasty.text))) in made.shown_text
    assert f"dropped-{nasty.name}" in made.shown


def test_the_terminal_shows_nothing_that_acts(made: Made) -> None:
    assert hidden(made.shown) == []
    status = isheep("status", made.run.directory)
    assert (status.returncode, status.stderr, hidden(status.stdout)) == (0, "", [])
    text = joined(status.stdout)
    assert [nasty.name for nasty in SMALL if joined(printable(storable(nasty.text))) not in text] == []
    assert status.stdout.count("! iteration") == len(SMALL)


@pytest.mark.parametrize("nasty", [one for one in SMALL if can_be_an_argument(one)], ids=lambda nasty: nasty.name)
def test_messages_errors_and_log_lines_show_it(
    nasty: Nasty, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    say(nasty.text)
    logged = SafeLines("%(message)s").format(
        logging.LogRecord("isheep", logging.WARNING, "", 0, "it says %s", (nasty.text,), None)
    )
    assert (hidden(logged), logged) == ([], f"it says {printable(nasty.text)}")
    monkeypatch.setattr(sys, "argv", ["isheep", "status", "--", nasty.text])
    with pytest.raises(SystemExit) as ended:
        main()
    logging.captureWarnings(False)
    assert ended.value.code == 2
    told = capsys.readouterr()
    assert (told.out, hidden(told.err)) == ("", [])
    # A path is not told as it was given: `a//b`, say, is `a/b`; a URL, which may hold a key, not at all.
    where = "the URL of the run" if is_url(nasty.text) else str(Path(nasty.text))
    assert joined(told.err).startswith(joined(printable(nasty.text)) + joined(printable(where)))


def test_what_is_logged_of_a_directory_with_a_nasty_name_moves_nothing(tmp_path: Path) -> None:
    name = "run \x1b[2J\u202e :bug: [bold] %s {}\udcff"
    with Run.create_or_resume(tmp_path / name, parse_recipe({"model": {"path": "m"}}, "test")) as run:
        run.iteration(0).write_json("scores.json", {})
    (tmp_path / name / "iteration-00" / "scores.json").write_text("{")
    told = isheep("status", tmp_path / name)
    assert told.returncode == 0
    assert f"{printable(name)}/iteration-00/scores.json does not read as JSON" in told.stderr
    assert hidden(told.stderr) == []
    told = isheep("report", tmp_path / name)
    assert (told.returncode, told.stdout) == (0, f"{tmp_path}/{printable(name)}/report.html\n")
    told = isheep("export", tmp_path / name, "--to", tmp_path / "\x1b[2J:bug:.csv")
    assert (told.returncode, told.stdout) == (0, f"{tmp_path}/{printable(chr(27))}[2J:bug:.csv: 0 kept pairs\n")


@pytest.fixture(scope="module")
def lamb() -> Encoder:
    return Encoder.load(LAMB, "chatml")


@each
def test_the_training_set_holds_it_and_no_special_token_comes_of_it(
    nasty: Nasty, made: Made, lamb: Encoder, tmp_path: Path
) -> None:
    row, text = made.training[f"kept-{nasty.name}"], storable(nasty.text)
    asked, answered = (turn["content"] for turn in row["messages"])
    assert same(asked, bare(text, once(text)))
    assert same(answered, text)
    file = tmp_path / "training-set.jsonl"
    write_json_lines(file, [row])
    (example,) = read_examples(file, lamb, cutoff=10**9)
    assert specials(example.ids, lamb) == EMPTY
    learned = [number for number in example.labels if number >= 0]
    assert specials(learned, lamb) == [lamb.turn_end_id]
    assert same(lamb.decode(learned), text)
    whole = lamb.decode(example.ids)
    assert whole.endswith(f"user\n{asked}\nassistant\n{text}")


EMPTY = [0, 1, 2, 1, 2, 1, 2]
"""lamb's beginning of a text, and a begun and an ended turn of the system, the user and the assistant."""


def specials(ids: Any, encoder: Encoder) -> list[int]:
    known = {number for number, token in encoder.tokenizer.added_tokens_decoder.items() if token.special}
    return [number for number in ids if number in known]


def test_a_pair_is_left_out_only_where_its_prompt_fills_the_cutoff(made: Made, lamb: Encoder, tmp_path: Path) -> None:
    cutoff, file = 384, tmp_path / "training-set.jsonl"
    rows = [made.training[f"kept-{nasty.name}"] for nasty in SMALL]
    write_json_lines(file, rows)
    room = [len(lamb.chat(row["messages"][:1])) + 1 < cutoff for row in rows]
    assert len(read_examples(file, lamb, cutoff)) == sum(room)
    assert 100 < sum(room) < len(room)


@each
def test_as_an_example_it_cannot_open_another_task(nasty: Nasty) -> None:
    text = storable(nasty.text).strip()
    around = [("Say a.", "x"), (text, text), ("Say b.", "")]
    read = list(parse_tasks(list_tasks(around), cut=False))
    if marked(text, text) is None:
        as_listed = read == [(*task, False) for task in around]
        assert as_listed
    else:
        assert nasty in TOKENS


def test_those_that_a_list_cannot_show_are_the_ones_with_its_marks() -> None:
    found = {nasty.name for nasty in NASTIES if marked(nasty.text, nasty.text)}
    assert found == {"alpaca", "task_border", "task_opening", "task_input", "no_input"}


@each
@pytest.mark.parametrize("question", ["quality", "following"])
def test_an_assessment_prompt_holds_it_once_in_each_place(nasty: Nasty, question: str) -> None:
    prompt = load_prompt(locate(f"package:prompts/assess/combined_{question}.txt"))
    texts = dict.fromkeys(FIELDS, nasty.text)
    pieces = [prompt.text]
    for name in FIELDS:
        pieces = [part for piece in pieces for part in piece.split(f"{{{{{name}}}}}")]
    assert same(prompt.render(**texts), nasty.text.join(pieces))


@given(NASTY_TEXT)
@settings(deadline=None)
def test_what_is_shown_acts_nowhere_and_is_not_escaped_twice(text: str) -> None:
    shown = printable(text)
    assert hidden(shown) == []
    assert printable(shown) == shown


@given(NASTY_TEXT, NASTY_TEXT)
@settings(deadline=None, max_examples=60)
def test_no_special_token_comes_of_any_text(lamb: Encoder, asked: str, answered: str) -> None:
    turns = [{"role": "user", "content": asked}, {"role": "assistant", "content": answered}]
    ids, labels = lamb.supervised(turns)
    assert specials(ids, lamb) == EMPTY
    assert specials([number for number in labels if number >= 0], lamb) == [lamb.turn_end_id]
    assert lamb.decode(ids).endswith(f"\nassistant\n{storable(answered)}")
    assert lamb.decode(lamb.plain(asked)) == storable(asked)
    assert specials(lamb.plain(asked)[1:], lamb) == []
