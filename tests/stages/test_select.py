"""Which pairs are kept, by which filters in which order, and every reason of the others."""

from __future__ import annotations

import os
import random
import signal
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from isheep import drain
from isheep.errors import Interrupted, NothingKept
from isheep.filters.density import clusters, one_of_each
from isheep.filters.perplexity import FIELDS
from isheep.filters.quota import draw, top
from isheep.models import Model, Models
from isheep.recipe import Recipe, overridden, parse_recipe
from isheep.records import Assessment, Instruction, Pair, Response, Selection
from isheep.seeding import derive_seed
from isheep.stages.figures import perplexities, vectors
from isheep.stages.select import choose, select
from isheep.stages.training_set import gather
from isheep.store.run import Iteration, Run

WORDS = "hill hell shell owl ant sea lake bell wall hall well yell fell cell tell sell".split()
PAIRS = [
    Pair(
        f"r{place:02d}",
        f"Name {2 + place % 3} {word}s{'!' * (place % 2)}",
        word * (place % 4),
        f"The {word} " * (place % 5),
    )
    for place, word in enumerate(WORDS * 3)
]
"""48 pairs; every fifth response is empty, as it may be with the rules off."""
EMPTY = {pair.id for pair in PAIRS if not pair.response}
ALL_FILTERS = ["threshold", "perplexity", "density", "random", "top", "cap"]

Fill = Callable[..., Iteration]


def recipe(model: Path | str = "package:lamb/model", seed: int = 0, level: str = "both", **select: Any) -> Recipe:
    return parse_recipe(
        {
            "model": {"path": str(model), "dtype": "float32"},
            "assess": {"level": level},
            "select": select,
            "engine": {"device": "cpu", "threads": 1},
            "seed": seed,
        },
        "test",
    )


def assessed(*scores: tuple[float | None, float | None]) -> list[Assessment]:
    return [Assessment(f"r{place:02d}", *pair, None, None, "base") for place, pair in enumerate(scores)]


@pytest.fixture(scope="module")
def lamb() -> Iterator[Model]:
    with Models(recipe()) as models:
        yield models.base


@pytest.fixture
def chosen(lamb: Model) -> Callable[..., list[Selection]]:
    """The verdicts of a recipe's filters on pairs of these scores, with lamb as the model."""

    def rows(assessments: Sequence[Assessment], iteration: int = 1, **settings: Any) -> list[Selection]:
        return list(choose(assessments, PAIRS[: len(assessments)], iteration, recipe(**settings), lamb))

    return rows


Chosen = Callable[..., list[Selection]]
ALIKE = assessed(*[(9.0, 9.0)] * len(PAIRS))


def test_both_scores_must_be_greater_than_the_threshold(chosen: Chosen) -> None:
    rows = chosen(assessed((8.1, 8.1), (8.0, 9.0), (9.0, 2.0)), threshold=8)
    assert [row.kept for row in rows] == [True, False, False]
    assert [row.dropped_by for row in rows] == [None, "threshold", "threshold"]
    assert rows[2].reason == "following 2.00, not over 8"
    assert {(row.ppl_response, row.ppl_pair, row.cluster) for row in rows} == {(None, None, None)}


def test_a_score_that_could_not_be_told_drops_by_its_own_name(chosen: Chosen) -> None:
    (row,) = chosen(assessed((None, 9.0)), threshold=8)
    assert (row.kept, row.dropped_by, row.reason) == (False, "unparsed", "no score for quality")


@pytest.mark.parametrize("threshold", [0, -1])
def test_with_a_threshold_of_zero_or_less_everything_is_kept_even_the_unparsed(chosen: Chosen, threshold: int) -> None:
    assert all(row.kept for row in chosen(assessed((None, None), (1.0, 1.0)), threshold=threshold))


def test_only_the_scores_that_were_asked_for_decide(chosen: Chosen) -> None:
    one = assessed((9.0, None), (3.0, None))
    assert [row.kept for row in chosen(one, level="quality")] == [True, False]
    assert [row.dropped_by for row in chosen(one, level="both")] == ["unparsed", "unparsed"]
    assert all(row.kept for row in chosen(assessed((None, None)), level="none", threshold=0))


