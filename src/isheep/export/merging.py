"""An adapter merged into its base: in float32, cast afterwards, and held against base and adapter side by side."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from isheep.check.findings import in_bytes
from isheep.check.resources import available_memory
from isheep.checkpoint import NUMBER_BYTES, Checkpoint, refuse_adapter
from isheep.encoder import Encoder
from isheep.engines.loading import load_model
from isheep.errors import IsheepError, UserError, first_line
from isheep.prompts import bare
from isheep.seeds import read_seeds
from isheep.store.files import read_json_lines
from isheep.store.run import Run

PROBES = 8
"""Conversations of each kind: the run's seed tasks, and what the iteration was trained on."""
PROBE_TOKENS = 512
"""Of a conversation at most, from its beginning."""
POSITIONS = 32
"""The last ones of each are compared: logits of every position would take gigabytes where a vocabulary is large."""

ROOM = {"float32": 1e-4, "float16": 64 * 2.0**-11, "bfloat16": 64 * 2.0**-8}
"""What rounding may change a logit by, in parts of the largest one. Of half precision: as much as 64 roundings of that
logit, all to the same side; of float32 more of them, since its sums are not made in anything more precise."""

CPU = torch.device("cpu")


class NotTheSame(IsheepError):
    """The merged model does not answer as base and adapter do."""

    goes_on = False


@dataclass(frozen=True, slots=True)
class Probe:
    """A conversation as token ids, up to and with the turn end of its answer."""

    name: str
    """Of the seed task or record."""
    ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Difference:
    """Of two models' logits over the same positions."""

    largest: float
    """Of all absolute differences."""
    probe: str
    position: int
    """Of the token in the probe after which it is."""
    token: int
    """Whose logit it is."""
    agree: float
    """Share of the positions at which both have the same likeliest token."""


Logits = list[torch.Tensor]
"""Of each probe: float32 [positions, vocabulary]."""


def probes_of(run: Run, iteration: int, encoder: Encoder, positions: int | None) -> list[Probe]:
    """The first conversations that the iteration was trained on, and the first seed tasks where they are still there.

    Raises:
        UserError: there are neither.
    """
    found: dict[str, list[dict[str, str]]] = {}
    trained = run.iteration(iteration).training_set_path
    if trained.is_file():
        found |= {row["id"]: row["messages"] for row in list(read_json_lines(trained))[:PROBES]}
    try:
        seeds = read_seeds(run.recipe.seeds).tasks[:PROBES]
    except IsheepError:
        seeds = []
    for seed in seeds:
        asked = bare(seed.instruction, seed.input)
        found[seed.id] = [{"role": "user", "content": asked}, {"role": "assistant", "content": seed.output}]
    if not found:
        what = f"holds no training set of iteration {iteration}, and its seed file is gone: nothing to compare by."
        raise UserError(str(run.directory), what, "Put one of them back.")
    longest = min(PROBE_TOKENS, positions or PROBE_TOKENS)
    return [Probe(name, encoder.supervised(messages)[0][:longest]) for name, messages in found.items()]


def refuse_no_memory(checkpoint: Checkpoint) -> None:
    """Raises UserError where the base in float32 is larger than the memory that is available, if the system tells."""
    needed, available = checkpoint.parameters * NUMBER_BYTES["float32"], available_memory()
    if available is not None and available < needed:
        what = f"takes {in_bytes(needed)} in float32, in which it is merged, and {in_bytes(available)} are available."
        raise UserError(str(checkpoint.folder), what, "Merge on a machine with more memory, or export the adapter.")


def refuse_quantized(checkpoint: Checkpoint) -> None:
    """Raises UserError for a base whose own weights have fewer bits than a merge may be rounded to."""
    if "quantization_config" in checkpoint.config:
        what = "holds quantized weights, to which a merged adapter would be rounded."
        raise UserError(str(checkpoint.folder), what, "Export the adapter, which loads on them.")


def merge(
    base: Path, adapter: Path, dtype: str, probes: Sequence[Probe], generation: Any, folder: Path
) -> dict[str, Any]:
    """Writes the merged model into a folder, and returns how far its logits are from base and adapter side by side.

    The base is loaded once, in float32 and never in 4 bits, whatever the adapter was trained on. What is compared
    after the cast is the model as it loads from the folder.

    Args:
        base: the base's folder.
        adapter: the adapter's folder.
        dtype: of the merged model.
        probes: by which they are compared.
        generation: its generation_config.json.
        folder: what to fill.

    Raises:
        UserError: the base does not load, or the adapter does not fit it.
        NotTheSame: the difference is more than rounding makes.
    """
    from peft import PeftModel

    refuse_adapter(adapter)
    model = load_model(base, "float32", CPU)
    try:
        adapted = PeftModel.from_pretrained(model, str(adapter)).eval()
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        what = f"does not fit the base ({first_line(error)})."
        raise UserError(str(adapter), what, "Give the base that the run was made with.") from None
    beside = _logits(adapted, probes)
    with adapted.disable_adapter():
        moved = _difference(beside, _logits(adapted, probes), probes)
    scale = max(float(one.abs().max()) for one in beside)
    try:
        merged = adapted.merge_and_unload(safe_merge=True)
    except ValueError as error:
        raise NotTheSame(f"{adapter}: cannot be merged ({first_line(error)}).") from error
    before = _difference(beside, _logits(merged, probes), probes)
    _refuse(before, ROOM["float32"] * scale, "merging", "")
    merged.to(getattr(torch, dtype)).generation_config = generation
    merged.save_pretrained(folder, max_shard_size="5GB")
    del model, adapted, merged
    gc.collect()
    after = _difference(beside, _logits(load_model(folder, dtype, CPU), probes), probes)
    _refuse(after, ROOM[dtype] * scale, f"the cast to {dtype}", " Give another --dtype.")
    return {
        "dtype": dtype,
        "probes": len(probes),
        "positions": sum(map(len, beside)),
        "largest_logit": scale,
        "adapter_moves": asdict(moved),
        "before_cast": asdict(before),
        "after_cast": asdict(after),
    }


@torch.inference_mode()
def _logits(model: Any, probes: Sequence[Probe]) -> Logits:
    return [model(input_ids=torch.tensor([probe.ids])).logits[0, -POSITIONS:].float() for probe in probes]


def _difference(expected: Logits, found: Logits, probes: Sequence[Probe]) -> Difference:
    """NaN counts as larger than any number."""
    gaps = [(one - other).abs().nan_to_num(nan=torch.inf) for one, other in zip(expected, found, strict=True)]
    worst = max(range(len(gaps)), key=lambda number: float(gaps[number].max()))
    row, token = divmod(int(gaps[worst].argmax()), gaps[worst].shape[1])
    same = [one.argmax(-1) == other.argmax(-1) for one, other in zip(expected, found, strict=True)]
    return Difference(
        largest=float(gaps[worst].max()),
        probe=probes[worst].name,
        position=len(probes[worst].ids) - len(gaps[worst]) + row,
        token=token,
        agree=float(torch.cat(same).float().mean()),
    )


def _refuse(found: Difference, room: float, step: str, mend: str) -> None:
    if not found.largest <= room:
        where = f"after token {found.position} of {found.probe}"
        what = f"{step} changed a logit by {found.largest:.3g} ({where}), and rounding makes {room:.3g} at most"
        raise NotTheSame(f"the merged model does not answer as base and adapter do: {what}. Nothing was written.{mend}")
