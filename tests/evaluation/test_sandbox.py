"""Hostile programs, run for real: each is stopped, and nothing outside notices."""

from __future__ import annotations

import ast
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from isheep.errors import StageError
from isheep.evaluation import sandbox
from isheep.evaluation.sandbox import Ended, Limits, run
from tests.evaluation.walls import needs_walls

OWN = (sys.prefix, sys.base_prefix)
DEAF = """
import signal, time
for number in range(1, 32):
    try: signal.signal(number, signal.SIG_IGN)
    except OSError: pass
time.sleep(60)
"""
SHORT = Limits(cpu_s=4, wall_s=4, memory=2**30, processes=8, file=4 * 2**20, disk=16 * 2**20, output=100_000)


def python(program: str, limits: Limits = SHORT, *, isolated: bool = True, stdin: bytes = b"") -> Ended:
    return run([sys.executable, "-I", "-c", program], limits, visible=OWN, isolated=isolated, stdin=stdin)


@pytest.fixture
def no_new_processes() -> Iterator[None]:
    """Afterwards no process is left that was not there before, but for those of others (whose parents are others)."""
    yield
    deadline = time.monotonic() + 5
    while left := [*descendants(os.getpid())]:
        assert time.monotonic() < deadline, left
        time.sleep(0.05)


def descendants(parent: int) -> Iterator[int]:
    for task in Path(f"/proc/{parent}/task").iterdir():
        for child in map(int, (task / "children").read_text().split()):
            yield child
            yield from descendants(child)


pytestmark = pytest.mark.usefixtures("no_new_processes")


@pytest.mark.parametrize("isolated", [pytest.param(True, marks=needs_walls), False])
def test_a_program_reads_writes_and_ends_as_it_would_outside(isolated: bool) -> None:
    program = (
        "import sys; print(sys.stdin.read()[::-1]); print('so', file=sys.stderr)\n"
        "open('x', 'w').write('y'); sys.exit(7)"
    )
    ended = python(program, isolated=isolated, stdin=b"wohin")
    assert ended == Ended("exit", 7, b"nihow\n", b"so\n")
    assert ended.reason == "exit code 7"


@pytest.mark.parametrize("isolated", [pytest.param(True, marks=needs_walls), False])
@pytest.mark.parametrize(
    ("program", "how"),
    [
        ("import time; time.sleep(60)", "wall"),
        (DEAF, "wall"),
        ("import os\nif os.fork() == 0:\n  os.setsid()\n  while True: pass\nos.wait()", "wall"),
        ("while True: print('x' * 1000)", "output"),
        ("import os\nwhile True: os.write(2, b'x' * 65536)", "output"),
        ("import os; os.kill(os.getpid(), 9)", "signal"),
        ("open('f', 'wb').write(bytes(8 * 2**20))", "exit"),
        ("x = bytearray(2 * 2**30)", "exit"),
    ],
)  # fmt: skip
def test_a_limit_stops_it(isolated: bool, program: str, how: str) -> None:
    started = time.monotonic()
    ended = python(program, Limits(cpu_s=9, wall_s=3, memory=2**30, file=2**20, output=100_000), isolated=isolated)
    assert ended.how == how
    assert ended.code != 0 or how in ("wall", "output")
    assert time.monotonic() - started < 30  # and not the minute that two of them sleep
    assert len(ended.stdout) + len(ended.stderr) <= 200_000


@pytest.mark.parametrize("isolated", [pytest.param(True, marks=needs_walls), False])
def test_time_of_the_processor_is_limited_too(isolated: bool) -> None:
    ended = python("while True: pass", Limits(cpu_s=1, wall_s=60), isolated=isolated)
    assert (ended.how, ended.reason[:17]) == ("signal", "killed by signal ")


@pytest.mark.parametrize("isolated", [pytest.param(True, marks=needs_walls), False])
def test_what_a_program_leaves_behind_ends_with_it(isolated: bool, tmp_path: Path) -> None:
    program = (
        "import os, time\nif os.fork() == 0:\n  os.setsid()\n  if os.fork() == 0: time.sleep(60)\n  time.sleep(60)"
    )
    started = time.monotonic()
    assert python(program, isolated=isolated).code == 0
    assert time.monotonic() - started < 30