@pytest.mark.parametrize(("iteration", "kept"), [(1, 3), (2, 7), (3, 7)])
def test_the_random_control_keeps_its_number_for_the_iteration(chosen: Chosen, iteration: int, kept: int) -> None:
    rows = chosen(ALIKE[:20], iteration, filters=["random"], random=[3, 7])
    assert Counter(row.dropped_by for row in rows) == {None: kept, "random": 20 - kept}
    assert sum(row.kept for row in chosen(ALIKE[:20], iteration, filters=["random"], random=5)) == 5


def test_the_cap_draws_from_what_the_threshold_left(chosen: Chosen) -> None:
    rows = chosen(assessed(*[(9.0, 9.0)] * 10, *[(1.0, 1.0)] * 10), cap=4)
    assert Counter(row.dropped_by for row in rows) == {None: 4, "cap": 6, "threshold": 10}


def test_top_keeps_the_highest_of_the_lower_scores(chosen: Chosen) -> None:
    rows = assessed((9.0, 3.0), (5.0, 6.0), (4.0, 8.0), (None, 9.5), (7.0, 7.0), (4.0, 5.0))
    found = chosen(rows, filters=["top"], top=2)
    assert [row.kept for row in found] == [False, True, False, False, True, False]
    assert found[0].reason == "score 3.00 is not among the 2 highest of 5"
    assert (found[3].dropped_by, found[3].reason) == ("unparsed", "no score for quality")
    assert [row.kept for row in chosen(rows, filters=["top"], top=1, level="quality")] == [True, *[False] * 5]


def test_set_filters_work_on_what_is_left_at_their_place(chosen: Chosen) -> None:
    half = assessed(*[(9.0, 9.0)] * 10, *[(1.0, 1.0)] * 10)
    after, before = (chosen(half, filters=order, cap=8) for order in (["threshold", "cap"], ["cap", "threshold"]))
    assert Counter(row.dropped_by for row in after) == {None: 8, "cap": 2, "threshold": 10}
    assert Counter(row.dropped_by for row in before) == {
        None: sum(row.kept for row in before),
        "cap": 12,
        "threshold": 8 - sum(row.kept for row in before),
    }
    # The draw went over all twenty, so it took some of the worse half; each of these tells both of its reasons.
    both = [
        row
        for row in before
        if row.reason == "not among the 8 drawn of 20; quality 1.00 and following 1.00, not over 8"
    ]
    assert {row.dropped_by for row in both} == {"cap"}
    assert len(both) == 10 - sum(row.dropped_by == "threshold" for row in before)


def test_row_filters_judge_every_pair_wherever_they_stand(chosen: Chosen) -> None:
    scores = assessed(*[(9.0, 9.0), (2.0, 9.0)] * 24)
    both = {"perplexity": {"limit": 30, "of": "pair"}}
    one, other = (
        chosen(scores, filters=order, **both) for order in (["threshold", "perplexity"], ["perplexity", "threshold"])
    )
    assert [row.kept for row in one] == [row.kept for row in other]
    reasons = [(row.reason or "").split("; ") for row in one]
    assert [(row.reason or "").split("; ") for row in other] == [texts[::-1] for texts in reasons]
    assert max(map(len, reasons)) == 2
    told = [row for row in one if row.reason and "; " in row.reason]
    assert {row.dropped_by for row in told} == {"threshold"}
    assert {row.dropped_by for row in other if row.reason and "; " in row.reason} == {"perplexity"}


