"""Where a stage begins: made once among the runs of a sweep, linked for the others, refused where inputs changed.

The stage is the room that gathers a training set: it reads three tables and needs no model.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from isheep import meter
from isheep.energy import Energy
from isheep.errors import Interrupted, StageError, UserError
from isheep.recipe import Recipe, overridden, parse_recipe
from isheep.records import Instruction, Response, Selection
from isheep.stages.once import LOCKS, SWEEP, Once
from isheep.stages.synthesize import synthesize
from isheep.stages.training_set import gather
from isheep.store.plan import NOTES, outputs
from isheep.store.run import Iteration, Run

FILE = "training-set.jsonl"


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    (tmp_path / "prompt.txt").write_text("as it was")
    settings = {
        "model": {"path": str(tmp_path / "model")},
        "synthesize": {"prompt": str(tmp_path / "prompt.txt")},
    }
    return parse_recipe(settings, "test")


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """An empty sweep."""
    (tmp_path / "sweep").mkdir()
    (tmp_path / "sweep" / SWEEP).write_text("{}")
    return tmp_path / "sweep"


def filled(directory: Path, recipe: Recipe, kept: tuple[bool, ...] = (True, False)) -> Run:
    """An owned run whose iteration 1 has two pairs."""
    run = Run.create_or_resume(directory, recipe)
    tables: dict[str, list[Any]] = {
        "instructions": [Instruction(f"i{n}", 1, n, f"Name bird {n}.", "", [], 0, "p") for n in range(2)],
        "responses": [Response(f"i{n}", f"Bird {n}.", "stop", 3) for n in range(2)],
        "selection": [Selection(f"i{n}", one, None if one else "cap", None) for n, one in enumerate(kept)],
    }
    for name, rows in tables.items():
        table = run.iteration(1).table(name)
        table.append(rows)
        table.close()
    return run


def gathered(run: Run) -> Path:
    iteration = run.iteration(1)
    Once(run).do(gather, iteration, [], run.recipe)
    return iteration.path / FILE


def note(run: Run) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run.iteration(1).path / NOTES).read_text())
    return found["gather"]  # type: ignore[no-any-return]


def test_a_run_alone_notes_what_a_stage_was_made_from_and_what_it_made(tmp_path: Path, recipe: Recipe) -> None:
    with filled(tmp_path / "run", recipe) as run:
        assert len(gathered(run).read_text().splitlines()) == 1
        found = note(run)
    assert list(found) == ["key", "from", "inputs", "seconds", "tokens", "joules", "outputs"]
    assert found["from"] is None
    assert found["inputs"]["iteration-01/selection"] is not None
    assert list(found["outputs"]) == [FILE]
    assert not (tmp_path / LOCKS).exists()


def worked(run: Run, seconds: float, error: BaseException | None = None) -> None:
    """The stage, which takes so long and reads and writes some tokens."""

    def gather(iteration: Iteration, earlier: list[Iteration]) -> None:
        clock.now += seconds
        meter.read(100)
        meter.wrote(7)
        if error is not None:
            raise error
        iteration.write_training_set([{"messages": []}])

    Once(run).do(gather, run.iteration(1), [])


class clock:  # noqa: N801  # stands in for the module
    """Stands in for the machine's clock."""

    now = 100.0

    @classmethod
    def monotonic(cls) -> float:
        return cls.now


@pytest.fixture
def timed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The meter's clock, and a machine without counters of energy."""
    monkeypatch.setattr(meter, "time", clock)
    monkeypatch.setattr(meter, "Energy", lambda: Energy(Path("/nowhere")))
    monkeypatch.setitem(sys.modules, "pynvml", None)


@pytest.mark.usefixtures("timed")
def test_what_a_stage_costs_sums_up_over_the_commands_that_worked_on_it(tmp_path: Path, recipe: Recipe) -> None:
    with filled(tmp_path / "run", recipe) as run:
        with pytest.raises(Interrupted):
            worked(run, 2.5, Interrupted("stopped"))
        assert (note(run)["seconds"], note(run)["tokens"]) == (2.5, {"read": 100, "written": 7})
        assert "outputs" not in note(run)
    with Run.create_or_resume(tmp_path / "run", recipe) as run:
        with pytest.raises(ZeroDivisionError):
            worked(run, 1.0, ZeroDivisionError())
        worked(run, 0.5)
        ended = note(run)
        assert (ended["seconds"], ended["tokens"]) == (4.0, {"read": 300, "written": 21})
        assert ended["joules"] is None
        worked(run, 9.0)
        assert note(run) == ended, "what has ended costs no more"


