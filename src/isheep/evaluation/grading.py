"""evalplus, in an environment of its own: is it there, where is its data, and does a solution pass its tests.

Each solution is graded in a sandbox of its own, so none can touch another's verdict.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from isheep import drain
from isheep.errors import UserError
from isheep.evaluation.sandbox import Ended, Limits, refuse_without, run
from isheep.terminal import printable

LIMITS = Limits(cpu_s=150, wall_s=300)
"""evalplus ends each of the two rounds of tests after 62 seconds at the latest; what remains is the canonical solution.
The memory is evalplus' own limit."""

SLOW_S = 30
"""Where the canonical solution itself takes longer, half of the most that evalplus ever allows, a timeout says more
about the machine (or its neighbours) than about the solution: grading could not tell."""

_PROBE = """
import json, sys, types
sys.modules.setdefault("datasets", types.ModuleType("datasets")).load_dataset = None
import evalplus, evalplus.eval, evalplus.gen.util, evalplus.data.mbpp
print(json.dumps({"version": evalplus.__version__, "paths": [sys.prefix, sys.base_prefix, *sys.path]}))
"""

_DOWNLOAD = """
import sys, types
sys.modules.setdefault("datasets", types.ModuleType("datasets")).load_dataset = None
from evalplus.data.humaneval import _ready_human_eval_plus_path
from evalplus.data.mbpp import _ready_mbpp_plus_path
print("\\n" + {"humaneval": _ready_human_eval_plus_path, "mbpp": _ready_mbpp_plus_path}[sys.argv[1]]())
"""

_HELP = "Install it (`make .venv-evalplus/installed`) and set evaluate.evalplus=.venv-evalplus/bin/python."


@dataclass(frozen=True, slots=True)
class Verdict:
    """On one solution."""

    status: str
    """`passed`, `failed`, `timeout`, `killed`, or `unknown`: grading could not tell."""
    reason: str

    @property
    def passed(self) -> int | None:
        """1 or 0; None where grading could not tell."""
        return None if self.status == "unknown" else int(self.status == "passed")


