"""`python -m tests.faults [--bounded] [--only NAME ...] [--to FILE]`: every fault, and a table of what came of them."""

from __future__ import annotations

import argparse
import logging
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from shutil import rmtree

from tests.faults import commands, damage, disks, kills, servers
from tests.faults.command import set_environment
from tests.faults.scene import Suite

Injection = tuple[Callable[[Suite, int], None], int, int]
"""What does it, how often in full, how often where time is short."""

INJECTIONS: dict[str, Injection] = {
    "durable": (kills.durable_steps, 60, 12),
    "kill": (partial(kills.moments, number=signal.SIGKILL), 4, 1),
    "term": (partial(kills.moments, number=signal.SIGTERM), 2, 1),
    "still": (kills.still, 3, 1),
    "sleep": (kills.sleeps, 3, 1),
    "met": (kills.met, 9, 2),
    "full": (disks.full, 3, 1),
    "unwritable": (disks.unwritable, 6, 1),
    "vanishing": (disks.vanishing, 5, 1),
    "parts": (damage.parts, 7, 2),
    "documents": (damage.documents, 17, 3),
    "clocks": (damage.clocks, 6, 2),
    "training": (damage.training, 3, 1),
    "answers": (servers.answers, 8, 2),
    "gone": (servers.gone, 3, 1),
    "reports": (commands.reports, 3, 1),
    "sweeps": (commands.sweeps, 6, 2),
}


def main() -> int:
    """Injects, prints, writes; the exit code says whether all is well."""
    parser = argparse.ArgumentParser(description="Puts faults into real runs of lamb.")
    parser.add_argument("--bounded", action="store_true", help="fewer of each")
    parser.add_argument("--only", action="append", choices=INJECTIONS, help="these kinds")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--to", type=Path, default=Path("build/faults.json"))
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="isheep-faults-"))
    set_environment()
    # The server of the tests is the one that misbehaves, and says so at length.
    logging.getLogger("aiohttp").setLevel(logging.CRITICAL)
    os.environ["ISHEEP_CACHE"] = str(folder / "cache")
    suite = Suite(folder, random.Random(given.seed))
    for name in given.only or INJECTIONS:
        inject, full, bounded = INJECTIONS[name]
        began = time.monotonic()
        inject(suite, bounded if given.bounded else full)
        print(f"{name}: {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
        document = suite.write(given.to)
    for row in document["rows"]:
        print("{fault:<44} {stage:<16} {injected:>4} {lost:>3} {duplicated:>3} {unfinished:>3}".format(**row))
    print({name: document[name] for name in ("injected", "killed", "lost", "duplicated", "unfinished")})
    for failure in suite.failures:
        print(f"! {failure}", file=sys.stderr)
    if not suite.failures:
        rmtree(folder)
    return 1 if suite.failures else 0


if __name__ == "__main__":
    sys.exit(main())