@pytest.mark.usefixtures("timed")
def test_what_was_begun_before_there_were_costs_stays_unknown(tmp_path: Path, recipe: Recipe) -> None:
    with filled(tmp_path / "run", recipe) as run:
        worked(run, 1.0)
        notes = run.iteration(1).path / NOTES
        old = {key: note(run)[key] for key in ("key", "from", "inputs")}
        notes.write_text(json.dumps({"gather": old}))
        worked(run, 1.0)
        assert note(run)["seconds"] is None
        assert note(run)["tokens"] == {"read": None, "written": None}
        assert note(run)["key"] == old["key"], "no key depends on it"


@pytest.mark.usefixtures("timed")
def test_a_failure_is_told_also_where_its_cost_cannot_be_noted(tmp_path: Path, recipe: Recipe) -> None:
    with filled(tmp_path / "run", recipe) as run:

        def gather(iteration: Iteration, earlier: list[Iteration]) -> None:
            (iteration.path / f"{NOTES}.tmp").mkdir()
            raise StageError("the disk is full")

        with pytest.raises(StageError, match="the disk is full"):
            Once(run).do(gather, run.iteration(1), [])
        assert note(run)["seconds"] == 0, "as it began"


def test_what_another_run_made_costs_nothing(sweep: Path, recipe: Recipe) -> None:
    with filled(sweep / "a", recipe) as first, filled(sweep / "b", recipe) as second:
        gathered(first)
        gathered(second)
        assert note(first)["seconds"] > 0
        assert list(note(second)) == ["key", "from", "inputs", "outputs"]


def test_a_stage_whose_table_has_gone_is_not_begun(tmp_path: Path, recipe: Recipe) -> None:
    with filled(tmp_path / "run", recipe) as run:
        (run.iteration(1).path / "responses").rename(tmp_path / "elsewhere")
        with pytest.raises(StageError, match=r"iteration-01/responses: is gone\. It has to be made anew\."):
            gathered(run)
        assert not (run.iteration(1).path / NOTES).exists()
        (tmp_path / "elsewhere").rename(run.iteration(1).path / "responses")
        assert len(gathered(run).read_text().splitlines()) == 1


def test_a_stage_of_a_sweep_is_linked_from_the_run_that_made_it(sweep: Path, recipe: Recipe) -> None:
    with filled(sweep / "a", recipe) as first:
        made = gathered(first)
    with filled(sweep / "b", recipe) as second:
        linked = gathered(second)
        assert linked.samefile(made)
        assert note(second)["from"] == "a"
    with filled(sweep / "c", recipe) as third:
        made.unlink()
        assert gathered(third).samefile(linked)
        assert note(third)["from"] == "a", "who made it, not whose link it was"


def test_other_inputs_are_other_work(sweep: Path, recipe: Recipe) -> None:
    with filled(sweep / "a", recipe) as first, filled(sweep / "b", recipe, kept=(True, True)) as second:
        assert not gathered(second).samefile(gathered(first))
        assert note(second)["from"] is None
        assert note(second)["key"] != note(first)["key"]


def test_a_setting_that_the_stage_does_not_read_is_no_other_input(sweep: Path, recipe: Recipe) -> None:
    with filled(sweep / "a", recipe) as first, filled(sweep / "b", overridden(recipe, ["train.steps=3"])) as second:
        assert gathered(second).samefile(gathered(first))


def test_what_does_not_match_its_hash_any_more_is_not_linked(sweep: Path, recipe: Recipe) -> None:
    with filled(sweep / "a", recipe) as first, filled(sweep / "b", recipe) as second:
        made = gathered(first)
        text = made.read_text()
        made.unlink()
        made.write_text("{}\n")
        assert gathered(second).read_text() == text
        assert note(second)["from"] is None


def test_a_stage_that_was_cut_is_not_linked_and_its_beginning_gives_way(sweep: Path, recipe: Recipe) -> None:
    with filled(sweep / "a", recipe) as first, filled(sweep / "b", recipe) as second:
        gathered(first)
        notes = first.iteration(1).path / NOTES
        cut = json.loads(notes.read_text())
        outputs = cut["gather"].pop("outputs")
        notes.write_text(json.dumps(cut))
        assert note(first).get("outputs") is None
        gathered(second)
        assert note(second)["from"] is None
        (first.iteration(1).path / FILE).unlink()
        assert gathered(first).samefile(second.iteration(1).path / FILE)
        assert (note(first)["from"], note(first)["outputs"]) == ("b", outputs)


