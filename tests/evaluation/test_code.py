"""HumanEval and MBPP through evalplus itself, behind the walls: ceilings, floors, and solutions that do not play fair.

Needs evalplus' environment (`make .venv-evalplus/installed`, or ISHEEP_EVALPLUS) and its data; `make test-code` grades
every canonical solution (ISHEEP_CODE=all), by default one in thirteen.
"""

from __future__ import annotations

import gzip
import json
import os
import socket
import time
from pathlib import Path
from typing import Any

import pytest

from isheep.errors import UserError
from isheep.evaluation.code import ENDS, FAULTS, CodeBenchmark, solution_of
from isheep.evaluation.grading import Grader, Verdict
from isheep.evaluation.registry import CODE, open_benchmark
from isheep.models import Model, Models
from isheep.recipe import Recipe, load_recipe
from isheep.stages.evaluate import evaluate, read_items
from isheep.store.run import Run
from tests.data import EVALPLUS_DATA
from tests.evaluation.walls import needs_walls

ROOT = Path(__file__).parents[2]
DATA = EVALPLUS_DATA
PYTHON = os.environ.get("ISHEEP_EVALPLUS", str(ROOT / ".venv-evalplus" / "bin" / "python"))
needs_evalplus_data = pytest.mark.skipif(not DATA.is_dir(), reason="evalplus' data is not here")
needs_evalplus = pytest.mark.skipif(not Path(PYTHON).exists(), reason="evalplus has no environment here")
EVERY = 1 if os.environ.get("ISHEEP_CODE") == "all" else 13

FILES = {"humaneval": "HumanEvalPlus.jsonl.gz", "mbpp": "MbppPlus.jsonl.gz"}
UNPASSABLE = "HumanEval/32"
SLOW = {"Mbpp/599", "Mbpp/392", "Mbpp/123", "Mbpp/271", "HumanEval/139", "HumanEval/15", "HumanEval/36", "HumanEval/59"}
"""Their canonical solutions take ten seconds to two minutes."""


real = [needs_evalplus_data, needs_evalplus, needs_walls]


