"""What stands in the recipe that `isheep init` writes: values that follow from the model and the hardware."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from isheep.checkpoint import has_weights
from isheep.encoder import Encoder
from isheep.errors import IsheepError, UserError, first_line
from isheep.estimate.memory import engine_memory, training_memory
from isheep.estimate.shape import Shape, shape_of
from isheep.evaluation.registry import prepared
from isheep.hub import Unreachable, model_folder
from isheep.init.devices import Device
from isheep.recipe import Recipe, parse_recipe
from isheep.recipe.settings import CHECKPOINTING_FROM

LAMB = "package:lamb/model"

TEMPLATES = ("chatml", "llama3", "carried")
"""In the order in which they are tried: what the tokenizer of a base model carries is often its chat model's."""
WHY = {
    "chatml": "the paper's for Qwen; the tokenizer has the token that ends a turn in it",
    "llama3": "the headers of Llama 3; the tokenizer has the token that ends a turn in them",
    "carried": "the one that the tokenizer carries",
}
BENCHMARKS = ("ifeval", "arc_easy", "openbookqa", "winogrande")
"""It follows, it knows, it reads."""
SMALL = 3_000_000_000
"""Parameters below which models often write no score that parses."""
SHOTS, TOKENS, CUTOFF = 5, 1000, 1024
"""The paper's."""
CPU_TOKENS = 300
EXAMPLES = 1000
"""Tokens that a list of examples takes, more or less."""
FULL = 0.85
"""Share of memory that is counted on."""
BATCHES = (64, 32, 16, 8, 4, 2, 1)
CPU_BATCH = 16
MICRO_BATCHES = (4, 2, 1)


@dataclass(frozen=True, slots=True)
class Base:
    """The base model, as far as it is here."""

    path: str
    folder: Path | None
    """None: on a hub that cannot be reached."""
    shape: Shape | None
    whole: bool
    """Whether its weights are here, too."""

    @property
    def is_lamb(self) -> bool:
        """Whether it is the embedded one, which has a recipe of its own."""
        return self.path == LAMB


@dataclass(slots=True)
class Choices:
    """Values of the recipe, by the names that its template has for them."""

    values: dict[str, Any] = field(default_factory=dict)
    notes: list[tuple[str, str]] = field(default_factory=list)
    """What the user should know: of what, and what."""


def base_of(path: str) -> Base:
    """A local folder, or a hub id, of which the configuration and the tokenizer are fetched and no weights.

    Raises:
        UserError: no such model.
    """
    try:
        folder = model_folder(path, "--model", weights=False)
    except Unreachable:
        return Base(path, None, None, whole=False)
    shape = None if path == LAMB else shape_of(_recipe({"model": {"path": path}}))
    return Base(path, folder, shape, has_weights(folder))


