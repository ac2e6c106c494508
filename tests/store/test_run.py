"""The run directory: who may own it, what is refused and how it is said, what stands in it, what state it is in."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import isheep
from isheep.errors import StageError, UserError
from isheep.recipe import Recipe, dump_recipe, load_recipe, parse_recipe
from isheep.records import Instruction, Response
from isheep.store.files import sha256_file
from isheep.store.run import Run

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(isheep.__file__).parents[1])}


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    model = tmp_path / "model"
    model.mkdir()
    for name in ("config.json", "model.safetensors", "tokenizer.json", "README.md"):
        (model / name).write_text(f"content of {name}")
    (tmp_path / "seeds.jsonl").write_text("{}\n")
    return parse_recipe({"model": {"path": str(model)}, "seeds": {"path": str(tmp_path / "seeds.jsonl")}}, "test")


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "runs" / "deep" / "one"


def changed(recipe: Recipe, **fields: Any) -> Recipe:
    return parse_recipe({**recipe.model_dump(), **fields}, "test")


def manifest(directory: Path) -> Any:
    return json.loads((directory / "manifest.json").read_text())


def instruction(index: int) -> Instruction:
    return Instruction(f"i{index}", 1, index, "Name a bird.", "", [], 0, "p")


def test_a_new_run_makes_its_parents_and_writes_the_whole_recipe_and_what_it_stands_on(
    directory: Path, recipe: Recipe
) -> None:
    with Run.create_or_resume(directory, recipe) as run:
        assert run.writable
    assert sorted(path.name for path in directory.iterdir()) == ["lock", "manifest.json", "recipe.yaml"]
    assert (directory / "recipe.yaml").read_text() == dump_recipe(recipe)
    assert load_recipe(str(directory / "recipe.yaml")) == recipe
    found = manifest(directory)
    assert list(found) == ["versions", "machine", "recipe", "model", "assessors", "seeds", "commands"]
    assert list(found["versions"]) == [
        "python", "isheep", "torch", "transformers", "trl", "peft", "datasets", "lm_eval",
    ]  # fmt: skip
    assert found["versions"]["python"] == ".".join(map(str, sys.version_info[:3]))
    assert list(found["model"]) == ["config.json", "model.safetensors", "tokenizer.json"]
    model = Path(recipe.model.path)
    assert found["model"]["model.safetensors"] == sha256_file(model / "model.safetensors")
    assert found["seeds"] == sha256_file(Path(recipe.seeds.path))
    assert found["machine"]["cpus"] == os.cpu_count()
    assert found["machine"]["memory"] > 2**28
    assert found["commands"] == []


def test_the_same_recipe_resumes(directory: Path, recipe: Recipe) -> None:
    with Run.create_or_resume(directory, recipe) as run:
        run.iteration(1).table("instructions").append([instruction(0)])
    before = (directory / "recipe.yaml").stat().st_mtime_ns
    with Run.create_or_resume(directory, recipe) as run:
        table = run.iteration(1).table("instructions")
        assert table.rows() == [instruction(0)]
        table.append([instruction(1)])
    assert Run.read(directory).iteration(1).table("instructions").rows() == [instruction(0), instruction(1)]
    assert (directory / "recipe.yaml").stat().st_mtime_ns == before


def test_a_changed_recipe_is_refused_with_the_difference(directory: Path, recipe: Recipe) -> None:
    Run.create_or_resume(directory, recipe).release()
    other = changed(recipe, seed=4, select={"threshold": 7})
    with pytest.raises(UserError) as caught:
        Run.create_or_resume(directory, other)
    assert str(caught.value) == (
        f"{directory}: was begun with other settings:\n  select.threshold: 8.0 -> 7.0\n  seed: 0 -> 4\n"
        " Resume it with the same settings, accept the change with --accept-changes, or give another --dir."
    )
    assert caught.value.exit_code == 2
    with Run.create_or_resume(directory, recipe) as run:
        assert run.recipe == recipe


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_a_recipe_file_that_was_cut_is_written_anew_for_the_same_recipe_alone(
    directory: Path, recipe: Recipe, share: float, caplog: pytest.LogCaptureFixture
) -> None:
    with Run.create_or_resume(directory, recipe):
        pass
    file = directory / "recipe.yaml"
    cut = file.read_bytes()[: int(share * file.stat().st_size)]
    file.write_bytes(cut)
    with pytest.raises(UserError):
        Run.create_or_resume(directory, changed(recipe, seed=99))
    assert file.read_bytes() == cut
    with Run.create_or_resume(directory, recipe):
        assert file.read_text() == dump_recipe(recipe)
    assert (directory / "recipe.yaml.broken").read_bytes() == cut
    assert "is not what it was" in caplog.text


def test_a_foreign_directory_is_refused_and_left_as_it_was(directory: Path, recipe: Recipe) -> None:
    directory.mkdir(parents=True)
    (directory / "thesis.tex").write_text("mine")
    with pytest.raises(UserError, match=r"is not a run \(it has no recipe\.yaml\) and not empty \(`thesis\.tex`\)"):
        Run.create_or_resume(directory, recipe)
    assert [path.name for path in directory.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize("leftovers", [[], ["lock"], ["lock", "recipe.yaml.tmp"]])
def test_what_a_run_killed_at_its_start_leaves_is_not_foreign(
    directory: Path, recipe: Recipe, leftovers: list[str]
) -> None:
    directory.mkdir(parents=True)
    for name in leftovers:
        (directory / name).write_text("x")
    with Run.create_or_resume(directory, recipe):
        assert (directory / "manifest.json").is_file()
    assert not (directory / "recipe.yaml.tmp").exists()


def test_an_unwritable_directory_is_refused(tmp_path: Path, recipe: Recipe) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError) as caught:
        Run.create_or_resume(tmp_path / "file" / "run", recipe)
    assert str(caught.value) == (
        f"{tmp_path / 'file' / 'run'}: cannot be written (Not a directory). Give another --dir or mend the rights."
    )
    with pytest.raises(UserError, match=r"cannot be written \(File exists\)"):
        Run.create_or_resume(tmp_path / "file", recipe)
    if Path("/proc/self").is_dir():
        with pytest.raises(UserError, match=r"/proc/isheep-run: cannot be written"):
            Run.create_or_resume(Path("/proc/isheep-run"), recipe)


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("model/model.safetensors", "other", "changed"),
        ("model/tokenizer.json", None, "is gone"),
        ("model/chat_template.jinja", "new", "is new"),
        ("seeds.jsonl", "other", "changed"),
        ("seeds.jsonl", None, "is gone"),
    ],
)
def test_a_changed_model_or_seed_file_is_refused(
    tmp_path: Path, directory: Path, recipe: Recipe, name: str, content: str | None, what: str
) -> None:
    Run.create_or_resume(directory, recipe).release()
    if content is None:
        (tmp_path / name).unlink()
    else:
        (tmp_path / name).write_text(content)
    with pytest.raises(UserError) as caught:
        Run.create_or_resume(directory, recipe)
    assert str(caught.value) == (
        f"{tmp_path / name}: {what} since the run began. Put the old file back, accept the change with "
        "--accept-changes, or start a new run with another --dir."
    )


def test_a_changed_assessor_is_refused(tmp_path: Path, directory: Path, recipe: Recipe) -> None:
    judge = tmp_path / "judge"
    judge.mkdir()
    (judge / "model.safetensors").write_text("weights")
    recipe = changed(recipe, assess={"assessor": str(judge)})
    Run.create_or_resume(directory, recipe).release()
    assert manifest(directory)["assessors"] == {
        str(judge): {"model.safetensors": sha256_file(judge / "model.safetensors")}
    }
    Run.create_or_resume(directory, recipe).release()
    (judge / "model.safetensors").write_text("others")
    with pytest.raises(UserError) as caught:
        Run.create_or_resume(directory, recipe)
    assert (caught.value.where, caught.value.what) == (str(judge / "model.safetensors"), "changed since the run began.")


def test_a_changed_readme_of_the_model_is_no_matter(tmp_path: Path, directory: Path, recipe: Recipe) -> None:
    Run.create_or_resume(directory, recipe).release()
    (tmp_path / "model" / "README.md").write_text("other")
    Run.create_or_resume(directory, recipe).release()


def test_a_hub_id_has_no_hashes(directory: Path, recipe: Recipe) -> None:
    hub = changed(recipe, model={"path": "someone/some-model"})
    Run.create_or_resume(directory, hub).release()
    assert manifest(directory)["model"] == {}
    Run.create_or_resume(directory, hub).release()


HOLDER = """
import os, sys
from pathlib import Path
from isheep.recipe import load_recipe
from isheep.store.run import Run
run = Run.create_or_resume(Path(sys.argv[1]), load_recipe(sys.argv[2]))
if "fork" in sys.argv:
    if os.fork() == 0:
        sys.stdin.read()
        os._exit(0)