@needs_walls
def test_forks_without_end_find_their_end(no_new_processes: None) -> None:
    program = "import os\nmade = 0\nwhile True:\n  try:\n    os.fork()\n    made += 1\n  except OSError: pass"
    ended = python(program)
    assert ended.how in ("wall", "signal")
    counted = python("import os, time\nn = 0\nwhile os.fork():\n  n += 1\n  print(n, flush=True)\ntime.sleep(9)")
    assert b"BlockingIOError" in counted.stderr
    assert int(counted.stdout.split()[-1]) < SHORT.processes


@needs_walls
def test_the_disk_is_not_filled() -> None:
    program = (
        "n = 0\nwhile True:\n"
        "  try:\n    with open(f'{n}', 'wb') as f: f.write(bytes(2**20))\n"
        "  except OSError as e:\n    print(n, e.strerror); break\n"
        "  n += 1"
    )
    ended = python(program)
    count, _, reason = ended.stdout.decode().strip().partition(" ")
    assert (int(count) <= 16, reason) == (True, "No space left on device")
    names = python("n = 0\nwhile True:\n  try: open(f'{n}', 'w').close()\n  except OSError: print(n); break\n  n += 1")
    assert int(names.stdout) < 20_000


@needs_walls
def test_there_is_no_network() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        reach = f"import socket\nsocket.create_connection(('127.0.0.1', {server.getsockname()[1]}), timeout=1)"
        assert python(reach, isolated=False).code == 0
        server.accept()[0].close()
        inside = python(reach)
        assert (inside.code, b"OSError" in inside.stderr) == (1, True)
        with pytest.raises(BlockingIOError):
            server.accept()
    for place in ("('1.1.1.1', 53)", "('::1', 1)"):
        kind = "AF_INET6" if ":" in place else "AF_INET"
        sent = python(f"import socket\nsocket.socket(socket.{kind}, socket.SOCK_DGRAM).sendto(b'x', {place})")
        assert (sent.code, b"OSError" in sent.stderr) == (1, True)


