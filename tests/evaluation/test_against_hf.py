"""lm-eval's tasks on our engine, and on lm-eval's own `hf` backend: the same checkpoint, the same items."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from lm_eval.evaluator import evaluate as run_tasks
from lm_eval.models.huggingface import HFLM

from isheep.evaluation.harness import Harness
from isheep.evaluation.lm_eval_task import LmEvalTask
from isheep.evaluation.tasks import Benchmarks, quiet
from isheep.models import Model, Models
from isheep.recipe.settings import EvaluateSettings
from tests.data import BENCHMARK_DATA, LAMB, SHARED, needs_data

ITEMS, TOKENS = 200, 48
CLOSE = 1e-3

pytestmark = needs_data

SHORT_IFEVAL = """
task: ifeval_short
dataset_path: json
dataset_kwargs: {data_files: {test: FILE}}
test_split: test
output_type: generate_until
doc_to_text: prompt
doc_to_target: 0
num_fewshot: 0
generation_kwargs: {until: [], do_sample: false, temperature: 0.0, max_gen_toks: TOKENS}
process_results: !function lm_eval.tasks.ifeval.utils.process_results
metric_list:
  - {metric: prompt_level_strict_acc, aggregation: mean}
  - {metric: inst_level_strict_acc, aggregation: !function lm_eval.tasks.ifeval.utils.agg_inst_level_acc}
  - {metric: prompt_level_loose_acc, aggregation: mean}
  - {metric: inst_level_loose_acc, aggregation: !function lm_eval.tasks.ifeval.utils.agg_inst_level_acc}
"""


@pytest.fixture(scope="module")
def backend() -> Any:
    return HFLM(pretrained=str(LAMB), device="cpu", dtype="float32", batch_size=8)


def both(task: str, settings: EvaluateSettings, model: Model, backend: Any, items: int = ITEMS) -> tuple[Any, Any]:
    """What lm-eval reports of a task: on our engine, and on its own backend."""
    found = Benchmarks([task], settings)
    with quiet():
        return tuple(
            run_tasks(lm=lm, task_dict=found.loaded, limit=items, bootstrap_iters=0, log_samples=True)
            for lm in (Harness(model, found.tasks, 0, as_written=True), backend)
        )


def figures(results: Any, task: str) -> dict[str, Any]:
    return {name: value for name, value in results["results"][task].items() if "stderr" not in name}


@pytest.mark.parametrize(("task", "asked"), [("arc_easy", 300), ("winogrande", ITEMS), ("openbookqa", ITEMS)])
def test_multiple_choice_is_the_same(task: str, asked: int, models: Models, backend: Any) -> None:
    """Of questions that the model has positions for: too long ones lose their start, ours one token more."""
    settings = EvaluateSettings(data_dir=str(BENCHMARK_DATA))
    results = both(task, settings, models.base, backend, asked)
    plain, positions = models.encoder.plain, models.base.engine.positions or 0
    rows = [
        (one, other)
        for one, other in zip(*(result["samples"][task] for result in results), strict=True)
        if all(len(plain("".join(arguments))) <= positions for arguments in one["arguments"])
    ]
    assert len(rows) >= ITEMS
    for one, other in rows:
        assert one["arguments"] == other["arguments"]
        likelihoods = [[answer[0][0] for answer in sample["resps"]] for sample in (one, other)]
        assert likelihoods[0] == pytest.approx(likelihoods[1], abs=CLOSE)
        assert [one[metric] for metric in one["metrics"]] == [other[metric] for metric in other["metrics"]]
    if len(rows) == asked:
        assert figures(results[0], task) == figures(results[1], task)


def test_greedy_generation_is_the_same(models: Models, backend: Any, tmp_path: Path) -> None:
    """Of prompts with room for the answer: too long ones get none from us, and lose their start in lm-eval."""
    file = BENCHMARK_DATA / "ifeval_input_data.jsonl"
    (tmp_path / "short.yaml").write_text(
        SHORT_IFEVAL.replace("FILE", str(file)).replace("TOKENS", str(TOKENS)), encoding="utf-8"
    )
    settings = EvaluateSettings(tasks=str(tmp_path), trust_tasks=True, data_dir=str(SHARED))
    results = both("ifeval_short", settings, models.base, backend, 250)
    plain, positions = models.encoder.plain, models.base.engine.positions or 0
    rows = [
        (one, other)
        for one, other in zip(*(result["samples"]["ifeval_short"] for result in results), strict=True)
        if len(plain(one["doc"]["prompt"])) + TOKENS <= positions
    ]
    assert len(rows) >= ITEMS
    for one, other in rows:
        assert one["resps"] == other["resps"]
        assert [one[metric] for metric in one["metrics"]] == [other[metric] for metric in other["metrics"]]


def test_the_reading_by_loss_is_the_direct_calculation(models: Models, backend: Any) -> None:
    settings = EvaluateSettings(data_dir=str(BENCHMARK_DATA), limit=50)
    rows = LmEvalTask("arc_easy", settings).measure(models.base, 0).items["arc_easy"]
    assert len(rows) == 50
    for row in rows:
        choices = row["doc"]["choices"]
        texts = [f"Question: {row['doc']['question']}\nAnswer: {choice}" for choice in choices["text"]]
        losses = [loss_of(backend, text) for text in texts]
        right = choices["label"].index(row["doc"]["answerKey"])
        assert row["metrics"]["acc_ppl"] == float(losses.index(min(losses)) == right)


def loss_of(backend: Any, text: str) -> float:
    """The mean loss of a text, as transformers counts it."""
    ids = backend.tokenizer(text, return_tensors="pt").input_ids
    return float(backend.model(ids, labels=ids).loss.detach())
