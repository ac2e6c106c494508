"""Disks that are full, folders that let nobody write, and folders that go away."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.faults.injected import At, Fill, Signal, Unwritable, Vanish
from tests.faults.scene import STAGES, Journey, Suite

DISK = 192 << 20


def full(suite: Suite, count: int) -> None:
    """A disk that is full from a stage on, so that parts, checkpoints, documents and the report find no room."""
    if not _may_mount(suite.folder):
        print("full disks: not tried, a small one cannot be mounted here")
        return
    for left in (0, 6_000, 40_000)[:count]:
        with _small_disk(suite.folder / "disk") as disk:
            journey = Journey(suite, f"full-{left}", directory=disk / "run")
            ballast = disk / "ballast"
            for stage in STAGES:
                journey.go(Signal(At(stage)))
                ended = journey.go(Fill(stage, ballast, left))
                if ended.code != 0:
                    journey.check(f"full at {stage}", ended, [3], "No space left on device", "ake room")
                    journey.strike(f"disk full but {left} bytes", ended, stage)
                ballast.unlink(missing_ok=True)
            journey.end()


def unwritable(suite: Suite, count: int) -> None:
    """An iteration's folder that is read-only from a stage on."""
    if not _may_mount(suite.folder):
        print("read-only folders: not tried, nothing can be mounted here")
        return
    journey = Journey(suite, "read-only")
    for stage in ("synthesize", "respond", "assess", "select", "train", "evaluate")[:count]:
        journey.go(Signal(At(stage, step=4)))
        ended = journey.go(Unwritable(stage, journey.directory))
        journey.check(f"read-only at {stage}", ended, [3], "Read-only file system", "mend the rights")
        journey.strike("folder read-only", ended, stage)
        for folder in journey.directory.glob("iteration-??"):
            # A folder mounted on itself is no mount point that could be told by its device.
            while subprocess.run(["umount", "--lazy", str(folder)], capture_output=True, check=False).returncode == 0:
                pass
    journey.end()


def vanishing(suite: Suite, count: int) -> None:
    """An iteration's folder that is moved away while it is worked on, and comes back, or does not."""
    for number, stage in enumerate(("synthesize", "respond", "train", "evaluate", "assess")[:count]):
        for comes_back in (True, False):
            journey = Journey(suite, f"vanish-{stage}-{comes_back}")
            seconds = suite.rng.uniform(0.0, 0.7 if number < 2 else 0.2)
            ended = journey.go(Vanish(stage, journey.directory, seconds))
            if ended.code != 0:
                journey.check(f"vanished in {stage}", ended, [3], str(journey.directory))
            for away in journey.directory.parent.glob(f"{journey.directory.name}-iteration-*"):
                if comes_back:
                    _put_back(away, journey.directory / away.name.removeprefix(f"{journey.directory.name}-"))
            journey.strike(f"folder moved away{' and back' if comes_back else ' for good'}", ended, stage)
            journey.end()


def _put_back(away: Path, place: Path) -> None:
    if place.exists():
        place.rename(place.with_name(f"made-meanwhile-{place.name}"))
    away.rename(place)


def _may_mount(folder: Path) -> bool:
    try:
        with _small_disk(folder / "disk"):
            return True
    except (OSError, subprocess.CalledProcessError):
        return False


@contextmanager
def _small_disk(place: Path) -> Iterator[Path]:
    place.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK}", "none", str(place)], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)
