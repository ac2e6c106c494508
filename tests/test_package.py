"""What a user of pip gets: the wheel, built from the source package, in an environment of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml

import isheep

ROOT = Path(__file__).parents[1]
SOURCES = ("src", "pyproject.toml", "README.md", "LICENSE")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with both packages; the wheel is made of what the source package holds."""
    tree, out = tmp_path_factory.mktemp("tree"), tmp_path_factory.mktemp("dist")
    for name in SOURCES:
        from_, to = ROOT / name, tree / name
        leave = shutil.ignore_patterns("__pycache__", "*.egg-info")
        shutil.copytree(from_, to, ignore=leave) if from_.is_dir() else shutil.copy(from_, to)
    command: list[str | Path] = [sys.executable, "-m", "build", "--no-isolation", "--outdir", out, tree]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    return out


@pytest.fixture(scope="module")
def program(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`isheep` of the wheel. Its libraries are those of this environment, which is not where its own modules are."""
    place = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", place], check=True, timeout=120)
    packages = place / Path(sysconfig.get_path("purelib")).relative_to(sys.prefix)
    # Of a folder that a .pth file names no .pth files are read, so not the one that leads to this checkout.
    (packages / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    wheel = next(built.glob("*.whl"))
    install: list[str | Path] = [sys.executable, "-m", "pip", "--python", place, "install"]
    subprocess.run([*install, "--no-deps", "--no-index", wheel], check=True, capture_output=True, timeout=120)
    return place / "bin" / "isheep"


def told(program: Path, *words: str | Path, cwd: Path) -> str:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    command = [program, *words]
    made = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False, timeout=600)
    assert made.returncode == 0, made.stderr
    return made.stdout


def test_one_version_everywhere(built: Path) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert {isheep.__version__, project["version"], citation["version"]} == {isheep.__version__}
    assert {name.name.split("-")[1].removesuffix(".tar.gz") for name in built.iterdir()} == {isheep.__version__}


def test_both_packages_hold_every_file_of_the_source_and_no_other(built: Path) -> None:
    here = {
        path.relative_to(ROOT / "src").as_posix()
        for path in (ROOT / "src" / "isheep").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    with zipfile.ZipFile(next(built.glob("*.whl"))) as wheel:
        inside = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert inside == here
    with tarfile.open(next(built.glob("*.tar.gz"))) as source:
        names = {name.partition("/src/")[2] for name in source.getnames() if name.endswith(tuple(here))}
    assert here <= names


def test_the_loop_runs_from_the_wheel(program: Path, tmp_path: Path) -> None:
    small = ("iterations=1", "size=24", "train.steps=8", "evaluate.limit=10")
    table = told(program, "run", "lamb", *small, "--dir", "run", cwd=tmp_path)
    assert table.rstrip().endswith("report: run/report.html")
    status = json.loads(told(program, "status", "run", "--json", cwd=tmp_path))
    assert status["state"] == "finished"
    versions = json.loads((tmp_path / "run" / "manifest.json").read_text(encoding="utf-8"))
    assert str(ROOT) not in json.dumps(versions), "it is the wheel's modules and files that ran"


def test_what_ships_is_found_from_the_wheel(program: Path, tmp_path: Path) -> None:
    assert "ablations/threshold-4" in told(program, "recipes", cwd=tmp_path)
    assert "threshold: 4" in told(program, "show", "qwen1.5-7b", "ablations/threshold-4", cwd=tmp_path)
