"""Grades one solution with evalplus. `isheep.evaluation.grading` runs this file with evalplus' Python, in a sandbox.

Standard library and evalplus only. Reads one job (JSON) from stdin and writes lines of JSON to stdout: first
`{"tests": "base", "ready": true, "reference_s": 0.1}` when the expected outputs are known, then
`{"tests": "base", "status": "pass", "passed": 7, "of": 7}`, and the same for `plus`. Expected outputs come from the
canonical solution in this very process: no cache is read.

evalplus runs the solution in a forked child of this process. The child does not hold the descriptor that the verdict
goes through, and can neither trace this process nor find it under /proc. Not covered: evalplus compares outputs within
the child, so a solution that knows evalplus from inside can call itself right. No other solution's verdict is in reach.
"""

import ctypes
import json
import multiprocessing
import os
import sys
import types
from typing import Any

SET_DUMPABLE = 4


def main() -> None:
    """Reads the job, tells what came of it."""
    job = json.loads(sys.stdin.buffer.read())
    multiprocessing.set_start_method("fork")
    channel = os.dup(1)
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nothing, descriptor)
    os.register_at_fork(after_in_child=lambda: os.close(channel))
    ctypes.CDLL(None).prctl(SET_DUMPABLE, 0)
    for tests in job["tests"]:
        if not grade(job, tests, channel):
            break


def grade(job: dict[str, Any], tests: str, channel: int) -> bool:
    """Whether the solution passes the base tests, or the plus tests."""
    # evalplus.data imports `datasets` (seconds, and a heavy package) for a benchmark of speed, which is not used here.
    sys.modules.setdefault("datasets", types.ModuleType("datasets")).__dict__["load_dataset"] = None
    from evalplus.data.mbpp import mbpp_deserialize_inputs
    from evalplus.eval import MBPP_OUTPUT_NOT_NONE_TASKS, PASS, untrusted_check
    from evalplus.gen.util import trusted_exec

    problem = job["problem"]
    inputs, entry = problem[f"{tests}_input"], problem["entry_point"]
    is_mbpp = job["dataset"] == "mbpp"
    if is_mbpp:
        inputs = mbpp_deserialize_inputs(problem["task_id"], inputs)
    expected, seconds = trusted_exec(
        problem["prompt"] + problem["canonical_solution"],
        inputs,
        entry,
        record_time=True,
        output_not_none=is_mbpp and entry in MBPP_OUTPUT_NOT_NONE_TASKS,
    )
    tell(channel, tests=tests, ready=True, reference_s=sum(seconds))
    status, details = untrusted_check(
        job["dataset"],
        job["solution"],
        inputs,
        entry,
        expected=expected,
        atol=problem["atol"],
        ref_time=seconds,
        fast_check=True,
    )
    tell(channel, tests=tests, status=status, passed=sum(map(bool, details)), of=len(inputs))
    return bool(status == PASS)


def tell(channel: int, **what: object) -> None:
    """Writes a line."""
    os.write(channel, (json.dumps(what) + "\n").encode())


if __name__ == "__main__":
    main()
