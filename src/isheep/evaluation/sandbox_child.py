"""Puts up the walls and starts the command behind them: what `isheep.evaluation.sandbox` runs as a process of its own.

Standard library only, and nothing of isheep: it is started with `python -I -S FILE PLAN`, where PLAN is JSON. What
becomes of the command is written to the descriptor `status` as one line of JSON, which the command itself never holds.

Isolated, there are three processes: this one; the first process of a new PID namespace, which keeps the command
company and with whose end the kernel ends everything inside; and the command, without rights.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import resource
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

LIBC = ctypes.CDLL(None, use_errno=True)

# From <sched.h>: mounts, UTS, IPC, processes, network; and users, for who is not root.
NEW_SPACES = 0x00020000 | 0x04000000 | 0x08000000 | 0x20000000 | 0x40000000
NEW_USERS = 0x10000000

# From <sys/mount.h>.
READ_ONLY, NO_SUID, NO_DEV, NO_EXEC, NO_ATIME, NO_DIRATIME = 1, 2, 4, 8, 1024, 2048
REMOUNT, BIND, RECURSIVE, PRIVATE, REL_ATIME = 32, 4096, 16384, 1 << 18, 1 << 21
DETACH = 2
KEPT_OPTIONS = {
    "nosuid": NO_SUID,
    "nodev": NO_DEV,
    "noexec": NO_EXEC,
    "noatime": NO_ATIME,
    "nodiratime": NO_DIRATIME,
    "relatime": REL_ATIME,
}
"""A mount that another user made may not lose these."""

# From <linux/prctl.h>.
SET_DEATH_SIGNAL, SET_DUMPABLE, DROP_BOUNDING, SET_NO_NEW_PRIVILEGES = 1, 4, 24, 38

NOBODY = 65534
UNUSED = 1_879_048_192
"""From here on no system gives user ids away; with a process id added, nobody else has this one."""

OLD = "/old"
DEVICES = ("/dev/null", "/dev/zero", "/dev/random", "/dev/urandom")
FACTS = ("/proc/meminfo", "/proc/stat")
"""There is no /proc inside: psutil, which evalplus asks for the memory, reads copies."""


def main() -> None:
    """Runs the plan; the exit code says nothing, the status line does."""
    plan = json.loads(sys.argv[1])
    os.set_inheritable(plan["status"], False)
    LIBC.prctl(SET_DEATH_SIGNAL, signal.SIGKILL)
    if os.getppid() != plan["parent"]:
        os._exit(1)
    try:
        # Where memory runs out, the kernel ends these first.
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
        if not plan["isolated"]:
            _keep(plan, None)
        user = _enter(plan["limits"])
        first = os.fork()
        if first == 0:
            _first(plan, user)
        os.waitpid(first, 0)
    except Exception as error:
        _report(plan, unavailable=_reason(error))


def _first(plan: dict[str, Any], user: int | None) -> NoReturn:
    """The first process of the new PID namespace."""
    try:
        LIBC.prctl(SET_DEATH_SIGNAL, signal.SIGKILL)
        socket.sethostname("sandbox")
        _build_root(plan)
        LIBC.prctl(SET_DUMPABLE, 0)
        _keep(plan, user)
    except Exception as error:
        _report(plan, unavailable=_reason(error))
    finally:
        os._exit(1)


def _enter(limits: dict[str, int]) -> int | None:
    """New namespaces, with one of users where root's rights are not at hand; the user id to change to, if any."""
    if os.geteuid() == 0 and LIBC.unshare(NEW_SPACES) == 0:
        return _free_user()
    user, group, tasks = os.geteuid(), os.getegid(), _own_tasks()
    _call("unshare", NEW_SPACES | NEW_USERS)
    Path("/proc/self/setgroups").write_text("deny", encoding="ascii")
    Path("/proc/self/uid_map").write_text(f"{NOBODY} {user} 1", encoding="ascii")
    Path("/proc/self/gid_map").write_text(f"{NOBODY} {group} 1", encoding="ascii")
    # Before 5.14 the limit counts all the processes of the user, within the namespace or not.
    release = [int("".join(filter(str.isdigit, part)) or 0) for part in os.uname().release.split(".")[:2]]
    if release < [5, 14]:
        limits["processes"] += tasks
    return None


def _free_user() -> int:
    """A user id that no other process has, so that limits per user are this sandbox's own; nobody's where ids end."""
    user = UNUSED + os.getpid()
    for line in Path("/proc/self/uid_map").read_text(encoding="ascii").splitlines():
        first, _, count = map(int, line.split())
        if first <= user < first + count:
            return user
    return NOBODY


def _own_tasks() -> int:
    """Processes and threads that this user runs."""
    count = 0
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if folder.stat().st_uid == os.geteuid():
                count += len(list((folder / "task").iterdir()))
        except OSError:
            continue
    return count


def _build_root(plan: dict[str, Any]) -> None:
    """A file system in memory, on it what may be read; the real one is let go."""
    _mount("", "/", "", RECURSIVE | PRIVATE)
    # Over /tmp, which exists everywhere: once it is the root, what it covered is there again, under the old one.
    # S108: on a file system of its own, which nobody else sees.
    _mount("tmpfs", "/tmp", "tmpfs", NO_SUID | NO_DEV, f"size={plan['limits']['disk']},nr_inodes=16384,mode=755")  # noqa: S108
    os.chdir("/tmp")  # noqa: S108  # as above
    Path("old").mkdir()
    _call("pivot_root", b".", b"old")
    os.chdir("/")
    os.umask(0)
    for folder, mode in (
        (plan["folder"], 0o1777),
        ("/tmp", 0o1777),  # noqa: S108  # as above
        ("/dev", 0o755),
        ("/dev/shm", 0o1777),  # noqa: S108  # as above
        ("/proc", 0o755),
    ):
        Path(folder).mkdir(mode)
    os.umask(0o022)
    for fact in FACTS:
        Path(fact).write_bytes(Path(OLD + fact).read_bytes())
    for source, target in plan["visible"]:
        _show(source, target)
    _make_read_only()
    for device in DEVICES:
        _show(device, device)
    _call("umount2", OLD.encode(), DETACH)
    Path(OLD).rmdir()


