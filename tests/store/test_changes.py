"""A changed recipe on a run that is there: what it touches is set aside, the rest stays."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from isheep.recipe import Recipe, load_recipe, locate, overridden
from isheep.records import Assessment, Instruction, Response, Selection
from isheep.store.changes import FOLDER
from isheep.store.plan import NOTES, STAGES, inputs, key_of, outputs
from isheep.store.run import MANIFEST, Iteration, Run

SETTINGS = ("iterations=2", "evaluate.limit=50", "engine.batch_size=32", "train.steps=2", "train.warmup_steps=0")
ROWS: dict[str, Any] = {
    "instructions": Instruction("i0", 1, 0, "Name a bird.", "", [], 0, "p"),
    "responses": Response("i0", "A wren.", "stop", 3),
    "assessments": Assessment("i0", 9.0, 9.0, "9", "9", "base"),
    "selection": Selection("i0", True),
}


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A run of two iterations that has ended: of each stage the files and the note that it leaves."""
    with Run.create_or_resume(tmp_path / "run", load_recipe("lamb", SETTINGS)) as run:
        run.note_command(["isheep", "run"])
        write(run.iteration(0), run, ["evaluate", "embed"])
        for number in (1, 2):
            write(run.iteration(number), run, list(STAGES))
        run.finish()
        run.note_end("finished")
    return tmp_path / "run"


def write(iteration: Iteration, run: Run, names: list[str]) -> None:
    """Everything that these stages make of the iteration, an adapter and no whole model among it, and their notes."""
    hashes = run.read_json(MANIFEST) or {}
    notes: dict[str, Any] = {}
    for name in names:
        found = inputs(name, iteration.number, run.recipe, hashes, run.directory)
        for made in STAGES[name].makes:
            if made in ROWS:
                iteration.table(made).append([ROWS[made]])
                iteration.table(made).close()
            elif "." in made:
                iteration.write_json(made, {"made by": name, "iteration": iteration.number})
            elif made != "model":
                (iteration.path / made).mkdir(parents=True)
                (iteration.path / made / "content").write_text(f"{name} {iteration.number}")
        made_then = outputs(name, iteration.number, run.directory)
        notes[name] = {"key": key_of(found), "from": None, "inputs": found, "outputs": made_then}
    iteration.write_json(NOTES, notes)
    iteration.close()


def accept(directory: Path, *overrides: str) -> Recipe:
    """Lets the run go on with other settings, and does none of the work."""
    recipe = overridden(Run.read(directory).recipe, overrides)
    Run.create_or_resume(directory, recipe, accept_changes=True).release()
    assert Run.read(directory).recipe == recipe
    return recipe


def stages(directory: Path) -> set[tuple[str, str]]:
    return {
        (file.parent.name, stage)
        for file in directory.glob(f"iteration-*/{NOTES}")
        for stage in json.loads(file.read_text())
    }


def last_change(directory: Path) -> dict[str, Any]:
    changes: list[dict[str, Any]] = json.loads((directory / "manifest.json").read_text())["changes"]
    return changes[-1]


def contents(directory: Path) -> dict[str, bytes]:
    return {
        path.relative_to(directory).as_posix(): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file() and path.name not in (NOTES, "lock")
    }


ALL = {("iteration-00", "evaluate"), ("iteration-00", "embed")} | {
    (f"iteration-0{number}", stage) for number in (1, 2) for stage in STAGES
}
FROM_SELECT = {
    ("iteration-01", stage) for stage in ("select", "examine", "embed", "gather", "draw", "train", "evaluate")
}
SECOND = {("iteration-02", stage) for stage in STAGES}


