"""`isheep eval`: answers to be graded, and models to be measured."""

from __future__ import annotations

from tests.bad_input.case import Case, file, lines
from tests.bad_input.models import lamb

ANSWERS = "eval DIR/answers.jsonl --benchmarks lamb evaluate.tasks=package:lamb/benchmark"

CASES = [
    Case(
        "answers-without-benchmark",
        "answers, and no benchmark",
        "eval DIR/answers.jsonl",
        "--benchmarks: none is named. Give some, as in `--benchmarks arc_easy,piqa`.",
        (lines("answers.jsonl", {"prompt": "a", "response": "b"}),),
    ),
    Case(
        "answers-not-json",
        "answers that are no JSON",
        ANSWERS,
        ("DIR/answers.jsonl, line 1: is no JSON object with `prompt` and `response`. Mend or delete the line."),
        (lines("answers.jsonl", "prompt,response"),),
    ),
    Case(
        "answers-without-response",
        "an answer without its response",
        ANSWERS,
        ("DIR/answers.jsonl, line 1: is no JSON object with `prompt` and `response`. Mend or delete the line."),
        (lines("answers.jsonl", {"prompt": "a"}),),
    ),
    Case(
        "answers-latin-1",
        "answers in Latin-1",
        ANSWERS,
        (
            "DIR/answers.jsonl: cannot be read ('utf-8' codec can't decode byte 0xe4 in position 12: "
            "invalid continuation byte). Give JSON lines in UTF-8, with `prompt` and `response`."
        ),
        (file("answers.jsonl", b'{"prompt": "\xe4"}'),),
    ),
    Case(
        "answers-too-few",
        "answers that leave a prompt out",
        ANSWERS,
        (
            "the answers: has no answer to `Put ticket into capital letters.` of lamb. Give one for every"
            " prompt, or a --limit."
        ),
        (lines("answers.jsonl", {"prompt": "a", "response": "b"}),),
    ),
    Case(
        "answers-for-a-judge",
        "answers for a judged benchmark",
        "eval DIR/answers.jsonl --benchmarks mt_bench",
        "mt_bench: does not take answers from a file. Measure the model that wrote them.",
        (lines("answers.jsonl", {"prompt": "a", "response": "b"}),),
    ),
    Case(
        "eval-benchmark-unknown",
        "a benchmark that there is not",
        "eval PACKAGE/lamb/model --benchmarks hellaswga",
        "evaluate.benchmarks: there is no benchmark `hellaswga`. Did you mean `hellaswag`?",
    ),
    Case(
        "eval-no-benchmark",
        "a model, and no benchmark",
        "eval PACKAGE/lamb/model",
        "--benchmarks: none is named. Give some, as in `--benchmarks arc_easy,piqa`.",
    ),
    Case(
        "eval-setting",
        "a setting that there is not",
        "eval PACKAGE/lamb/model --benchmarks lamb evaluate.limits=3",
        "recipe with overrides, evaluate.limits: unknown setting. Did you mean `evaluate.limit`?",
    ),
    Case(
        "eval-cache-file",
        "a file where the cache belongs",
        "eval PACKAGE/lamb/model --benchmarks lamb --limit 2 evaluate.tasks=package:lamb/benchmark model.dtype=float32",
        (
            "DIR/cache/evaluations: figures cannot be kept there (Not a directory). Mend the rights, or "
            "set ISHEEP_CACHE to another folder."
        ),
        (file("cache"),),
        variables={"ISHEEP_CACHE": "DIR/cache"},
    ),
    Case(
        "eval-weights-cut",
        "a model whose weights are cut off",
        "eval DIR/model --benchmarks lamb",
        ("DIR/model/model.safetensors: is not a safetensors file, or cut off in its header. Copy it again."),
        (lamb(without=("model.safetensors",)), file("model/model.safetensors", "no")),
    ),
]