def problems(dataset: str) -> list[dict[str, Any]]:
    with gzip.open(DATA / FILES[dataset], "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def jobs(dataset: str, rows: list[dict[str, Any]], solutions: list[str]) -> list[dict[str, Any]]:
    return [
        {"dataset": dataset, "problem": row, "solution": solution, "tests": ["base", "plus"]}
        for row, solution in zip(rows, solutions, strict=True)
    ]


def canonical(row: dict[str, Any]) -> str:
    return str(row["prompt"] + row["canonical_solution"])


@pytest.fixture(scope="module")
def grader() -> Grader:
    grader = Grader(PYTHON, True)
    grader.prepare()
    return grader


def grade(grader: Grader, solutions: list[str]) -> list[Verdict]:
    """On HumanEval/0, `has_close_elements`."""
    first = problems("humaneval")[0]
    return grader.grade(jobs("humaneval", [first] * len(solutions), solutions), lambda number: None)


class Asking:
    """Marks that need everything."""

    pytestmark = real


class TestCeilings(Asking):
    @pytest.mark.parametrize("dataset", ["humaneval", "mbpp"])
    def test_canonical_solutions_pass_and_nothing_else_does(self, grader: Grader, dataset: str) -> None:
        rows = [
            row for place, row in enumerate(problems(dataset)) if place % EVERY == 0 or row["task_id"] == UNPASSABLE
        ]
        if EVERY > 1:
            rows = [row for row in rows if row["task_id"] not in SLOW]
        verdicts = grader.grade(jobs(dataset, rows, [canonical(row) for row in rows]), lambda number: None)
        wrong = {row["task_id"]: one for row, one in zip(rows, verdicts, strict=True) if one.status != "passed"}
        # A machine that is too slow for a canonical solution cannot tell; that is not a wrong verdict.
        wrong = {name: one for name, one in wrong.items() if one.status != "unknown"}
        assert list(wrong) == ([UNPASSABLE] if dataset == "humaneval" else [])
        if dataset == "humaneval":
            assert wrong[UNPASSABLE].reason.startswith("base tests: 0 of ")

    @pytest.mark.parametrize("dataset", ["humaneval", "mbpp"])
    def test_no_solution_is_no_point(self, grader: Grader, dataset: str) -> None:
        rows = problems(dataset)[:3]
        for solution in ("", "def other(): pass", "this is no program", "\ud800"):
            verdicts = grader.grade(jobs(dataset, rows, [solution] * 3), lambda number: None)
            assert [one.status for one in verdicts] == ["failed"] * 3

    def test_the_plus_tests_find_what_the_base_tests_do_not(self, grader: Grader) -> None:
        row = problems("humaneval")[0]
        cases = {repr(case): expected for case, expected in zip(row["base_input"], self.base_answers(row), strict=True)}
        learned = f"{row['prompt']}    return {cases}.get(repr([numbers, threshold]), None)\n"
        verdict = grade(grader, [learned])[0]
        assert (verdict.status, verdict.reason.split(":")[0]) == ("failed", "plus tests")
        base_only = jobs("humaneval", [row], [learned])[0] | {"tests": ["base"]}
        assert grader.grade([base_only], lambda number: None)[0].status == "passed"

    @staticmethod
    def base_answers(row: dict[str, Any]) -> list[Any]:
        space: dict[str, Any] = {}
        exec(canonical(row), space)  # noqa: S102  # the benchmark's own solutions, reviewed with it
        answers: list[Any] = [space[row["entry_point"]](*case) for case in row["base_input"]]
        return answers


HEAD = "def has_close_elements(numbers, threshold):\n"
RIGHT = "    return any(abs(a - b) < threshold for i, a in enumerate(numbers) for b in numbers[:i])\n"
FAKE = """
import json, os
lines = [json.dumps({"tests": t, "ready": True, "reference_s": 0}) for t in ("base", "plus")]
lines += [json.dumps({"tests": t, "status": "pass", "passed": 9, "of": 9}) for t in ("base", "plus")]
text = ("\\n" + "\\n".join(lines) + "\\n")
print(text)
for descriptor in range(200):
    try: os.write(descriptor, text.encode())
    except OSError: pass
os._exit(0)
"""
HOSTILE = {
    "sleeps": "import time\ntime.sleep(600)",
    "sleeps and catches all": "import time\nwhile True:\n    try: time.sleep(600)\n    except BaseException: pass",
    "exits": "import sys\nsys.exit(0)",
    "exits at once": "import os\nos._exit(0)",
    "fakes verdicts": FAKE,
    "prints": "import os\nwhile True: os.write(1, b'x' * 65536)",
    "kills its grader": "import signal, os, posix\nposix.kill(os.getppid(), 9)\nimport time\ntime.sleep(600)",
    "kills all": "import posix\nposix.kill(-1, 9)",
    "forks": "import posix\nwhile True:\n    try: posix.fork()\n    except OSError: pass",
    "fills the disk": "import io\nn = 0\nwhile True:\n    io.open(f'/tmp/{n}', 'wb').write(bytes(2**20))\n    n += 1",
    "takes all memory": "kept = []\nwhile True: kept.append(bytearray(2**27))",
    "reads home": f"import io\nio.open({str(Path.home() / '.bashrc')!r}).read()",
    "reads the tests": f"import io\nio.open({str(DATA / 'HumanEvalPlus.jsonl.gz')!r}, 'rb').read()",
    "nests": "x = " + "-" * 100_000 + "1",
}


class TestHostile(Asking):
    @pytest.mark.parametrize("name", HOSTILE)
    @pytest.mark.parametrize("place", ["module", "call"])
    def test_it_is_stopped_and_wrong(self, grader: Grader, name: str, place: str) -> None:
        lines = HOSTILE[name].strip("\n")
        body = "".join(f"    {line}\n" for line in lines.split("\n"))
        solution = f"{lines}\n{HEAD}{RIGHT}" if place == "module" else f"{HEAD}{body}{RIGHT}"
        started = time.monotonic()
        hostile, fair = grade(grader, [solution, HEAD + RIGHT])
        assert hostile.passed == 0, hostile
        assert fair.status == "passed", fair
        assert time.monotonic() - started < 150

    def test_nothing_of_it_reaches_the_network(self, grader: Grader) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            server.setblocking(False)
            reach = f"import socket\nsocket.create_connection(('127.0.0.1', {server.getsockname()[1]}), 2)\n"
            assert grade(grader, [reach + HEAD + RIGHT])[0].status == "failed"
            with pytest.raises(BlockingIOError):
                server.accept()

    def test_nothing_is_left_of_it(self, grader: Grader) -> None:
        common = Path("/tmp")  # noqa: S108  # where a solution without walls would leave it
        before = set(common.iterdir())
        grade(grader, ["import io\nio.open('/tmp/here-i-was', 'w').write('x')\n" + HEAD + RIGHT])
        assert {path.name for path in set(common.iterdir()) - before} & {"here-i-was"} == set()


@pytest.mark.parametrize(
    ("answer", "solution"),
    [
        ("Here:\n```python\ndef f(x):\n    return x\n```\nDone.", "def f(x):\n    return x\n"),
        ("```\ndef g(): pass\n```\n```py\ndef f(x):\n\treturn 1\n```", "def f(x):\n    return 1\n"),
        ("```python\ndef f(x):\n    return 1\n```\nUse it:\n```python\nprint(f(1))\n```", "def f(x):\n    return 1\n"),
        ("```python\nimport re\n\ndef f(x):\n    if x:\n        return 1\n    retu", None),
        ("Sure.\nimport re\ndef f(x):\n    return re\nThat is it, isn't it?", "import re\ndef f(x):\n    return re"),
        ("async def f(x):\n    return x", "async def f(x):\n    return x"),
        ("I do not know.", ""),
        ("", ""),
    ],
)
def test_the_program_is_found_in_an_answer(answer: str, solution: str | None) -> None:
    expected = "import re\n\ndef f(x):\n    if x:\n        return 1\n    retu" if solution is None else solution
    assert solution_of("", answer, "f") == expected


def test_what_goes_on_with_a_prompt_loses_an_end_that_does_not_parse() -> None:
    prompt = 'def f(x):\n    """Says x."""\n'
    assert solution_of(prompt, "    return x\n\n# and so on\nx = (", "f") == f"{prompt}    return x\n\n# and so on"
    assert solution_of(prompt, "    )(", "f") == prompt.rstrip("\n")


def settings(tmp_path: Path, **evaluation: Any) -> Recipe:
    recipe = load_recipe("lamb")
    asked = {"benchmarks": ["humaneval"], "tasks": None, "data_dir": str(tmp_path), "evalplus": PYTHON, **evaluation}
    return recipe.model_copy(update={"evaluate": recipe.evaluate.model_copy(update=asked)})


def test_a_python_without_evalplus_is_named(tmp_path: Path) -> None:
    for python, what in ((str(tmp_path / "none"), "there is no Python"), ("/bin/false", "cannot import evalplus")):
        with pytest.raises(UserError, match=f"evaluate.evalplus: .*{what}.*venv-evalplus"):
            open_benchmark("humaneval", settings(tmp_path, evalplus=python)).prepare()


class TestPreparing(Asking):
    def test_data_that_is_missing_or_broken_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match=r"evaluate.data_dir: .* holds no HumanEvalPlus.jsonl"):
            open_benchmark("humaneval", settings(tmp_path)).prepare()
        for content in (b"{", b'{"task_id": 1}\n', b"\xff"):
            (tmp_path / "HumanEvalPlus.jsonl").write_bytes(content)
            with pytest.raises(UserError, match="is no file of evalplus'"):
                open_benchmark("humaneval_plus", settings(tmp_path)).prepare()
        (tmp_path / "deep").mkdir()
        (tmp_path / "deep" / "MbppPlus.jsonl.gz").write_bytes(b"\x1f\x8b\x00")
        with pytest.raises(UserError, match="is no file of evalplus'"):
            open_benchmark("mbpp", settings(tmp_path)).prepare()

    def test_the_protocol_says_what_decides_the_figures(self) -> None:
        told = {name: open_benchmark(name, settings(DATA)).protocol() for name in CODE}
        json.dumps(told)
        assert [told[name]["tests"] for name in CODE] == ["base", "base+plus", "base", "base+plus"]
        assert [told[name]["items"] for name in CODE] == [164, 164, 378, 378]
        assert {one["version"] for one in told.values()} == {"0.3.1"}
        assert [told[name]["notes"] for name in CODE] == [[FAULTS["humaneval", "0.3.1"]]] * 2 + [[]] * 2
        texts = open_benchmark("mbpp", settings(DATA, limit=2)).texts()
        assert len(texts) == 2
        assert "shared elements" in texts[0]

    def test_without_walls_it_grades_too(self, tmp_path: Path) -> None:
        grader = Grader(PYTHON, False)
        grader.prepare()
        statuses = [one.status for one in grade(grader, [HEAD + RIGHT, HEAD, "import os\nos._exit(0)"])]
        assert statuses == ["passed", "failed", "timeout"]


