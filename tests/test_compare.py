"""Runs side by side: which stand in one row, what they differ in, and what is beyond noise."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
from rich.console import Console

from isheep.cli.side_by_side import comparison
from isheep.compare import between, compare, difference
from isheep.errors import UserError
from isheep.intervals import mean_interval, mean_over_runs
from isheep.recipe import Recipe, overridden, parse_recipe
from isheep.records import Instruction, Selection
from isheep.stages.once import SWEEP
from isheep.store.run import Run

METRIC = "acc"

Scores = Sequence[Sequence[float]]
"""[iterations, items]"""

MakeRun = Callable[..., Path]


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    settings = {"model": {"path": str(tmp_path / "model")}, "evaluate": {"benchmarks": ["bench"]}}
    return parse_recipe(settings, "test")


@pytest.fixture
def make_run(tmp_path: Path, recipe: Recipe) -> MakeRun:
    """A run whose iterations scored so on the items of a benchmark; `items=False` leaves those unwritten."""

    def make(name: str, scores: Scores, *overrides: str, items: bool = True, asked: str = "item") -> Path:
        directory = tmp_path / name
        with Run.create_or_resume(directory, overridden(recipe, overrides)) as run:
            for number, values in enumerate(scores):
                iteration = run.iteration(number)
                figure = mean_interval(values, seed=0)
                entry = {"value": figure.value, "low": figure.low, "high": figure.high, "n": figure.n}
                iteration.write_json("scores.json", {"bench": {METRIC: entry}})
                if items:
                    write_items(iteration.path / "evaluation" / "bench.jsonl", values, asked)
                if number:
                    iteration.table("instructions").append(
                        [Instruction(f"i{n}", number, n, "Name a bird.", "", [], 0, "p") for n in range(number * 5)]
                    )
                    iteration.table("selection").append([Selection(f"i{n}", n < number) for n in range(number * 5)])
            run.finish()
        return directory

    return make


def write_items(file: Path, values: Sequence[float], asked: str) -> None:
    rows = [
        {"doc_id": place, "filter": "none", "metrics": {METRIC: value}, "doc": {"question": f"{asked} {place}"}}
        for place, value in enumerate(values)
    ]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))


def flips(count: int, share: float, seed: int) -> list[float]:
    rng = random.Random(seed)
    return [float(rng.random() < share) for _ in range(count)]


BASE, LOW, HIGH = flips(200, 0.1, 0), flips(200, 0.3, 1), flips(200, 0.8, 2)


def test_runs_stand_side_by_side_with_what_they_differ_in(make_run: MakeRun) -> None:
    one = make_run("one", [BASE, LOW], "select.threshold=0")
    other = make_run("other", [BASE, HIGH, HIGH], "select.threshold=8", "select.filters=[cap]")
    found = compare([one, other])
    assert found["settings"] == {"select.filters": [["threshold", "cap"], ["cap"]], "select.threshold": [0.0, 8.0]}
    assert found["metrics"] == ["bench/acc"]
    first, second = found["runs"]
    assert (first["name"], second["name"]) == ("filters=[threshold, cap], threshold=0", "filters=[cap], threshold=8")
    assert first["directories"] == [str(one)]
    assert second["states"] == ["finished"]
    assert [row["iteration"] for row in second["iterations"]] == [0, 1, 2]
    assert (second["iterations"][2]["made"], second["iterations"][2]["kept"]) == ([10], [2])
    scored = json.loads((one / "iteration-01" / "scores.json").read_text())
    assert first["iterations"][1]["scores"] == scored
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_a_difference_of_runs_is_paired_item_by_item(make_run: MakeRun) -> None:
    # One value in ten is lost and nothing is gained: unpaired intervals overlap, pairs tell them apart.
    less = [0.0 if value and place % 10 == 0 else value for place, value in enumerate(HIGH)]
    found = compare([make_run("one", [BASE, HIGH], "size=5"), make_run("other", [BASE, less], "size=6")])
    (entry,) = found["differences"]
    assert (entry["benchmark"], entry["metric"], entry["iteration"]) == ("bench", METRIC, 1)
    assert entry["runs"] == ["size=5", "size=6"]
    assert entry["value"] == pytest.approx((sum(less) - sum(HIGH)) / 200)
    assert entry["low"] < entry["high"] < 0
    assert (entry["n"], entry["beyond_noise"]) == (200, True)
    assert entry["words"].startswith("size=5 is above size=6 by .0")
    assert entry["words"].endswith("beyond noise")
    one, other = (row["iterations"][1]["scores"]["bench"][METRIC] for row in found["runs"])
    assert one["low"] < other["high"]


def test_a_difference_within_noise_is_said_to_be_one(make_run: MakeRun) -> None:
    other = flips(200, 0.8, 3)
    (entry,) = compare([make_run("one", [BASE, HIGH], "size=5"), make_run("two", [BASE, other], "size=6")])[
        "differences"
    ]
    assert entry["low"] < 0 < entry["high"]
    assert entry["beyond_noise"] is False
    assert "cannot be told apart" in entry["words"]


@pytest.mark.parametrize(("gained", "beyond"), [(5, False), (6, True)])
def test_a_handful_of_items_is_within_noise(make_run: MakeRun, gained: int, beyond: bool) -> None:
    other = [1.0 if place < gained else 0.0 for place in range(200)]
    runs = [make_run("one", [BASE, [0.0] * 200], "size=5"), make_run("two", [BASE, other], "size=6")]
    (entry,) = compare(runs)["differences"]
    assert entry["low"] > 0
    assert entry["beyond_noise"] is beyond
    assert ("; 5 values differ)" in " ".join(shown(compare(runs)).split())) is not beyond
    assert ("; 5 values differ)" in entry["words"]) is not beyond


def test_every_two_are_compared_in_every_iteration_that_both_have(make_run: MakeRun) -> None:
    runs = [make_run(f"r{n}", [BASE] + [LOW] * n, f"size={n}") for n in (1, 2, 3)]
    found = [(entry["iteration"], *entry["runs"]) for entry in compare(runs)["differences"]]
    assert found == [
        (1, "size=1", "size=2"), (1, "size=1", "size=3"), (1, "size=2", "size=3"), (2, "size=2", "size=3"),
    ]  # fmt: skip


def test_runs_that_differ_only_in_the_seed_stand_in_one_row(make_run: MakeRun) -> None:
    seeds = {seed: flips(200, 0.7, 10 + seed) for seed in (0, 1, 2)}
    runs = [make_run(f"a{seed}", [BASE, values], "size=5", f"seed={seed}") for seed, values in seeds.items()]
    runs += [make_run(f"b{seed}", [BASE, LOW], "size=6", f"seed={seed}") for seed in (2, 1, 0)]
    found = compare(runs)
    assert found["settings"] == {"size": [5, 6]}
    one, other = found["runs"]
    assert (one["seeds"], other["seeds"]) == ([0, 1, 2], [0, 1, 2])
    assert one["iterations"][1]["kept"] == [1, 1, 1]
    figure = one["iterations"][1]["scores"]["bench"][METRIC]
    assert figure["value"] == pytest.approx(sum(map(sum, seeds.values())) / 600)
    over_seeds = mean_over_runs(list(seeds.values()))
    assert (figure["low"], figure["high"], figure["n"]) == (over_seeds.low, over_seeds.high, 600)
    (entry,) = found["differences"]
    assert (entry["seeds"], entry["n"], entry["beyond_noise"]) == (3, 600, True)


def test_seeds_that_contradict_each_other_are_noise(make_run: MakeRun) -> None:
    swings = (0.2, 0.5, 0.8)
    runs = [make_run(f"a{s}", [BASE, flips(200, 0.5, s)], "size=5", f"seed={s}") for s in range(3)]
    runs += [make_run(f"b{s}", [BASE, flips(200, swings[s] + 0.05, 9 + s)], "size=6", f"seed={s}") for s in range(3)]
    (entry,) = compare(runs)["differences"]
    assert entry["beyond_noise"] is False
    pairs = [compare([runs[s], runs[3 + s]])["differences"][0]["beyond_noise"] for s in (0, 2)]
    assert pairs == [True, True], "each seed alone would have said so"


def test_without_seeds_in_common_runs_are_paired_in_their_order(make_run: MakeRun) -> None:
    one, other = make_run("a", [BASE, LOW], "size=5", "seed=1"), make_run("b", [BASE, HIGH], "size=6", "seed=2")
    (entry,) = compare([one, other])["differences"]
    assert (entry["seeds"], entry["n"], entry["beyond_noise"]) == (1, 200, True)


def test_a_run_that_is_there_twice_is_a_row_of_its_own(make_run: MakeRun) -> None:
    one, other = make_run("one", [BASE, LOW]), make_run("other", [BASE, LOW])
    found = compare([one, other, one])
    assert found["settings"] == {}
    assert [row["name"] for row in found["runs"]] == [str(one), str(other)]
    (entry,) = found["differences"]
    assert (entry["value"], entry["beyond_noise"]) == (0, False)


def test_other_items_are_not_paired(make_run: MakeRun) -> None:
    one, other = make_run("a", [BASE, LOW], "size=5"), make_run("b", [BASE, HIGH], "size=6", asked="another item")
    (entry,) = compare([one, other])["differences"]
    assert (entry["low"], entry["n"]) == (None, 0)
    assert entry["beyond_noise"] is True, "their intervals do not overlap"
    (entry,) = compare([one, make_run("c", [BASE, LOW], "size=7", asked="another item")])["differences"]
    assert entry["beyond_noise"] is False


def test_items_that_only_one_has_are_left_out(make_run: MakeRun) -> None:
    one, other = make_run("a", [BASE, HIGH], "size=5"), make_run("b", [BASE, HIGH[:50]], "size=5", "evaluate.limit=50")
    (entry,) = compare([one, other])["differences"]
    assert (entry["n"], entry["value"]) == (50, 0)


def test_without_items_the_intervals_decide_or_nothing_can_be_told(make_run: MakeRun) -> None:
    one, other = (make_run(n, [BASE, v], f"size={len(n)}", items=False) for n, v in (("a", LOW), ("bb", HIGH)))
    (entry,) = compare([one, other])["differences"]
    assert (entry["low"], entry["high"], entry["beyond_noise"]) == (None, None, True)
    scores = {"bench": {METRIC: {"value": 0.9, "low": None, "high": None, "n": 200}}}
    (other / "iteration-01" / "scores.json").write_text(json.dumps(scores))
    (entry,) = compare([one, other])["differences"]
    assert entry["beyond_noise"] is None
    assert entry["words"].endswith("nothing to tell noise by")


def test_a_figure_that_is_no_mean_of_its_items_is_not_bootstrapped(make_run: MakeRun) -> None:
    one, other = make_run("a", [BASE, LOW], "size=5"), make_run("b", [BASE, HIGH], "size=6")
    scores = {"bench": {METRIC: {"value": 7.3, "low": None, "high": None, "n": 200}}}
    (other / "iteration-01" / "scores.json").write_text(json.dumps(scores))
    (entry,) = compare([one, other])["differences"]
    assert entry["value"] == pytest.approx(7.3 - sum(LOW) / 200)
    assert (entry["low"], entry["beyond_noise"]) == (None, None)


def test_what_was_not_measured_is_not_compared(make_run: MakeRun) -> None:
    one, other = make_run("a", [BASE, LOW], "size=5"), make_run("b", [BASE, HIGH], "size=6")
    (other / "iteration-01" / "scores.json").unlink()
    found = compare([one, other])
    assert found["differences"] == []
    assert found["runs"][1]["iterations"][1]["scores"] == {}


def test_the_watched_metric_of_a_benchmark_is_its_main_one(make_run: MakeRun) -> None:
    one, other = make_run("a", [BASE, LOW], "size=5"), make_run("b", [BASE, HIGH], "size=6", "stop.metric=bench/f1")
    for run in (one, other):
        for number in (0, 1):
            file = run / f"iteration-{number:02d}" / "scores.json"
            scores = json.loads(file.read_text())
            scores["bench"]["f1"] = {"value": 0.5, "low": 0.4, "high": 0.6, "n": 3}
            file.write_text(json.dumps(scores))
    assert compare([one, other])["metrics"] == ["bench/f1"]


def test_several_values_of_an_item_count_each() -> None:
    before = [{"a": [0.0, 1.0], "b": [0.0]}]
    after = [{"b": [1.0], "a": [1.0, 1.0], "c": [0.0]}]
    found = difference(before, after)
    assert found.value == pytest.approx(2 / 3)
    assert found.n == 3


def test_a_sweep_is_its_runs(tmp_path: Path, make_run: MakeRun) -> None:
    for name, size in (("sweep/b", 5), ("sweep/a", 6), ("sweep/c", 7)):
        make_run(name, [BASE, LOW], f"size={size}")
    (tmp_path / "sweep" / SWEEP).write_text(json.dumps({"runs": ["b", "a", "not-begun"]}))
    found = compare([tmp_path / "sweep"])
    assert [row["name"] for row in found["runs"]] == ["size=5", "size=6"]
    assert len(compare([tmp_path / "sweep", tmp_path / "sweep" / "c"])["runs"]) == 3


def test_iterations_of_one_run_against_the_base_and_the_one_before(tmp_path: Path, make_run: MakeRun) -> None:
    run = make_run("run", [BASE, LOW, HIGH])
    found = compare([run])
    assert found["differences"] == []
    assert [row["iterations"] for row in found["progress"]] == [[0, 1], [0, 2], [1, 2]]
    for row in found["progress"]:
        before, after = ([BASE, LOW, HIGH][number] for number in row["iterations"])
        assert row["value"] == pytest.approx(fmean(after) - fmean(before))
    assert found["progress"][2]["beyond_noise"]
    assert found["progress"][2]["words"].startswith("iteration 2 is above iteration 1 by ")
    text = shown(found)
    assert "iteration 2 is above the base by" in text
    assert "differ" not in text


def test_what_cannot_be_compared_is_refused(tmp_path: Path, make_run: MakeRun) -> None:
    run = make_run("run", [BASE])
    with pytest.raises(UserError, match="is neither a run nor a sweep"):
        compare([run, tmp_path])


def shown(document: dict[str, Any], width: int = 100) -> str:
    console = Console(width=width, force_terminal=False, record=True, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
    console.print(comparison(document))
    return console.export_text()


def test_the_terminal_shows_all_of_it(make_run: MakeRun) -> None:
    scores = {1: LOW, 2: HIGH, 3: flips(200, 0.8, 3)}
    runs = [make_run(f"r{size}", [BASE, values], f"size={size}") for size, values in scores.items()]
    text = shown(compare(runs))
    assert "The runs differ in size." in text
    for name, other in itertools.combinations(("size=1", "size=2", "size=3"), 2):
        assert name in text
        assert other in text
    assert "size=2 is above size=1 by" in text
    assert "cannot be told apart: size=2 and size=3 (" in text
    assert "one comparison in 20 looks beyond noise, and 3 were made" in " ".join(text.split())


def test_seeds_show_as_a_mean_with_its_range(make_run: MakeRun) -> None:
    runs = [make_run(f"a{seed}", [BASE, LOW], "size=5", f"seed={seed}") for seed in (0, 1)]
    runs.append(make_run("b", [BASE, HIGH], "size=6"))
    with Run.create_or_resume(runs[0], Run.read(runs[0]).recipe) as run:
        run.iteration(1).table("selection").append([Selection(f"j{n}", True) for n in range(3)])
    text = shown(compare(runs))
    assert "size=5 (2 seeds)" in text
    assert "2 (1-4)" in text
    assert "those that differ only in the seed stand in one row" in text


def test_any_two_iterations_beside_each_other_are_as_the_whole_comparison_has_them(make_run: MakeRun) -> None:
    one, other = (Run.read(make_run(name, [BASE, LOW, HIGH], f"seed={n}")) for n, name in enumerate(("one", "other")))
    (row,) = between((one, 0), (one, 2))
    progress = compare([one.directory])["progress"]
    (known,) = [found for found in progress if found["iterations"] == [0, 2]]
    assert row["scores"] == [one.iteration(n).read_json("scores.json")["bench"][METRIC] for n in (0, 2)]  # type: ignore[index]
    assert {key: known[key] for key in row["difference"]} == row["difference"]
    (back,) = between((other, 2), (one, 0))
    assert back["difference"]["value"] == -row["difference"]["value"]
    assert "other, iteration 2 is above one, the base by" in back["difference"]["words"]
    (alone,) = between((one, 1), (one, 9))
    assert (alone["scores"][1], alone["difference"]) == (None, None)
    assert between((one, 8), (one, 9)) == []
