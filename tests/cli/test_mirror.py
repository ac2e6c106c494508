"""The user's command with a URL, on a real S3 server: it goes on on another machine as if nothing had happened."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from itertools import cycle
from pathlib import Path

import pytest

from isheep.store.files import WHOLE
from isheep.store.index import collect, read_index
from isheep.store.remote import Remote
from tests.cli.conftest import ISHEEP, quiet
from tests.cli.test_kill import everything
from tests.s3 import Server, serving

SMALL = (
    "lamb", "iterations=1", "size=32", "train.steps=350", "train.evaluate_every=10", "evaluate.limit=10",
    "engine.batch_size=8", "engine.window=1",
)  # fmt: skip
"""The training outlasts a while without a server."""
URL = "s3://runs/lamb"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving("runs") as started:
        yield started


class Machine:
    """One with nothing on it yet."""

    def __init__(self, folder: Path) -> None:
        self.cache, self.said = folder, folder.with_suffix(".said")
        # The library would try again for longer than a small run takes.
        self._environment = {**quiet(), "ISHEEP_CACHE": str(folder), "AWS_MAX_ATTEMPTS": "1"}

    def start(self, *words: str) -> subprocess.Popen[bytes]:
        """What it says goes into `said`."""
        with self.said.open("w") as said:
            return subprocess.Popen([ISHEEP, *words], env=self._environment, stderr=said)

    def isheep(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([ISHEEP, *words], env=self._environment, capture_output=True, text=True, check=False)


def wait_for(process: subprocess.Popen[bytes], what: Callable[[], bool]) -> None:
    """Until it is so; the command must be at work until then."""
    while not what():
        assert process.poll() is None
        time.sleep(0.1)


def is_there(end: str) -> bool:
    """Whether a file whose name ends so counts at the URL."""
    index = read_index(Remote(URL))
    return index is not None and any(name.endswith(end) for name in index.files)


def test_a_run_at_a_url_goes_on_on_another_machine(server: Server, tmp_path: Path) -> None:
    one, two, three = (Machine(tmp_path / name) for name in ("one", "two", "three"))
    command = ["run", *SMALL, "--dir", URL]
    process = one.start(*command)
    wait_for(process, lambda: is_there("/instructions/part-00000.parquet"))

    refused = two.isheep(*command)
    assert refused.returncode == 2
    assert f"{URL}: is in use by process {process.pid} on " in refused.stderr
    assert json.loads(two.isheep("status", URL, "--json").stdout)["state"] == "running"

    server.stop()
    wait_for(process, lambda: "the run goes on in" in one.said.read_text())
    server.start()
    wait_for(process, lambda: f"{URL}: can be written again" in one.said.read_text())
    wait_for(process, lambda: is_there(f"/{WHOLE}"))
    process.kill()
    process.wait()

    # The machine is gone, and its disk.
    left = json.loads(two.isheep("status", URL, "--json").stdout)
    assert left["state"] == "interrupted"
    resumed = three.isheep(*command)
    assert resumed.returncode == 0, resumed.stderr
    assert f"{URL}: taken over from process {process.pid} on " in resumed.stderr
    (work,) = three.cache.glob("runs/*/work/lamb")

    undisturbed = tmp_path / "undisturbed"
    assert two.isheep("run", *SMALL, "--dir", str(undisturbed)).returncode == 0
    expected, found = everything(undisturbed), everything(work)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name] == value, name

    index = read_index(Remote(URL))
    assert index is not None
    assert index.files == {name: about[:2] for name, about in collect(work).items()}
    listed = Remote(URL).files()
    assert listed.keys() == {*index.files, "mirror.json"}
    assert {name: listed[name] for name in index.files} == {name: size for name, (size, _) in index.files.items()}

    assert json.loads(two.isheep("status", URL, "--json").stdout)["state"] == "finished"
    rows = json.loads(two.isheep("records", URL, "--json").stdout)
    ids = [row.id for name, table in expected.items() if name.endswith("/instructions") for row in table]
    assert [row["id"] for row in rows] == ids
    Remote(URL).remove(["report.html"])
    assert two.isheep("report", URL).returncode == 0
    assert {"report.html", "figures/scores.svg"} & Remote(URL).files().keys() >= {"report.html"}
    assert two.isheep("export", URL, "--to", str(tmp_path / "kept.csv")).returncode == 0
    assert not list(two.cache.rglob("*.safetensors"))
    measured = two.isheep("eval", URL, "--benchmarks", "lamb", "--limit", "2", "--iterations", "1", "--json")
    assert json.loads(measured.stdout).keys() == {"iteration-1"}


def test_a_document_reads_whole_while_it_is_written_again(server: Server) -> None:
    remote, contents = Remote("s3://runs/busy"), (b"a" * 1000, b"b" * 3000)
    remote.write("empty", b"")
    assert remote.read("empty", 3000) == b""
    remote.write("document", contents[0])
    over = threading.Event()

    def write() -> None:
        for content in cycle(contents):
            if over.is_set():
                return
            Remote("s3://runs/busy").write("document", content)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        found = {remote.read("document", 3000) for _ in range(200)}
    finally:
        over.set()
        writer.join()
    assert found <= set(contents)
