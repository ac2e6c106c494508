"""A model folder read without loading it: what the files say, and what is said of files that are broken."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForCausalLM

from isheep.checkpoint import read_checkpoint
from isheep.errors import UserError


@pytest.fixture
def folder(tiny_model: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_model, tmp_path / "model"))


def refusal(folder: Path) -> tuple[str, str, str]:
    with pytest.raises(UserError) as caught:
        read_checkpoint(folder)
    assert caught.value.exit_code == 2
    return caught.value.where, caught.value.what, caught.value.mend


def change(file: Path, **entries: Any) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **entries}))


def test_what_the_files_say_is_what_the_model_is(folder: Path) -> None:
    checkpoint = read_checkpoint(folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert checkpoint.parameters == sum(parameter.numel() for parameter in model.parameters())
    assert checkpoint.rows == model.get_input_embeddings().num_embeddings
    assert checkpoint.positions == 256


def test_weights_in_several_files_are_read_by_their_index(folder: Path) -> None:
    whole = read_checkpoint(folder)
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": dict.fromkeys(whole.shapes, "model-00001-of-00002.safetensors")}))
    assert read_checkpoint(folder) == whole
    index.write_text(json.dumps({"weight_map": {"a": "model-00002-of-00002.safetensors"}}))
    assert refusal(folder) == (
        str(folder / "model-00002-of-00002.safetensors"),
        "is missing, though model.safetensors.index.json names it.",
        "Copy it again.",
    )
    index.write_text("{}")
    assert refusal(folder) == (str(index), "names no weights.", "Copy it again.")


def test_a_config_inside_another_is_read(folder: Path) -> None:
    file = folder / "config.json"
    config = json.loads(file.read_text())
    file.write_text(json.dumps({"model_type": "llava", "text_config": config}))
    assert read_checkpoint(folder).positions == 256


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"version https://git-lfs.github.com/spec/v1\n", "is a Git LFS pointer, not the weights."),
        (b"", "is not a safetensors file, or cut off in its header."),
        (b"PK\x03\x04 a zip file, say", "is not a safetensors file, or cut off in its header."),
        (b"\x02\0\0\0\0\0\0\0{}", "is not a safetensors file, or cut off in its header."),
        (b"\x02\0\0\0\0\0\0\0[]", "is not a safetensors file, or cut off in its header."),
    ],
)
def test_a_file_that_holds_no_weights(folder: Path, content: bytes, what: str) -> None:
    (folder / "model.safetensors").write_bytes(content)
    where, said, mend = refusal(folder)
    assert (where, said) == (str(folder / "model.safetensors"), what)
    assert mend == ("Run `git lfs pull` beside it." if "LFS" in what else "Copy it again.")


def test_a_file_that_was_cut_off(folder: Path) -> None:
    file = folder / "model.safetensors"
    size = file.stat().st_size
    with file.open("r+b") as opened:
        opened.truncate(size - 1000)
    assert refusal(folder) == (
        str(file),
        f"has {size - 1000:,} bytes of {size:,}: cut off or damaged.",
        "Copy it again.",
    )
    with file.open("r+b") as opened:
        opened.truncate(100)
    assert refusal(folder)[1] == "is not a safetensors file, or cut off in its header."


def test_a_config_that_is_broken_or_of_another_model(folder: Path) -> None:
    file = folder / "config.json"
    rows = json.loads(file.read_text())["vocab_size"]
    change(file, vocab_size=rows + 1)
    assert refusal(folder) == (
        str(file),
        f"says vocab_size {rows + 1}, but the weights embed {rows} tokens.",
        "Take both files from the same model.",
    )
    change(file, vocab_size=rows, is_encoder_decoder=True)
    assert refusal(folder)[1] == "describes an encoder-decoder (llama)."
    change(file, is_encoder_decoder=False, model_type=None)
    assert refusal(folder)[1] == "names no model_type."
    file.write_text("[]")
    assert refusal(folder)[1] == "is no JSON object."
    file.write_text("{")
    assert refusal(folder)[1].startswith("does not read as JSON (Expecting property name")


def test_an_adapter_is_no_model(folder: Path) -> None:
    (folder / "config.json").rename(folder / "adapter_config.json")
    assert refusal(folder) == (str(folder), "holds an adapter, not a model.", "Give the folder of its base model.")
