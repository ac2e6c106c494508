"""Joules from the machine's counters: sums, a counter that begins anew, and what cannot be read."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest

from isheep import energy
from isheep.energy import Energy


@pytest.fixture(autouse=True)
def without_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine of which nothing is known but what a test says."""
    monkeypatch.setitem(sys.modules, "pynvml", None)


def zone(powercap: Path, name: str, label: str, microjoules: int, most: int = 1_000_000_000) -> Path:
    folder = powercap / name
    folder.mkdir(parents=True)
    (folder / "name").write_text(label + "\n")
    (folder / "max_energy_range_uj").write_text(f"{most}\n")
    (folder / "energy_uj").write_text(f"{microjoules}\n")
    return folder / "energy_uj"


def test_packages_add_up_and_no_part_of_one_counts_twice(tmp_path: Path) -> None:
    one = zone(tmp_path, "intel-rapl:0", "package-0", 5_000_000)
    core = zone(tmp_path, "intel-rapl:0:0", "core", 1_000_000)
    two = zone(tmp_path, "intel-rapl:1", "package-1", 0)
    whole = zone(tmp_path, "intel-rapl:2", "psys", 0)
    found = Energy(tmp_path)
    assert found.joules() == 0
    one.write_text("7500000\n")
    core.write_text("900000000\n")
    whole.write_text("900000000\n")
    two.write_text("1000000\n")
    assert found.joules() == pytest.approx(3.5)
    one.write_text("8500000\n")
    assert found.joules() == pytest.approx(4.5)
    found.close()


def test_a_counter_that_begins_anew(tmp_path: Path) -> None:
    file = zone(tmp_path, "intel-rapl:0", "package-0", 990_000_000)
    found = Energy(tmp_path)
    file.write_text("20000000\n")
    assert found.joules() == pytest.approx(30)
    file.write_text("10000000\n")
    assert found.joules() == pytest.approx(30 + 990)
    found.close()


def test_it_looks_by_itself_before_a_counter_has_gone_round_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(energy, "SAMPLE_EVERY_S", 0.01)
    file = zone(tmp_path, "intel-rapl:0", "package-0", 0)
    found = Energy(tmp_path)
    for reading in ("600000000\n", "200000000\n"):
        file.write_text(reading)
        before = found._last
        while found._last == before:
            pass
    assert found.joules() == pytest.approx(600 + 600)
    found.close()


def test_what_cannot_be_read_is_no_zero(tmp_path: Path) -> None:
    assert Energy(tmp_path / "nothing").joules() is None
    file = zone(tmp_path, "intel-rapl:0", "package-0", 0)
    found = Energy(tmp_path)
    file.unlink()
    assert found.joules() is None
    file.write_text("5\n")
    assert found.joules() is None, "what was taken meanwhile is gone"
    found.close()
    file.write_text("no number")
    assert Energy(tmp_path).joules() is None


class Nvml(ModuleType):
    """Stands in for NVIDIA's package: two GPUs, of which the second counts no energy."""

    class NVMLError(Exception):
        """As NVML's own."""

    millijoules = 1000

    def nvmlInit(self) -> None:  # noqa: N802  # its name there
        """Finds a driver."""

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return 2

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:  # noqa: N802
        return index

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: int) -> int:  # noqa: N802
        if handle or self.millijoules < 0:
            raise self.NVMLError
        return self.millijoules


def test_gpus_by_nvml_beside_the_processors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nvml = Nvml("pynvml")
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    alone = Energy(tmp_path)
    file = zone(tmp_path, "intel-rapl:0", "package-0", 0)
    both = Energy(tmp_path)
    nvml.millijoules = 251_000
    file.write_text("3000000\n")
    assert alone.joules() == pytest.approx(250)
    assert both.joules() == pytest.approx(253)
    nvml.millijoules = 10
    assert alone.joules() is None, "a driver that was loaded anew has lost what it counted"
    both.close()
