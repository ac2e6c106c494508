"""The page: the numbers of `status`, no generated text that acts as markup, nothing from the network, any state."""

from __future__ import annotations

import random
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

from isheep.recipe import Recipe, dump_recipe, parse_recipe
from isheep.records import Assessment, Instruction, Response, Selection
from isheep.report import SECTIONS, write_report
from isheep.report.samples import sample
from isheep.report.sections import inputs
from isheep.seeding import derive_seed
from isheep.store.joined import Joined
from isheep.store.run import Run
from isheep.store.status import status

HOSTILE = (
    '<script>alert(1)</script></textarea></title></style></svg></pre>--><!-- "><img src=x onerror=alert(1)> '
    "{{ 7*7 }} {% raw %} ]]> &lt;b&gt; &#60; \u202egnp.exe \x1b[2J \u200b"
)
SHOWN = HOSTILE.replace("\u202e", "\\u202e").replace("\x1b", "\\x1b").replace("\u200b", "\\u200b")


class Page(HTMLParser):
    """What a browser makes of the file: elements with their attributes, text, tables by caption."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, tuple[tuple[str, str | None], ...]]] = []
        self.open: list[str] = []
        self.texts: list[str] = []
        self.drawn: list[str] = []
        self.within: list[bool] = []
        self.tables: dict[str, dict[str, list[str]]] = {}
        self._caption = ""
        self._rows: list[list[str]] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, tuple(attrs)))
        self.within.append("svg" in self.open)
        if tag != "meta":
            self.open.append(tag)
        if tag == "table":
            self._caption, self._rows = "", []
        elif tag == "tr":
            self._rows.append([])
        elif tag in ("td", "th"):
            self._rows[-1].append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        raise AssertionError(f"<{tag}/>")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        if tag == "table":
            self.tables[self._caption] = {row[0]: row[1:] for row in self._rows}

    def handle_data(self, data: str) -> None:
        self.texts.append(data)
        if "svg" in self.open:
            self.drawn.append(data)
        if "caption" in self.open:
            self._caption += data
        elif "td" in self.open or "th" in self.open:
            self._rows[-1][-1] += data

    def handle_comment(self, data: str) -> None:
        raise AssertionError(f"a comment: {data}")

    @property
    def text(self) -> str:
        return "".join(self.texts)


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    settings = {"model": {"path": str(tmp_path / "model")}, "evaluate": {"benchmarks": ["bench"]}, "seed": 7}
    return parse_recipe(settings, "test")


def row_id(index: int) -> str:
    return f"01-{index:06d}-00000000"


def fill(run: Run, text: str = "Say it.", key: str = "key") -> None:
    """Iteration 1 of 40 instructions: 25 too short; 15 answered, 1 an echo; 14 assessed, 1 unparsed; 12 kept."""
    run.note_command(["isheep", "run", text])
    for number, value in enumerate((0.3, 0.5)):
        scores = {"bench": {"exact": {"value": value, "low": value - 0.05, "high": value + 0.05, "n": 1400}}}
        run.iteration(number).write_json("scores.json", scores | {key: {key: scores["bench"]["exact"]}})
    one = run.iteration(1)
    made = [
        Instruction(row_id(i), 1, i, f"{i} {text}", text, [], 0, "p", *(("short", text) if i >= 15 else (None, None)))
        for i in range(40)
    ]
    one.table("instructions").append(made[:30])
    one.table("instructions").append(made[30:])
    one.table("responses").append([Response(row_id(i), text, key, 2) for i in range(14)])
    one.table("responses").append([Response(row_id(14), text, "stop", 2, key, text)])
    one.table("assessments").append(
        [Assessment(row_id(i), 9.0 if i else None, 9.5 if i != 1 else 3.0, text, text, "current") for i in range(14)]
    )
    one.table("selection").append(
        [Selection(row_id(0), False, "unparsed", text), Selection(row_id(1), False, "threshold", text)]
        + [Selection(row_id(i), True) for i in range(2, 14)]
    )
    one.write_json("health.json", {"keep_share": 0.3, key: 1.25, "drops": {"instructions": {}}, "alarms": {key: text}})
    one.write_json("train.json", {"examples": 12, "steps": 34, "loss": 0.5678, "kept_step": 30, key: text})
    run.note_end("failed", text)


def report(run: Run) -> Page:
    return Page(write_report(run).read_text(encoding="utf-8"))


@pytest.fixture
def filled(tmp_path: Path, recipe: Recipe) -> Callable[..., Run]:
    def build(*texts: str) -> Run:
        with Run.create_or_resume(tmp_path / "run", recipe) as run:
            fill(run, *texts)
        return Run.read(tmp_path / "run")

    return build


def test_the_numbers_are_those_of_status(filled: Callable[..., Run]) -> None:
    run = filled()
    page, one = report(run), status(run)["iterations"][1]
    assert page.tables["Records, and their share of all that were made"] == {
        "step": ["iteration 1"],
        "made": [f"{one['instructions']['made']} 100.0%"],
        "dropped by short": [f"{one['instructions']['dropped']['short']} 62.5%"],
        "answered": [f"{one['responses']['made']} 37.5%"],
        "dropped by key": [f"{one['responses']['dropped']['key']} 2.5%"],
        "assessed": [f"{one['assessed']} 35.0%"],
        "dropped by threshold": ["1 2.5%"],
        "dropped by unparsed": [f"{one['unparsed']} 2.5%"],
        "kept": [f"{one['kept']} 30.0%"],
    }
    assert page.tables["bench, n = 1,400"] == {
        "iteration": ["exact"],
        "base (0)": ["0.300 [0.250, 0.350]"],
        "1, best": ["0.500 [0.450, 0.550]"],
    }
    assert page.tables["What each iteration did to the data"] == {
        "figure": ["iteration 1"],
        "kept, of all made": ["30.0%"],
        "key": ["1.25"],
    }
    trained = page.tables["Fine-tuning on the kept pairs"]
    assert [trained[name] for name in ("examples", "steps", "loss, mean over the steps", "kept step")] == [
        ["12"],
        ["34"],
        ["0.568"],
        ["30"],
    ]
    assert (
        "Better: iteration 1 reaches 0.500 [0.450, 0.550] on bench exact, the untouched base 0.300 [0.250, 0.350]; "
        "the 95% intervals do not overlap." in page.text
    )
    assert "Alarm, iteration 1, key: Say it." in page.text
    assert "The loop stopped" not in page.text
    assert "n = 13, could not tell 1" in page.text


def test_no_text_of_a_model_acts_as_markup(filled: Callable[..., Run], tmp_path: Path, recipe: Recipe) -> None:
    hostile = report(filled(HOSTILE, HOSTILE))
    with Run.create_or_resume(tmp_path / "harmless" / "run", recipe) as run:
        fill(run, "Say it.", "Say it.")
        harmless = report(run)

    def structure(page: Page) -> list[tuple[str, list[str]]]:
        """But for figures, which differ where data differ: other words open instructions."""
        elements = zip(page.elements, page.within, strict=True)
        return [(tag, [name for name, _ in attributes]) for (tag, attributes), within in elements if not within]

    assert structure(hostile) == structure(harmless)
    drawn = zip(hostile.elements, hostile.within, strict=True)
    assert {tag for (tag, _), within in drawn if within} <= {"title", "desc", "g", "path", "text", "use", "defs"}
    assert hostile.text.count(SHOWN) == harmless.text.count("Say it.") > 50
    for planted in ("\u202e", "\x1b", "\u200b"):
        assert planted not in hostile.text


def test_nothing_comes_from_elsewhere_and_nothing_runs(filled: Callable[..., Run]) -> None:
    run = filled()
    page = report(run)
    source = (run.directory / "report.html").read_text(encoding="utf-8")
    assert source.startswith("<!DOCTYPE html>\n<html")
    # The recipe, which the page shows, names an address; that is text.
    source = source.replace(f"url: {run.recipe.engine.server.url}", "")
    for reference in ("http:", "https:", "//", "url(", "@import", "src=", "javascript:"):
        assert reference not in source
    assert {tag for tag, _ in page.elements} & {"script", "link", "img", "iframe", "object", "embed", "base"} == set()
    attributes = [(name, value or "") for _, pairs in page.elements for name, value in pairs]
    assert not [name for name, _ in attributes if name.startswith("on")]
    targets = {value for name, value in attributes if name == "href"}
    inside = {value.removeprefix("#") for value in targets if value.startswith("#")}
    assert inside <= {value for name, value in attributes if name == "id"}
    assert set(SECTIONS) <= inside
    files = {value for value in targets if not value.startswith("#")}
    assert {"iteration-01/scores.json", "iteration-01/instructions/", "iteration-01/health.json"} <= files
    assert [file for file in files if not (run.directory / file).exists()] == []
    assert ("content", "default-src 'none'; style-src 'unsafe-inline'") in attributes


def test_tables_and_charts_can_be_read_aloud(filled: Callable[..., Run]) -> None:
    page = report(filled())
    assert all("scope" in dict(attributes) for tag, attributes in page.elements if tag == "th")
    ids = [value for _, pairs in page.elements for name, value in pairs if name == "id"]
    assert len(ids) == len(set(ids))
    charts = [dict(attributes) for tag, attributes in page.elements if tag == "svg"]
    assert len(charts) == 8
    for chart in charts:
        labels = str(chart["aria-labelledby"]).split()
        assert labels
        assert set(labels) <= set(ids)


def test_the_sample_is_the_one_that_the_stated_seed_draws(filled: Callable[..., Run]) -> None:
    page = report(filled())
    text = page.text.partition("Records")[2]
    for title, indices in (("Kept", list(range(2, 14))), ("Dropped", [0, 1, *range(14, 40)])):
        seed = derive_seed(7, 1, "report", title.lower())
        assert f"{title}: {min(20, len(indices))} of {len(indices)} seed {seed}" in text
        drawn = {row_id(index) for index in random.Random(seed).sample(indices, min(20, len(indices)))}
        assert drawn == {row_id(index) for index in indices if row_id(index) in text}


def test_recipe_versions_and_commands_are_told(filled: Callable[..., Run]) -> None:
    run = filled()
    page = report(run)
    assert dump_recipe(run.recipe) in page.text
    manifest = run.read_json("manifest.json")
    assert manifest is not None
    assert page.tables["Versions and machine"]["torch"] == [manifest["versions"]["torch"]]
    started = manifest["commands"][0]["started"].replace("T", " ").removesuffix("+00:00")
    command, _, outcome = page.tables["Commands"][started]
    assert (command, outcome) == ("isheep run 'Say it.'", "failed Say it.")


def test_a_run_that_has_only_begun(tmp_path: Path, recipe: Recipe) -> None:
    with Run.create_or_resume(tmp_path / "run", recipe) as run:
        before = {path.name for path in run.directory.iterdir()}
        assert "running, 0 of 3 iterations begun" in report(run).text
    page = report(Run.read(tmp_path / "run"))
    assert "interrupted, 0 of 3 iterations begun" in page.text
    assert "Cannot tell: no model of this run has been measured." in page.text
    for none in (
        "No model has been measured yet.",
        "No instruction has been made yet.",
        "Nothing has been trained yet.",
    ):
        assert none in page.text
    assert {path.name for path in run.directory.iterdir()} - before == {"report.html"}


def test_half_an_iteration_shows_what_waits(tmp_path: Path, recipe: Recipe) -> None:
    with Run.create_or_resume(tmp_path / "run", recipe) as run:
        one = run.iteration(1)
        one.table("instructions").append([Instruction(row_id(i), 1, i, "Do it.", "", [], 0, "p") for i in range(8)])
        one.table("responses").append([Response(row_id(i), "Done.", "stop", 1) for i in range(6)])
        one.table("assessments").append([Assessment(row_id(0), 9.0, 9.0, "9", "9", "base")])
        page = report(run)
    table = page.tables["Records, and their share of all that were made"]
    assert table["waiting for a response"] == ["2 25.0%"]
    assert table["waiting for an assessment"] == ["5 62.5%"]
    assert table["waiting for the selection"] == ["1 12.5%"]
    assert table["kept"] == ["0"]
    assert "No record has been kept or dropped yet." in page.text


def test_a_finished_run_whose_manifest_is_gone(filled: Callable[..., Run], recipe: Recipe) -> None:
    run = filled()
    with Run.create_or_resume(run.directory, recipe) as owned:
        owned.finish()
    (run.directory / "manifest.json").unlink()
    page = report(run)
    assert "finished, 1 of 3 iterations begun" in page.text
    assert page.tables["Commands"] == {"started": ["command", "took", "outcome"], "nothing noted": []}


def test_where_and_why_the_loop_stopped(filled: Callable[..., Run], recipe: Recipe) -> None:
    run = filled()
    with Run.create_or_resume(run.directory, recipe) as owned:
        owned.finish({"best_iteration": 1, "stopped": {"iteration": 1, "why": "bench exact <b>gained</b> nothing."}})
    assert "The loop stopped after iteration 1 of 3: bench exact <b>gained</b> nothing." in report(run).text


def test_the_files_of_another_assessor_are_told_with_its_folder() -> None:
    manifest = {"model": {"config.json": "aa"}, "assessors": {"my/judge": {"config.json": "bb"}}, "seeds": "cc"}
    rows = {row.label: row.cells[0].text for row in inputs(manifest).rows}
    assert rows == {"config.json": "aa", "assessor my/judge: config.json": "bb", "seed file": "cc"}


def test_a_sampled_record_shows_the_scores_that_were_asked_for() -> None:
    records = [
        Joined(
            Instruction(f"i{index}", 1, index, "Do it.", "", [], 0, "p"),
            assessment=Assessment(f"i{index}", quality, None, raw, None, "base"),
            selection=Selection(f"i{index}", True),
        )
        for index, (quality, raw) in enumerate([(7.25, "7.25"), (None, "odd"), (None, None)])
    ]
    drawn, _ = sample(0, 1, records).parts
    assert [shown.scores for shown in drawn.records] == [["quality 7.25"], ["quality could not tell ('odd')"], []]


def test_the_page_is_written_anew(filled: Callable[..., Run]) -> None:
    run = filled()
    file = run.directory / "report.html"
    file.write_text("old")
    assert write_report(run) == file
    assert file.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
