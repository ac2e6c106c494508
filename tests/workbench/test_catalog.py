"""The list of records: what it finds is what a plain look through the tables finds, and it follows a growing run."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from isheep.errors import UserError
from isheep.recipe import load_recipe
from isheep.records import Assessment, Instruction, Response, Selection
from isheep.store.joined import Joined, join
from isheep.store.marks import Mark
from isheep.store.run import Run
from isheep.workbench.catalog import PAGE, STAGES, Catalog, Query, Row
from isheep.workbench.opened import Opened
from tests.workbench.conftest import MakeRun, instruction

COUNT = 180
WORDS = ["Name", "a.b*", "BIRD", "ärger", "c++", "[x]", "50%", "_under", "back\\slash", "line\nbreak", "end"]


def tables(seed: int = 0) -> tuple[list[Instruction], list[Response], list[Assessment], list[Selection]]:
    """Records at every stage, of every outcome; nulls wherever there may be one."""
    draw = random.Random(seed)
    made, answered, assessed, chosen = [], [], [], []
    for number in range(COUNT):
        dropped = draw.choice([None, None, "not_novel", "too_short"])
        fields = {"dropped_by": dropped, "reason": dropped and "why", "rouge_max": draw.choice([None, draw.random()])}
        made.append(instruction(number, " ".join(draw.choices(WORDS, k=4)), **fields))
        if dropped or number > 160:
            continue
        late = draw.choice([None, None, None, "asks_back"])
        id_ = made[-1].id
        answered.append(Response(id_, " ".join(draw.choices(WORDS, k=6)), "stop", draw.randint(1, 9), late, late))
        if late or number > 140:
            continue
        quality, following = (draw.choice([None, draw.uniform(1, 10)]) for _ in range(2))
        assessed.append(Assessment(id_, quality, following, "raw", "raw", "base"))
        if number < 120:
            kept = draw.random() < 0.5
            chosen.append(Selection(id_, kept, None if kept else "threshold", None if kept else "low"))
    return made, answered, assessed, chosen


@pytest.fixture
def run(make_run: MakeRun) -> Run:
    return Run.read(make_run(*tables()))


def ids(catalog: Catalog, query: Query, marks: dict[str, Mark] | None = None) -> list[str]:
    """Of every page, one after the other."""
    found: list[str] = []
    while True:
        page = catalog.page(query, marks or {}, len(found) // PAGE)
        found += [row.id for row in page.rows]
        if len(found) >= page.found:
            assert len(found) == page.found
            return found


def told(record: Joined) -> Row:
    """What the list has to say of it."""
    made, answer, scores, chosen = record.instruction, record.response, record.assessment, record.selection
    return Row(
        id=made.id,
        iteration=made.iteration,
        instruction=made.instruction,
        input=made.input,
        response=answer.response if answer else None,
        stage=STAGES[sum(one is not None for one in (answer, scores, chosen))],
        kept=record.kept,
        dropped_by=record.dropped_by,
        quality=scores.quality if scores else None,
        following=scores.following if scores else None,
        rouge_max=made.rouge_max,
        tokens=answer.tokens if answer else None,
    )


def test_shows_of_every_record_what_the_tables_say(run: Run) -> None:
    catalog, records = Catalog(run), list(join(run.iteration(1)))
    rows = [row for number in range(4) for row in catalog.page(Query(), {}, number).rows]
    assert rows == [told(record) for record in records]
    assert [catalog.joined(record.instruction.id) for record in records[::7]] == records[::7]
    assert catalog.joined("nobody") is None
    assert {row.stage for row in rows} == set(STAGES)


Holds = Callable[[Row], bool]

FILTERS: list[tuple[Query, Holds]] = [
    (Query(iteration=1), lambda row: True),
    (Query(iteration=2), lambda row: False),
    (Query(stage="response"), lambda row: row.stage == "response"),
    (Query(outcome="kept"), lambda row: row.kept is True),
    (Query(outcome="dropped"), lambda row: row.kept is False),
    (Query(outcome="open"), lambda row: row.kept is None),
    (Query(rule="not_novel"), lambda row: row.dropped_by == "not_novel"),
    (Query(rule="asks_back"), lambda row: row.dropped_by == "asks_back"),
    (Query(quality=(4, None)), lambda row: row.quality is not None and row.quality >= 4),
    (Query(following=(2, 7.5)), lambda row: row.following is not None and 2 <= row.following <= 7.5),
    (
        Query(outcome="dropped", quality=(None, 5), text="bird"),
        lambda row: row.kept is False and row.quality is not None and row.quality <= 5 and holds(row, "bird"),
    ),
]


def holds(row: Row, text: str) -> bool:
    return any(text.lower() in (one or "").lower() for one in (row.instruction, row.input, row.response))


@pytest.mark.parametrize(("query", "right"), FILTERS)
def test_filters_as_a_plain_look_does(run: Run, query: Query, right: Holds) -> None:
    rows = [told(record) for record in join(run.iteration(1))]
    assert ids(Catalog(run), query) == [row.id for row in rows if right(row)]


@pytest.mark.parametrize(
    "text",
    ["BIRD", "Bird", ".", "a.b*", "c++", "[x]", "%", "_", "\\s", "ÄRGER", "line\nb", "^", "$", "\x00", "\\E", "(?i)a"],
)
def test_searches_letter_by_letter_but_for_capitals(run: Run, text: str) -> None:
    rows = [told(record) for record in join(run.iteration(1))]
    assert ids(Catalog(run), Query(text=text)) == [row.id for row in rows if holds(row, text)]


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("column", ["quality", "rouge_max", "tokens", "dropped_by", "lowest"])
def test_sorts_what_is_not_told_to_the_end_and_equals_as_made(run: Run, column: str, descending: bool) -> None:
    rows = [told(record) for record in join(run.iteration(1))]

    def value(row: Row) -> float | str | None:
        if column == "lowest":
            return None if row.quality is None or row.following is None else min(row.quality, row.following)
        found: float | str | None = getattr(row, column)
        return found

    known = sorted((row for row in rows if value(row) is not None), key=value, reverse=descending)  # type: ignore[arg-type]
    unknown = [row for row in rows if value(row) is None]
    found = ids(Catalog(run), Query(sort=column, descending=descending))
    assert found == [row.id for row in [*known, *unknown]]


def test_a_score_that_is_not_asked_for_is_not_missed(make_run: MakeRun) -> None:
    made = [instruction(0, "Name a bird."), instruction(1, "Name a fish.")]
    answers = [Response(one.id, "yes", "stop", 1) for one in made]
    scores = [Assessment(one.id, 5.0, None, "raw", None, "base") for one in made]
    settings = ["assess.level=quality"]
    catalog = Catalog(Run.read(make_run(made, answers, scores, settings=settings)))
    assert catalog.lowest(["i0000", "gone"]) == {"i0000": (5.0, None)}


def test_a_search_for_half_a_character_finds_nothing(run: Run) -> None:
    assert ids(Catalog(run), Query(text="\ud800")) == []


def test_marks_filter(run: Run) -> None:
    marks = {
        "i0003": Mark("i0003", "good", "", "now"),
        "i0007": Mark("i0007", "bad", "", "now"),
        "i0009": Mark("i0009", None, "look again", "now"),
        "gone": Mark("gone", "good", "", "now"),
    }
    catalog = Catalog(run)
    assert ids(catalog, Query(mark="good"), marks) == ["i0003"]
    assert ids(catalog, Query(mark="note"), marks) == ["i0009"]
    assert ids(catalog, Query(mark="any"), marks) == ["i0003", "i0007", "i0009"]
    assert len(ids(catalog, Query(mark="none"), marks)) == COUNT - 3


def test_rules_come_with_the_most_frequent_first(run: Run) -> None:
    counted = [told(record).dropped_by for record in join(run.iteration(1))]
    rules = Catalog(run).rules()
    assert set(rules) == {one for one in counted if one}
    assert [counted.count(rule) for rule in rules] == sorted((counted.count(rule) for rule in rules), reverse=True)


def test_follows_a_run_that_is_written(tmp_path: Path) -> None:
    made, answered, assessed, chosen = tables()
    directory = tmp_path / "growing"
    with Run.create_or_resume(directory, load_recipe("lamb", ["iterations=2"])) as owner:
        catalog = Catalog(Run.read(directory))
        assert catalog.page(Query(), {}).of == 0
        assert catalog.rules() == []
        owner.iteration(1).table("instructions").append(made[:100])
        assert catalog.page(Query(), {}).of == 100
        owner.iteration(1).table("instructions").append(made[100:])
        owner.iteration(1).table("responses").append(answered)
        assert {row.stage for row in catalog.page(Query(text="bird"), {}).rows} == {"instruction", "response"}
        owner.iteration(1).table("assessments").append(assessed)
        owner.iteration(1).table("selection").append(chosen)
        assert ids(catalog, Query(outcome="kept")) == [one.id for one in chosen if one.kept]
        second = [Instruction(f"j{n}", 2, n, "Name two.", "", [], 1, "p") for n in range(3)]
        owner.iteration(2).table("instructions").append(second)
        assert ids(catalog, Query())[-3:] == ["j0", "j1", "j2"]
        assert ids(catalog, Query(text="NAME TWO")) == ["j0", "j1", "j2"]
        assert catalog.iterations() == [1, 2]


def test_a_run_that_is_gone_says_so(make_run: MakeRun) -> None:
    directory = make_run(*tables())
    one = Opened("made", directory)
    assert one.catalog.page(Query(), {}).of == COUNT
    shutil.rmtree(directory)
    with pytest.raises(UserError, match="is not there"):
        one.catalog.page(Query(), {})