def _show(source: str, target: str) -> None:
    """Binds a file or folder; a link is made again as it stands."""
    old, place = Path(OLD + source), Path(target)
    place.parent.mkdir(parents=True, exist_ok=True)
    if old.is_symlink():
        place.symlink_to(old.readlink())
        return
    if old.is_dir():
        place.mkdir(exist_ok=True)
    else:
        place.touch()
    _mount(str(old), target, "", BIND | RECURSIVE)


def _make_read_only() -> None:
    """Every mount that has been bound so far, those below them included."""
    # Nothing may be imported from here on, codecs included: this Python's own library may not be in sight any more.
    for line in Path(f"{OLD}/proc/self/mountinfo").read_bytes().splitlines():
        fields = line.split(b" ")
        target = re.sub(rb"\\(\d{3})", lambda match: bytes([int(match[1], 8)]), fields[4])
        if target == b"/" or (target + b"/").startswith(f"{OLD}/".encode()):
            continue
        kept = sum(KEPT_OPTIONS.get(option, 0) for option in fields[5].decode().split(","))
        flags = kept | REMOUNT | BIND | READ_ONLY | NO_SUID | NO_DEV
        _call("mount", None, target, None, ctypes.c_ulong(flags), None, detail=os.fsdecode(target))


def _keep(plan: dict[str, Any], user: int | None) -> NoReturn:
    """Starts the command, waits for its end or for that of its time, says which it was, and ends with it."""
    limits = plan["limits"]
    if not plan["isolated"]:
        LIBC.prctl(36, 1)  # PR_SET_CHILD_SUBREAPER: what the command leaves behind becomes a child of this process.
    command = os.fork()
    if command == 0:
        _become(plan, user)

    def over(number: int, frame: FrameType | None) -> NoReturn:
        raise TimeoutError

    signal.signal(signal.SIGALRM, over)
    signal.signal(signal.SIGTERM, over)
    signal.setitimer(signal.ITIMER_REAL, limits["wall_s"])
    try:
        while True:
            process, status = os.waitpid(-1, 0)
            if process == command:
                break
        signal.setitimer(signal.ITIMER_REAL, 0)
        code = os.waitstatus_to_exitcode(status)
        _report(plan, ended="exit" if code >= 0 else "signal", code=abs(code))
    except TimeoutError:
        _report(plan, ended="wall", code=0)
    if not plan["isolated"]:
        _end_children()
    os._exit(0)


def _become(plan: dict[str, Any], user: int | None) -> NoReturn:
    """This process turns into the command, with its limits and without rights."""
    try:
        os.setsid()
        for number in (signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)
        _limit(plan["limits"])
        if plan["isolated"]:
            for capability in range(64):
                LIBC.prctl(DROP_BOUNDING, capability, 0, 0, 0)
            if user is not None:
                os.setgroups([])
                os.setresgid(user, user, user)
                os.setresuid(user, user, user)
        if LIBC.prctl(SET_NO_NEW_PRIVILEGES, 1, 0, 0, 0):
            raise OSError(ctypes.get_errno(), "no_new_privs")
        os.chdir(plan["folder"])
        # S606: generated code runs here on purpose: the walls stand.
        os.execve(plan["command"][0], plan["command"], plan["environment"])  # noqa: S606
    except Exception as error:
        _report(plan, unavailable=_reason(error))
    finally:
        os._exit(127)


def _limit(limits: dict[str, int]) -> None:
    values = {
        resource.RLIMIT_CPU: limits["cpu_s"],
        resource.RLIMIT_AS: limits["memory"],
        resource.RLIMIT_FSIZE: limits["file"],
        resource.RLIMIT_NOFILE: limits["files"],
        resource.RLIMIT_NPROC: limits["processes"],
        resource.RLIMIT_CORE: 0,
    }
    for which, value in values.items():
        highest = resource.getrlimit(which)[1]
        value = value if highest == resource.RLIM_INFINITY else min(value, highest)
        resource.setrlimit(which, (value, value))


def _end_children() -> None:
    """Kills whatever the command left, and what that leaves, until nothing is left."""
    children = Path(f"/proc/self/task/{os.getpid()}/children")
    while True:
        for child in children.read_text(encoding="ascii").split():
            os.kill(int(child), signal.SIGKILL)
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


def _mount(source: str, target: str, kind: str, flags: int, data: str = "") -> None:
    arguments = (os.fsencode(text) or None for text in (source, target, kind))
    _call("mount", *arguments, ctypes.c_ulong(flags), os.fsencode(data) or None, detail=target)


def _call(name: str, *arguments: Any, detail: str = "") -> None:
    function: Callable[..., int] = getattr(LIBC, name)
    if function(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name} {detail}".strip() + f": {os.strerror(number)}")


def _reason(error: Exception) -> str:
    if not isinstance(error, OSError):
        return f"{type(error).__name__}: {error}"
    return f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror)


def _report(plan: dict[str, Any], **told: Any) -> None:
    os.write(plan["status"], (json.dumps(told) + "\n").encode())


if __name__ == "__main__":
    main()