@pytest.mark.parametrize("of", ["response", "pair", "both"])
def test_perplexity_drops_what_is_over_its_limit_or_unknown(chosen: Chosen, lamb: Model, of: str) -> None:
    told = perplexities(PAIRS, FIELDS["both"], 1, lamb)
    known = sorted(value for one in told.values() for name in FIELDS[of] if (value := one[name]) is not None)
    limit = known[len(known) // 2]
    rows = chosen(ALIKE, filters=["perplexity"], perplexity={"limit": limit, "of": of})
    for row in rows:
        figures = {name: told[row.id][name] if name in FIELDS[of] else None for name in FIELDS["both"]}
        for name, value in figures.items():
            assert getattr(row, name) == (None if value is None else pytest.approx(value, rel=1e-4))
        asked = [getattr(row, name) for name in FIELDS[of]]
        over = any(value is not None and value > limit for value in asked)
        expected = "perplexity" if over else "no_perplexity" if None in asked else None
        assert (row.dropped_by, row.kept) == (expected, expected is None)
    assert {row.dropped_by for row in rows} >= {None, "perplexity"}
    assert not any(row.kept for row in rows if of != "pair" and row.id in EMPTY)


def test_one_pair_of_each_cluster_is_kept(chosen: Chosen) -> None:
    scores = assessed(*[(9.0, 9.0)] * 40, *[(1.0, 1.0)] * 8)
    rows = chosen(scores, filters=["threshold", "density"], density={"clusters": 7})
    clusters = {row.id: row.cluster for row in rows}
    assert all((row.cluster is None) == (row.dropped_by == "threshold") for row in rows)
    assert sorted(cluster for row in rows if row.kept and (cluster := row.cluster) is not None) == list(range(7))
    assert Counter(row.dropped_by for row in rows) == {None: 7, "density": 33, "threshold": 8}
    again = chosen(scores, filters=["threshold", "density"], density={"clusters": 7})
    assert again == rows
    other = chosen(scores, filters=["threshold", "density"], density={"clusters": 7}, seed=1)
    assert {row.id: row.cluster for row in other} != clusters


def test_there_are_no_more_clusters_than_pairs_left(chosen: Chosen) -> None:
    rows = chosen(ALIKE[:10], filters=["density"], density={"clusters": 3000})
    assert all(row.kept for row in rows)
    assert {row.cluster for row in rows} == set(range(10))
    assert all(row.cluster is None for row in chosen(assessed((1.0, 1.0)), filters=["threshold", "density"]))


@pytest.mark.parametrize("of", ["response", "pair", "both"])
def test_the_lowest_perplexity_of_each_cluster_is_kept(chosen: Chosen, of: str) -> None:
    density = {"clusters": 5, "keep": "lowest_perplexity"}
    rows = chosen(ALIKE, filters=["density"], density=density, perplexity={"of": of})
    told = {row.id: [getattr(row, name) for name in FIELDS[of]] for row in rows}
    unknown = {row.id for row in rows if None in told[row.id]}
    assert {row.id for row in rows if row.dropped_by == "no_perplexity"} == unknown
    assert {row.id for row in rows if row.cluster is None} == unknown
    for cluster in range(5):
        members = [row for row in rows if row.cluster == cluster]
        (kept,) = [row for row in members if row.kept]
        assert max(told[kept.id]) == min(max(told[row.id]) for row in members)
    assert sum(row.kept for row in rows) == 5


def test_another_run_seed_or_iteration_draws_others(chosen: Chosen) -> None:
    for name, setting in (("cap", {"cap": 5}), ("random", {"random": 5}), ("top", {"top": 5})):
        drawn = [
            frozenset(row.id for row in chosen(ALIKE, iteration, filters=[name], seed=seed, **setting) if row.kept)
            for seed, iteration in ((0, 1), (1, 1), (0, 2))
        ]
        assert len(set(drawn)) == 3


def test_all_filters_in_both_directions(chosen: Chosen) -> None:
    scores = assessed(*[(5.0 + place % 5, 9.5 - place % 3) for place in range(48)])
    settings = {
        "threshold": 6,
        "perplexity": {"limit": 1e6, "of": "pair"},
        "density": {"clusters": 20},
        "random": 15,
        "top": 10,
        "cap": 5,
    }
    rows = chosen(scores, filters=ALL_FILTERS, **settings)
    left = len(rows)
    for rule, most in (("threshold", 48), ("density", 20), ("random", 15), ("top", 10), ("cap", 5)):
        left -= sum(row.dropped_by == rule for row in rows)
        assert left <= most
    assert sum(row.kept for row in rows) == left == 5
    rows = chosen(scores, filters=ALL_FILTERS[::-1], **settings)
    assert Counter(row.dropped_by for row in rows)["cap"] == 43
    assert all(
        "not over 6" in (row.reason or "") for row, one in zip(rows, scores, strict=True) if (one.quality or 0) <= 6
    )


@pytest.fixture
def filled(tiny_model: Path, tmp_path: Path) -> Iterator[Callable[[int], Iteration]]:
    """An iteration of a run of the tiny model, with pairs and their scores; the selection is still to do."""
    with Run.create_or_resume(tmp_path / "run", recipe(tiny_model)) as run:

        def fill(number: int) -> Iteration:
            iteration = run.iteration(number)
            made = [
                Instruction(p.id, number, place, p.instruction, p.input, [], 0, "p") for place, p in enumerate(PAIRS)
            ]
            answers = [Response(p.id, p.response, "stop", 1) for p in PAIRS]
            answers[3] = Response(PAIRS[3].id, "User: no", "stop", 1, "new_turn", "opens a new turn")
            rows = [one for one in ALIKE if one.id != PAIRS[3].id]
            for name, records in (("instructions", made), ("responses", answers), ("assessments", rows)):
                iteration.table(name).append(records)
                iteration.table(name).close()
            return iteration

        yield fill


Filled = Callable[[int], Iteration]
FIGURES: dict[str, Any] = {
    "filters": ["perplexity", "density"],
    "perplexity": {"limit": 1e9},
    "density": {"clusters": 9},
}


def test_a_selection_has_a_row_for_each_assessed_pair_and_is_made_once(filled: Filled, tiny_model: Path) -> None:
    iteration, made = filled(1), recipe(tiny_model, **FIGURES)
    with Models(made) as models:
        select(iteration, made, models.base)
        rows = iteration.table("selection").rows()
        assert [row.id for row in rows] == [pair.id for pair in PAIRS if pair.id != PAIRS[3].id]
        assert sum(row.kept for row in rows) == 9
        assert iteration.table("selection").is_done
        # With other settings it would keep others, if it were done again.
        select(iteration, recipe(tiny_model, filters=["cap"], cap=1), models.base)
    assert iteration.table("selection").rows() == rows


def test_figures_are_of_the_model_that_wrote_the_iteration(filled: Filled, tiny_model: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False)
    get_peft_model(AutoModelForCausalLM.from_pretrained(tiny_model), config).save_pretrained(tmp_path / "adapter")
    made = recipe(tiny_model, **FIGURES)
    with Models(made) as models:
        trained = Model(models, 1, tmp_path / "adapter")
        for number, model in ((1, models.base), (2, trained)):
            select(filled(number), made, model)
    with Run.create_or_resume(tmp_path / "other", recipe(tiny_model)), Models(made) as models:
        pairs = [pair for pair in PAIRS if pair.id != PAIRS[3].id]
        own = perplexities(pairs, FIELDS["both"], 2, Model(models, 1, tmp_path / "adapter"))
        of_base = perplexities(pairs, FIELDS["both"], 1, models.base)
    for number, told in ((1, of_base), (2, own)):
        rows = Run.read(tmp_path / "run").iteration(number).table("selection").rows()
        assert [row.ppl_pair for row in rows] == pytest.approx([told[row.id]["ppl_pair"] for row in rows], rel=1e-4)
    assert own["r01"]["ppl_pair"] != pytest.approx(of_base["r01"]["ppl_pair"], rel=0.01)


def test_the_default_filters_start_no_engine(filled: Filled, tiny_model: Path, tmp_path: Path) -> None:
    made = recipe(tiny_model)
    with Models(made) as models:
        # There is no such adapter: an engine that started would say so.
        select(filled(1), made, Model(models, 1, tmp_path / "nowhere"))


@pytest.mark.parametrize("settings", [FIGURES, {"filters": ["density"], "density": {"clusters": 9}}])
def test_a_selection_that_was_stopped_is_made_as_if_it_had_not_been(
    filled: Filled, tiny_model: Path, settings: dict[str, Any]
) -> None:
    stopped, alone, made = filled(1), filled(2), recipe(tiny_model, **settings)
    with Models(made) as models:
        with drain.on_signals():
            os.kill(os.getpid(), signal.SIGINT)
            with pytest.raises(Interrupted):
                select(stopped, made, models.base)
        assert stopped.table("selection").parts() == 0
        select(stopped, made, models.base)
        rows = stopped.table("selection").rows()
        expected = list(choose(alone.table("assessments").rows(), PAIRS, 1, made, models.base))
    assert rows == expected


def test_a_part_that_was_written_before_a_kill_stands(filled: Filled, tiny_model: Path, tmp_path: Path) -> None:
    iteration, made = filled(1), recipe(tiny_model, **FIGURES)
    rows = [Selection(one.id, True, cluster=7) for one in iteration.table("assessments").rows()]
    iteration.table("selection").append(rows)
    with Models(made) as models:
        select(iteration, made, Model(models, 1, tmp_path / "nowhere"))
    assert (iteration.table("selection").is_done, iteration.table("selection").rows()) == (True, rows)


def test_filters_that_keep_nothing_stop_with_the_reasons_counted(filled: Filled, tiny_model: Path) -> None:
    iteration, made = filled(1), recipe(tiny_model, threshold=9.5)
    with Models(made) as models:
        for _ in range(2):
            select(iteration, made, models.base)
            with pytest.raises(NothingKept) as caught:
                gather(iteration, [], made)
            assert not iteration.training_set_path.exists()
            assert caught.value.exit_code == 3
            assert str(caught.value) == (
                "iteration 1 kept nothing to train on (threshold 47). Choose `select.threshold` between the modes of "
                "the scores, and give the command the changed setting with --accept-changes to "
                "go on, or another --dir to start anew."
            )


def test_what_a_filter_draws_is_a_function_of_run_seed_iteration_and_its_own_name(chosen: Chosen) -> None:
    ids = [row.id for row in ALIKE]
    for iteration in (1, 2):
        rng = {name: random.Random(derive_seed(3, iteration, name)) for name in ("random", "cap", "top")}
        expected = {
            "random": draw(ids, 9, "random", rng["random"]),
            "cap": draw(ids, 9, "cap", rng["cap"]),
            "top": top(dict.fromkeys(ids, 9.0), 9, rng["top"]),
        }
        for name, drops in expected.items():
            rows = chosen(ALIKE, iteration, seed=3, filters=[name], **{name: 9})
            assert {row.id: row.reason for row in rows if not row.kept} == {
                id_: drop.reason for id_, drop in drops.items()
            }


def test_a_quota_that_is_not_given_drops_nothing(chosen: Chosen) -> None:
    for name in ("random", "top"):
        assert all(row.kept for row in chosen(ALIKE, filters=[name]))


def test_a_pair_that_holds_a_benchmarks_question_is_dropped_where_the_recipe_says_so(lamb: Model) -> None:
    held = {"r01": "holds a question of arc"}
    for wanted, found in (("drop", ("contamination", "holds a question of arc")), ("report", (None, None))):
        made = overridden(recipe(), [f"evaluate.contamination={wanted}"])
        rows = choose(ALIKE[:3], PAIRS[:3], 1, made, lamb, held)
        assert [(row.dropped_by, row.reason) for row in rows] == [(None, None), found, (None, None)]


def test_the_clusters_and_who_stays_of_each_are_functions_of_run_seed_and_iteration(
    chosen: Chosen, lamb: Model
) -> None:
    pairs = [pair for pair in PAIRS if pair.response]
    rows = {row.id: row for row in chosen(ALIKE, 2, seed=5, filters=["density"], density={"clusters": 7})}
    assert {id_ for id_, row in rows.items() if row.cluster is None} <= EMPTY
    placed = [pair for pair in PAIRS if rows[pair.id].cluster is not None]
    assert len(placed) >= len(pairs)
    numbers = clusters(np.stack(vectors(placed, 2, lamb)), 7, derive_seed(5, 2, "clusters"))
    cluster_of = {pair.id: number for pair, number in zip(placed, numbers, strict=True)}
    assert {pair.id: rows[pair.id].cluster for pair in placed} == cluster_of
    drops = one_of_each(cluster_of, random.Random(derive_seed(5, 2, "density")))
    assert {id_: rows[id_].reason for id_ in cluster_of if not rows[id_].kept} == {
        id_: drop.reason for id_, drop in drops.items()
    }
