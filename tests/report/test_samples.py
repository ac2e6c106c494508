"""What the page shows of one record."""

from __future__ import annotations

from isheep.records import Assessment, Instruction, Response, Selection
from isheep.report.samples import sample
from isheep.store.joined import Joined

MADE = Instruction("a", 1, 0, "Say it.", "", [], 0, "p")


def test_a_record_is_shown_with_its_scores_and_what_the_selection_computed() -> None:
    selection = Selection("a", False, "density", "not the one drawn", None, 3.5, 4)
    record = Joined(MADE, Response("a", "It.", "stop", 2), Assessment("a", 8.0, 7.5, "8", "7", "base"), selection)
    kept, dropped = sample(0, 1, [record]).parts
    assert not kept.records
    (shown,) = dropped.records
    assert shown.scores == ["quality 8", "following 7.5", "perplexity of the pair 3.5", "cluster 4"]
    assert (shown.outcome, shown.reason) == ("dropped by density", "not the one drawn")


def test_a_record_that_a_rule_dropped_has_none_of_them() -> None:
    record = Joined(Instruction("a", 1, 0, "It", "", [], 0, "p", "too_short", "1 word"))
    assert sample(0, 1, [record]).parts[1].records[0].scores == []
