"""Code that nobody has read runs here: one command in a child that can reach, read, keep and spend little.

Covered, on Linux, as root and as an ordinary user with user namespaces:

* no network: a network namespace of its own without even a loopback that is up;
* no files: the root is an empty file system in memory (`Limits.disk`), on it, read-only, the system's libraries and
  what the caller names; nothing of home, /tmp, /etc, /proc and /sys is there; what is written is gone afterwards;
* no other process: PID, IPC and UTS namespaces; when the command ends, everything that it started is killed;
* no rights: another user (as root: one that nobody else is), no capabilities, no_new_privs, a cleaned environment;
* limits on CPU and wall time, memory, processes, open files, the size of a file and of what is printed; under want of
  memory the kernel ends these processes first.

Not covered: bugs of the kernel, whose calls are not filtered (nor are further user namespaces forbidden); what CPUs
leak through their caches; the speed of the machine for others (limits are per process, no cgroup: `processes` times
`memory` is the most that all take together); an ordinary user's supplementary groups, which go along; and whatever the
named folders hold, which can be read.
"""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from isheep.errors import StageError, UserError
from isheep.terminal import printable

SYSTEM = ("/usr", "/lib", "/lib32", "/lib64", "/nix/store", "/etc/ld.so.cache")
"""What a program needs to start, where it exists: the loader and the libraries."""

GRACE_S = 5.0
"""Seconds after its time that a sandbox may take to end itself."""

MEND = (
    "Allow it (sysctl user.max_user_namespaces and kernel.apparmor_restrict_unprivileged_userns; in a container "
    "`--security-opt seccomp=unconfined`, `--cap-add SYS_ADMIN`), or set evaluate.sandbox=false: then generated code "
    "can do whatever you can."
)


@dataclass(frozen=True, slots=True)
class Limits:
    """What the command may take; times in seconds, sizes in bytes."""

    cpu_s: int = 60
    """Of a process."""
    wall_s: int = 60
    memory: int = 4 * 2**30
    """Address space of a process."""
    processes: int = 16
    """At once, threads included. Not enforced for root where there is no isolation."""
    file: int = 16 * 2**20
    """The size of one file."""
    files: int = 128
    """That a process has open."""
    disk: int = 64 * 2**20
    """All files together; not enforced where there is no isolation."""
    output: int = 2**20
    """Written to stdout and stderr together."""


@dataclass(frozen=True, slots=True)
class Ended:
    """What became of a command."""

    how: str
    """`exit`, `signal`, or the limit that ended it: `wall`, `output`."""
    code: int
    """The exit code, or the signal's number."""
    stdout: bytes
    stderr: bytes

    @property
    def reason(self) -> str:
        """In words."""
        limit = {"wall": "killed: its time was over", "output": "killed: it printed too much"}.get(self.how)
        return limit or (f"killed by signal {self.code}" if self.how == "signal" else f"exit code {self.code}")


def run(
    command: Sequence[str],
    limits: Limits,
    *,
    stdin: bytes = b"",
    visible: Sequence[str | Path] = (),
    environment: Mapping[str, str] | None = None,
    isolated: bool = True,
) -> Ended:
    """Runs a command to its end or to its limits.

    Args:
        command: an absolute path, and arguments.
        limits: what it may take.
        stdin: what it reads.
        visible: files and folders that it may read, beside the system's libraries.
        environment: variables beside PATH, HOME, TMPDIR and LANG.
        isolated: False leaves it the network, the files and the rights of this process; limits on time, memory, files
            and output stay.

    Raises:
        StageError: it could not be started like this.
    """
    with _folder(isolated) as folder, _file(stdin) as source:
        status, written = os.pipe()
        plan = {
            "command": list(command),
            "environment": _environment(folder) | dict(environment or {}),
            "folder": folder,
            "isolated": isolated,
            "limits": asdict(limits),
            "parent": os.getpid(),
            "status": written,
            "visible": _shown(visible) if isolated else [],
        }
        child = str(Path(__file__).with_name("sandbox_child.py"))
        try:
            process = subprocess.Popen(  # noqa: S603  # this interpreter and a script of ours, which puts up the walls
                [sys.executable, "-I", "-S", child, json.dumps(plan)],
                stdin=source,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                pass_fds=(written,),
                start_new_session=True,
            )
        finally:
            os.close(written)
        try:
            found = _read(process, status, limits)
        finally:
            _end(process, isolated)
            os.close(status)
    return _told(*found)


