"""The processes of one training, seen from each of them: how many there are, and what they agree on."""

from __future__ import annotations

import torch
from accelerate import DistributedType, PartialState
from torch import distributed


def count() -> int:
    """Processes of this training; 1 where nothing launched it."""
    return distributed.get_world_size() if _together() else 1


def own() -> int:
    """Which of them this is, from 0 on; the first writes what there is to write."""
    return distributed.get_rank() if _together() else 0


def put_in_parts_on_cpus() -> None:
    """Has FSDP work on CPUs, too: accelerate means it for GPUs, and would give each process the whole model unasked."""
    PartialState._shared_state["distributed_type"] = DistributedType.MULTI_GPU


def wait() -> None:
    """Until all are here."""
    if _together():
        distributed.barrier()


def sums(numbers: list[int], device: torch.device) -> list[int]:
    """Of each number the sum over all processes."""
    if not _together():
        return numbers
    found = torch.tensor(numbers, dtype=torch.int64, device=device)
    distributed.all_reduce(found)
    return [int(number) for number in found.tolist()]


def part() -> None:
    """The last that they do together."""
    if _together():
        distributed.destroy_process_group()


def _together() -> bool:
    return distributed.is_available() and distributed.is_initialized()
