from __future__ import annotations

from isheep.estimate.workload import Habits, Tokens, Work, examples_shown, workload
from isheep.recipe import Recipe, load_recipe, overridden

LAMB = load_recipe(
    "lamb", ["iterations=3", "size=100", "engine.batch_size=16", "train.steps=null", "train.held_out=0.1"]
)
HABITS = Habits(
    evaluation=Tokens(1000, 100),
    yielded=3.0,
    request=Tokens(200, 140),
    response=Tokens(20, 5),
    assessment=Tokens(240, 0),
    kept=0.5,
    pair=40,
    text=25,
)


def of(recipe: Recipe, stage: str) -> list[Work]:
    return [one for one in workload(recipe, lambda number: HABITS, seeds=10, items=70) if one.stage == stage]


def test_requests_are_sent_in_whole_parts() -> None:
    first, second, third = of(LAMB, "synthesize")
    # 100 instructions take 34 requests, which are three parts of 16.
    assert (first.texts, first.read, first.written) == (48, 48 * 200, 48 * 140)
    assert (second.texts, third.texts) == (48, 48)
    assert [one.compared for one in (first, second, third)] == [100 * 60, 100 * 160, 100 * 260]


def test_the_rest_goes_by_the_instruction() -> None:
    assert [(one.texts, one.read, one.written) for one in of(LAMB, "respond")] == [(100, 2000, 500)] * 3
    assert [(one.texts, one.read, one.written) for one in of(LAMB, "assess")] == [(200, 24_000, 0)] * 3
    assert [(one.texts, one.read, one.written) for one in of(LAMB, "evaluate")] == [(70, 1000, 100)] * 4
    assert [(one.texts, one.read) for one in of(LAMB, "embed")] == [(10, 250), *[(50, 1250)] * 3]


def test_further_responses_are_drawn_and_judged_of_what_is_kept() -> None:
    assert of(LAMB, "draw") == []
    more = overridden(LAMB, ["respond.draws=3"])
    # Of 50 kept pairs 100 responses, each with two scores.
    each = [(one.read, one.written) for stage in ("respond", "assess") for one in of(more, stage)[:1]]
    total = (sum(read for read, _ in each), sum(written for _, written in each))
    assert [(one.texts, one.read, one.written) for one in of(more, "draw")] == [(300, *total)] * 3


def test_a_training_sees_its_epochs_and_what_is_held_out() -> None:
    # Of 50 pairs 45 are trained on: 6 steps of 16 for two epochs, which are too few for a look at the others.
    assert [one.texts for one in of(LAMB, "train")] == [96] * 3
    assert [one.read for one in of(LAMB, "train")] == [96 * 40] * 3
    assert examples_shown(overridden(LAMB, ["train.steps=250"]), 50) == 250 * 16 + 2 * 5
    capped = overridden(LAMB, ["select.cap=10"])
    assert [one.texts for one in of(capped, "train")] == [32] * 3
    together = overridden(LAMB, ["setting=total_base"])
    assert [one.texts for one in of(together, "gather")] == [50, 100, 150]
    assert [one.texts for one in of(together, "train")] == [96, 192, 272]
