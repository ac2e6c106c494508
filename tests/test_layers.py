"""What may import what: downward only, and the loop knows no world and no verifier."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import isheep

SOURCE = Path(isheep.__file__).parent


def imported_by(file: Path) -> set[str]:
    """The isheep modules that a file names in an import, wherever it stands in the file."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in names if name.startswith("isheep")}


def test_nothing_outside_lamb_imports_lamb() -> None:
    outside = [file for file in SOURCE.rglob("*.py") if "lamb" not in file.relative_to(SOURCE).parts]
    assert len(outside) > 20
    guilty = {
        str(file.relative_to(SOURCE)): found
        for file in outside
        if (found := {name for name in imported_by(file) if name.startswith("isheep.lamb")})
    }
    assert guilty == {}


BLOCKED_RUN = """
import sys
from pathlib import Path

class Wall:
    def find_spec(self, name, path=None, target=None):
        if name.startswith("isheep.lamb"):
            raise ImportError(f"the loop reached for {name}")

sys.meta_path.insert(0, Wall())
from isheep.loop import run
from isheep.recipe import load_recipe

overrides = ["iterations=1", "size=32", "train.steps=2", "train.warmup_steps=0"]
overrides += ["evaluate.benchmarks=[]", "evaluate.tasks=null"]
run(load_recipe("lamb", overrides), Path(sys.argv[1]))
print(sorted(name for name in sys.modules if name.startswith("isheep.lamb")))
"""


def test_the_loop_runs_where_lambs_world_cannot_be_imported(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", BLOCKED_RUN, str(tmp_path / "run")], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines()[-1] == "[]"
    kept = (tmp_path / "run" / "iteration-01" / "training-set.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(kept[0])["messages"][0]["role"] == "user"


def test_the_loop_is_a_table_of_contents() -> None:
    assert len((SOURCE / "loop.py").read_text(encoding="utf-8").splitlines()) < 150
