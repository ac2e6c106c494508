"""A run whose engine has workers on a cluster, from which machines are taken away while it works."""

from __future__ import annotations

import random
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from isheep.store.run import Run
from tests.cli.conftest import ISHEEP, isheep, quiet
from tests.cli.test_kill import everything

pytest.importorskip("ray", reason="Ray is not installed here")

WORKERS = 3
LOSSES = 5
RUN = ("lamb", "iterations=2", "size=160", "train.steps=8", "evaluate.limit=20", "engine.batch_size=8")


class Machines:
    """A cluster of Ray on this machine: a head without room for workers, and nodes with room for one each."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        self._cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
        self._nodes = [self.add() for _ in range(WORKERS)]
        self._rng = random.Random(0)

    @property
    def address(self) -> str:
        return str(self._cluster.address)

    def add(self) -> Any:
        return self._cluster.add_node(num_cpus=1, include_dashboard=False)

    def exchange(self) -> None:
        """One node is killed with all that runs on it, and another one joins."""
        lost = self._nodes.pop(self._rng.randrange(len(self._nodes)))
        self._cluster.remove_node(lost, allow_graceful=False)
        self._nodes.append(self.add())

    def shutdown(self) -> None:
        self._cluster.shutdown()


@pytest.fixture(scope="module")
def machines() -> Iterator[Machines]:
    found = Machines()
    yield found
    found.shutdown()


def run_while_machines_go(machines: Machines, directory: Path, words: tuple[str, ...]) -> tuple[int, str]:
    """Exchanges a node for another LOSSES times while the run writes parts; returns how often, and what was said."""
    command = [ISHEEP, "run", *words, f"engine.workers={WORKERS}", f"engine.ray.address={machines.address}"]
    said = directory.parent / "said.txt"
    lost = 0
    with said.open("w", encoding="utf-8") as stderr:
        process = subprocess.Popen(
            [*command, "--dir", str(directory)], env=quiet(), stdout=subprocess.DEVNULL, stderr=stderr
        )
        while process.poll() is None:
            # As many parts after each loss as before the first one, so that losses fall into every stage.
            if lost < LOSSES and _parts(directory) > 12 * lost + 4:
                # Held meanwhile: a fast machine would be through before the next node has joined.
                process.send_signal(signal.SIGSTOP)
                machines.exchange()
                process.send_signal(signal.SIGCONT)
                lost += 1
            time.sleep(0.05)
    text = said.read_text(encoding="utf-8")
    assert process.returncode == 0, text
    return lost, text


def test_machines_that_go_and_come_cost_no_record(machines: Machines, tmp_path: Path) -> None:
    alone = isheep("run", *RUN, "--dir", tmp_path / "alone")
    assert alone.returncode == 0, alone.stderr
    lost, said = run_while_machines_go(machines, tmp_path / "shared", RUN)
    assert lost == LOSSES
    assert said.count("a worker is lost") >= LOSSES - 1, said
    assert everything(tmp_path / "shared") == everything(tmp_path / "alone")
    ids = [row.id for one in Run.read(tmp_path / "shared").iterations() for row in one.table("instructions").rows()]
    assert len(ids) == len(set(ids))


def test_room_is_counted_before_anything_starts(machines: Machines) -> None:
    address = f"engine.ray.address={machines.address}"
    enough = isheep("check", "lamb", "engine.workers=2", address)
    assert "2 of 3 that find room on 4 machines, with 1 CPU, 1.0 GiB each" in enough.stdout, enough.stderr
    more = isheep("check", "lamb", "engine.workers=5", address)
    assert "! workers      3 of 5 find room" in more.stdout, more.stderr
    none = isheep("check", "lamb", "engine.workers=1", "engine.ray.cpus=2", address)
    assert none.returncode == 2
    assert "none of 1 finds room on 4 machines: each wants 2 CPUs, 1.0 GiB on one machine" in none.stderr


def _parts(directory: Path) -> int:
    return len(list(directory.glob("iteration-*/*/part-*.parquet")))
