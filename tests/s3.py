"""A real S3 server (moto's) in a process of its own, which can be away for a while and forgets nothing meanwhile."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

SERVER = """
import sys
from moto.server import ThreadedMotoServer
port = 0
for line in sys.stdin:
    if line == "start\\n":
        server = ThreadedMotoServer(ip_address="127.0.0.1", port=port, verbose=False)
        server.start()
        port = server.get_host_and_port()[1]
    else:
        server.stop()
    print(port, flush=True)
"""


class Server:
    """It answers at `url` between `start` and `stop`."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.url = f"http://127.0.0.1:{self.start()}"

    def start(self) -> int:
        """Returns its port, always the same one."""
        return self._told("start")

    def stop(self) -> None:
        """Whoever asks is refused from now on."""
        self._told("stop")

    def _told(self, word: str) -> int:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{word}\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())


@contextmanager
def serving(bucket: str) -> Iterator[Server]:
    """A server with one bucket, to which the environment points; the test is skipped where moto or s3fs is missing."""
    pytest.importorskip("moto")
    s3fs = pytest.importorskip("s3fs")
    with (
        subprocess.Popen(
            [sys.executable, "-c", SERVER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        ) as process,
        pytest.MonkeyPatch.context() as patch,
    ):
        try:
            server = Server(process)
            patch.setenv("AWS_ENDPOINT_URL", server.url)
            patch.setenv("AWS_ACCESS_KEY_ID", "somebody")
            patch.setenv("AWS_SECRET_ACCESS_KEY", "something")
            patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
            patch.setenv("AWS_MAX_ATTEMPTS", "1")  # Its own tries would hide that it is away.
            s3fs.S3FileSystem.clear_instance_cache()
            s3fs.S3FileSystem().mkdir(bucket)
            yield server
        finally:
            process.kill()
            s3fs.S3FileSystem.clear_instance_cache()
