"""A model folder as far as it can be known without loading it: config.json and the headers of its safetensors files."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from isheep.errors import UserError

INDEX, SINGLE = "model.safetensors.index.json", "model.safetensors"
PICKLES = ("pytorch_model.bin", "pytorch_model.bin.index.json", "model.bin")
ADAPTER_CONFIG, ADAPTER, ADAPTER_PICKLE = "adapter_config.json", "adapter_model.safetensors", "adapter_model.bin"

NUMBER_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}

_EMBEDDINGS = ("embed_tokens.weight", "wte.weight", "embed_in.weight", "word_embeddings.weight")
_HEADER_LIMIT = 100_000_000
"""Bytes; the safetensors format allows no longer header."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a model folder says of itself."""

    folder: Path
    config: dict[str, Any]
    shapes: dict[str, tuple[int, ...]]
    """Name -> shape of every tensor."""

    @property
    def parameters(self) -> int:
        """How many numbers the weights hold."""
        return sum(_product(shape) for shape in self.shapes.values())

    @property
    def rows(self) -> int | None:
        """Rows of the embedding: token ids are below it. None where neither weights nor config.json tell."""
        for name, shape in self.shapes.items():
            if name.endswith(_EMBEDDINGS):
                return shape[0]
        return self._number("vocab_size")

    @property
    def positions(self) -> int | None:
        """The longest text in tokens that the model was made for, None where config.json does not tell."""
        return self._number("max_position_embeddings")

    def adapter_parameters(self, rank: int) -> int:
        """Numbers in a LoRA adapter on every linear layer but the head: rank x (inputs + outputs) of each."""
        layers = (
            shape
            for name, shape in self.shapes.items()
            if name.endswith(".weight") and len(shape) == 2 and not name.endswith((*_EMBEDDINGS, "lm_head.weight"))
        )
        return sum(rank * (shape[0] + shape[1]) for shape in layers)

    def _number(self, key: str) -> int | None:
        inner = self.config.get("text_config")
        for config in (inner if isinstance(inner, dict) else {}, self.config):
            if isinstance(config.get(key), int):
                return int(config[key])
        return None


def has_weights(folder: Path) -> bool:
    """Whether safetensors lie there, or what names them."""
    return any((folder / name).is_file() for name in (SINGLE, INDEX))


def read_checkpoint(folder: Path) -> Checkpoint:
    """Reads config.json and the headers.

    Raises:
        UserError: no config.json, no safetensors, a file that is missing, cut off or something else, or weights whose
            vocabulary is not that of config.json.
    """
    config = read_config(folder)
    checkpoint = Checkpoint(folder, config, _read_shapes(folder))
    said = checkpoint._number("vocab_size")
    if said is not None and checkpoint.rows != said:
        raise UserError(
            str(folder / "config.json"),
            f"says vocab_size {said}, but the weights embed {checkpoint.rows} tokens.",
            "Take both files from the same model.",
        )
    return checkpoint


def refuse_adapter(folder: Path) -> None:
    """Raises UserError for a folder that is no PEFT adapter, or one whose weights are a pickle."""
    if not (folder / ADAPTER_CONFIG).is_file():
        raise UserError(str(folder), "holds no adapter.", f"Give a folder with {ADAPTER_CONFIG}.")
    if not (folder / ADAPTER).is_file():
        if (folder / ADAPTER_PICKLE).is_file():
            _refuse_pickle(folder / ADAPTER_PICKLE)
        raise UserError(str(folder), "holds no weights of an adapter.", f"Give a folder with {ADAPTER}.")


def _refuse_pickle(file: Path) -> NoReturn:
    what = "is a pickle, which can run any code when it is read; isheep reads no pickle."
    raise UserError(str(file), what, "Save the model as safetensors.")


def read_config(folder: Path) -> dict[str, Any]:
    """config.json of a causal language model; raises UserError as `read_checkpoint` does."""
    if not (folder / "config.json").is_file() and (folder / ADAPTER_CONFIG).is_file():
        raise UserError(str(folder), "holds an adapter, not a model.", "Give the folder of its base model.")
    config = _read_json(folder / "config.json", "Give a folder with config.json, safetensors and a tokenizer.")
    if not isinstance(config.get("model_type"), str):
        raise UserError(str(folder / "config.json"), "names no model_type.", "Give the model's own config.json.")
    if config.get("is_encoder_decoder"):
        what = f"describes an encoder-decoder ({config['model_type']})."
        raise UserError(str(folder / "config.json"), what, "Give a causal language model.")
    return config


def _read_shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    if (folder / SINGLE).is_file():
        files = [SINGLE]
    elif (folder / INDEX).is_file():
        places = _read_json(folder / INDEX, "Copy it again.").get("weight_map")
        if not isinstance(places, dict) or not places:
            raise UserError(str(folder / INDEX), "names no weights.", "Copy it again.")
        files = sorted({str(name) for name in places.values()})
        if outside := next((name for name in files if name != Path(name).name), None):
            raise UserError(str(folder / INDEX), f"names a file outside of its folder, `{outside}`.", "Copy it again.")
    else:
        pickle = next((name for name in PICKLES if (folder / name).is_file()), None)
        if pickle:
            _refuse_pickle(folder / pickle)
        raise UserError(str(folder), "holds no weights.", f"Give a folder with {SINGLE} or {INDEX} and its parts.")
    return {name: shape for file in files for name, shape in _read_header(folder / file).items()}


def _read_header(file: Path) -> dict[str, tuple[int, ...]]:
    """Name -> shape of every tensor in a safetensors file, which has to be as long as its header says."""
    mend = "Copy it again."
    try:
        size = file.stat().st_size
        with file.open("rb") as opened:
            first = opened.read(8)
            length = int.from_bytes(first, "little")
            if first == b"version ":
                raise UserError(str(file), "is a Git LFS pointer, not the weights.", "Run `git lfs pull` beside it.")
            header: Any = json.loads(opened.read(length)) if length <= min(size, _HEADER_LIMIT) else None
        tensors = {name: entry for name, entry in header.items() if name != "__metadata__"}
        shapes = {name: tuple(map(int, entry["shape"])) for name, entry in tensors.items()}
        end = 8 + length + max(int(entry["data_offsets"][1]) for entry in tensors.values())
    except FileNotFoundError:
        raise UserError(str(file), f"is missing, though {INDEX} names it.", mend) from None
    except OSError as error:
        raise UserError(str(file), f"cannot be read ({error.strerror}).", "Mend the rights.") from None
    except (ValueError, AttributeError, TypeError, KeyError, IndexError):
        raise UserError(str(file), "is not a safetensors file, or cut off in its header.", mend) from None
    if size != end:
        raise UserError(str(file), f"has {size:,} bytes of {end:,}: cut off or damaged.", mend)
    return shapes


def _read_json(file: Path, mend: str) -> dict[str, Any]:
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(str(file), "is missing.", mend) from None
    except OSError as error:
        raise UserError(str(file), f"cannot be read ({error.strerror}).", "Mend the rights.") from None
    except (ValueError, RecursionError) as error:
        raise UserError(str(file), f"does not read as JSON ({error}).", mend) from None
    if not isinstance(data, dict):
        raise UserError(str(file), "is no JSON object.", mend)
    return data


def _product(shape: tuple[int, ...]) -> int:
    total = 1
    for length in shape:
        total *= length
    return total
