"""Seeds and identities: every piece of randomness in a run is a pure function of what it is for."""

from __future__ import annotations

import hashlib


def derive_seed(*parts: str | int) -> int:
    """A 63-bit seed from what the randomness is for, the same on every machine and in every order of work.

    Stages call it with (run seed, iteration, stage, id, attempt), so that work done again is the same work.
    """
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def record_id(run_seed: int, iteration: int, index: int) -> str:
    """The name of one generated instruction: readable, sortable, unique over runs of different seeds."""
    suffix = derive_seed(run_seed, iteration, "id", index) & 0xFFFFFFFF
    return f"{iteration:02d}-{index:06d}-{suffix:08x}"