@pytest.mark.parametrize(
    ("override", "touched"),
    [
        ("select.cap=5", FROM_SELECT | SECOND),
        ("select.threshold=5.5", FROM_SELECT | SECOND),
        ("train.learning_rate=1e-4", {("iteration-01", "train"), ("iteration-01", "evaluate")} | SECOND),
        ("evaluate.limit=20", {(folder, stage) for folder, stage in ALL if stage == "evaluate"}),
        ("health.twin=0.5", {(folder, stage) for folder, stage in ALL if stage == "examine"}),
        ("setting=total_base", {("iteration-02", stage) for stage in ("gather", "train", "evaluate")}),
        ("setting=one_last", {("iteration-02", stage) for stage in ("train", "evaluate")}),
        ("respond.top_p=0.9", {one for one in ALL if one[0] != "iteration-00"} - {("iteration-01", "synthesize")}),
        ("respond.draws=3", {(folder, stage) for folder, stage in ALL if stage == "draw"}),
        ("seed=7", ALL),
        ("iterations=1", SECOND),
        ("iterations=9", set()),
        ("stop.patience=9", set()),
        ("engine.batch_size=16", set()),
        ("train.micro_batch_size=8", set()),
    ],
)
def test_what_a_change_touches_is_set_aside_and_nothing_else(
    directory: Path, override: str, touched: set[tuple[str, str]]
) -> None:
    before = contents(directory)
    assert stages(directory) == ALL
    accept(directory, override)
    aside = directory / f"{FOLDER}1"
    assert stages(directory) == ALL - touched
    assert (stages(aside) if touched else set()) == touched
    assert aside.exists() == bool(touched)
    after = contents(directory)
    # Nothing is lost: every file stands where it stood, or beside it, but for those that say that all is done.
    moved = {name.removeprefix(f"{FOLDER}1/"): content for name, content in after.items() if name.startswith(FOLDER)}
    stays = {name: content for name, content in after.items() if not name.startswith(FOLDER)}
    own = {"recipe.yaml", "manifest.json"}
    gone = {name for name in before if name.count("/") < 2 and name.endswith("done.json")}
    for name, content in before.items():
        if name not in own | gone:
            assert (moved.get(name) == content) != (stays.get(name) == content), name
    change = last_change(directory)
    assert change["difference"][0].startswith(f"{override.partition('=')[0]}: ")
    assert change["set_aside"] == (aside.name if touched else None)
    assert {tuple(line.partition(": ")[0].split("/")) for line in change["stages"]} == touched
    assert Run.read(directory).state() != "finished"


def test_each_change_has_a_folder_and_a_note_of_its_own(directory: Path) -> None:
    accept(directory, "evaluate.limit=20")
    accept(directory, "evaluate.limit=20")
    assert len(json.loads((directory / "manifest.json").read_text())["changes"]) == 1
    accept(directory, "select.cap=5")
    assert sorted(path.name for path in directory.glob(f"{FOLDER}*")) == [f"{FOLDER}1", f"{FOLDER}2"]
    assert [change["difference"] for change in json.loads((directory / "manifest.json").read_text())["changes"]] == [
        ["evaluate.limit: 50 -> 20"], ["select.cap: 3000 -> 5"],
    ]  # fmt: skip


def test_a_stage_under_way_is_redone_also_where_only_the_how_changed(directory: Path) -> None:
    notes = json.loads((directory / "iteration-02" / NOTES).read_text())
    del notes["evaluate"]
    del notes["train"]["outputs"]
    (directory / "iteration-02" / NOTES).write_text(json.dumps(notes))
    shutil.rmtree(directory / "iteration-02" / "evaluation")
    (directory / "iteration-02" / "scores.json").unlink()
    (directory / "iteration-02" / "checkpoints").mkdir()
    accept(directory, "train.micro_batch_size=8")
    assert stages(directory / f"{FOLDER}1") == {("iteration-02", "train")}
    assert (directory / f"{FOLDER}1" / "iteration-02" / "checkpoints").is_dir()


def test_a_changed_file_is_a_change(directory: Path, tmp_path: Path) -> None:
    rules = tmp_path / "language.yaml"
    recipe = Run.read(directory).recipe
    rules.write_bytes(locate(recipe.rules.language).read_bytes())
    accept(directory, f"rules.language={rules}")
    assert stages(directory) == ALL, "the same content under another name"
    rules.write_text(rules.read_text() + "# another line\n")
    accept(directory)
    assert stages(directory) == {("iteration-00", "evaluate"), ("iteration-00", "embed")}
    assert last_change(directory)["difference"] == []
    assert "iteration-01/synthesize: rules.language" in last_change(directory)["stages"]


def test_what_nobody_noted_is_redone(directory: Path) -> None:
    (directory / "iteration-01" / NOTES).unlink()
    accept(directory, "iterations=3")
    assert stages(directory) == {("iteration-00", "evaluate"), ("iteration-00", "embed")}
    assert "iteration-01/synthesize: nothing says what it was made from" in last_change(directory)["stages"]


@pytest.mark.parametrize("moves", range(1, 12))
def test_a_kill_while_things_are_set_aside_leaves_no_stage_that_looks_ended_and_is_not_whole(
    directory: Path, monkeypatch: pytest.MonkeyPatch, moves: int
) -> None:
    rename, left = Path.rename, iter(range(moves))

    def killed(self: Path, target: Path) -> Path:
        if FOLDER in str(target) and next(left, None) is None:
            raise KeyboardInterrupt
        return rename(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", killed)
        with pytest.raises(KeyboardInterrupt):
            accept(directory, "seed=7")
    assert Run.read(directory).state() != "finished"
    assert Run.read(directory).recipe.seed == 0
    for number in (0, 1, 2):
        for name in STAGES if number else ("evaluate",):
            *made, last = [file for file in STAGES[name].makes if file != "model"]
            folder = directory / f"iteration-{number:02d}"
            if (folder / last).exists():
                assert all((folder / file).exists() for file in made), (number, name)
