"""Health is pure counting, so every figure is checked by hand; every alarm names its figure, its limit and a remedy."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, get_args

import pytest

from isheep.filters.rules import read_language
from isheep.health import Standards, health, near_twin_share, twins_within_share
from isheep.health.alarms import alarms
from isheep.health.openings import Openings
from isheep.recipe import locate
from isheep.recipe.settings import Alarm, Question
from isheep.records import Assessment, Instruction, Response, Selection


def instruction(number: int, text: str, dropped_by: str | None = None) -> Instruction:
    return Instruction(str(number), 1, number, text, "", [], 0, "p", dropped_by, dropped_by and "because")


def response(number: int, text: str, finish_reason: str = "stop", dropped_by: str | None = None) -> Response:
    return Response(str(number), text, finish_reason, len(text), dropped_by, dropped_by and "because")


def assessment(number: int, quality: float | None, following: float | None) -> Assessment:
    return Assessment(str(number), quality, following, None, None, "base")


OPENINGS = Openings(read_language(locate("package:filters/english.yaml")))
INSTRUCTIONS = [
    instruction(0, "Name three large rivers of Asia."),
    instruction(1, "Name three large rivers of Africa."),
    instruction(2, "Reverse this word for me."),
    instruction(3, "Sing a song."),
    instruction(4, "Spell it."),
    instruction(5, "Spell that.", "too_short"),
    instruction(6, "Draw a map.", "beyond_text"),
    instruction(7, "Spell this.", "too_short"),
]
RESPONSES = [
    response(0, "Yangtze, Indus, Ganges"),
    response(1, "Nile"),
    response(2, "x y z w v u", "length"),
    response(3, "la la"),
    response(4, "", "length", "empty_response"),
]
ASSESSMENTS = [assessment(0, 8.5, 9.0), assessment(1, 9.4, 8.1), assessment(2, 8.0, 9.0), assessment(3, None, 2.0)]
SELECTIONS = [
    Selection("0", True),
    Selection("1", True),
    Selection("2", False, "threshold", "8 and 9"),
    Selection("3", False, "unparsed", "no score"),
]


def measured(
    selections: Sequence[Selection] = SELECTIONS, earlier: Sequence[Instruction] = (), threshold: float | None = 8
) -> dict[str, Any]:
    return health(INSTRUCTIONS, RESPONSES, ASSESSMENTS, selections, earlier, Standards(threshold))


def test_every_figure_of_a_small_iteration() -> None:
    assert measured() == {
        "made": 8,
        "assessed": 4,
        "unparsed": 1,
        "over_threshold": 2,
        "kept": 2,
        "threshold": 8,
        "twin": 0.7,
        "keep_share": 2 / 8,
        "near_twin_share": 1 / 2,
        "twins_within_share": 1.0,
        "openings": None,
        "openings_of_100": None,
        "response_words_median": 2.0,
        "one_word_share": 1 / 2,
        "stop_share": 3 / 5,
        "unparsed_share": 1 / 4,
        "over_threshold_share": 2 / 4,
        "scores": {
            "quality": {
                "histogram": [0, 0, 0, 0, 0, 0, 0, 1, 2, 0],
                "entropy": pytest.approx(0.9182958340544896),
            },
            "following": {
                "histogram": [0, 1, 0, 0, 0, 0, 0, 1, 2, 0],
                "entropy": pytest.approx(1.5),
            },
            "lower": {"histogram": [0, 0, 0, 0, 0, 0, 0, 2, 1, 0], "entropy": pytest.approx(0.9182958340544896)},
        },
        "drops": {
            "instructions": {"too_short": 2, "beyond_text": 1},
            "responses": {"empty_response": 1},
            "selection": {"threshold": 1, "unparsed": 1},
        },
    }


def test_it_is_json() -> None:
    figures = measured()
    assert json.loads(json.dumps(figures)) == figures


def test_twins_of_earlier_iterations_count() -> None:
    assert measured(earlier=[instruction(9, "Name three large rivers of Asia!")])["near_twin_share"] == 1.0
    assert measured(earlier=[instruction(9, "Write a poem.")])["near_twin_share"] == 0.5


def test_the_caller_says_what_is_compared() -> None:
    by_id = Standards(8, lambda one: one.id)
    earlier = [instruction(0, "Something else.")]
    assert health(INSTRUCTIONS, RESPONSES, ASSESSMENTS, SELECTIONS, earlier, by_id)["near_twin_share"] == 0.5
    assert health(INSTRUCTIONS, RESPONSES, ASSESSMENTS, SELECTIONS, [], by_id)["near_twin_share"] == 0.0


def test_without_a_threshold_nothing_is_over_it() -> None:
    figures = measured(threshold=None)
    assert (figures["threshold"], figures["over_threshold"], figures["over_threshold_share"]) == (None, None, None)


def test_every_share_over_nothing_is_none() -> None:
    empty = health([], [], [], [], [], Standards(8, openings=OPENINGS))
    shares = [value for key, value in empty.items() if key.endswith("_share") or key.endswith("_median")]
    assert shares == [None] * 8
    assert (empty["openings"], empty["openings_of_100"]) == (0, None)
    assert empty["scores"]["quality"] == {"histogram": [0] * 10, "entropy": None}
    assert empty["made"] == empty["kept"] == 0
    assert alarms([empty]) == {}


def test_only_the_scores_that_were_asked_for_count() -> None:
    def asked(*questions: Question) -> dict[str, Any]:
        rows = [assessment(0, 9.0, None), assessment(1, 3.0, None), assessment(2, None, None)]
        return health([], [], rows, [], [], Standards(8, questions=questions))

    figures = asked("quality")
    assert (figures["unparsed"], figures["unparsed_share"]) == (1, 1 / 3)
    assert (figures["over_threshold"], figures["over_threshold_share"]) == (1, 1 / 3)
    assert figures["scores"]["lower"]["histogram"] == [0, 0, 1, 0, 0, 0, 0, 0, 1, 0]
    assert asked("quality", "following")["unparsed_share"] == 1.0
    none = asked()
    assert (none["assessed"], none["unparsed"], none["unparsed_share"]) == (3, 0, None)
    assert (none["over_threshold"], none["over_threshold_share"]) == (None, None)
    assert alarms([none | {"made": 3, "kept": 3}]) == {}


def test_how_the_kept_instructions_open() -> None:
    texts = ["Name a river.", "Please name the longest river in Asia.", "Name a bird.", "Sing a song.", "?"]
    made = [instruction(number, text) for number, text in enumerate(texts * 20)]
    kept = [Selection(one.id, True) for one in made]
    figures = health(made, [], [], kept, [], Standards(openings=OPENINGS))
    assert figures["openings"] == 3
    assert figures["openings_of_100"] is None  # 80 have one: too few to draw a hundred of
    made += [instruction(100 + number, "Name a river.") for number in range(20)]
    kept = [Selection(one.id, True) for one in made]
    assert health(made, [], [], kept, [], Standards(openings=OPENINGS))["openings_of_100"] == pytest.approx(3)


def test_scores_are_rounded_half_up_within_the_scale() -> None:
    scores = [assessment(i, score, 1) for i, score in enumerate([0.2, 1.49, 1.5, 2.5, 9.5, 10.0])]
    assert health([], [], scores, [], [], Standards())["scores"]["quality"]["histogram"] == [
        2,
        1,
        1,
        0,
        0,
        0,
        0,
        0,
        0,
        2,
    ]


def test_near_twins() -> None:
    assert near_twin_share([]) is None
    assert near_twin_share(["a b c", "a b c", "d", "A, B, C!"]) == 2 / 4
    assert near_twin_share(["北京", "北京"]) == 0.0


def test_twins_within_count_both_of_a_pair_and_nothing_from_outside() -> None:
    assert twins_within_share([]) is None
    assert twins_within_share(["a b c", "d", "a b c", "e", "A, B, C!"]) == 3 / 5
    assert twins_within_share(["a b c", "a b d"], twin=0.5) == 1.0
    assert twins_within_share(["a b c", "a b d"], twin=0.7) == 0.0
    assert measured(earlier=[instruction(9, "Reverse this word for me.")])["twins_within_share"] == 1.0
    alone = measured([Selection("0", True)], earlier=[instruction(9, "Name three large rivers of Asia.")])
    assert alone["twins_within_share"] == 0.0
    figures = health(INSTRUCTIONS, RESPONSES, ASSESSMENTS, SELECTIONS, [], Standards(8, twin=1.0))
    assert figures["twins_within_share"] == 0.0
    figures = health(INSTRUCTIONS, RESPONSES, ASSESSMENTS, SELECTIONS, [], Standards(8, lambda one: one.id))
    assert figures["twins_within_share"] == 0.0


HEALTHY: dict[str, Any] = {
    "made": 100,
    "assessed": 60,
    "unparsed": 0,
    "over_threshold": 30,
    "kept": 30,
    "threshold": 8,
    "twin": 0.7,
    "near_twin_share": 0.2,
    "twins_within_share": 0.2,
    "response_words_median": 20.0,
    "stop_share": 0.5,
    "unparsed_share": 0.2,
    "scores": {
        "quality": {"histogram": [0] * 10, "entropy": 0.5},
        "following": {"histogram": [0] * 10, "entropy": None},
        "lower": {"histogram": [0, 30, 0, 0, 0, 0, 0, 0, 30, 0], "entropy": 1.0},
    },
    "drops": {
        "instructions": {"too_short": 40, "url": 2},
        "responses": {"new_turn": 3},
        "selection": {"threshold": 30},
    },
}
SHOWN = "1: 0, 2: 30, 3: 0, 4: 0, 5: 0, 6: 0, 7: 0, 8: 0, 9: 30, 10: 0."


def test_at_the_limits_there_is_no_alarm() -> None:
    assert alarms([]) == {}
    assert alarms([HEALTHY]) == {}
    assert alarms([HEALTHY, HEALTHY | {"response_words_median": 10.0}]) == {}


@pytest.mark.parametrize(
    ("changes", "name", "alarm"),
    [
        (
            {"kept": 0, "over_threshold": 0},
            "nothing_kept",
            "nothing was kept: no pair of 60 is over the threshold. select.threshold is 8; it should lie between the "
            f"modes of the score histogram (the lowest of a pair's scores, rounded): {SHOWN}",
        ),
        (
            {"kept": 60, "over_threshold": 60, "threshold": 0.5},
            "everything_kept",
            "everything was kept: all 60 scored pairs are over the threshold. select.threshold is 0.5; it should lie "
            f"between the modes of the score histogram (the lowest of a pair's scores, rounded): {SHOWN}",
        ),
        (
            {"kept": 50, "over_threshold": 50, "unparsed": 10},
            "everything_kept",
            "everything was kept: all 50 scored pairs are over the threshold. select.threshold is 8; it should lie "
            f"between the modes of the score histogram (the lowest of a pair's scores, rounded): {SHOWN}",
        ),
        (
            {"kept": 0, "over_threshold": None, "threshold": None},
            "nothing_kept",
            "nothing was kept of 100 instructions made (most dropped by instructions: too_short 40, "
            "selection: threshold 30, responses: new_turn 3). Read what these dropped.",
        ),
        (
            {"kept": 0, "over_threshold": 60},
            "nothing_kept",
            "nothing was kept of 100 instructions made (most dropped by instructions: too_short 40, "
            "selection: threshold 30, responses: new_turn 3). Read what these dropped.",
        ),
        (
            {"kept": 0, "over_threshold": 0, "unparsed": 60, "drops": {}},
            "nothing_kept",
            "nothing was kept of 100 instructions made (most dropped by no drop). Read what these dropped.",
        ),
        (
            {"twins_within_share": 0.369},
            "twins_within",
            "36.9% of the kept instructions have a near-twin among the others (ROUGE-L > 0.7), more than 20%. "
            "Lower novelty.limit to 0.7, raise synthesize.temperature, or stop here.",
        ),
        (
            {"near_twin_share": 0.201},
            "near_twins",
            "20.1% of the kept instructions are near-twins of earlier ones (ROUGE-L > 0.7), more than 20%. "
            "Lower novelty.limit, raise synthesize.temperature, or stop here.",
        ),
        (
            {"stop_share": 0.499},
            "endless_responses",
            "49.9% of the responses stop by themselves, fewer than 50%. "
            "Check the template's stop token, or raise respond.max_new_tokens.",
        ),
        (
            {"unparsed_share": 0.25},
            "unparsed",
            "25.0% of the assessments give no score, more than 20%. "
            "Set assess.read to distribution, or mend the assessment prompts.",
        ),
        (
            {"response_words_median": 9.5},
            "short_responses",
            "the median kept response has 9.5 words, less than 50% of iteration 1's 20. "
            "Compare the kept records of both; stop here if answers shrink for no reason.",
        ),
        (
            {"scores": HEALTHY["scores"] | {"quality": {"histogram": [], "entropy": 0.49}}},
            "flat_quality",
            "the quality scores have an entropy of 0.49 bits, below 0.5: the assessor gives nearly everything the "
            "same score. Set assess.assessor to base, or make the assessment prompt stricter.",
        ),
        (
            {"scores": HEALTHY["scores"] | {"following": {"histogram": [], "entropy": 0.0}}},
            "flat_following",
            "the following scores have an entropy of 0.00 bits, below 0.5: the assessor gives nearly everything the "
            "same score. Set assess.assessor to base, or make the assessment prompt stricter.",
        ),
    ],
)
def test_an_alarm_says_figure_limit_and_remedy(changes: dict[str, Any], name: str, alarm: str) -> None:
    assert alarms([HEALTHY, HEALTHY | changes]) == {name: alarm}


def test_a_recipe_can_name_every_alarm() -> None:
    shared = {"unparsed_share": 1.0, "response_words_median": 0.0, "stop_share": 0.0}
    flat = {"histogram": [0] * 10, "entropy": 0.0}
    scores = HEALTHY["scores"] | {"quality": flat, "following": flat}
    worst = HEALTHY | shared | {"near_twin_share": 1.0, "twins_within_share": 1.0, "scores": scores}
    raised = [*alarms([HEALTHY, worst | {"kept": 0}]), *alarms([HEALTHY, worst | {"over_threshold": 60}])]
    assert list(dict.fromkeys(["nothing_kept", "everything_kept", *raised])) == list(get_args(Alarm))
    assert {"nothing_kept", "everything_kept"} <= {*raised}


def test_a_base_model_that_rambles_raises_no_alarm() -> None:
    assert alarms([HEALTHY | {"stop_share": 0.0}]) == {}


def test_the_limit_of_near_twins_is_the_callers() -> None:
    earlier = [instruction(9, "Name three large rivers of Asia!")]
    figures = health(INSTRUCTIONS, RESPONSES, ASSESSMENTS, SELECTIONS, earlier, Standards(8, twin=1.0))
    assert (figures["twin"], figures["near_twin_share"]) == (1.0, 0.0)


def test_only_the_last_iteration_raises_alarms() -> None:
    assert alarms([HEALTHY | {"stop_share": 0.0}, HEALTHY]) == {}


def test_the_first_iteration_is_not_held_against_itself() -> None:
    assert alarms([HEALTHY | {"response_words_median": 1.0}]) == {}
    assert alarms([HEALTHY | {"response_words_median": None}, HEALTHY]) == {}
    assert alarms([HEALTHY, HEALTHY | {"response_words_median": None}]) == {}
