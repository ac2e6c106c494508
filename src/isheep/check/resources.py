"""Disk and memory that a run will take, before anything is spent."""

from __future__ import annotations

import re
from pathlib import Path
from shutil import disk_usage

from isheep.check.findings import Finding, in_bytes, nearest_existing
from isheep.check.select import most_pairs, training_pairs
from isheep.checkpoint import NUMBER_BYTES, Checkpoint
from isheep.errors import UserError
from isheep.recipe import Recipe

TOKEN_BYTES = 4
"""Bytes of text that one token stands for, on average and generously."""
DISTRIBUTION_TOKENS = 40
"""As long is the record of the probabilities of the ten scores."""
SAVED_NUMBER_BYTES = 4
"""What is trained is float32 whatever the model's dtype, and so are adapters as they are saved."""
CHECKPOINTS = 3
"""Checkpoints that lie on disk at once while training: the best, the newest and the one that is being written."""
CHECKPOINT_COPIES = 3
"""Numbers in a checkpoint for each that is trained: itself and the two moments of the optimizer."""
SAVED_TWICE = ("fsdp", "deepspeed")
"""Launches whose checkpoints hold the numbers once to go on from, and once for everybody else."""
TRAINING_COPIES = CHECKPOINT_COPIES + 1
"""The same in memory, with the gradient."""
RESERVE = 64 * 2**20
"""Bytes for scores, health, reports, logs and the small change of many files."""

MEMINFO = Path("/proc/meminfo")


def disk_needed(recipe: Recipe, checkpoint: Checkpoint) -> int:
    """Bytes that a whole run writes, from above.

    RESERVE + iterations x (records + weights) + the checkpoints of one training, where
    records = 2 (table and training set) x TOKEN_BYTES x size x (tokens of a request, of a response and of each score
    that is asked for, all at their limits), and with total_base as much again for each pair of an earlier iteration in
    a training set, and with respond.draws twice (drawn and judged) for each further response to a kept instruction;
    weights = an adapter in float32, or the whole model in its dtype, and
    checkpoints = CHECKPOINTS x CHECKPOINT_COPIES (one more where they are SAVED_TWICE) x SAVED_NUMBER_BYTES x the
    numbers that are trained.
    """
    written = recipe.assess.max_new_tokens if recipe.assess.read == "generate" else DISTRIBUTION_TOKENS
    answered = recipe.respond.max_new_tokens + len(recipe.assess.questions) * written
    tokens = recipe.synthesize.max_new_tokens + answered
    records = 2 * TOKEN_BYTES * recipe.size * tokens
    weights = trained = SAVED_NUMBER_BYTES * checkpoint.adapter_parameters(recipe.train.lora.rank)
    if recipe.train.method == "full":
        trained = SAVED_NUMBER_BYTES * checkpoint.parameters
        weights = NUMBER_BYTES[recipe.model.dtype] * checkpoint.parameters
    again = sum(training_pairs(recipe)) - sum(most_pairs(recipe))
    records_again = TOKEN_BYTES * again * tokens
    records_again += 2 * TOKEN_BYTES * sum(most_pairs(recipe)) * (recipe.respond.draws - 1) * answered
    copies = CHECKPOINT_COPIES + (recipe.train.launch in SAVED_TWICE)
    checkpoints = CHECKPOINTS * copies * trained
    return RESERVE + recipe.iterations * (records + weights) + records_again + checkpoints


def disk_found(recipe: Recipe, checkpoint: Checkpoint, directory: Path | None, accept_changes: bool = False) -> Finding:
    """Whether there is room for what is not written yet; a change that is accepted may do everything again."""
    needed = disk_needed(recipe, checkpoint)
    if directory is None:
        return Finding("disk", f"a run writes at most {in_bytes(needed)}")
    if directory.is_dir() and not accept_changes:
        there = sum(file.stat().st_size for file in directory.glob("iteration-*/**/*") if file.is_file())
        needed = max(needed - there, RESERVE)
    place = nearest_existing(directory)
    free = disk_usage(place).free
    if free < needed:
        what = f"too little disk: {in_bytes(free)} are free at {place}, the run may write {in_bytes(needed)}."
        raise UserError(str(directory), what, "Make room, give another --dir, or lower size or iterations.")
    return Finding("disk", f"{in_bytes(free)} free, the run writes at most {in_bytes(needed)}")


def memory_found(recipe: Recipe, checkpoint: Checkpoint, trained: bool = False) -> Finding:
    """A warning only: on a GPU the weights lie elsewhere, and which device is there only torch can tell."""
    needed = checkpoint.parameters * NUMBER_BYTES[recipe.model.dtype]
    available = available_memory()
    found = f"the weights take {in_bytes(needed)} in {recipe.model.dtype}"
    if trained and recipe.train.method == "full":
        needed = checkpoint.parameters * TRAINING_COPIES * SAVED_NUMBER_BYTES
        found += f", training all of them {in_bytes(needed)}"
    if available is None:
        return Finding("memory", found)
    if available < needed:
        return Finding(
            "memory", f"{found}, more than the {in_bytes(available)} available (fine on a GPU)", warning=True
        )
    return Finding("memory", f"{found}, {in_bytes(available)} are available")


def available_memory() -> int | None:
    """Bytes, None where the system does not tell."""
    try:
        found = re.search(r"^MemAvailable:\s+(\d+) kB", MEMINFO.read_text(encoding="ascii"), re.MULTILINE)
    except OSError:
        return None
    return int(found[1]) * 1024 if found else None
