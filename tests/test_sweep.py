"""The grid of a sweep: its combinations, their names, their order, and what is refused."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from isheep.errors import UserError
from isheep.recipe import dump_recipe
from isheep.stages.once import SWEEP
from isheep.sweep import NAME_LENGTH, _failed, _leaders_first, grid, sweep


def names(*over: str, seeds: int | None = None) -> list[str]:
    return [cell.name for cell in grid(["lamb"], [], over, seeds)]


def test_every_combination_is_a_run_with_its_settings() -> None:
    cells = grid(["lamb"], ["size=50", "seed=7"], ["select.threshold=0,6.4", "train.lora.rank=4,8"], seeds=2)
    assert len(cells) == 8
    assert [cell.name for cell in cells[:3]] == [
        "threshold-0_rank-4_seed-7", "threshold-0_rank-4_seed-8", "threshold-0_rank-8_seed-7",
    ]  # fmt: skip
    found = {(c.recipe.select.threshold, c.recipe.train.lora.rank, c.recipe.seed) for c in cells}
    assert found == {(threshold, rank, seed) for threshold in (0, 6.4) for rank in (4, 8) for seed in (7, 8)}
    assert {cell.recipe.size for cell in cells} == {50}


def test_recipes_are_laid_over_each_other_as_everywhere() -> None:
    (cell,) = grid(["lamb", "ablations/threshold-4"], [], ["seed=3"])
    assert (cell.recipe.select.threshold, cell.recipe.seed) == (4, 3)


def test_names_are_readable_and_safe_and_tell_runs_apart() -> None:
    assert names("select.threshold=-1,6.4") == ["threshold--1", "threshold-6.4"]
    assert names("select.filters=[[threshold],[threshold,cap]]") == ["filters-threshold", "filters-threshold+cap"]
    assert names("synthesize.top_p=0.9,1.0", "respond.top_p=0.9") == [
        "synthesize.top_p-0.9_respond.top_p-0.9", "synthesize.top_p-1.0_respond.top_p-0.9",
    ]  # fmt: skip
    assert names("select.random=null", "select.density={clusters: 5}") == ["random-null_density-clusters-5"]
    odd = names("model.path=../x y,../x/y,ü,''''", seeds=1)
    assert len(set(odd)) == 4
    long = names(f"model.path={'a' * 300},{'a' * 301}")
    assert len(set(long)) == 2
    for name in (*odd, *long):
        assert re.fullmatch(r"[\w.+-]+", name, flags=re.ASCII), name
        assert not name.startswith(".")
        assert len(name) <= NAME_LENGTH


@pytest.mark.parametrize(
    ("over", "seeds", "where", "what"),
    [
        ([], None, "--over", "nothing is varied."),
        (["seed=1,2"], 3, "--over seed", "is given 2 times (--seeds varies it, too)."),
        (["size=5", "size=6"], None, "--over size", "is given 2 times."),
        (["select.threshold=8,8.0"], None, "--over", "threshold-8 and threshold-8.0 are the same run."),
        (["seed=2024-01-01"], None, "--over seed", "2024-01-01 is no value of a setting."),
        (["select.threshold=8,80"], None, "recipe lamb, select.threshold", "cannot be 80."),
        (["select.treshold=8"], None, "recipe lamb, select.treshold", "unknown setting."),
    ],
)
def test_a_grid_that_cannot_be_run(over: list[str], seeds: int | None, where: str, what: str) -> None:
    with pytest.raises(UserError) as caught:
        grid(["lamb"], [], over, seeds)
    assert (caught.value.where, caught.value.what) == (where, what)
    assert caught.value.exit_code == 2


def test_several_processes_begin_with_different_work() -> None:
    cells = grid(["lamb"], [], ["size=50,60", "select.threshold=-1,0,6"])
    ordered = [cell.name for cell in _leaders_first(cells)]
    # Rules off (-1) is other work from the first request on; 0 and 6 begin alike.
    assert ordered == [
        "size-50_threshold--1", "size-50_threshold-0", "size-60_threshold--1", "size-60_threshold-0",
        "size-50_threshold-6", "size-60_threshold-6",
    ]  # fmt: skip


def test_what_would_stop_a_run_is_refused_before_any_begins(tmp_path: Path) -> None:
    directory = tmp_path / "sweep"
    with pytest.raises(UserError) as caught:
        sweep(["lamb"], [], ["train.micro_batch_size=16,3"], directory)
    assert caught.value.where == "train.micro_batch_size"
    assert not directory.exists()


def test_a_directory_that_holds_other_things_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(UserError, match=r"is not a sweep \(it has no sweep\.json\) and not empty"):
        sweep(["lamb"], [], ["seed=1,2"], tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_run_of_other_settings_in_the_sweep_is_refused(tmp_path: Path) -> None:
    (cell,) = grid(["lamb"], [], ["seed=1"])
    (tmp_path / SWEEP).write_text(json.dumps({"runs": [cell.name], "command": {}}))
    (tmp_path / cell.name).mkdir()
    (tmp_path / cell.name / "recipe.yaml").write_text(dump_recipe(cell.recipe))
    for finished in (False, True):
        if finished:
            (tmp_path / cell.name / "done.json").write_text("{}")
        with pytest.raises(UserError, match=r"was begun with other settings:\n  size: "):
            sweep(["lamb"], ["size=17"], ["seed=1"], tmp_path)


def test_what_failed_in_this_command_is_not_tried_by_another_process(tmp_path: Path) -> None:
    def last(outcome: str | None, started: str) -> bool:
        commands = [{"outcome": "failed", "started": "2026-01-01"}, {"outcome": outcome, "started": started}]
        (tmp_path / "manifest.json").write_text(json.dumps({"commands": commands}))
        return _failed(tmp_path, since="2026-06-01")

    assert not _failed(tmp_path, since="2026-06-01")
    assert last("failed", "2026-06-01")
    assert last("failed", "2026-06-02")
    assert not last("failed", "2026-05-31")
    assert not last("interrupted", "2026-06-02")
    assert not last(None, "2026-06-02")
