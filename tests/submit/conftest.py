"""A Slurm of our own on loopback, in a folder for tests: munged, slurmctld and two slurmd, as the system has them."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

NODES = ("one", "two")

CONF = """
ClusterName=loopback
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket,cred_expire=5
CredType=cred/munge
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=batch_sched_delay=0,sched_interval=1,requeue_delay=1,bf_interval=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmctldParameters=preempt_send_user_signal
MpiDefault=none
SwitchType=switch/none
ReturnToService=2
SlurmdParameters=config_overrides
KillWait=30
GresTypes=gpu
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP PriorityTier=1 GraceTime=60
PartitionName=urgent Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=9
"""


@dataclass(frozen=True, slots=True)
class Slurm:
    """The cluster, as its user's commands see it."""

    conf: Path

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "SLURM_CONF": str(self.conf)}

    def ask(self, *words: str | Path) -> str:
        """What a command of Slurm's prints; it has to end well."""
        ended = subprocess.run(
            [str(word) for word in words], capture_output=True, text=True, check=False, env=self.environment
        )
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    def state(self, job: str) -> str:
        """`PENDING`, `RUNNING`, `COMPLETED` ..., while a job ends `COMPLETING`."""
        return self.field(job, "JobState")

    def field(self, job: str, name: str) -> str:
        """A field of `scontrol show job`."""
        shown = self.ask("scontrol", "--oneliner", "show", "job", job)
        return next(word.partition("=")[2] for word in shown.split() if word.startswith(f"{name}="))

    def wait_for(self, job: str, *states: str, timeout: float = 400) -> str:
        """Until the job is in one of these states."""
        deadline = time.monotonic() + timeout
        while (state := self.state(job)) not in states:
            assert time.monotonic() < deadline, f"job {job} is {state} and not {states}"
            time.sleep(0.2)
        return state


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports: list[int] = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


@pytest.fixture(scope="session")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    """Two nodes of two processors and two GPUs that are none; Debian's slurmd lets several be on one machine."""
    tools = ("munged", "slurmctld", "slurmd", "sbatch")
    path = f"{os.environ.get('PATH', '')}:/usr/sbin"
    missing = [tool for tool in tools if shutil.which(tool, path=path) is None]
    if missing or os.geteuid() != 0:
        pytest.skip(f"a Slurm of our own takes root and {', '.join(tools)}")
    folder = tmp_path_factory.mktemp("slurm")
    processes: list[subprocess.Popen[bytes]] = []

    def start(name: str, *words: str) -> None:
        environment = {**os.environ, "PATH": path, "SLURM_CONF": str(folder / "slurm.conf")}
        with (folder / f"{name}.log").open("wb") as log:
            processes.append(subprocess.Popen(words, stdout=log, stderr=log, env=environment, start_new_session=True))

    lay_out(folder)
    try:
        munge = folder / "munge"
        files = [f"--{kind}-file={munge / kind}" for kind in ("key", "pid", "log", "seed")]
        start("munged", "munged", "--foreground", "--force", f"--socket={munge / 'socket'}", *files)
        start("slurmctld", "slurmctld", "-D")
        for node in NODES:
            start(f"slurmd-{node}", "slurmd", "-D", "-N", node)
        cluster = Slurm(folder / "slurm.conf")
        wait_until_idle(cluster, folder)
        yield cluster
    finally:
        # Before the daemons, which alone know the jobs' processes.
        end_jobs(Slurm(folder / "slurm.conf"))
        for process in reversed(processes):
            process.send_signal(signal.SIGTERM)
        for process in processes:
            process.wait(60)


def end_jobs(cluster: Slurm) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        for how in ([], ["--full", "--signal=KILL"]):
            subprocess.run(["scancel", "--me", *how], env=cluster.environment, check=False, timeout=30)
        left = subprocess.run(
            ["squeue", "--noheader"], env=cluster.environment, capture_output=True, check=False, timeout=30
        )
        if not left.stdout.strip():
            return
        time.sleep(0.5)


def lay_out(folder: Path) -> None:
    """The folder's files: a key for munge, and what Slurm is told of its machines."""
    for name in ("munge", "state"):
        (folder / name).mkdir(mode=0o700)
    key = folder / "munge" / "key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o400)
    controller, *ports = free_ports(1 + len(NODES))
    nodes = [
        f"NodeName={node} NodeHostname={socket.gethostname()} NodeAddr=127.0.0.1 Port={port}"
        " CPUs=2 RealMemory=8000 Gres=gpu:2"
        for node, port in zip(NODES, ports, strict=True)
    ]
    text = CONF.format(host=socket.gethostname(), port=controller, folder=folder)
    head, mark, partitions = text.partition("PartitionName")
    (folder / "slurm.conf").write_text(head + "\n".join(nodes) + "\n" + mark + partitions)
    gpus = [f"NodeName={node} Name=gpu File={folder}/gpu{n}\n" for node in NODES for n in range(2)]
    (folder / "gres.conf").write_text("".join(gpus))
    for n in range(2):
        (folder / f"gpu{n}").touch()


def wait_until_idle(cluster: Slurm, folder: Path) -> None:
    deadline = time.monotonic() + 60
    while True:
        asked = subprocess.run(
            ["sinfo", "--noheader", "--Node", "--format=%T"],
            env=cluster.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if set(asked.stdout.split()) == {"idle"}:
            return
        if time.monotonic() > deadline:
            logs = "\n".join(log.read_text(errors="replace")[-2000:] for log in folder.glob("*.log"))
            pytest.fail(f"Slurm did not start: {asked.stdout}{asked.stderr}\n{logs}")
        time.sleep(0.2)
