"""A run of made-up records, and the workbench itself as a process."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from isheep.recipe import load_recipe
from isheep.records import Assessment, Instruction, Response, Selection
from isheep.store.run import Run
from tests.conftest import MAIN, environment

HOSTILE = '<img src=x onerror="window.acted=1"><script>window.acted=2</script>'
MARKDOWN = (
    "**bold** [link](javascript:window.acted=3) ![i](http://evil.example/i.png) $x^2$ {{value}} ${window.acted=4}"
)

MakeRun = Callable[..., Path]


@contextmanager
def workbench(directories: Sequence[Path], *options: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """`isheep ui` at any free port: its link and its process, which is ended with the block."""
    command = [*MAIN, "ui", *map(str, directories), "--port", "0", *options]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment())
    assert process.stderr is not None
    line = process.stderr.readline()
    found = re.search(r"http://\S+", line)
    if found is None:
        process.kill()
        raise AssertionError(line + process.stderr.read())
    try:
        yield found.group(), process
    finally:
        process.kill()
        process.wait()


def instruction(number: int, text: str, **fields: object) -> Instruction:
    """A record of iteration 1."""
    known = {"input": "", "shot_ids": [], "source": 0, "prompt_id": "p", **fields}
    return Instruction(id=f"i{number:04d}", iteration=1, index=number, instruction=text, **known)  # type: ignore[arg-type]


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    """Writes an iteration 1 of a new run: its tables as far as they are given, each in two parts."""

    def make(
        instructions: Sequence[Instruction],
        responses: Sequence[Response] = (),
        assessments: Sequence[Assessment] = (),
        selections: Sequence[Selection] = (),
        name: str = "made",
        settings: Sequence[str] = (),
    ) -> Path:
        directory = tmp_path / name
        with Run.create_or_resume(directory, load_recipe("lamb", ["iterations=2", *settings])) as run:
            iteration = run.iteration(1)
            tables = {"responses": responses, "assessments": assessments, "selection": selections}
            for table, rows in {"instructions": instructions, **tables}.items():
                if rows:
                    middle = len(rows) // 2
                    iteration.table(table).append(rows[:middle])
                    iteration.table(table).append(rows[middle:])
        return directory

    return make
