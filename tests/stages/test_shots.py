"""Which tasks a request shows: whom from, and drawn how; what is drawn once is drawn again."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from isheep.errors import Interrupted
from isheep.models import Models
from isheep.recipe import Recipe, parse_recipe
from isheep.records import Assessment, Instruction, Response, SeedTask, Selection
from isheep.stages.shots import Pool, Shot, gather_shots
from isheep.store.run import Iteration, Run

SEEDS = [
    SeedTask(f"seed-{number}", f"Name {word}.", "he he" * (number % 3), "Owl", False)
    for number, word in enumerate(("a hill", "all hells", "two owls", "one ant", "the sea", "nine lakes", "a shell"))
]
LONGEST = max(len(seed.instruction + seed.input) for seed in SEEDS)

Make = Callable[..., Recipe]


@pytest.fixture
def make(tiny_model: Path) -> Make:
    """A recipe of the tiny model with these settings of `synthesize`."""

    def recipe(seed: int = 0, **settings: Any) -> Recipe:
        return parse_recipe(
            {
                "model": {"path": str(tiny_model), "dtype": "float32"},
                "synthesize": {"shots": 3, **settings},
                "engine": {"device": "cpu", "threads": 1},
                "seed": seed,
            },
            "test",
        )

    return recipe


@pytest.fixture
def run(make: Make, tmp_path: Path) -> Iterator[Run]:
    with Run.create_or_resume(tmp_path / "run", make()) as run:
        yield run


def pool_of(run: Run, recipe: Recipe, number: int = 1) -> Pool:
    with Models(recipe) as models:
        earlier = [run.iteration(past) for past in range(1, number)]
        return gather_shots(run.iteration(number), earlier, SEEDS, recipe, models.base)


def stored(run: Run, number: int = 1) -> Any:
    return run.iteration(number).read_json("shots.json")


def drawn(pool: Pool, requests: int = 200) -> list[list[str]]:
    return [[shot.id for shot in pool.draw(number)] for number in range(requests)]


def fill(iteration: Iteration, *tasks: str, kept: str, dropped: str) -> None:
    """An iteration that wrote these tasks, then one that selection kept not (`kept`) and one that a rule dropped."""
    texts = [*tasks, kept, dropped]
    ids = [f"{iteration.number}-{place}" for place in range(len(texts))]
    made = [Instruction(id_, iteration.number, 0, text, "", [], 0, "p") for id_, text in zip(ids, texts, strict=True)]
    made[-1] = Instruction(ids[-1], iteration.number, 0, dropped, "", [], 0, "p", "too_short", "because")
    tables: dict[str, list[Any]] = {
        "instructions": made,
        "responses": [Response(id_, "he", "stop", 1) for id_ in ids[:-1]],
        "assessments": [Assessment(id_, 9.0, 9.0, None, None, "base") for id_ in ids[:-1]],
        "selection": [Selection(id_, id_ != ids[-2]) for id_ in ids[:-1]],
    }
    for name, rows in tables.items():
        iteration.table(name).append(rows)
        iteration.table(name).close()


def test_by_default_seeds_are_drawn_alike_and_nothing_is_computed(run: Run, make: Make) -> None:
    lists = drawn(pool_of(run, make()), 700)
    assert all(len(set(ids)) == 3 for ids in lists)
    counts = Counter(id_ for ids in lists for id_ in ids)
    assert set(counts) == {seed.id for seed in SEEDS}
    assert max(counts.values()) < 1.25 * min(counts.values())
    assert stored(run) is None
    assert drawn(pool_of(run, make(seed=1)), 700) != lists
    assert drawn(pool_of(run, make(), number=2), 700) != lists


def test_mixed_shows_what_earlier_iterations_kept_and_a_list_can_show(run: Run, make: Make) -> None:
    good = ["Sell the shell.", "Tell who fell."]
    unfit = ["Write ### here.", "Use <NoInput> now.", "h" * (LONGEST + 1)]
    fill(run.iteration(1), *good, *unfit, kept="Not selected.", dropped="Dropped.")
    fill(run.iteration(2), "A third one.", kept="Nor this.", dropped="Nor that.")
    recipe = make(shots_from="mixed")
    seeds = {seed.id for seed in SEEDS}
    assert {id_ for ids in drawn(pool_of(run, recipe)) for id_ in ids} == seeds
    assert {id_ for ids in drawn(pool_of(run, recipe, 2)) for id_ in ids} == seeds | {"1-0", "1-1"}
    pool = pool_of(run, recipe, 3)
    shown = {shot.id: shot.instruction for number in range(200) for shot in pool.draw(number)}
    assert set(shown) == seeds | {"1-0", "1-1", "2-0"}
    assert [shown["1-0"], shown["1-1"]] == good
    assert [row["id"] for row in stored(run, 3)["pool"]] == [*(seed.id for seed in SEEDS), "1-0", "1-1", "2-0"]
    assert {id_ for ids in drawn(pool_of(run, make(), 3)) for id_ in ids} == seeds


def test_the_likelier_task_is_drawn_more_often(make: Make) -> None:
    shots = [Shot("a", "A", "", 1.0), Shot("b", "B", "", 2.0), Shot("c", "C", "", 4.0)]
    lists = drawn(Pool(shots, make(shots_drawn="inverse_perplexity", shots=2), 1), 7000)
    assert all(len(set(ids)) == 2 for ids in lists)
    first = Counter(ids[0] for ids in lists)
    assert [first[id_] / 7000 for id_ in "abc"] == pytest.approx([4 / 7, 2 / 7, 1 / 7], abs=0.02)
    # Of those left after the first draw the next goes by the same proportions.
    second = Counter(ids[1] for ids in lists if ids[0] == "a")
    assert second["b"] / second.total() == pytest.approx(2 / 3, abs=0.03)
    assert drawn(Pool(shots, make(shots_drawn="inverse_perplexity", shots=2), 1), 7000) == lists


def test_a_perplexity_that_could_not_be_told_counts_as_the_middle_one(make: Make) -> None:
    shots = [Shot("a", "A", "", 1.0), Shot("b", "B", "", 4.0), Shot("c", "C", "", 4.0), Shot("d", "D", "")]
    lists = drawn(Pool(shots, make(shots_drawn="inverse_perplexity", shots=1), 1), 7000)
    counts = Counter(ids[0] for ids in lists)
    assert [counts[id_] / 7000 for id_ in "abcd"] == pytest.approx([4 / 7, 1 / 7, 1 / 7, 1 / 7], abs=0.02)
    unknown = [Shot("a", "A", ""), Shot("b", "B", "")]
    alike = Counter(ids[0] for ids in drawn(Pool(unknown, make(shots_drawn="inverse_perplexity", shots=1), 1), 2000))
    assert alike["a"] / 2000 == pytest.approx(0.5, abs=0.05)


def test_perplexities_are_the_models_own_and_kept(run: Run, make: Make, tiny_model: Path) -> None:
    recipe = make(shots_drawn="inverse_perplexity")
    pool_of(run, recipe)
    document = stored(run)
    assert (document["model"], document["drawn"], document["from"]) == ("base", "inverse_perplexity", "seeds")
    model = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    with Models(recipe) as models:
        texts = [f"{seed.instruction}\n{seed.input}" if seed.input else seed.instruction for seed in SEEDS]
        for text, row in zip(texts, document["pool"], strict=True):
            ids = torch.tensor([models.encoder.plain(text)])
            with torch.inference_mode():
                loss = model(input_ids=ids, labels=ids).loss
            assert row["perplexity"] == pytest.approx(math.exp(loss), rel=1e-3)


def test_what_is_kept_is_not_computed_again(run: Run, make: Make) -> None:
    recipe = make(shots_drawn="inverse_perplexity")
    lists = drawn(pool_of(run, recipe))
    assert drawn(pool_of(run, recipe)) == lists
    document = stored(run)
    for row in document["pool"]:
        row["perplexity"] = 1.0 if row["id"] in ("seed-1", "seed-3", "seed-5") else 1e200
    run.iteration(1).write_json("shots.json", document)
    assert all(sorted(ids) == ["seed-1", "seed-3", "seed-5"] for ids in drawn(pool_of(run, recipe)))
    run.iteration(1).write_json("shots.json", {**document, "pool": document["pool"][:-1]})
    assert drawn(pool_of(run, recipe)) == lists
    (run.iteration(1).path / "shots.json").unlink()
    assert drawn(pool_of(run, recipe)) == lists


def test_each_cluster_gives_one_shot(run: Run, make: Make) -> None:
    pool = pool_of(run, make(shots_drawn="clusters"))
    cluster = {row["id"]: row["cluster"] for row in stored(run)["pool"]}
    assert set(cluster.values()) == {0, 1, 2}
    lists = drawn(pool)
    assert all(sorted(cluster[id_] for id_ in ids) == [0, 1, 2] for ids in lists)
    assert {id_ for ids in lists for id_ in ids} == set(cluster)
    assert {cluster[ids[0]] for ids in lists} == {0, 1, 2}
    assert drawn(pool_of(run, make(shots_drawn="clusters"))) == lists
    assert drawn(pool_of(run, make())) != lists


def test_a_task_without_a_cluster_only_fills_the_list(make: Make) -> None:
    shots = [Shot("a", "A", "", cluster=0), Shot("b", "B", "", cluster=0), Shot("c", "C", ""), Shot("d", "D", "")]
    lists = drawn(Pool(shots, make(shots_drawn="clusters", shots=2), 1))
    assert all(len(set(ids)) == 2 and {"a", "b"} & set(ids) for ids in lists)
    assert {id_ for ids in lists for id_ in ids} == {"a", "b", "c", "d"}


def test_where_too_few_tasks_differ_others_fill_the_list(run: Run, make: Make) -> None:
    twins = [SeedTask(str(number), "Name a hill." if number else "Sell it.", "", "Owl", False) for number in range(5)]
    recipe = make(shots_drawn="clusters", shots=4)
    with Models(recipe) as models:
        pool = gather_shots(run.iteration(1), [], twins, recipe, models.base)
    assert len({row["cluster"] for row in stored(run)["pool"]}) == 2
    assert all(len(set(ids)) == 4 and "0" in ids for ids in drawn(pool))


def test_a_task_longer_than_the_model_reads_is_scored_as_far_as_it_goes(run: Run, make: Make) -> None:
    long = [*SEEDS, SeedTask("long", "he ll" * 200, "", "Owl", False)]
    recipe = make(shots_drawn="inverse_perplexity")
    with Models(recipe) as models:
        gather_shots(run.iteration(1), [], long, recipe, models.base)
    assert stored(run)["pool"][-1]["perplexity"] > 1


def test_figures_stop_when_asked_to(run: Run, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("isheep.drain._wanted", True)
    with pytest.raises(Interrupted):
        pool_of(run, make(shots_drawn="clusters"))
    assert stored(run) is None
