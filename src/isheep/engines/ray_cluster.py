"""Ray, as far as the engine needs it: a cluster to be in, what a worker asks of it, and how many of them find room."""

from __future__ import annotations

import logging
import math
import os
import signal
import socket
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from isheep.checkpoint import NUMBER_BYTES, read_checkpoint
from isheep.engines.vllm import is_cpu_build
from isheep.errors import UserError, first_line
from isheep.hub import model_folder
from isheep.recipe import Recipe

BESIDE_WEIGHTS = 2**30
"""Bytes of a worker's memory for what is no weight: libraries, caches, the batch."""
PATIENCE_S = 10.0
"""Seconds that the cluster may take to let a connection in."""
QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
"""Nothing is told to anybody; and a worker that asks for no GPU keeps its environment."""


@dataclass(frozen=True, slots=True)
class Share:
    """What one worker asks of the cluster."""

    cpus: float
    gpus: float
    memory: int
    """Bytes of the host's."""

    def of(self, nodes: Iterable[Mapping[str, float]]) -> int:
        """How many workers find room on nodes of these resources, each of them whole on one."""
        wanted = {"CPU": self.cpus, "GPU": self.gpus, "memory": self.memory}
        return sum(
            min(math.floor(node.get(name, 0) / amount + 1e-9) for name, amount in wanted.items() if amount)
            for node in nodes
        )

    def in_words(self) -> str:
        """As `1 CPU, 2 GPUs, 9.5 GiB`."""
        gpus = f"{self.gpus:g} GPU{'s' if self.gpus != 1 else ''}, " if self.gpus else ""
        return f"{self.cpus:g} CPU{'s' if self.cpus != 1 else ''}, {gpus}{self.memory / 2**30:.1f} GiB"


def refuse_missing() -> None:
    """Raises UserError where Ray is not installed; imports nothing."""
    if find_spec("ray") is None:
        what = "Ray, which runs them, is not installed in this environment."
        raise UserError("engine.workers", what, "Install isheep[ray], or give engine.workers=0.")


def connect(address: str | None) -> Any:
    """The `ray` module, connected: to the cluster at the address, else to one of its own on this machine.

    A process is in one cluster; whoever asks again gets that one. `RAY_ADDRESS` counts where the recipe has no address:
    a job's cluster lies elsewhere each time that the job starts, which is no change of the run.

    Raises:
        UserError: Ray is not installed, or there is no such cluster.
    """
    refuse_missing()
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    import ray

    # What it says at each start is for who runs a cluster; its import sets a level of its own.
    logging.getLogger("ray").setLevel(logging.ERROR)
    if ray.is_initialized():
        return ray
    own: dict[str, Any] = {"include_dashboard": False, "_node_ip_address": "127.0.0.1"}
    address = address or os.environ.get("RAY_ADDRESS")
    _refuse_silent(address)
    before = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(
            address=address or "local",
            log_to_driver=False,
            logging_level=logging.ERROR,
            configure_logging=False,
            **({} if address else own),
        )
    except (ValueError, RuntimeError, OSError, AssertionError) as error:
        raise _no_cluster(address, error) from None
    finally:
        # Ray would end the process at a SIGTERM, which asks a run to drain.
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)
    return ray


def _refuse_silent(address: str | None) -> None:
    """Ray itself would ask for many minutes where nobody listens."""
    host, _, port = (address or "").rpartition("://")[2].rpartition(":")
    if port.isdecimal():
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=PATIENCE_S).close()
        except (OSError, OverflowError) as error:
            raise _no_cluster(address, error) from None


def _no_cluster(address: str | None, error: Exception) -> UserError:
    what = f"no Ray cluster answers at {address or 'this machine'} ({first_line(error)})."
    mend = "Start one with `ray start --head`, mend the address, or leave it out for one on this machine."
    return UserError("engine.ray.address", what, mend)


def nodes(ray: Any) -> list[dict[str, float]]:
    """The resources of each node that lives."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def has_gpus(there: Iterable[Mapping[str, float]]) -> bool:
    """Whether any of these nodes has some."""
    return any(node.get("GPU") for node in there)


def share_of(recipe: Recipe, on_gpus: bool) -> Share:
    """What a worker of the recipe asks for, defaults worked out; `on_gpus`: whether the cluster has any."""
    settings = recipe.engine.ray
    gpus = settings.gpus if settings.gpus is not None else float(_gpus(recipe, on_gpus))
    weights = read_checkpoint(model_folder(recipe.model.path)).parameters * NUMBER_BYTES[recipe.model.dtype]
    memory = BESIDE_WEIGHTS if gpus else weights + BESIDE_WEIGHTS
    return Share(
        cpus=settings.cpus or float(recipe.engine.threads or 1),
        gpus=gpus,
        memory=memory if settings.memory is None else int(settings.memory * 2**30),
    )


def _gpus(recipe: Recipe, on_gpus: bool) -> int:
    """As many as share a copy of the model, where it lies on GPUs at all."""
    if recipe.engine.name == "vllm":
        return 0 if is_cpu_build() else recipe.engine.vllm.tensor_parallel
    return int(recipe.engine.device.startswith("cuda") or (recipe.engine.device == "auto" and on_gpus))
