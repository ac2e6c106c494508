"""Benchmarks, their data, graders and judges."""

from __future__ import annotations

from tests.bad_input.case import Lay, Place, file, folder, lines
from tests.bad_input.servers import OPENAI, measured, served
from tests.engines.served import Manners
from tests.evaluation.judged import NAME, Reply, judging


def _judge(key: str | None = None, reply: Reply | None = None) -> Lay:
    """A judge's server, at `URL`."""

    def lay(place: Place) -> None:
        server = place.stack.enter_context(judging(lambda number, payload: reply or Reply("yes"), key))
        place.stands_for["URL"] = server.url

    return lay


QUESTION = {"question_id": 1, "category": "writing", "turns": ["Name a bird.", "Name another."]}
PROMPTS = [
    {"name": name, "system_prompt": "Judge.", "prompt_template": " ".join(f"{{{field}}}" for field in fields)}
    for name, fields in {
        "single-v1": ["question", "answer"],
        "single-v1-multi-turn": ["question_1", "answer_1", "question_2", "answer_2"],
        "single-math-v1": ["question", "ref_answer_1", "answer"],
        "single-math-v1-multi-turn": [
            "question_1", "ref_answer_1", "question_2", "ref_answer_2", "answer_1", "answer_2",
        ],
    }.items()
]  # fmt: skip


def _mt_bench(*questions: object, prompts: list[dict[str, str]] = PROMPTS) -> tuple[Lay, ...]:
    """The files of MT-Bench."""
    return (
        lines("data/question.jsonl", *questions),
        lines("data/reference_gpt-4.jsonl"),
        lines("data/judge_prompts.jsonl", *prompts),
    )


MT = "evaluate.benchmarks=[mt_bench] evaluate.data_dir=DIR/data"
JUDGED = f"{MT} evaluate.judge.url=URL evaluate.judge.model={NAME}"
TASKS = "evaluate.tasks=DIR/tasks evaluate.benchmarks=[mine]"

