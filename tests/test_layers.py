"""What the contracts of pyproject.toml cannot say of the layers (`lint-imports` holds those in CI)."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import isheep

SOURCE = Path(isheep.__file__).parent


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


def test_a_contract_of_the_layers_breaks_where_it_should(tmp_path: Path) -> None:
    shutil.copytree(SOURCE, tmp_path / "isheep", ignore=shutil.ignore_patterns("*.safetensors", "__pycache__"))
    shutil.copy(Path(__file__).parents[1] / "pyproject.toml", tmp_path)
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache", "--no-logo"]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}

    def broken() -> tuple[int, str]:
        ended = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        return ended.returncode, ended.stdout

    assert broken()[0] == 0
    quota = tmp_path / "isheep" / "filters" / "quota.py"
    quota.write_text(quota.read_text(encoding="utf-8") + "\nfrom isheep.evaluation import registry\n", encoding="utf-8")
    code, said = broken()
    assert code == 1
    assert "Imports go downward only BROKEN" in said
    assert "No benchmark reaches what writes, answers, judges, filters or trains BROKEN" in said
