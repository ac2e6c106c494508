"""Hand marks against the self-assessment, with figures that can be done by hand."""

from __future__ import annotations

import pytest

from isheep.records import Assessment, Response, Selection
from isheep.store.marks import Kind, add_mark
from isheep.workbench import views
from isheep.workbench.agreement import agreement
from isheep.workbench.opened import Opened
from tests.workbench.conftest import MakeRun, instruction

SCORES = [(9.0, 3.0), (8.0, 8.0), (2.0, 9.0), (None, 9.0), (5.0, 5.0)]
"""Lower scores: 3, 8, 2, none, 5."""


@pytest.fixture
def opened(make_run: MakeRun) -> Opened:
    made = [instruction(n, "Name a bird.") for n in range(5)]
    answers = [Response(one.id, "owl", "stop", 1) for one in made]
    scores = [Assessment(one.id, *pair, "", "", "base") for one, pair in zip(made, SCORES, strict=True)]
    chosen = [Selection(one.id, number in (0, 1)) for number, one in enumerate(made[:4])]
    return Opened("made", make_run(made, answers, scores, chosen))


def test_without_marks_of_both_kinds_there_is_no_figure(opened: Opened) -> None:
    assert agreement(opened.catalog, opened.marks()).auc is None
    add_mark(opened.directory, "i0000", "good")
    found = agreement(opened.catalog, opened.marks())
    assert (found.auc, found.good_scored, found.bad_scored) == (None, 1, 0)
    assert "<strong>-</strong>" in views.marks(opened)


def test_counts_and_ranks_what_is_marked(opened: Opened) -> None:
    marks: dict[str, Kind] = {
        "i0000": "good",
        "i0001": "good",
        "i0002": "bad",
        "i0003": "bad",
        "i0004": "bad",
        "x": "bad",
    }
    for id_, kind in marks.items():
        add_mark(opened.directory, id_, kind)
    found = agreement(opened.catalog, opened.marks())
    assert (found.good_scored, found.bad_scored) == (2, 2)
    # 3 and 8 against 2 and 5: three of four pairs.
    assert found.auc == 0.75
    assert found.counts == {("good", "kept"): 2, ("good", "dropped"): 0, ("bad", "kept"): 0, ("bad", "dropped"): 2}
