"""The commands as one: what they cost to start, how they help, and that what their help shows is so."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer

import isheep
from isheep.cli import app, leaving
from isheep.export import KINDS
from isheep.recipe import load_recipe
from tests.cli.conftest import ISHEEP, quiet
from tests.cli.conftest import isheep as command

BASH = shutil.which("bash")
GROUP: Any = typer.main.get_command(app)
VISIBLE = {name: one for name, one in GROUP.commands.items() if not one.hidden}
HEAVY = ("torch", "transformers", "datasets", "numpy", "pandas", "pyarrow", "pydantic", "ray", "fsspec", "matplotlib")


def examples(one: Any) -> list[list[str]]:
    return [shlex.split(line) for line in (one.epilog or "").split("\n\n") if line.startswith("isheep ")]


def test_the_help_of_export_names_every_kind() -> None:
    assert set(leaving.KINDS) == set(KINDS)


def test_the_help_imports_nothing_heavy() -> None:
    code = "import sys; from isheep.cli import app; app(['--help'], standalone_mode=False); print(sorted(sys.modules))"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    loaded = told.stdout.splitlines()[-1]
    assert [name for name in HEAVY if f"'{name}'" in loaded] == []


@pytest.mark.parametrize("name", VISIBLE)
def test_every_help_has_an_example_that_the_command_takes(name: str) -> None:
    found = examples(VISIBLE[name])
    assert found
    for program, called, *words in found:
        assert (program, called) == ("isheep", name)
        taken = VISIBLE[name].make_context(name, words).params.get("words")
        settings = [word for word in taken or [] if "=" in word]
        # A model's settings are of a recipe that the example does not name, but settings of any recipe they are.
        load_recipe(["lamb"], settings)


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["sttus"], "Did you mean 'status'?"),
        (["records", "x", "--limt", "3"], "--limit"),
        (["show", "lam"], "Did you mean `lamb`?"),
        (["show", "lamb", "iteration=2"], "Did you mean `iterations`?"),
    ],
)
def test_what_is_misspelt_is_told_with_what_was_meant(words: list[str], meant: str) -> None:
    told = command(*words)
    assert told.returncode == 2
    assert meant in told.stderr


def test_what_the_package_offers_is_there_and_nothing_else() -> None:
    assert {name: getattr(isheep, name) for name in isheep.__all__}.keys() == set(dir(isheep))
    with pytest.raises(AttributeError, match="no attribute `runs`"):
        _ = isheep.runs


@pytest.mark.skipif(BASH is None, reason="bash is not installed here")
@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("isheep reci", ["recipes"]),
        ("isheep run qwen1.5-7", ["qwen1.5-7b", "qwen1.5-72b"]),
        ("isheep run lamb select.thr", ["select.threshold=8"]),
        ("isheep status --wa", ["--watch"]),
    ],
)
def test_a_shell_completes_commands_options_recipes_and_settings(
    words: str, offered: list[str], tmp_path: Path
) -> None:
    """By the script that `--show-completion` prints in a real bash, which it finds among its parents."""
    script = tmp_path / "completion.sh"
    printed = ["-c", f"{ISHEEP} --show-completion > {script}; true"]
    subprocess.run([str(BASH), *printed], check=True, env=quiet())
    asked = f"COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); _isheep_completion {ISHEEP}"
    lines = f'source {script}; {asked}; printf "%s\\n" "${{COMPREPLY[@]}}"'
    told = subprocess.run([str(BASH), "-c", lines], capture_output=True, text=True, check=True, env=quiet())
    assert told.stdout.split() == offered
