"""What `isheep doctor` tells of an environment, and what it keeps to itself."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from isheep.doctor import FEATURES, HIDDEN, SHOWN, Gpu, Library, as_document, as_text, examine

PYPROJECT = Path(__file__).parents[1] / "pyproject.toml"
FOR_DEVELOPERS = {"test", "docs", "quality"}


def installed(folder: Path, name: str, version: str, *lines: str) -> None:
    """Puts the metadata of a package before those that are installed."""
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("\n".join(["Metadata-Version: 2.4", f"Name: {name}", f"Version: {version}", *lines]))


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def test_every_extra_of_the_package_is_a_feature() -> None:
    offered = tomllib.loads(PYPROJECT.read_text())["project"]["optional-dependencies"]
    assert set(FEATURES) == set(offered) - FOR_DEVELOPERS


def test_a_library_that_is_too_old_or_missing_is_marked(packages: Path) -> None:
    installed(packages, "old-one", "1.2")
    wanted = ("Requires-Dist: old-one>=2", "Requires-Dist: no-such-one>=3", "Requires-Dist: pytest>=1")
    installed(packages, "isheep", "9.9", *wanted, "Requires-Dist: other>=1; python_version < '3'")
    found = examine()
    assert [replace(one, version="") for one in found.libraries if one.name == "pytest"] == [
        Library("pytest", "", ">=1", True)
    ]
    assert [one for one in found.libraries if one.name != "pytest"] == [
        Library("no-such-one", None, ">=3", False),
        Library("old-one", "1.2", ">=2", False),
    ]
    assert found.wrong[:2] == [
        "no-such-one: is not installed, and isheep needs >=3: pip install 'no-such-one>=3'",
        "old-one: 1.2 is installed, and isheep needs >=2: pip install 'old-one>=2'",
    ]
    text = as_text(found)
    assert "- old-one 1.2  (wanted: >=2)" in text
    assert "! old-one: 1.2 is installed" in text


def test_a_feature_is_there_when_all_that_it_wants_is(packages: Path) -> None:
    installed(packages, "grader", "3.0", "Provides-Extra: all", "Requires-Dist: no-such-one; extra == 'all'")
    extras = [f"Provides-Extra: {name}" for name in FEATURES if name != "s3"]
    wants = ("pytest>=1; extra == 'ui'", "grader[all]>=2; extra == 'ifeval'", "pytest>=999; extra == 'ray'")
    installed(packages, "isheep", "9.9", *extras, *(f"Requires-Dist: {line}" for line in wants))
    found = {one.name: one for one in examine().features}
    assert (found["ui"].ready, found["ui"].add) == (True, "")
    assert (found["ifeval"].ready, found["ifeval"].add) == (False, "pip install 'isheep[ifeval]'")
    assert (found["ray"].ready, found["ray"].add) == (False, "pip install 'isheep[ray]'")
    assert found["s3"].ready is None


def test_no_secret_and_no_home_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in HIDDEN:
        monkeypatch.setenv(name, f"http://user:hidden-{name.lower()}@host")
    monkeypatch.setenv("HF_HOME", f"{tmp_path}/hub")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setenv("SOME_API_KEY", "hidden-in-a-path")
    monkeypatch.setenv("ISHEEP_CACHE", "/data/hidden-in-a-path/cache\n[x]")
    found = examine()
    told = as_text(found) + json.dumps(as_document(found))
    assert "hidden" not in told
    assert str(tmp_path) not in told
    assert {name: found.variables[name] for name in HIDDEN} == dict.fromkeys(HIDDEN, "set")
    assert found.variables["HF_HOME"] == "~/hub"
    assert found.variables["CUDA_VISIBLE_DEVICES"] == "(empty)"
    assert found.variables["ISHEEP_CACHE"] == "/data/(SOME_API_KEY)/cache [x]"


def test_what_is_not_set_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*SHOWN, *HIDDEN, *map(str.upper, HIDDEN)):
        monkeypatch.delenv(name, raising=False)
    assert set(examine().variables) == {"login to the hub"}


@pytest.mark.parametrize(
    ("prints", "gpus"),
    [
        ("echo 'Some GPU, 81559 MiB, 570.10'; echo 'Some GPU, 81559 MiB, 570.10'", 2),
        ("echo 'No devices were found'", 0),
        ("echo 'Some GPU, 81559 MiB, 570.10'; exit 9", None),
        ("kill -SEGV $$", None),
    ],
)
def test_gpus_as_the_drivers_program_tells_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prints: str, gpus: int | None
) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{prints}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    found = examine()
    assert found.gpus == (None if gpus is None else [Gpu("Some GPU", "81559 MiB", "570.10")] * gpus)
    if "alone" in str(found.system["torch"]):
        assert any("torch is built for processors alone" in one for one in found.wrong) == bool(gpus)


def test_nothing_heavy_is_imported() -> None:
    code = "import sys; from isheep.doctor import examine; examine(); print(*sys.modules)"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert not {"torch", "transformers", "datasets", "numpy", "pandas", "pyarrow", "ray"} & set(told.stdout.split())