def test_a_table_that_is_linked_is_read_anew(sweep: Path, recipe: Recipe) -> None:
    with filled(sweep / "a", recipe) as first, filled(sweep / "b", recipe) as second:
        source, target = first.iteration(1), second.iteration(2)
        assert not target.table("responses").is_done
        target.adopt(source.path, ["responses", "nothing-of-this-name"])
        assert target.table("responses").is_done
        assert target.table("responses").rows() == source.table("responses").rows()
        assert (target.path / "responses" / "part-00000.parquet").stat().st_nlink == 2


def test_a_disk_without_links_gets_copies(sweep: Path, recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*paths: Any) -> None:
        raise OSError("no links here")

    monkeypatch.setattr(os, "link", refuse)
    with filled(sweep / "a", recipe) as first, filled(sweep / "b", recipe) as second:
        made, copied = gathered(first), gathered(second)
        assert copied.read_text() == made.read_text()
        assert not copied.samefile(made)
        assert note(second)["from"] == "a"


def test_a_run_in_the_directory_of_no_sweep_has_no_others(tmp_path: Path, recipe: Recipe) -> None:
    with filled(tmp_path / "a", recipe) as first, filled(tmp_path / "b", recipe) as second:
        assert not gathered(second).samefile(gathered(first))


def test_who_comes_second_waits_and_then_links(sweep: Path, recipe: Recipe) -> None:
    with filled(sweep / "a", recipe) as first, filled(sweep / "b", recipe) as second:
        made = gathered(first)
        key = note(first)["key"]
        (first.iteration(1).path / NOTES).unlink()
        holder = subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(sweep / LOCKS / key)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert holder.stdin is not None
        assert holder.stdout is not None
        assert holder.stdout.readline()
        waiting = threading.Thread(target=lambda: gathered(second))
        waiting.start()
        waiting.join(timeout=2)
        assert waiting.is_alive()
        assert not (second.iteration(1).path / FILE).exists()
        Once(first)._note(
            first.iteration(1), "gather", {"key": key, "from": None, "outputs": outputs("gather", 1, first.directory)}
        )
        holder.stdin.close()
        waiting.join(timeout=60)
        assert (second.iteration(1).path / FILE).samefile(made)
        holder.wait()


HOLDER = """
import sys
from pathlib import Path
from isheep.store.lock import Lock
lock = Lock(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


def test_a_stage_goes_on_only_with_the_inputs_that_it_was_begun_with(
    tmp_path: Path, recipe: Recipe, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    with filled(tmp_path / "run", recipe) as run:
        begun = {"key": "k", "from": None, "inputs": {"synthesize.prompt": "another hash", "engine.threads": 9}}
        run.iteration(1).write_json(NOTES, {"synthesize": begun})
        with pytest.raises(UserError) as caught:
            Once(run).do(synthesize, run.iteration(1), [], [], recipe, None)  # type: ignore[arg-type]
    assert str(caught.value) == (
        f"{tmp_path / 'run' / 'iteration-01'}: its synthesize was begun with other content of engine.threads, "
        "synthesize.prompt. Put back what was there, accept the change with --accept-changes, or give another --dir."
    )
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("content", [b"", b'{"id": "i0"}\n'])
def test_what_a_stage_left_and_is_another_now_is_set_aside_and_made_anew(
    tmp_path: Path, recipe: Recipe, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    with filled(tmp_path / "run", recipe) as run:
        file = gathered(run)
        whole, before = file.read_bytes(), note(run)
        file.write_bytes(content)
        assert gathered(run).read_bytes() == whole
        assert note(run)["outputs"] == before["outputs"]
    assert file.with_name(f"{FILE}.broken").read_bytes() == content
    assert f"{file} is not what gather left; set aside, to be made anew" in caplog.text


def test_a_stage_whose_items_are_damaged_is_made_anew_with_what_says_that_it_had_ended(
    tmp_path: Path, recipe: Recipe
) -> None:
    def evaluate(iteration: Iteration) -> None:
        if iteration.read_json("scores.json") is None:
            iteration.write_json("evaluation/items.json", [1, 0])
            iteration.write_json("scores.json", {"bench": {"exact": {"value": 0.5}}})

    with filled(tmp_path / "run", recipe) as run:
        one = run.iteration(1)
        Once(run).do(evaluate, one)
        items = one.path / "evaluation" / "items.json"
        whole = items.read_bytes()
        items.write_bytes(whole[:4])
        Once(run).do(evaluate, one)
        assert items.read_bytes() == whole
        assert (one.path / "evaluation.broken").is_dir()
        assert (one.path / "scores.json").is_file()
