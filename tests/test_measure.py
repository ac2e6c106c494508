"""`isheep eval`: which models it takes, and that nothing is measured twice."""

from __future__ import annotations

from pathlib import Path
from shutil import copytree, rmtree

import pytest

from isheep.errors import UserError
from isheep.evaluation.lm_eval_task import LmEvalTask
from isheep.measure import measure_models
from isheep.recipe import load_recipe, locate
from isheep.stages import evaluate as stage
from isheep.stages.evaluate import PROTOCOL, evaluate, refuse_another_protocol
from isheep.store.run import Run
from isheep.store.status import status
from tests.conftest import BuildTokenizer

OWN = ["evaluate.tasks=package:lamb/benchmark", "evaluate.benchmarks=[lamb]", "evaluate.limit=3"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two iterations, small."""
    from isheep.loop import run as run_loop

    directory = tmp_path_factory.mktemp("run") / "run"
    settings = ["iterations=2", "size=24", "train.steps=2", "train.warmup_steps=0", "select.threshold=0"]
    run_loop(load_recipe("lamb", [*OWN, *settings]), directory)
    return directory


def test_iterations_of_a_run_side_by_side(run: Path) -> None:
    found = measure_models(run, limit=5, iterations=[0, 2])
    assert list(found.scores) == ["iteration-0", "iteration-2"]
    for scores in found.scores.values():
        assert scores["lamb"]["prompt_level_strict_acc"]["n"] == 5
    assert found.protocols["lamb"]["items"] == 5
    (best,) = measure_models(run).scores
    assert best == f"iteration-{status(Run.read(run))['best_iteration']}"


def test_nothing_is_measured_twice(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = measure_models(run, limit=4, iterations=[1])

    def never(self: LmEvalTask, *words: object) -> None:
        raise AssertionError("measured again")

    with monkeypatch.context() as patch:
        patch.setattr(LmEvalTask, "measure", never)
        assert measure_models(run, limit=4, iterations=[1]).scores == first.scores
        for otherwise in ({"limit": 3}, {"settings": ["seed=5"]}, {"settings": ["evaluate.prompts=as_written"]}):
            with pytest.raises(AssertionError, match="measured again"):
                measure_models(run, iterations=[1], **{"limit": 4, **otherwise})  # type: ignore[arg-type]


def test_what_is_not_there_is_refused(run: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="iteration 7 has no model; those that have one are 0, 1, 2"):
        measure_models(run, iterations=[7])
    with pytest.raises(UserError, match="is no run, so it has no iterations"):
        measure_models(run / "iteration-01" / "adapter", ["lamb"], iterations=[1])
    with pytest.raises(UserError, match="is no model, no adapter, no run and no file"):
        measure_models(tmp_path, ["lamb"])
    adapter = measure_models(run / "iteration-01" / "adapter", ["lamb"], 2, ["evaluate.tasks=package:lamb/benchmark"])
    assert next(iter(adapter.scores.values()))["lamb"]["prompt_level_strict_acc"]["n"] == 2


def test_a_later_iteration_is_measured_as_the_base_was(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    document = Run.read(run).iteration(0).read_json(PROTOCOL)
    assert document is not None
    assert document == Run.read(run).iteration(2).read_json(PROTOCOL)
    now = {**document, "lamb": {**document["lamb"], "version": "9.9"}, "new": {"version": "1"}}
    with pytest.raises(UserError, match=r"lamb was measured otherwise in iteration 0: version \S+ -> 9.9"):
        refuse_another_protocol(now, document)
    refuse_another_protocol({"new": {"version": "1"}}, document)
    with Run.create_or_resume(run, Run.read(run).recipe) as owned:
        iteration = owned.iteration(2)
        (iteration.path / "scores.json").unlink()
        (iteration.path / "evaluation" / "lamb.scores.json").unlink()
        monkeypatch.setattr(stage, "base_protocol", lambda _: now)
        with pytest.raises(UserError, match="measured otherwise"):
            evaluate(iteration, owned.recipe, None)  # type: ignore[arg-type]
        assert iteration.read_json("scores.json") is None


def test_a_base_without_the_turn_end_of_the_template_is_measured_all_the_same(
    tiny_model: Path, tmp_path: Path, build_tokenizer: BuildTokenizer
) -> None:
    folder = tmp_path / "bare"
    copytree(tiny_model, folder)
    plain = ("<|endoftext|>", "<a>", "<b>", "<pad>", "<s>")
    build_tokenizer(specials=plain).save_pretrained(folder)
    found = measure_models(folder, ["lamb"], 2, ["evaluate.tasks=package:lamb/benchmark", "respond.max_new_tokens=8"])
    assert found.scores[str(folder)]["lamb"]["prompt_level_strict_acc"]["n"] == 2


def test_answers_in_a_file_want_a_benchmark_and_know_no_iterations(tmp_path: Path) -> None:
    file = tmp_path / "answers.jsonl"
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match=r"cannot be read \('utf-8' codec"):
        measure_models(file, ["lamb"])
    file.write_text('{"prompt": "a", "response": "b"}\n')
    with pytest.raises(UserError, match="--benchmarks: none is named"):
        measure_models(file)
    with pytest.raises(UserError, match="is no run, so it has no iterations"):
        measure_models(file, ["lamb"], iterations=[1])


def test_a_task_file_that_changed_is_measured_anew(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tasks = tmp_path / "tasks"
    copytree(locate("package:lamb/benchmark"), tasks)
    settings = [f"evaluate.tasks={tasks}", "evaluate.trust_tasks=true"]
    first = measure_models(run, limit=2, iterations=[1], settings=settings)
    (tasks / "notes.txt").write_text("another file among them")

    def never(self: LmEvalTask, *words: object) -> None:
        raise AssertionError("measured again")

    monkeypatch.setattr(LmEvalTask, "measure", never)
    with pytest.raises(AssertionError, match="measured again"):
        measure_models(run, limit=2, iterations=[1], settings=settings)
    (tasks / "notes.txt").unlink()
    assert measure_models(run, limit=2, iterations=[1], settings=settings).scores == first.scores


def test_an_iteration_whose_weights_are_not_there_yet_has_no_model(run: Path, tmp_path: Path) -> None:
    copytree(run, tmp_path / "copy")
    rmtree(tmp_path / "copy" / "iteration-02" / "adapter")
    with pytest.raises(UserError, match="iteration 2 has no model; those that have one are 0, 1"):
        measure_models(tmp_path / "copy", limit=2, iterations=[2])
