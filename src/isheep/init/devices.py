"""What a run would work on: this machine's processor or GPUs, or GPUs of another that the user names."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

import psutil

from isheep.errors import UserError
from isheep.estimate.hardware import hardware

_NAMED = re.compile(r"(?:(?P<gpus>[0-9]+) ?x ?)?(?P<name>.+)")
WITHOUT_BFLOAT16 = ("t4", "v100")
"""GPUs of the table of `estimate` that are older than the format."""


@dataclass(frozen=True, slots=True)
class Device:
    """What the model works on."""

    name: str
    gpus: int
    """0: on processors."""
    memory: float
    """Bytes: of one GPU, or what is free on the machine."""
    bfloat16: bool
    here: bool = True
    """Whether this machine is meant."""

    @property
    def said(self) -> str:
        """In words."""
        size = f"{self.memory / 2**30:.0f} GiB"
        return f"{self.gpus} x {self.name}, {size} each" if self.gpus else f"{self.name}, {size} of memory free"


def proposed() -> tuple[str, str]:
    """What this machine has, as an answer and in words."""
    gpu = _own_gpus()
    found = gpu or _processors()
    return ("gpu" if gpu else "cpu"), f"found here: {found.said}{'' if gpu else ', no GPU'}"


def device_of(answer: str) -> Device:
    """What an answer names; raises UserError where it names nothing, or a GPU that is not here."""
    word = answer.strip().lower()
    if word == "cpu":
        return _processors()
    if word == "gpu":
        if own := _own_gpus():
            return own
        mend = "Give cpu, or name GPUs of another machine, such as h100 or 8xh100."
        raise UserError("--hardware", "torch finds no GPU on this machine.", mend)
    found = _NAMED.fullmatch(word)
    try:
        known = hardware(found["name"] if found else word, int(found["gpus"] or 1) if found else 1)
    except UserError as error:
        raise UserError("--hardware", error.what, f"Give cpu, gpu or a GPU. {error.mend}") from None
    return Device(known.name, known.gpus, known.memory, known.name not in WITHOUT_BFLOAT16, here=False)


def _processors() -> Device:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return Device(f"{cores} CPU cores", 0, psutil.virtual_memory().available, bfloat16=False)


def _own_gpus() -> Device | None:
    import torch

    if not torch.cuda.is_available():
        return None
    first = torch.cuda.get_device_properties(0)
    return Device(first.name, torch.cuda.device_count(), first.total_memory, torch.cuda.is_bf16_supported())
