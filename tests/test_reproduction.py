"""The document of `benchmarks/reproduction.py`: what its rows change, what its verdicts rest on, what it shows."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from isheep.compare import Variant
from isheep.errors import UserError
from isheep.intervals import Interval, mean_interval
from isheep.recipe import Recipe, load_recipe, settings_of
from isheep.records import Selection
from isheep.stages.once import SWEEP
from isheep.store.run import Run
from isheep.store.status import status

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"

SHIPPED = {
    "self-instruct": "baselines/self-instruct",
    "dromedary": "baselines/dromedary",
    "direct-2x": "ablations/direct-20k",
    "direct-3x": "ablations/direct-30k",
}
"""Row -> the recipe that makes the same changes, where it is not the ablation of the row's name."""
SCALED = {"direct-2x": "size", "direct-3x": "size", "dromedary": "respond.principles"}
"""Row -> the setting that has another value on lamb."""


@pytest.fixture(scope="module")
def script() -> ModuleType:
    """benchmarks/reproduction.py."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        return importlib.import_module("reproduction")


@pytest.fixture(scope="module")
def decisions(script: ModuleType) -> ModuleType:
    """benchmarks/reproduction_findings.py."""
    return importlib.import_module("reproduction_findings")


@pytest.fixture(scope="module")
def lamb() -> Recipe:
    return load_recipe("lamb")


def test_rows_change_what_the_shipped_recipes_change(script: ModuleType, lamb: Recipe) -> None:
    rows = script.rows_of(lamb)
    assert len(rows) == len({row.label for row in rows.values()}) == 26
    for name, row in rows.items():
        made = settings_of(load_recipe("lamb", row.settings))
        if name == "ours" or name.startswith("size-"):
            continue
        expected = settings_of(load_recipe(["lamb", SHIPPED.get(name, f"ablations/{name}")]))
        differing = {key for key in made if made[key] != expected[key]}
        assert differing == ({SCALED[name]} if name in SCALED else set()), name
    sizes = {name: load_recipe("lamb", row.settings).size / lamb.size for name, row in rows.items()}
    assert {name: size for name, size in sizes.items() if size != 1} == {
        "direct-2x": 2, "direct-3x": 3, "size-0.5x": 0.5, "size-2x": 2, "size-3x": 3,
    }  # fmt: skip


def test_the_recipes_own_threshold_is_no_row_of_its_own(script: ModuleType) -> None:
    rows = script.rows_of(load_recipe("lamb", ["select.threshold=4"]))
    assert [row.at for name, row in rows.items() if name.startswith("threshold-")] == [-1, 0, 1, 2, 6, 8, 9]


def test_rows_are_chosen_by_name(script: ModuleType, lamb: Recipe) -> None:
    rows = script.rows_of(lamb)
    assert script.chosen(rows, None) == rows
    assert list(script.chosen(rows, ["dromedary", "ours"])) == ["ours", "dromedary"]
    with pytest.raises(UserError, match=r"--rows: there is no row `theirs`\. The rows are ours, self-instruct"):
        script.chosen(rows, ["theirs"])


@pytest.mark.parametrize(
    ("low", "high", "word"),
    [
        (0.01, 0.05, "agrees"),
        (-0.05, -0.01, "disagrees"),
        (-0.01, 0.05, "cannot tell"),
        (0.0, 0.05, "cannot tell"),
        (-0.05, 0.0, "cannot tell"),
        (None, None, "cannot tell"),
    ],
)
def test_the_interval_of_a_difference_decides(
    decisions: ModuleType, low: float | None, high: float | None, word: str
) -> None:
    assert decisions.verdict(Interval(0.02, low, high, 9)) == word
    assert decisions.verdict(None) == "cannot tell"


def test_a_finding_claims_all_of_its_differences(decisions: ModuleType) -> None:
    together = decisions.together
    assert together(["agrees", "agrees"]) == "agrees"
    assert together(["agrees", "cannot tell"]) == "cannot tell"
    assert together(["agrees", "cannot tell", "disagrees"]) == "disagrees"
    assert together([]) == "cannot tell"


def test_a_sentence_holds_the_figures_that_it_rests_on(decisions: ModuleType) -> None:
    measured = [
        decisions.Measured("ours - a", Interval(0.25, 0.125, 0.375, 6000)),
        decisions.Measured("ours - b", Interval(-0.0625, -0.125, 0.0, 6000), "two of three"),
        decisions.Measured("ours - c", None, "not run"),
        decisions.Measured("ours - d", Interval(0.5, None, None, 1)),
    ]
    assert decisions.sentence(decisions.Finding("It is so", measured)) == (
        "**It is so**: lamb cannot tell. Ours - a: +0.250 [+0.125, +0.375], n = 6,000; "
        "ours - b: -0.062 [-0.125, +0.000], n = 6,000 (two of three); ours - c: no figure (not run); "
        "ours - d: +0.500, n = 1."
    )
    assert decisions.sentence(decisions.Finding("It is so", measured[:1])).startswith("**It is so**: lamb agrees. ")
    assert decisions.sentence(decisions.Finding("It is so", [])) == (
        "**It is so**: lamb cannot tell. Nothing to compare was run."
    )


def test_the_slope_is_that_of_the_line_of_least_squares(script: ModuleType) -> None:
    slope = importlib.import_module("reproduction_evidence").slope
    items = [str(number) for number in range(40)]

    def scored(share: float, seed: int) -> dict[str, list[float]]:
        return {name: [float((number * 7 + seed) % 40 < 40 * share)] for number, name in enumerate(items)}

    # Means .25, .5 and 1 at 0, 1 and 3: by hand the slope is (-4/3 * .25 - 1/3 * .5 + 5/3 * 1) / (14/3) = .25.
    points = [(at, [scored(share, seed) for seed in range(3)]) for at, share in ((0, 0.25), (1, 0.5), (3, 1.0))]
    found = slope(points)
    assert found.value == pytest.approx(0.25)
    assert 0 < found.low < 0.25 < found.high
    assert found.n == 120
    alone = slope([(at, runs[:1]) for at, runs in points])
    assert (alone.value, alone.n) == (pytest.approx(0.25), 40)
    level = slope([(at, [scored(0.5, 0)] * 2) for at in (0, 1)])
    assert (level.value, level.low, level.high) == (0.0, 0.0, 0.0)


PROMPTS = 200
GOOD = {
    "ours": [0.0, 0.6, 0.8],
    "self-instruct": [0.0, 0.3],
    "prompt-icl": [0.0, 0.6, 0.9],
    "threshold-0": [0, 0.3, 0.3],
}
"""Row -> of each iteration the share of prompts that it gets right."""
SHARES = {1: 0.4, 2: 0.6}


def fill(directory: Path, recipe: Recipe, good: Sequence[float], nothing_in: int | None = None) -> Run:
    """A run that ended so, in the files that the document reads."""
    with Run.create_or_resume(directory, recipe) as run:
        for number, share in enumerate(good):
            iteration = run.iteration(number)
            iteration.write_json(
                "stages.json", {"evaluate": {"key": str(number), "from": None if number else "ours-0"}}
            )
            if number:
                table = iteration.table("selection")
                table.append([Selection(f"i{n}", number != nothing_in and n < 10 * number) for n in range(40)])
                table.close()
                iteration.write_json("health.json", {"over_threshold_share": SHARES[number] + recipe.seed / 100})
            if number == nothing_in:
                run.note_command(["isheep"])
                run.note_end("failed", "kept nothing")
                return Run.read(directory)
            values = [float((n * 7 + recipe.seed) % PROMPTS < PROMPTS * share) for n in range(PROMPTS)]
            write_scores(iteration.path, values)
            iteration.write_json("scores.json", scores(values))
        run.finish()
    return Run.read(directory)


METRICS = tuple(f"{level}_level_{kind}_acc" for kind in ("strict", "loose") for level in ("prompt", "inst"))


def scores(values: Sequence[float]) -> dict[str, Any]:
    found = mean_interval(values, seed=0)
    entry = {"value": found.value, "low": found.low, "high": found.high, "n": found.n}
    return {"lamb": dict.fromkeys(METRICS, entry)}


def write_scores(folder: Path, values: Sequence[float]) -> None:
    rows = [
        {"doc_id": n, "filter": "none", "metrics": dict.fromkeys(METRICS, value), "doc": {"id": n}}
        for n, value in enumerate(values)
    ]
    (folder / "evaluation").mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "evaluation" / "lamb.jsonl").write_text(text, encoding="utf-8")


@pytest.fixture
def evidence(script: ModuleType, tmp_path: Path) -> Any:
    """Two seeds of five rows, of which one keeps nothing in an iteration."""
    settings = ["iterations=2"]
    rows = script.chosen(script.rows_of(load_recipe("lamb", settings)), [*GOOD, "threshold-8"])
    variants = {}
    for name, row in rows.items():
        runs = []
        for seed in (0, 1):
            recipe = load_recipe("lamb", [*settings, *row.settings, f"seed={seed}"])
            nothing_in = 1 + seed if name == "threshold-8" else None
            runs.append(fill(tmp_path / f"{name}-{seed}", recipe, GOOD.get(name, [0.0, 0.6, 0.7]), nothing_in))
        variants[name] = Variant(row.label, runs, [status(run) for run in runs])
    return importlib.import_module("reproduction_evidence").Evidence(rows, variants, settings)


def test_findings_are_decided_by_the_runs(decisions: ModuleType, evidence: Any) -> None:
    lines = [decisions.sentence(finding) for finding in decisions.findings(evidence)]
    words = [line.partition("lamb ")[2].partition(".")[0] for line in lines]
    # Assessed against Self-Instruct lacks a row; later against first; ICL is better than ours; thresholds rise.
    assert words == [
        "cannot tell", "cannot tell", "agrees", "cannot tell", "cannot tell",
        "cannot tell", "disagrees", "cannot tell", "agrees", "agrees",
    ]  # fmt: skip
    assert "Ours - Self-Instruct (iteration 1): +0.300 [" in lines[0]
    assert "ours - assess-none (iteration 2): no figure (assess-none: not run)" in lines[0]
    assert "Ours (iteration 2) - ours (iteration 1): +0.200 [" in lines[2]
    assert "ours - scores, ICL (iteration 2): -0.100 [" in lines[6]
    # .3 at 0 and .8 at 6.4.
    assert "Per point of threshold from 0 to 6.4, by the straight line through figure 2a: +0.078 [" in lines[8]
    assert "(without 8: nothing kept in iteration 1 (seed 0); nothing kept in iteration 2 (seed 1))" in lines[8]
    assert lines[9].endswith("Iteration 2 - iteration 1: +0.200 [+0.200, +0.200], n = 2 (seeds).")


def test_the_document_shows_every_row(script: ModuleType, evidence: Any) -> None:
    text = script.document(evidence, list(evidence.rows))
    lines = text.splitlines()

    def table(title: str) -> list[str]:
        start = next(n for n, line in enumerate(lines) if line.startswith("## ") and title in line)
        end = next((n for n in range(start + 1, len(lines)) if lines[n].startswith("## ")), len(lines))
        return [line for line in lines[start:end] if line.startswith("|")][2:]

    methods = table("Table 2")
    assert [line.split(" | ")[0] for line in methods] == [
        "| base", "| Self-Instruct", "| ours, iteration 1", "| ours, iteration 2",
    ]  # fmt: skip
    assert methods[0].split(" | ")[1:3] == ["-", ".000 [.000, .000]"]
    assert methods[3].split(" | ")[1] == "20"
    assert methods[3].count(".800 [") == 4
    ours, stopped = (
        next(line for line in table("2a") if line.startswith(f"| {row} ")) for row in ("ours", "threshold 8")
    )
    assert ours.split(" | ")[1] == "10, 20"
    assert ours.endswith(" |  |")
    assert stopped == (
        "| threshold 8 | 5, 0 | nothing kept in iteration 1 (seed 0) | "
        "nothing kept in iteration 1 (seed 0); nothing kept in iteration 2 (seed 1) | - |"
    )
    assert [line.split(" | ")[0] for line in table("2a")] == ["| threshold 0", "| ours", "| threshold 8"]
    icl = next(line for line in table("filters") if line.startswith("| scores, ICL"))
    assert "iteration 1: +0.000 [+0.000, +0.000]<br>iteration 2: -0.100 [" in icl
    assert [line.split(" | ")[2] for line in table("Figure 3")] == ["0.400, 0.410 |", "0.600, 0.610 |"]
    assert len(table("commands")) == len(evidence.rows)
    assert "| `isheep run lamb iterations=2 assess.variant=icl seed=SEED --dir DIR/prompt-icl-SEED` |" in text
    said = [line.split("**: lamb ")[1].split(".")[0] for line in lines if "**: lamb " in line]
    assert " ".join(text.split()).count(
        f"Of 10, lamb agrees with {said.count('agrees')}, disagrees with {said.count('disagrees')}, and cannot tell of "
        f"{said.count('cannot tell')}."
    )
    assert len(said) == 10
    assert "of 27 stages 17 were made" in " ".join(text.split())
    assert "(n = 400)" in text


def test_the_script_takes_the_command_that_the_document_prints(
    script: ModuleType, evidence: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = script.document(evidence, list(evidence.rows))
    command = next(line.strip("`") for line in text.splitlines() if line.startswith("`python "))
    monkeypatch.setattr(sys, "argv", command.split()[1:])
    given = script._arguments()
    assert (given.settings, given.seeds, given.rows) == (["iterations=2"], [0, 1], list(evidence.rows))


def test_the_document_names_the_judge(script: ModuleType) -> None:
    judge = importlib.import_module("reproduction_document").judge
    words = {one: judge(load_recipe("lamb", [f"assess.assessor={one}"])) for one in ("current", "base", "models/big")}
    assert words == {"current": "the model that wrote the pairs", "base": "the base", "models/big": "models/big"}


def test_ended_runs_are_left_alone(script: ModuleType, tmp_path: Path, lamb: Recipe) -> None:
    finished, stopped, begun = (tmp_path / name for name in ("finished", "stopped", "begun"))
    fill(finished, lamb, [0.0, 0.5])
    fill(stopped, lamb, [0.0, 0.5, 0.5], nothing_in=2)
    with Run.create_or_resume(begun, lamb):
        pass
    places = (finished, stopped, begun, tmp_path / "not there")
    assert [script.has_ended(place, lamb) for place in places] == [True, True, False, False]
    with pytest.raises(UserError, match=r"size: 800 -> 80"):
        script.has_ended(finished, load_recipe("lamb", ["size=80"]))
    # Nothing is run, and nothing is made ready to run.
    row = script.rows_of(lamb)["ours"]
    script.run_all([script.Job(row, 0, place, lamb, ("never",)) for place in (finished, stopped)], 1)
    assert not (tmp_path / SWEEP).exists()


def test_a_row_that_cannot_be_run_is_refused_before_the_first_run(script: ModuleType, tmp_path: Path) -> None:
    jobs = []
    for name in ("ours", "filter-density"):
        recipe = load_recipe("lamb", ["size=24", *script.rows_of(load_recipe("lamb"))[name].settings])
        jobs.append(script.Job(script.Row(name, name, ()), 0, tmp_path / name, recipe, ("never",)))
    with pytest.raises(UserError, match=r"select\.density\.clusters: 100 clusters of at most 24 pairs"):
        script.run_all(jobs, 1)
    assert not list(tmp_path.iterdir())