print(os.getpid(), flush=True)
sys.stdin.read()
"""


def hold(directory: Path, recipe_file: Path, *more: str) -> subprocess.Popen[str]:
    """A live process that owns the run, ready when this returns."""
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(directory), str(recipe_file), *more],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline().strip() == str(holder.pid)
    return holder


def test_a_second_process_is_refused_until_the_first_dies(tmp_path: Path, directory: Path, recipe: Recipe) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text(dump_recipe(recipe))
    holder = hold(directory, file)
    try:
        with pytest.raises(UserError) as caught:
            Run.create_or_resume(directory, recipe)
        message = str(caught.value)
        assert message.startswith(f"{directory}: is in use by process {holder.pid} on ")
        assert " since 20" in message
        assert message.endswith("Wait for it, stop it, or give another --dir.")
        assert Run.read(directory).state() == "running"
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    assert Run.read(directory).state() == "interrupted"
    with Run.create_or_resume(directory, recipe) as run:
        assert run.state() == "running"


def test_a_forked_worker_that_outlives_its_parent_does_not_hold_the_run(
    tmp_path: Path, directory: Path, recipe: Recipe
) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text(dump_recipe(recipe))
    holder = hold(directory, file, "fork")
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert holder.stdin is not None
    try:
        Run.create_or_resume(directory, recipe).release()
    finally:
        holder.stdin.close()


def test_a_refused_start_gives_the_lock_up(directory: Path, recipe: Recipe) -> None:
    Run.create_or_resume(directory, recipe).release()
    with pytest.raises(UserError):
        Run.create_or_resume(directory, changed(recipe, seed=1))
    assert Run.read(directory).state() == "interrupted"


def test_readers_do_not_take_each_other_for_an_owner(directory: Path, recipe: Recipe) -> None:
    Run.create_or_resume(directory, recipe).release()
    with (directory / "lock").open() as other_reader:
        fcntl.flock(other_reader, fcntl.LOCK_SH)
        assert Run.read(directory).state() == "interrupted"


def test_reading_what_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"is not a run \(it has no recipe\.yaml\)\. Give the --dir"):
        Run.read(tmp_path / "none")


def test_a_reader_writes_nothing(directory: Path, recipe: Recipe) -> None:
    Run.create_or_resume(directory, recipe).release()
    run = Run.read(directory)
    with pytest.raises(ValueError, match="reading only"):
        run.iteration(1).write_json("scores.json", {})
    with pytest.raises(ValueError, match="reading only"):
        run.iteration(1).write_training_set([])
    with pytest.raises(ValueError, match="reading only"):
        run.note_command(["isheep"])
    with pytest.raises(ValueError, match="reading only"):
        run.finish()
    assert run.iteration(1).read_json("scores.json") is None
    assert sorted(path.name for path in directory.iterdir()) == ["lock", "manifest.json", "recipe.yaml"]


def test_an_owner_that_released_the_run_writes_no_more(directory: Path, recipe: Recipe) -> None:
    run = Run.create_or_resume(directory, recipe)
    run.release()
    with pytest.raises(ValueError, match="reading only"):
        run.iteration(1).write_json("scores.json", {})


def test_state_follows_the_directory(directory: Path, recipe: Recipe) -> None:
    def state() -> str:
        return Run.read(directory).state()

    with Run.create_or_resume(directory, recipe) as run:
        run.note_command(["isheep", "run"])
        assert state() == "running"
    assert state() == "interrupted"
    with Run.create_or_resume(directory, recipe) as run:
        run.note_command(["isheep", "run"])
        run.note_end("failed", "disk full")
    assert state() == "failed"
    with Run.create_or_resume(directory, recipe) as run:
        run.note_command(["isheep", "run"])
    assert state() == "interrupted"
    with Run.create_or_resume(directory, recipe) as run:
        run.note_command(["isheep", "run"])
        run.note_end("interrupted")
    assert state() == "interrupted"
    with Run.create_or_resume(directory, recipe) as run:
        run.note_command(["isheep", "run"])
        run.finish({"best": 2})
        run.note_end("finished")
    assert state() == "finished"
    assert json.loads((directory / "done.json").read_text())["best"] == 2


def test_commands_are_kept_with_start_end_and_outcome(
    directory: Path, recipe: Recipe, caplog: pytest.LogCaptureFixture
) -> None:
    with Run.create_or_resume(directory, recipe) as run:
        run.note_command(["isheep", "run", "lamb"])
        assert manifest(directory)["commands"][0]["ended"] is None
        run.note_end("failed", "no room")
        run.note_command(["isheep", "run"])
    first, second = manifest(directory)["commands"]
    assert list(first) == ["argv", "started", "ended", "outcome", "message"]
    assert (first["argv"], first["outcome"], first["message"]) == (["isheep", "run", "lamb"], "failed", "no room")
    assert first["started"] <= first["ended"]
    assert (second["ended"], second["outcome"]) == (None, None)
    assert caplog.messages == []


def test_other_versions_on_resume_are_warned_of_and_kept(
    directory: Path, recipe: Recipe, caplog: pytest.LogCaptureFixture
) -> None:
    Run.create_or_resume(directory, recipe).release()
    old = manifest(directory)
    now = old["versions"]["python"]
    old["versions"]["python"] = "3.1.4"
    (directory / "manifest.json").write_text(json.dumps(old))
    with Run.create_or_resume(directory, recipe) as run:
        run.note_command(["isheep", "run"])
    assert manifest(directory)["versions"]["python"] == "3.1.4"
    assert manifest(directory)["commands"][0]["versions"] == {"python": now}
    assert "began with other versions" in caplog.text


def test_a_torn_manifest_is_set_aside_and_begun_anew(
    directory: Path, recipe: Recipe, caplog: pytest.LogCaptureFixture
) -> None:
    Run.create_or_resume(directory, recipe).release()
    (directory / "manifest.json").write_text('{"versions"')
    with Run.create_or_resume(directory, recipe) as run:
        run.note_command(["isheep", "run"])
    assert "manifest.json does not read as JSON" in caplog.text
    assert (directory / "manifest.json.broken").is_file()
    assert len(manifest(directory)["commands"]) == 1


def test_a_manifest_that_vanishes_under_a_run_is_named(directory: Path, recipe: Recipe) -> None:
    with Run.create_or_resume(directory, recipe) as run:
        (directory / "manifest.json").unlink()
        with pytest.raises(StageError, match=r"manifest\.json: is gone"):
            run.note_command([])


def test_iterations_are_listed_in_order_and_tables_are_one_object(directory: Path, recipe: Recipe) -> None:
    with Run.create_or_resume(directory, recipe) as run:
        assert run.iterations() == []
        for number in (10, 0, 2):
            run.iteration(number).write_json("scores.json", {"n": number})
        (directory / "iteration-x").mkdir()
        assert [iteration.number for iteration in run.iterations()] == [0, 2, 10]
        assert run.iteration(2).path == directory / "iteration-02"
        assert run.iteration(2).table("responses") is run.iteration(2).table("responses")
        assert run.iteration(10).read_json("scores.json") == {"n": 10}


def test_an_iteration_is_done_when_it_was_closed(directory: Path, recipe: Recipe) -> None:
    with Run.create_or_resume(directory, recipe) as run:
        iteration = run.iteration(1)
        assert not iteration.is_done
        iteration.close()
        assert iteration.is_done
        document = iteration.read_json("done.json")
        assert document["iteration"] == 1
        iteration.write_json("done.json", document | {"ended": "before"})
        iteration.close()
        assert iteration.read_json("done.json")["ended"] == "before"


def test_a_broken_part_is_found_when_the_run_resumes_and_nothing_above_it_is_done(
    directory: Path, recipe: Recipe, caplog: pytest.LogCaptureFixture
) -> None:
    with Run.create_or_resume(directory, recipe) as run:
        for number in (1, 2):
            table = run.iteration(number).table("responses")
            for part in range(3):
                table.append([Response(f"r{part}", "fine", "stop", 1)])
            table.close()
            run.iteration(number).close()
        run.finish()
    broken = directory / "iteration-01" / "responses" / "part-00001.parquet"
    os.truncate(broken, 40)
    assert Run.read(directory).iteration(1).table("responses").parts() == 1
    assert broken.exists()
    with Run.create_or_resume(directory, recipe) as run:
        assert f"{broken} does not match its hash in done.json" in caplog.messages[-1]
        assert not broken.exists()
        assert [run.iteration(number).is_done for number in (1, 2)] == [False, True]
        assert [run.iteration(number).table("responses").parts() for number in (1, 2)] == [1, 3]
    assert Run.read(directory).state() == "interrupted"


def test_the_training_set_is_written_whole_and_loads(directory: Path, recipe: Recipe) -> None:
    rows: list[dict[str, Any]] = [{"messages": [{"role": "user", "content": "a\nb\ud800"}]}, {"messages": []}]
    with Run.create_or_resume(directory, recipe) as run:
        iteration = run.iteration(1)
        iteration.write_training_set(rows)
        lines = iteration.training_set_path.read_text(encoding="utf-8").split("\n")
        assert [json.loads(line) for line in lines[:-1]] == [
            {"messages": [{"role": "user", "content": "a\nb\ufffd"}]},
            {"messages": []},
        ]
        assert lines[-1] == ""


def test_an_adapter_appears_whole_or_not_at_all(directory: Path, recipe: Recipe) -> None:
    with Run.create_or_resume(directory, recipe) as run:
        iteration = run.iteration(1)
        for text in ("first", "second"):
            with iteration.new_weights("adapter") as folder:
                (folder / "deep").mkdir()
                (folder / "deep" / "weights").write_text(text)
        with pytest.raises(KeyboardInterrupt), iteration.new_weights("adapter") as folder:  # noqa: PT012
            (folder / "weights").write_text("half")
            raise KeyboardInterrupt
        assert (iteration.weights_path / "deep" / "weights").read_text() == "second"
        assert [path.name for path in iteration.weights_path.iterdir()] == ["deep"]
        with iteration.new_weights("adapter") as folder:
            (folder / "weights").write_text("third")
        assert [path.name for path in iteration.path.iterdir()] == ["adapter"]
        assert (iteration.weights_path / "weights").read_text() == "third"


def test_the_store_imports_nothing_heavy() -> None:
    code = (
        "import sys, isheep.store.run; "
        "print([m for m in ('torch', 'transformers', 'datasets', 'trl', 'peft', 'lm_eval') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], env=ENVIRONMENT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