class TestRunning(Asking):
    def test_lamb_writes_and_evalplus_grades(self, models: Models, tmp_path: Path) -> None:
        recipe = settings(DATA, benchmarks=["humaneval", "mbpp_plus"], limit=3)
        with Run.create_or_resume(tmp_path / "run", recipe) as run:
            iteration = run.iteration(0)
            evaluate(iteration, recipe, models.base)
            scores: Any = iteration.read_json("scores.json")
        for name in recipe.evaluate.benchmarks:
            rows = read_items(iteration, name)
            assert [row["doc_id"] for row in rows] == [0, 1, 2]
            assert {row["judged"]["status"] for row in rows} <= {"passed", "failed", "timeout", "killed"}
            points = [row["metrics"]["pass@1"] for row in rows]
            assert scores[name]["pass@1"]["value"] == pytest.approx(sum(points) / 3)
            assert scores[name]["pass@1"]["n"] == 3
            for row in rows:
                assert row["responses"][0].startswith(row["prompt"].rstrip())
                assert not any(end in row["responses"][0][len(row["prompt"]) :] for end in ENDS[name.split("_")[0]])

    def test_a_trained_model_is_asked_for_a_function(self, models: Models) -> None:
        benchmark = CodeBenchmark("humaneval", settings(DATA, limit=2))
        benchmark.prepare()
        rows = benchmark.measure(Model(models, 1, None), seed=3).items["humaneval"]
        assert all(row["prompt"].startswith("Write the Python function") for row in rows)
        assert all("def " in row["prompt"] and "{{" not in row["prompt"] for row in rows)
        assert all(row["metrics"]["pass@1"] == 0 for row in rows)
