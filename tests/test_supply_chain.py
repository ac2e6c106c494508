"""What our commands install is pinned, hashed, and its licence listed."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
GROUPS = [f"requirements/{name}.txt" for name in ("build", "torch", "base", "test", "quality")]
OTHERS = [f"requirements-{name}.txt" for name in ("vllm", "evalplus", "alpaca")]
PIN = re.compile(r"^([\w.-]+)==([^\s\\]+)", re.MULTILINE)


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(file: str) -> dict[str, str]:
    return {canonical(name): version for name, version in PIN.findall((ROOT / file).read_text(encoding="utf-8"))}


@pytest.mark.parametrize("file", [*GROUPS, *OTHERS])
def test_every_line_of_a_lock_is_a_pin_with_hashes(file: str) -> None:
    text = (ROOT / file).read_text(encoding="utf-8").replace("\\\n", "")
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    assert lines
    for line in lines:
        assert re.fullmatch(r"[\w.-]+==\S+(\s+--hash=sha256:[0-9a-f]{64})+\s*", line), line


def test_the_locks_hold_the_versions_that_were_tested_together() -> None:
    locked: dict[str, str] = {}
    for group in GROUPS:
        assert not locked.keys() & pins(group).keys()
        locked |= pins(group)
    assert locked == pins("constraints.txt")


def test_the_build_for_cpus_is_of_the_same_version() -> None:
    public, cpu = (pins(f"requirements/{name}.txt") for name in ("torch", "torch-cpu"))
    assert cpu == {"torch": f"{public['torch']}+cpu"}


def test_all_that_pyproject_asks_for_is_locked() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    asked = {"base": project["dependencies"], "test": extras["test"], "quality": extras["quality"]}
    held = {*pins("requirements/build.txt"), *pins("requirements/torch.txt")}
    for group, wanted in asked.items():
        held |= pins(f"requirements/{group}.txt").keys()
        assert {canonical(re.split(r"[\[<>=]", one)[0]) for one in wanted} <= held


@pytest.mark.parametrize("file", [*GROUPS, *OTHERS])
def test_every_pinned_package_is_in_the_table_of_licences(file: str) -> None:
    table = (ROOT / "docs" / "licences.md").read_text(encoding="utf-8")
    missing = [f"{name} {version}" for name, version in pins(file).items() if f"| {name} | {version} |" not in table]
    assert missing == []