def refuse_without(visible: Sequence[str | Path] = ()) -> None:
    """Tries the walls with a command that does nothing.

    Raises:
        UserError: they cannot be put up here.
    """
    own = [sys.prefix, sys.base_prefix]
    try:
        ended = run([sys.executable, "-I", "-S", "-c", "print(1)"], Limits(), visible=[*own, *visible])
    except StageError as error:
        raise UserError("evaluate.sandbox", str(error), MEND) from None
    if ended.how != "exit" or ended.code != 0:
        said = printable(ended.stderr.decode(errors="replace").strip())[-300:]
        raise UserError("evaluate.sandbox", f"a command does not start in it ({ended.reason}; {said}).", MEND)


def _environment(folder: str) -> dict[str, str]:
    return {"PATH": "/usr/bin:/bin", "HOME": folder, "TMPDIR": folder, "LANG": "C.UTF-8"}


def _shown(visible: Sequence[str | Path]) -> list[list[str]]:
    """Where each thing really lies and where it is to be seen: as it is named, and where links lead.

    Raises:
        StageError: the home folder would be among them.
    """
    wanted: dict[str, str] = {path: path for path in SYSTEM if os.path.lexists(path)}
    for name in map(str, visible):
        path, real = os.path.normpath(Path.cwd() / name), os.path.realpath(name)
        wanted |= {path: real, real: real}
    home = os.path.realpath(Path.home())
    shown: list[list[str]] = []
    for target, source in sorted(wanted.items()):
        if source not in SYSTEM and _within(home, source):
            raise StageError(f"{printable(source)} cannot be shown to generated code: your home folder lies in it.")
        if not any(_within(target, above) for _, above in shown):
            shown.append([source, target])
    return shown


def _within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")


@contextmanager
def _folder(isolated: bool) -> Iterator[str]:
    """Where the command starts: a folder of its own file system, or one that is removed afterwards."""
    if isolated:
        yield "/box"
        return
    with tempfile.TemporaryDirectory(prefix="isheep-code-", ignore_cleanup_errors=True) as folder:
        yield folder


@contextmanager
def _file(content: bytes) -> Iterator[IO[bytes]]:
    """The content as an open file that can only be read and has no name any more."""
    with tempfile.NamedTemporaryFile(prefix="isheep-stdin-", delete=False) as written:
        place = Path(written.name)
        written.write(content)
    try:
        opened = place.open("rb")
    finally:
        place.unlink()
    with opened:
        yield opened


def _read(process: subprocess.Popen[bytes], status: int, limits: Limits) -> tuple[str, bytes, bytes, bytes]:
    """Which limit was passed, if any, with status, stdout and stderr, read until all are closed or a limit is."""
    streams: dict[int, bytearray] = {}
    if process.stdout is None or process.stderr is None:
        raise ValueError("the process was started without pipes")
    out, err = process.stdout.fileno(), process.stderr.fileno()
    deadline = time.monotonic() + limits.wall_s + GRACE_S
    over = ""
    with selectors.DefaultSelector() as selector:
        for descriptor in (status, out, err):
            selector.register(descriptor, selectors.EVENT_READ)
            streams[descriptor] = bytearray()
        while selector.get_map() and not over:
            left = deadline - time.monotonic()
            for key, _ in selector.select(max(0.0, left)):
                data = os.read(key.fd, 65536)
                streams[key.fd] += data
                if not data:
                    selector.unregister(key.fd)
            if left <= 0:
                over = "wall"
            elif len(streams[out]) + len(streams[err]) > limits.output:
                over = "output"
    told, stdout, stderr = (bytes(streams[one][: limits.output]) for one in (status, out, err))
    return over, told, stdout, stderr


def _end(process: subprocess.Popen[bytes], isolated: bool) -> None:
    """Ends the child if it still runs, and with it everything inside."""
    if not isolated and process.poll() is None:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(GRACE_S)
    process.kill()
    process.wait()
    for stream in (process.stdout, process.stderr):
        if stream is not None:
            stream.close()


def _told(over: str, status: bytes, stdout: bytes, stderr: bytes) -> Ended:
    told: dict[str, Any] = json.loads(status.splitlines()[0]) if status else {}
    if "unavailable" in told:
        raise StageError(f"generated code cannot be isolated here ({printable(told['unavailable'])}).")
    if over:
        return Ended(over, 0, stdout, stderr)
    if not told:
        said = printable(stderr.decode(errors="replace").strip())[-300:]
        raise StageError(f"the sandbox ended without a word ({said}).")
    return Ended(told["ended"], told["code"], stdout, stderr)