def choose(base: Base, seeds: int, device: Device) -> Choices:
    """The values, each as far as it can be told."""
    found = Choices()
    found.values["shots"] = min(SHOTS, seeds, max(1, _places(base) // (EXAMPLES // 8)))
    if not base.whole:
        here = "is not here yet" if base.folder is None else "of it the weights are not here yet"
        found.notes.append(("model", f"{here}; `isheep check` fetches it and looks at the rest"))
    if base.is_lamb:
        return found
    found.values |= _spoken_to(base, found)
    found.values["dtype"] = "bfloat16" if device.bfloat16 else "float16" if device.gpus else "float32"
    parameters = base.shape.checkpoint.parameters if base.shape else None
    small = parameters is not None and parameters < SMALL
    found.values |= {"read": "distribution" if small else "generate", "threshold": 6 if small else 8}
    found.values |= _sizes(base, device)
    found.values["engine"] = _engine(device, found)
    found.values |= _memory(base, device, found)
    found.values |= {"benchmarks": _benchmarks(found), "usual": list(BENCHMARKS)}
    return found


def _spoken_to(base: Base, found: Choices) -> dict[str, str]:
    if base.folder is None:
        found.notes.append(("template", "chatml is a guess, as long as the tokenizer is not here"))
        return {"template": "chatml", "why": "a guess: the tokenizer was not here to be looked at"}
    tokenizer = Encoder.load(base.folder, None).tokenizer
    for template in TEMPLATES:
        try:
            Encoder(tokenizer, template)
        except UserError:
            continue
        return {"template": template, "why": WHY[template]}
    what = "its tokenizer has no token that ends a turn, in no template that is known."
    raise UserError(str(base.folder), what, "Write `model.template` by hand: a Jinja file that ends turns with one.")


def _sizes(base: Base, device: Device) -> dict[str, Any]:
    """The paper's on GPUs, what ends within hours on processors, and no more tokens than the model has places for."""
    places = _places(base)
    tokens = min(TOKENS if device.gpus else CPU_TOKENS, max(1, places // 3))
    some = {"iterations": 3, "size": 10_000, "warmup_steps": 20, "evaluate_every": 100, "limit": 500}
    few = {"iterations": 2, "size": 200, "warmup_steps": 2, "evaluate_every": 10, "limit": 50}
    return {**(some if device.gpus else few), "tokens": tokens, "cutoff": min(CUTOFF, places)}


def _places(base: Base) -> int:
    """The longest text of the model, in tokens."""
    return (base.shape.checkpoint.positions if base.shape else None) or 4 * TOKENS


def _engine(device: Device, found: Choices) -> str:
    if not (device.gpus and device.here):
        return "transformers"
    if find_spec("vllm"):
        return "vllm"
    found.notes.append(("engine", "vLLM answers faster on a GPU: pip install 'isheep[vllm]', then engine=vllm"))
    return "transformers"


def _memory(base: Base, device: Device, found: Choices) -> dict[str, Any]:
    """How it is trained and how many requests are worked on at once, as `isheep estimate` counts memory."""
    batches = BATCHES if device.gpus else [size for size in BATCHES if size <= CPU_BATCH]
    chosen: dict[str, Any] = {"method": "lora", "micro_batch_size": 1, "batch_size": batches[-3]}
    if base.shape is None:
        return chosen
    shape, room, values = base.shape, FULL * device.memory, found.values

    def of(method: str, micro: int, batch: int) -> Recipe:
        return _recipe(
            {
                "model": {"path": base.path, "dtype": values["dtype"]},
                "train": {"method": method, "micro_batch_size": micro, "cutoff": values["cutoff"]},
                "engine": {"batch_size": batch},
            }
        )

    shape = shape_of(of("lora", 1, 1))
    twice = shape.checkpoint.parameters >= CHECKPOINTING_FROM

    def training(method: str, micro: int) -> int:
        return training_memory(of(method, micro, 1), shape, twice, values["cutoff"], 1)

    def answering(batch: int) -> int:
        return engine_memory(of("lora", 1, batch), shape, EXAMPLES + values["tokens"], 1)

    if training("lora", 1) > room:
        if training("qlora", 1) > room or answering(1) > room:
            needed = max(training("qlora", 1), answering(1)) / 1e9
            found.notes.append(("memory", f"one device with some {needed:.0f} GB is wanted; this is less"))
        elif find_spec("bitsandbytes"):
            chosen["method"] = "qlora"
        else:
            found.notes.append(("training", "lora does not fit, qlora would: pip install 'isheep[qlora]'"))
    fitting = [size for size in MICRO_BATCHES if training(chosen["method"], size) <= room]
    chosen["micro_batch_size"] = fitting[0] if fitting else 1
    chosen["batch_size"] = next((size for size in batches if answering(size) <= room), 1)
    return chosen


def _benchmarks(found: Choices) -> list[str]:
    """Those whose questions are here or can be fetched, and whose packages are installed."""
    fit: list[str] = []
    # The first is asked last: what it wants beside its questions is looked for only where questions can be had at all.
    for name in (*BENCHMARKS[1:], BENCHMARKS[0]):
        try:
            prepared([name], _recipe({"model": {"path": "."}}))
        except IsheepError as error:
            left = [one for one in BENCHMARKS if one not in fit]
            found.notes.append(("benchmark", f"left out: {', '.join(left)}. {first_line(error)}"))
            break
        fit.append(name)
    return [name for name in BENCHMARKS if name in fit]


def _recipe(data: dict[str, Any]) -> Recipe:
    return parse_recipe(data, "init")
