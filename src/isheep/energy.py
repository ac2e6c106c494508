"""Joules that this machine's GPUs and processors took, where their counters can be read.

The counters are the machine's: what other programs did meanwhile counts, too. Not covered: memory, disks, fans, what
the power supply loses, and processors that let nobody but root read their counters.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

POWERCAP = Path("/sys/class/powercap")
"""Where Linux shows the counters of processors (RAPL)."""

SAMPLE_EVERY_S = 60.0
"""A processor's counter begins anew after some minutes of full work; it is looked at more often than that."""

_ZONE = re.compile(r"intel-rapl:\d+")


@dataclass(frozen=True, slots=True)
class Sensor:
    """A counter of joules."""

    read: Callable[[], float]
    """Raises whatever its library raises."""
    wraps_at: float | None = None
    """Joules after which it begins anew; None: it does not."""


class Energy:
    """What was taken since it was made; `close` ends the looking."""

    def __init__(self, powercap: Path = POWERCAP) -> None:
        self._sensors = [*_gpus(), *_packages(powercap)]
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._spent = 0.0
        self._told = bool(self._sensors)
        self._last: list[float] = []
        try:
            self._last = [sensor.read() for sensor in self._sensors]
        except Exception:  # Whatever a driver raises: then nothing can be told.
            self._told = False
        if self._told and any(sensor.wraps_at for sensor in self._sensors):
            threading.Thread(target=self._look, name="energy", daemon=True).start()

    def joules(self) -> float | None:
        """So far; None where no counter can be read, or one could not be at some time."""
        self._sample()
        return self._spent if self._told else None

    def close(self) -> None:
        """Ends the looking."""
        self._over.set()

    def _look(self) -> None:
        while not self._over.wait(SAMPLE_EVERY_S):
            self._sample()

    def _sample(self) -> None:
        with self._lock:
            if not self._told:
                return
            try:
                now = [sensor.read() for sensor in self._sensors]
            except Exception:  # As above.
                self._told = False
                return
            for sensor, before, after in zip(self._sensors, self._last, now, strict=True):
                if after < before and sensor.wraps_at is None:
                    self._told = False
                self._spent += after - before + (sensor.wraps_at or 0.0 if after < before else 0.0)
            self._last = now


def _gpus() -> Iterator[Sensor]:
    """By NVML, if its Python package is there and finds a driver; a GPU that counts no energy is left out."""
    with suppress(Exception):
        import pynvml

        pynvml.nvmlInit()
        for index in range(pynvml.nvmlDeviceGetCount()):
            handle = pynvml.nvmlDeviceGetHandleByIndex(index)

            def read(handle: object = handle) -> float:
                return float(pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)) / 1e3

            with suppress(pynvml.NVMLError):
                read()
                yield Sensor(read)


def _packages(powercap: Path) -> Iterator[Sensor]:
    """Whole processors; what is a part of one, or holds one (`psys`), would count twice."""
    for zone in sorted(powercap.glob("intel-rapl:*")):
        with suppress(OSError, ValueError):
            if not _ZONE.fullmatch(zone.name) or not (zone / "name").read_text().startswith("package"):
                continue
            wraps_at = int((zone / "max_energy_range_uj").read_text()) / 1e6
            sensor = Sensor(lambda file=zone / "energy_uj": int(file.read_text()) / 1e6, wraps_at)  # type: ignore[misc]
            sensor.read()
            yield sensor
