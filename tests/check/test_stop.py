"""The stop rule before anything is spent: a metric that nothing measures, and settings that do nothing, are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from isheep.check.stop import refuse_first_metric, stop_rule
from isheep.errors import UserError
from isheep.evaluation.tasks import known_metrics, metrics_in
from isheep.recipe import Recipe, parse_recipe

TASK = """
task: {name}
dataset_path: json
output_type: generate_until
doc_to_text: question
doc_to_target: answer
test_split: test
"""
METRICS = """
metric_list:
  - metric: exact_match
    aggregation: mean
    higher_is_better: true
  - metric: word_perplexity
"""
FILTERS = """
filter_list:
  - name: strict
    filter: [{function: take_first}]
  - name: loose
    filter: [{function: take_first}]
"""
TASKS = {
    "plain": METRICS,
    "filtered": METRICS + FILTERS,
    "default": "",
    "coded": "metric_list: [{metric: !function metrics.own}]",
    "tagged": "tag: both_tags\n" + METRICS,
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Task files; nobody loads their data."""
    for name, more in TASKS.items():
        (tmp_path / f"{name}.yaml").write_text(TASK.format(name=name) + more)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "known", "complete"),
    [
        ("plain", {"plain/exact_match": True, "plain/word_perplexity": False}, True),
        (
            "filtered",
            {
                "filtered/exact_match,strict": True,
                "filtered/exact_match,loose": True,
                "filtered/word_perplexity,strict": False,
                "filtered/word_perplexity,loose": False,
            },
            True,
        ),
        ("default", {}, False),
        ("coded", {}, False),
        ("both_tags", {"tagged/exact_match": True, "tagged/word_perplexity": False}, True),
    ],
)
def test_metrics_are_read_from_the_task_files(folder: Path, name: str, known: dict[str, bool], complete: bool) -> None:
    assert known_metrics([name], folder) == (known, complete)


def test_what_a_group_measures_is_not_in_its_file() -> None:
    assert metrics_in({"group": "all", "task": ["a"], "aggregate_metric_list": [{"metric": "acc"}]}) == ({}, False)
    assert metrics_in({"task": "a", "metric_list": [{"metric": "acc"}]}) == ({"acc": True}, True)
    assert metrics_in({"task": "a", "class": "module.Task"}) == ({}, False)


def test_lambs_metrics_are_known() -> None:
    import isheep

    known, complete = known_metrics(["lamb"], Path(isheep.__file__).parent / "lamb" / "benchmark")
    assert complete
    assert list(known) == [f"lamb/{kind}_level_{way}_acc" for way in ("strict", "loose") for kind in ("prompt", "inst")]


def rule(folder: Path, benchmarks: list[str], **stop: Any) -> str | None:
    return stop_rule(asked(folder, benchmarks, **stop))


def asked(folder: Path, benchmarks: list[str], **stop: Any) -> Recipe:
    evaluate = {"benchmarks": benchmarks, "tasks": str(folder)}
    return parse_recipe({"model": {"path": "m"}, "evaluate": evaluate, "stop": stop}, "test")


def refusal(folder: Path, benchmarks: list[str], **stop: Any) -> tuple[str, str, str]:
    with pytest.raises(UserError) as caught:
        rule(folder, benchmarks, **stop)
    return caught.value.where, caught.value.what, caught.value.mend


def test_the_rule_is_told_in_words(folder: Path) -> None:
    assert rule(folder, []) is None
    assert rule(folder, ["plain"]) == (
        "goes by the first metric of plain; ends early after 2 iterations without a gain"
    )
    assert rule(folder, ["plain"], metric="plain/exact_match", patience=1, on_alarms=["near_twins", "unparsed"]) == (
        "goes by plain/exact_match; ends early after 1 iteration without a gain or on near_twins or unparsed"
    )
    assert rule(folder, ["plain"], patience=None, on_alarms=True) == (
        "goes by the first metric of plain; ends early on any alarm"
    )
    assert rule(folder, ["plain"], patience=None) == "goes by the first metric of plain; ends early never"


@pytest.mark.parametrize(
    ("benchmarks", "metric", "offer"),
    [
        (["plain"], "plain/exact_matc", "Did you mean `plain/exact_match`?"),
        (["plain"], "exact_match", "Did you mean `plain/exact_match`?"),
        (["plain", "coded"], "plain/exact_matc", "Did you mean `plain/exact_match`?"),
        (["plain", "coded"], "plain/zzz", "There are: plain/exact_match, plain/word_perplexity."),
        (["plain"], "coded/own", "There are: plain/exact_match, plain/word_perplexity."),
        (["filtered"], "filtered/exact_match,strct", "Did you mean `filtered/exact_match,strict`?"),
    ],
)
def test_a_metric_that_no_benchmark_has(folder: Path, benchmarks: list[str], metric: str, offer: str) -> None:
    what = f"no benchmark of evaluate.benchmarks has `{metric}`."
    assert refusal(folder, benchmarks, metric=metric) == ("stop.metric", what, f"{offer} Write it as BENCHMARK/METRIC.")


def test_what_only_code_knows_waits_for_the_first_measurement(folder: Path) -> None:
    assert rule(folder, ["coded"], metric="coded/own") is not None
    assert rule(folder, ["plain", "coded"], metric="a member of a group/acc") is not None


def test_a_metric_of_which_less_is_better(folder: Path) -> None:
    what = "of plain/word_perplexity a lower value is better, and the loop takes the highest for the best."
    assert refusal(folder, ["plain"], metric="plain/word_perplexity")[:2] == ("stop.metric", what)


def test_the_first_metric_is_refused_too_where_less_of_it_is_better(tmp_path: Path) -> None:
    metrics = "metric_list: [{metric: word_perplexity}, {metric: acc}]"
    (tmp_path / "falls.yaml").write_text(TASK.format(name="falls") + metrics)
    assert rule(tmp_path, ["falls"])
    with pytest.raises(UserError) as caught:
        refuse_first_metric(asked(tmp_path, ["falls"]))
    assert caught.value.where == "stop.metric"
    assert caught.value.what.startswith("of falls/word_perplexity a lower value is better")
    refuse_first_metric(asked(tmp_path, ["falls"], metric="falls/acc"))
    refuse_first_metric(asked(tmp_path, []))


def test_settings_that_contradict_each_other(folder: Path) -> None:
    assert refusal(folder, [], metric="plain/exact_match") == (
        "stop.metric",
        "plain/exact_match is not measured: evaluate.benchmarks is empty.",
        "Name its benchmark in evaluate.benchmarks, or take stop.metric out.",
    )
    where, what, _ = refusal(folder, ["plain"], patience=None, min_gain=0.01)
    assert (where, what) == ("stop.min_gain", "0.01 says what a gain is, but stop.patience null waits for none.")


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"patience": 0}, r"stop\.patience: cannot be 0\. Give a whole number of at least 1, or null\."),
        ({"min_gain": -0.1}, r"stop\.min_gain: cannot be -0\.1\. Give a number of at least 0, or null\."),
        (
            {"on_alarms": ["near_twin"]},
            r"stop\.on_alarms: cannot be \['near_twin'\]\. Give true or false, or a list in brackets \(each entry "
            r"`nothing_kept`, `everything_kept`, `near_twins`, .* or `flat_following`\)\.",
        ),
    ],
)
def test_a_value_outside_its_range(folder: Path, setting: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        rule(folder, ["plain"], **setting)


def test_alarms_stop_a_run_that_measures_nothing(folder: Path) -> None:
    assert rule(folder, [], on_alarms=["nothing_kept"]) == "ends early on nothing_kept"
    assert rule(folder, []) is None