class Grader:
    """evalplus behind walls."""

    def __init__(self, python: str | None, isolated: bool) -> None:
        """`python`: one that has evalplus, None: this one; nothing is started yet."""
        self._wanted, self._isolated = python, isolated

    def prepare(self) -> None:
        """Raises UserError: no such Python, no evalplus in it, no sandbox, or Python does not start in the sandbox."""
        visible = self._visible
        if not self._isolated:
            return
        refuse_without(visible)
        ended = run([self._python, "-I", "-c", _PROBE], LIMITS, visible=visible, environment=_ENVIRONMENT)
        if ended.how != "exit" or ended.code:
            raise UserError(
                "evaluate.evalplus",
                f"{self._python} does not start in the sandbox ({ended.reason}; {_last_line(ended.stderr)}).",
                "See that everybody may read its folders, or set evaluate.sandbox=false.",
            )

    @property
    def version(self) -> str:
        """Of evalplus.

        Raises:
            UserError: as `prepare`.
        """
        return str(self._probe["version"])

    def download(self, dataset: str) -> Path:
        """evalplus' own copy of `humaneval` or `mbpp`, downloaded by evalplus where it is not there yet.

        Raises:
            UserError: it cannot be had.
        """
        ended = _child([self._python, "-I", "-c", _DOWNLOAD, dataset])
        path = Path(ended.stdout.decode(errors="replace").rstrip().rpartition("\n")[2])
        if ended.returncode or not path.is_file():
            raise UserError(
                "evaluate.data_dir",
                f"is not set, and evalplus cannot download {dataset} ({_last_line(ended.stderr)}).",
                "Set it to a folder that holds evalplus' HumanEvalPlus.jsonl.gz or MbppPlus.jsonl.gz.",
            )
        return path

    def grade(self, jobs: Sequence[Mapping[str, Any]], done: Callable[[int], None]) -> list[Verdict]:
        """Verdicts in the order of the jobs; half of the processors are used, as evalplus does: its limits are of time.

        Args:
            jobs: `dataset`, `problem` (a row of evalplus' file), `solution`, `tests` (`base`, or it and `plus`).
            done: called with 1 after each.

        Raises:
            Interrupted: the user asked to stop.
            StageError: the sandbox is not to be had any more.
        """
        workers = max(1, (os.cpu_count() or 1) // 2)
        verdicts: list[Verdict] = []
        with ThreadPoolExecutor(workers) as pool:
            futures = [pool.submit(self._grade, job) for job in jobs]
            try:
                for future in futures:
                    verdicts.append(future.result())
                    done(1)
                    drain.stop_here()
            finally:
                pool.shutdown(cancel_futures=True)
        return verdicts

    def _grade(self, job: Mapping[str, Any]) -> Verdict:
        script = Path(__file__).with_name("code_grader.py").read_text(encoding="utf-8")
        ended = run(
            [self._python, "-I", "-c", script],
            LIMITS,
            stdin=json.dumps(job).encode(),
            visible=self._visible,
            environment=_ENVIRONMENT,
            isolated=self._isolated,
        )
        return _verdict(ended, job["tests"])

    @cached_property
    def _python(self) -> str:
        if self._wanted is None:
            return sys.executable
        found = shutil.which(Path(self._wanted).expanduser())
        if found is None:
            raise UserError("evaluate.evalplus", f"there is no Python {printable(self._wanted)}.", _HELP)
        return os.path.normpath(Path.cwd() / found)

    @cached_property
    def _probe(self) -> dict[str, Any]:
        ended = _child([self._python, "-I", "-c", _PROBE])
        try:
            probe: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
        except (ValueError, IndexError):
            what = f"{printable(self._python)} cannot import evalplus ({_last_line(ended.stderr)})."
            raise UserError("evaluate.evalplus", what, _HELP) from None
        return probe

    @cached_property
    def _visible(self) -> list[str]:
        """Where this Python and its packages lie."""
        return [path for path in self._probe["paths"] if path and Path(path).exists()]


_ENVIRONMENT = {
    "EVALPLUS_MAX_MEMORY_BYTES": str(LIMITS.memory),
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "PYTHONHASHSEED": "0",
}


def _verdict(ended: Ended, tests: Sequence[str]) -> Verdict:
    """What the grader's lines and its end say together."""
    try:
        lines = [json.loads(line) for line in ended.stdout.splitlines()]
    except ValueError:
        lines = []
    told = [line for line in lines if "status" in line]
    reference = next((line["reference_s"] for line in reversed(lines) if line.get("ready")), 0.0)
    slow = f"{reference:.0f} seconds for the canonical solution: this machine is too slow to tell"
    for line in told:
        if line["status"] != "pass":
            status = "timeout" if line["status"] == "timeout" else "failed"
            if status == "timeout" and reference > SLOW_S:
                return Verdict("unknown", slow)
            return Verdict(status, f"{line['tests']} tests: {line['passed']} of {line['of']} passed")
    if [line["tests"] for line in told] == list(tests):
        return Verdict("passed", f"all {sum(line['of'] for line in told)} tests")
    if lines and lines[-1].get("ready"):
        if ended.how == "wall" and reference > SLOW_S:
            return Verdict("unknown", slow)
        return Verdict("killed", f"{lines[-1]['tests']} tests: the solution ended its grader ({ended.reason})")
    return Verdict("unknown", f"the grader did not begin ({ended.reason}; {_last_line(ended.stderr)})")


def _child(command: Sequence[str]) -> subprocess.CompletedProcess[bytes]:
    """evalplus' Python, trusted and outside of the sandbox."""
    try:
        # S603: the Python that the recipe names, scripts of ours, no shell.
        return subprocess.run(command, capture_output=True, check=False, timeout=600, stdin=subprocess.DEVNULL)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired) as error:
        return subprocess.CompletedProcess(command, 1, b"", str(error).encode())


def _last_line(stderr: bytes) -> str:
    return printable((stderr.decode(errors="replace").strip().splitlines() or ["no message"])[-1])[:300]