@needs_walls
def test_neither_home_nor_anything_else_of_ours_can_be_read(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("the secret")
    for path in (secret, Path.home() / ".bashrc", Path.home() / ".ssh", Path(__file__), Path("/etc/passwd")):
        assert b"FileNotFoundError" in python(f"open({str(path)!r})").stderr
    seen = python("import os; print(os.listdir('/')); print(os.listdir(), os.listdir('/dev/shm'))").stdout.decode()
    top, empty = seen.splitlines()
    shown = {one.parts[1] for path in map(Path, OWN) for one in (path, path.resolve())}
    assert not {"home", "mnt", "sys", "old", "var", "root", "work", "srv", "opt"} & (set(ast.literal_eval(top)) - shown)
    assert empty == "[] []"


@needs_walls
def test_nothing_that_is_shown_can_be_written() -> None:
    for path in (*OWN, "/usr/lib", "/usr/bin", "/"):
        program = (
            f"import os\ntry:\n  os.chmod({path!r}, 0o777)\n  open({path!r} + '/isheep-was-here', 'w')\n"
            "except OSError: print('no')"
        )
        assert python(program).stdout == b"no\n"
    assert not (Path(sys.prefix) / "isheep-was-here").exists()


@needs_walls
def test_there_are_no_rights_and_no_other_processes() -> None:
    program = """
import ctypes, os, signal, socket
libc = ctypes.CDLL(None, use_errno=True)
header, data = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
libc.capget(header, data)
print(sum(data), libc.prctl(39, 0, 0, 0, 0), os.getuid() not in (0, OUTSIDE), socket.gethostname())
print(libc.mount(b"none", b"/tmp", b"tmpfs", 0, None), os.getppid(), os.getpid() < 10)
for process in (1, OUTER):
    try: os.kill(process, signal.SIGKILL)
    except OSError as error: print(type(error).__name__)
print(libc.ptrace(16, 1, 0, 0), sorted(set(os.environ) - {"LC_CTYPE"}))
"""
    program = program.replace("OUTSIDE", str(os.getuid())).replace("OUTER", str(os.getpid()))
    lines = python(program).stdout.decode().splitlines()
    assert lines[0] == "0 1 True sandbox"
    assert lines[1] == "-1 1 True"
    assert "ProcessLookupError" in lines
    assert lines[-1] == "-1 ['HOME', 'LANG', 'PATH', 'TMPDIR']"


@needs_walls
def test_an_ordinary_user_has_it_too() -> None:
    """As a user without rights of its own, where this test has the rights to become one."""
    interpreter = "/usr/bin/python3"
    if os.geteuid() != 0 or not Path(interpreter).exists():
        pytest.skip("needs root, and a Python that everybody may read")
    source = Path(sandbox.__file__).parents[2]
    packages = next(path for path in sys.path if path.endswith("site-packages"))
    program = f"""
import os, sys
sys.path += [{str(source)!r}, {packages!r}]
from isheep.evaluation.sandbox import Limits, refuse_without, run
refuse_without()
program = "import os; print(os.getuid(), os.listdir(), os.path.exists('/home'))"
print(run([sys.executable, "-I", "-c", program], Limits(wall_s=5)).stdout.decode())
forks = "import os\\nwhile True:\\n  try: os.fork()\\n  except OSError: pass"
print(run([sys.executable, "-I", "-c", forks], Limits(wall_s=2, cpu_s=9, processes=8)).how)
"""
    version = subprocess.run(
        [interpreter, "-c", "import sys; print(sys.version_info[:2])"], capture_output=True, text=True
    )
    if version.stdout.strip() != str(sys.version_info[:2]):
        pytest.skip("the system's Python cannot read the packages of this one")
    try:
        ended = subprocess.run(
            [interpreter, "-c", program],
            capture_output=True,
            text=True,
            user=54321,
            group=54321,
            extra_groups=[],
            env={"HOME": "/nonexistent", "PATH": "/usr/bin:/bin"},
            cwd="/",
            check=False,
        )
    except PermissionError:
        pytest.skip("the project lies where only its owner may read")
    if "Permission denied" in ended.stderr or "No module named" in ended.stderr:
        pytest.skip("the project lies where only its owner may read")
    assert ended.stdout.split("\n") == ["65534 [] False", "", "wall", ""], ended.stderr


def test_home_is_never_shown() -> None:
    with pytest.raises(StageError, match="your home folder lies in it"):
        run([sys.executable, "-c", "1"], SHORT, visible=[Path.home()])
    with pytest.raises(StageError, match="your home folder lies in it"):
        run([sys.executable, "-c", "1"], SHORT, visible=["/"])


@needs_walls
def test_a_command_that_is_not_there_is_said() -> None:
    with pytest.raises(StageError, match="No such file or directory"):
        run(["/nonexistent/python"], SHORT)


def test_where_walls_cannot_be_put_up_the_user_is_told_how_to_mend_it() -> None:
    """In a namespace that may make no further ones, as containers are often set up."""
    program = """
from isheep.errors import UserError
from isheep.evaluation.sandbox import refuse_without
try: refuse_without()
except UserError as error: print(error.where, "|", error)
"""
    shell = 'for kind in user mnt net; do echo 0 > /proc/sys/user/max_${kind}_namespaces || exit 9; done; exec "$@"'
    environment = {**os.environ, "PYTHONPATH": str(Path(sandbox.__file__).parents[2])}
    command = ["unshare", "--user", "--map-root-user", "sh", "-c", shell, "sh"]
    if subprocess.run([*command, "true"], capture_output=True, check=False).returncode:
        pytest.skip("needs user namespaces to take them away")
    command += [sys.executable, "-c", program]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith(
        "evaluate.sandbox | evaluate.sandbox: generated code cannot be isolated here (unshare"
    )
    assert "evaluate.sandbox=false" in ended.stdout


@needs_walls
def test_it_ends_when_we_are_killed() -> None:
    program = f"""
import sys
from isheep.evaluation.sandbox import Limits, run
run([sys.executable, "-I", "-c", "import time; time.sleep(4321)"], Limits(wall_s=60), visible={OWN!r})
"""
    environment = {**os.environ, "PYTHONPATH": str(Path(sandbox.__file__).parents[2])}
    process = subprocess.Popen([sys.executable, "-c", program], env=environment)
    deadline = time.monotonic() + 20
    while len(inside := [*descendants(process.pid)]) < 3:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.kill()
    process.wait()
    while any(Path(f"/proc/{one}").exists() for one in inside):
        assert time.monotonic() < deadline
        time.sleep(0.05)
