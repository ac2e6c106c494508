"""What decides a run's outcome is hashed, what does not is left out."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
import torch
import transformers

from isheep.recipe import Recipe, parse_recipe
from isheep.store import manifest
from isheep.store.manifest import PACKAGES, assessor_hashes, machine, model_hashes, seed_hash, versions


def recipe(folder: Path) -> Recipe:
    return parse_recipe({"model": {"path": str(folder)}, "seeds": {"path": str(folder / "seeds.jsonl")}}, "test")


def test_weights_tokenizer_and_configuration_are_hashed(tmp_path: Path) -> None:
    for name in (
        "config.json", "pytorch_model.bin", "model.safetensors", "tokenizer.model", "vocab.txt", "merges.txt",
        "chat_template.jinja", "README.md", "LICENSE.txt", "seeds.jsonl",
    ):  # fmt: skip
        (tmp_path / name).write_text("abc")
    (tmp_path / "folder.json").mkdir()
    found = model_hashes(recipe(tmp_path))
    assert list(found) == [
        "chat_template.jinja", "config.json", "merges.txt", "model.safetensors", "pytorch_model.bin",
        "tokenizer.model", "vocab.txt",
    ]  # fmt: skip
    assert set(found.values()) == {"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"}
    assert seed_hash(recipe(tmp_path)) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_what_is_not_there_has_no_hash(tmp_path: Path) -> None:
    assert model_hashes(recipe(tmp_path / "none")) == {}
    assert seed_hash(recipe(tmp_path / "none")) is None


def test_an_assessor_is_hashed_where_it_is_a_model_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("abc")

    def hashes(assessor: str) -> dict[str, dict[str, str]]:
        entries = {"model": {"path": "m"}, "assess": {"assessor": assessor}}
        return assessor_hashes(parse_recipe(entries, "test"))

    assert hashes(str(tmp_path)) == {str(tmp_path): model_hashes(recipe(tmp_path))}
    assert hashes("current") == hashes("base") == hashes("random") == {}


def test_versions_are_of_the_installed_packages_and_none_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    found = versions()
    assert list(found) == ["python", *PACKAGES]
    assert (found["torch"], found["transformers"]) == (torch.__version__, transformers.__version__)
    assert found["python"] == ".".join(map(str, sys.version_info[:3]))
    monkeypatch.setattr(manifest, "PACKAGES", ("torch", "no-such-package"))
    assert versions() == {"python": found["python"], "torch": torch.__version__, "no-such-package": None}


def test_the_machine_has_processors_and_memory() -> None:
    found = machine()
    assert list(found) == ["platform", "cpus", "memory"]
    assert found["cpus"] == os.cpu_count()
    meminfo = Path("/proc/meminfo").read_text(encoding="utf-8")
    assert found["memory"] == pytest.approx(int(meminfo.split()[1]) * 1024, rel=0.01)
