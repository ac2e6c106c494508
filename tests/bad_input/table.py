"""The page that lists every bad input, made from the cases."""

from __future__ import annotations

from pathlib import Path

from tests.bad_input import (
    answers,
    benchmarks,
    command_line,
    models,
    plugins,
    prompts,
    recipes,
    runs,
    seeds,
    servers,
    settings,
    sweeps,
    templates,
)
from tests.bad_input.case import Case

PAGE = Path(__file__).parents[2] / "docs" / "bad-input.md"

SUBJECTS: dict[str, list[Case]] = {
    "Recipe files": recipes.CASES,
    "Settings": settings.CASES,
    "Prompts and rules": prompts.CASES,
    "Seed files": seeds.CASES,
    "Models": models.CASES,
    "Tokenizers, templates and room": templates.CASES,
    "Plug-ins": plugins.CASES,
    "Run directories": runs.CASES,
    "Sweeps": sweeps.CASES,
    "Benchmarks and judges": benchmarks.CASES,
    "Answers and models to measure": answers.CASES,
    "Servers": servers.CASES,
    "The command line, and runs that stop": command_line.CASES,
}

CASES = [case for cases in SUBJECTS.values() for case in cases]

TEST = "test_bad_input"

HEAD = f"""# Bad input

What can be wrong with what isheep is given, and what it says then: {len(CASES)} inputs. Each is a test of
`tests/test_bad_input.py`, which gives the command to the command line's own `main` and holds the exit code, the
message, that there is no traceback, and that nothing has begun: no file made, changed or taken away. Where the table
says *begun*, only the run itself can find it out.

This page is made from those tests (`python -m tests.bad_input`), and one of them holds that it is as they are. `DIR`
is any folder, `URL` a server, `PACKAGE` where isheep lies, `PYTHON` an interpreter; `…` stands for what is long or not
the same everywhere. A message of several lines stands here in one.

Exit codes: 2 is the user's to mend, 3 a failure that the same command goes on from.
"""


def page() -> str:
    """The whole page."""
    return "\n".join([HEAD, *(_section(subject, cases) for subject, cases in SUBJECTS.items())])


def _section(subject: str, cases: list[Case]) -> str:
    rows = [f"## {subject}\n", "| input | message | exit code | test |", "|---|---|---|---|"]
    return "\n".join([*rows, *map(_row, cases), ""])


def _row(case: Case) -> str:
    command = f"isheep {case.command}".replace("n" * 300, "nnn…")
    code = f"{case.code}, begun" if case.begins else str(case.code)
    return f"| {_cell(case.input)}: {_code(command)} | {_cell(case.says)} | {code} | {_code(f'{TEST}[{case.name}]')} |"


def _code(text: str) -> str:
    """As code, whatever back quotes stand in it."""
    fence = "``" if "`" in text else "`"
    return f"{fence}{text}{fence}".replace("|", r"\|")


def _cell(text: str) -> str:
    """As text, in which what stands in back quotes is code."""
    parts = text.split("`")
    if len(parts) % 2 == 0:
        return _plain(text)
    return "`".join(part.replace("|", r"\|") if place % 2 else _plain(part) for place, part in enumerate(parts))


def _plain(text: str) -> str:
    for mark in r"\`|<>*_[]":
        text = text.replace(mark, f"\\{mark}")
    return text