CASES = [
    measured(
        "benchmark-unknown",
        "a benchmark that there is not",
        "evaluate.tasks=null evaluate.benchmarks=[hellaswga]",
        "evaluate.benchmarks: there is no benchmark `hellaswga`. Did you mean `hellaswag`?",
    ),
    measured(
        "tasks-missing",
        "a folder of tasks that is not there",
        "evaluate.tasks=DIR/tasks",
        "evaluate.tasks: DIR/tasks is no folder. Give a folder with lm-eval task files.",
    ),
    measured(
        "tasks-empty",
        "a folder of tasks without any",
        "evaluate.tasks=DIR/tasks",
        (
            "evaluate.tasks: DIR/tasks holds no lm-eval task file (*.yaml). Give a folder that does, or "
            "take the setting out."
        ),
        folder("tasks"),
    ),
    measured(
        "task-not-yaml",
        "a task file that does not parse",
        TASKS,
        (
            "DIR/tasks/mine.yaml: does not read as YAML (while parsing a flow node expected the node "
            "content, but found '<stream end>' in \"<unicode string>\", line 2, column 1: ^). Mend the "
            "file, or take it away."
        ),
        file("tasks/mine.yaml", "task: [\n"),
    ),
    measured(
        "task-list",
        "a task file that is a list",
        TASKS,
        "DIR/tasks/mine.yaml: is no task of lm-eval. Mend the file, or take it away.",
        file("tasks/mine.yaml", "- mine\n"),
    ),
    measured(
        "task-without-data",
        "a task whose data is not there",
        TASKS,
        (
            "evaluate.benchmarks: mine cannot be loaded (Unable to find 'DIR/none.jsonl'). Their data "
            "comes from the hub: see that it can be reached, or give it as files in evaluate.data_dir."
        ),
        file(
            "tasks/mine.yaml",
            "task: mine\ndataset_path: json\ndataset_kwargs: {data_files: DIR/none.jsonl}\ntest_split: train\n"
            "output_type: generate_until\ndoc_to_text: q\ndoc_to_target: a\n"
            "metric_list: [{metric: exact_match, higher_is_better: true}]\n",
        ),
    ),
    measured(
        "data-missing",
        "a data folder that is not there",
        "evaluate.tasks=null evaluate.benchmarks=[piqa] evaluate.data_dir=DIR/data",
        ("evaluate.data_dir: there is no folder DIR/data. Give one with the benchmarks' data, or take it out."),
    ),
    measured(
        "data-without-the-benchmark",
        "a data folder without the benchmark's data",
        "evaluate.tasks=null evaluate.benchmarks=[piqa] evaluate.data_dir=DIR/data",
        (
            "evaluate.data_dir: DIR/data has no data of baber/piqa: no file whose name begins with piqa_."
            " Put it there in the hub's schema, or leave the benchmark out."
        ),
        folder("data"),
    ),
    measured(
        "evalplus-missing",
        "a Python for evalplus that is not there",
        "evaluate.benchmarks=[humaneval] evaluate.evalplus=DIR/python",
        (
            "evaluate.evalplus: there is no Python DIR/python. Install it (`make "
            ".venv-evalplus/installed`) and set evaluate.evalplus=.venv-evalplus/bin/python."
        ),
    ),
    measured(
        "evalplus-not-in-it",
        "a Python without evalplus",
        "evaluate.benchmarks=[humaneval] evaluate.evalplus=PYTHON",
        (
            "evaluate.evalplus: PYTHON cannot import evalplus (ModuleNotFoundError: No module named "
            "'evalplus'). Install it (`make .venv-evalplus/installed`) and set "
            "evaluate.evalplus=.venv-evalplus/bin/python."
        ),
        absent="evalplus",
    ),
    measured(
        "alpaca-missing",
        "a Python for alpaca_eval that is not there",
        f"{JUDGED} evaluate.benchmarks=[alpaca_eval] evaluate.alpaca_eval=DIR/python",
        (
            "evaluate.alpaca_eval: DIR/python has no alpaca_eval that works (it cannot be started: No "
            "such file or directory). Make an environment that has it (`make .venv-alpaca/installed`) and"
            " give its Python there."
        ),
        _judge(),
        file("data/alpaca_eval_gpt4_baseline.json", '[{"instruction": "a", "output": "b", "generator": "c"}]'),
    ),
    measured(
        "mt-bench-no-data",
        "mt_bench without its files",
        "evaluate.benchmarks=[mt_bench]",
        (
            "evaluate.data_dir: is not set, and the questions, references and judge prompts of mt_bench "
            "are files. Give a folder that holds them. They are in FastChat's repository "
            "(lm-sys/FastChat), folder fastchat/llm_judge/data."
        ),
    ),
    measured(
        "mt-bench-data-missing",
        "a folder of files that is not there",
        MT,
        "evaluate.data_dir: DIR/data is no folder. Give the folder with the benchmarks' data.",
    ),
    measured(
        "mt-bench-file-missing",
        "a folder without the questions",
        MT,
        (
            "evaluate.data_dir: DIR/data holds no question.jsonl for mt_bench. Put it there. They are in "
            "FastChat's repository (lm-sys/FastChat), folder fastchat/llm_judge/data."
        ),
        folder("data"),
    ),
    measured(
        "mt-bench-no-question",
        "questions of which there is none",
        JUDGED,
        (
            "DIR/data/question.jsonl: holds no question. They are in FastChat's repository "
            "(lm-sys/FastChat), folder fastchat/llm_judge/data."
        ),
        *_mt_bench(),
        _judge(),
    ),
    measured(
        "mt-bench-one-turn",
        "a question of one turn",
        JUDGED,
        (
            "DIR/data/question.jsonl: question 1 has not two turns of text. They are in FastChat's "
            "repository (lm-sys/FastChat), folder fastchat/llm_judge/data."
        ),
        *_mt_bench({**QUESTION, "turns": ["Go."]}),
        _judge(),
    ),
    measured(
        "mt-bench-no-category",
        "a question without its category",
        JUDGED,
        ("DIR/data/question.jsonl, line 1: has no `category`. Fetch the file anew from where it was published."),
        *_mt_bench({"question_id": 1, "turns": []}),
        _judge(),
    ),
    measured(
        "mt-bench-no-reference",
        "a question of mathematics without its reference",
        JUDGED,
        (
            "DIR/data/reference_gpt-4.jsonl: has no answer to question 1 of DIR/data/question.jsonl. They"
            " are in FastChat's repository (lm-sys/FastChat), folder fastchat/llm_judge/data."
        ),
        *_mt_bench({**QUESTION, "category": "math"}),
        _judge(),
    ),
    measured(
        "mt-bench-not-json",
        "questions that are no JSON",
        JUDGED,
        ("DIR/data/question.jsonl, line 1: is no JSON. Fetch the file anew from where it was published."),
        *_mt_bench("question"),
        _judge(),
    ),
    measured(
        "mt-bench-no-prompt",
        "judge prompts of which one is missing",
        JUDGED,
        (
            "DIR/data/judge_prompts.jsonl: holds no judge prompt single-v1. They are in FastChat's "
            "repository (lm-sys/FastChat), folder fastchat/llm_judge/data."
        ),
        *_mt_bench(QUESTION, prompts=PROMPTS[1:]),
        _judge(),
    ),
    measured(
        "mt-bench-prompt-field",
        "a judge prompt without its fields",
        JUDGED,
        (
            "DIR/data/judge_prompts.jsonl: the judge prompt single-v1 has the fields question. It needs "
            "question, answer. They are in FastChat's repository (lm-sys/FastChat), folder "
            "fastchat/llm_judge/data."
        ),
        *_mt_bench(QUESTION, prompts=[{**PROMPTS[0], "prompt_template": "{question}"}, *PROMPTS[1:]]),
        _judge(),
    ),
    measured(
        "judge-unnamed",
        "a judged benchmark without a judge",
        MT,
        (
            "evaluate.judge: no judge is named. Set evaluate.judge.url and evaluate.judge.model to a "
            "server of the OpenAI kind and its name for the judge, or evaluate.judge.model alone to a "
            "folder or hub id of a chat model."
        ),
        *_mt_bench(QUESTION),
    ),
    measured(
        "judge-without-model",
        "a judge's url without its model",
        f"{MT} evaluate.judge.url=http://127.0.0.1:9",
        (
            "evaluate.judge.model: http://127.0.0.1:9 is given without the name of a model. Set "
            "evaluate.judge.url and evaluate.judge.model to a server of the OpenAI kind and its name for "
            "the judge, or evaluate.judge.model alone to a folder or hub id of a chat model."
        ),
        *_mt_bench(QUESTION),
    ),
    measured(
        "judge-unreachable",
        "a judge's server that is not there",
        f"{MT} evaluate.judge.url=http://127.0.0.1:9 evaluate.judge.model=m",
        (
            "evaluate.judge.url http://127.0.0.1:9/v1: cannot be reached: the connection failed (Cannot "
            "connect to host 127.0.0.1:9 ssl:default [Connect call failed ('127.0.0.1', 9)]). Start the "
            "server, or mend evaluate.judge.url."
        ),
        *_mt_bench(QUESTION),
    ),
    measured(
        "judge-key-missing",
        "a judge's server that wants a key",
        JUDGED,
        (
            "URL: takes no request without a valid key (status 401: Incorrect API key provided: None). "
            "Put a key of this server into the environment variable OPENAI_API_KEY."
        ),
        *_mt_bench(QUESTION),
        _judge("sk-right"),
    ),
    measured(
        "judge-key-wrong",
        "a judge's server that wants another key",
        JUDGED,
        (
            "URL: takes no request without a valid key (status 401: Incorrect API key provided: Bearer "
            "(the key)). Put a key of this server into the environment variable OPENAI_API_KEY."
        ),
        *_mt_bench(QUESTION),
        _judge("sk-right"),
        key="sk-wrong",
    ),
    measured(
        "judge-unknown",
        "a judge that its server does not know",
        f"{MT} evaluate.judge.url=URL evaluate.judge.model=other",
        (
            "URL: does not let other judge (status 404: The model `other` does not exist). Mend "
            "evaluate.judge.model or evaluate.judge.url."
        ),
        *_mt_bench(QUESTION),
        _judge(),
    ),
    measured(
        "judge-folder-missing",
        "a judge on this machine that is not there",
        f"{MT} evaluate.judge.model=DIR/judge",
        (
            "evaluate.judge.model: there is no folder DIR/judge. Give a local folder with the model, or a"
            " hub id such as `Qwen/Qwen3-0.6B-Base`."
        ),
        *_mt_bench(QUESTION),
    ),
    measured(
        "judge-beside-a-server",
        "a judge on this machine beside a server's model",
        f"{MT} evaluate.judge.model=DIR/judge {OPENAI}",
        (
            "evaluate.judge.model: is DIR/judge on this machine, but the run's server serves model.path "
            "alone (engine.name). Give evaluate.judge.url, or choose another engine.name."
        ),
        *_mt_bench(QUESTION),
        served(Manners()),
    ),
]
