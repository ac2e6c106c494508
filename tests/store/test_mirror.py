"""A run at a URL: what is there is a state that the run had, it comes back whole, and nothing done here is lost."""

from __future__ import annotations

import json
import os
import random
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.local import LocalFileSystem

from isheep.errors import StageError, UserError
from isheep.store import mirror
from isheep.store.claim import NAME as CLAIM
from isheep.store.claim import Claim
from isheep.store.files import WHOLE, write_atomic
from isheep.store.index import INDEX, collect, read_index
from isheep.store.lock import InUse
from isheep.store.mirror import Place, _Sender, fetched, mirrored
from isheep.store.remote import Remote
from tests.s3 import serving

WEIGHTS = "iteration-01/adapter"


@pytest.fixture
def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr("isheep.store.claim.SETTLE_S", 0.0)
    monkeypatch.setenv("ISHEEP_CACHE", str(tmp_path / "one"))
    return f"file://{tmp_path}/far/run"


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """`elsewhere.setenv("ISHEEP_CACHE", ...)` is another machine."""
    with pytest.MonkeyPatch.context() as patch:
        yield patch


def put(folder: Path, files: dict[str, str]) -> None:
    for name, content in files.items():
        write_atomic(folder / name, content.encode())


def work(url: str, files: dict[str, str], error: Exception | None = None) -> None:
    """A command that makes the files, and fails then, if it does."""
    with mirrored(url) as here:
        put(here, files)
        if error is not None:
            raise error


@contextmanager
def cut_at(end: str) -> Iterator[None]:
    """Within the block no file whose name ends so gets there or comes from there."""
    put_file, opened = LocalFileSystem.put_file, LocalFileSystem._open

    def put_cut(self: Any, here: str, path: str, **kwargs: Any) -> None:
        if path.removesuffix(".tmp").endswith(end):
            raise OSError("the line is cut")
        put_file(self, here, path, **kwargs)

    def open_cut(self: Any, path: str, *args: Any, **kwargs: Any) -> Any:
        if path.endswith(end):
            raise OSError("the line is cut")
        return opened(self, path, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LocalFileSystem, "put_file", put_cut)
        patch.setattr(LocalFileSystem, "_open", open_cut)
        yield


def contents(folder: Path) -> dict[str, str]:
    return {name: (folder / name).read_text() for name in collect(folder)}


def there(url: str) -> dict[str, str]:
    """What counts at the URL."""
    index = read_index(Remote(url))
    assert index is not None
    return {name: (Path(url.removeprefix("file://")) / name).read_text() for name in index.files}


def test_what_is_made_here_is_there_and_comes_back_elsewhere(
    url: str, tmp_path: Path, elsewhere: pytest.MonkeyPatch
) -> None:
    with mirrored(url) as here:
        put(here, {"recipe.yaml": "r", "iteration-01/a.json": "1", "iteration-01/b.json": "2"})
        checkpoints = here / "iteration-01" / "checkpoints"
        write_atomic(checkpoints / "checkpoint-3" / "model", b"whole")
        write_atomic(checkpoints / "checkpoint-3" / WHOLE, b"{}")
        write_atomic(checkpoints / "checkpoint-6" / "model", b"half")
        (here / "progress.json").write_text("{}")
        (here / "adapter.x.tmp").mkdir()
        (here / "adapter.x.tmp" / "model").write_text("half")
        (here / "link").symlink_to("/etc/passwd")
    made = {
        "recipe.yaml": "r",
        "iteration-01/a.json": "1",
        "iteration-01/b.json": "2",
        "iteration-01/checkpoints/checkpoint-3/model": "whole",
        f"iteration-01/checkpoints/checkpoint-3/{WHOLE}": "{}",
    }
    assert there(url) == made
    assert not (tmp_path / "far" / "run" / CLAIM).exists()

    elsewhere.setenv("ISHEEP_CACHE", str(tmp_path / "two"))
    with mirrored(url) as here:
        assert here == Place(url).work
        assert contents(here) == made
        (here / "iteration-01" / "a.json").unlink()
        put(here, {"iteration-01/b.json": "3", "done.json": "{}"})
    after = {**made, "iteration-01/b.json": "3", "done.json": "{}"}
    del after["iteration-01/a.json"]
    assert there(url) == after
    assert not (tmp_path / "far" / "run" / "iteration-01" / "a.json").exists()

    elsewhere.undo()
    with mirrored(url) as here:
        assert contents(here) == after
    assert not list(here.parent.glob("*.unsent-*"))


def test_states_appear_while_the_run_is_at_work(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mirror, "LOOK_S", 0.02)
    with mirrored(url) as here:
        put(here, {"recipe.yaml": "r"})
        for _ in range(200):
            if there(url):
                break
            threading.Event().wait(0.05)
        assert there(url) == {"recipe.yaml": "r"}


def test_what_is_taken_is_a_state_that_the_run_had(url: str) -> None:
    """A count goes into one file after the other: in no state is a later file ahead of an earlier one."""
    place, remote, over = Place(url), Remote(url), threading.Event()
    claim = Claim(remote, place.token, place.work / "none")
    sender = _Sender(remote, place, claim, {})

    def write() -> None:
        count, pauses = 0, random.Random(0)
        while not over.is_set():
            for name in ("a.json", "b.json", "c.json"):
                put(place.work, {name: str(count)})
                over.wait(pauses.uniform(0, 0.15))
            count += 1

    put(place.work, {"recipe.yaml": "r", "a.json": "0", "b.json": "0", "c.json": "0"})
    writer = threading.Thread(target=write)
    writer.start()
    taken = set()
    for _ in range(30):
        if sender._snapshot() is not None:
            taken.add(tuple(int((place.links / name).read_text()) for name in ("a.json", "b.json", "c.json")))
    over.set()
    writer.join()
    claim.release()
    assert len(taken) > 5
    assert all(first >= second >= third >= first - 1 for first, second, third in taken), taken


def test_weights_that_are_others_now_are_never_half_there(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with mirrored(url) as here:
        write_atomic(here / "recipe.yaml", b"r")
        for name in ("config", "tensors"):
            write_atomic(here / WEIGHTS / name, b"old")
    monkeypatch.setattr(mirror, "LAST_TRIES", 1)
    with cut_at("tensors"), pytest.raises(StageError, match=r"is there \(the line is cut\). It lies whole in"):
        work(url, {f"{WEIGHTS}/config": "new", f"{WEIGHTS}/tensors": "new"})
    assert there(url) == {"recipe.yaml": "r"}
    with mirrored(url) as here:
        assert contents(here)[f"{WEIGHTS}/config"] == "new"
    assert there(url) == contents(here)


def test_what_was_not_sent_is_set_aside_where_the_run_went_on_elsewhere(
    url: str, tmp_path: Path, elsewhere: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with mirrored(url) as here:
        put(here, {"recipe.yaml": "r"})
    put(here, {"a.json": "made here, after the line was cut"})
    elsewhere.setenv("ISHEEP_CACHE", str(tmp_path / "two"))
    with mirrored(url) as other:
        put(other, {"b.json": "made there"})
    elsewhere.undo()
    with mirrored(url) as here:
        assert contents(here) == {"recipe.yaml": "r", "b.json": "made there"}
    assert "went on elsewhere" in capfd.readouterr().err
    (aside,) = here.parent.glob("*.unsent-*")
    assert contents(aside) == {"recipe.yaml": "r", "a.json": "made here, after the line was cut"}


@pytest.mark.parametrize("what", ["the copy", "all of it", "its recipe"])
def test_a_copy_that_is_gone_comes_back_and_takes_nothing_away(url: str, what: str) -> None:
    with mirrored(url) as here:
        put(here, {"recipe.yaml": "r", "a.json": "1"})
    gone = {"the copy": here, "all of it": Place(url).home, "its recipe": here / "recipe.yaml"}[what]
    gone.unlink() if gone.is_file() else shutil.rmtree(gone)
    with mirrored(url) as here:
        assert contents(here) == {"recipe.yaml": "r", "a.json": "1"}


def test_a_folder_that_is_moved_away_takes_nothing_away(url: str, tmp_path: Path) -> None:
    with mirrored(url) as here:
        put(here, {"recipe.yaml": "r", "a.json": "1"})
    with mirrored(url) as here:
        here.rename(tmp_path / "moved")
    assert there(url) == {"recipe.yaml": "r", "a.json": "1"}


def test_a_copy_that_was_cut_while_it_was_fetched_is_no_copy(
    url: str, tmp_path: Path, elsewhere: pytest.MonkeyPatch
) -> None:
    with mirrored(url) as here:
        put(here, {"recipe.yaml": "r", "a.json": "1", "b.json": "2"})
    elsewhere.setenv("ISHEEP_CACHE", str(tmp_path / "two"))
    with cut_at("b.json"), pytest.raises(StageError, match="the line is cut"):
        work(url, {})
    assert not Place(url).work.exists()
    with mirrored(url) as here:
        assert contents(here) == {"recipe.yaml": "r", "a.json": "1", "b.json": "2"}
    assert there(url) == contents(here)


def test_what_is_gone_there_is_named_and_the_rest_comes(
    url: str, tmp_path: Path, elsewhere: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with mirrored(url) as here:
        put(here, {"recipe.yaml": "r", "a.json": "1"})
        for name in ("config", "tensors"):
            write_atomic(here / WEIGHTS / name, b"w")
    for name in ("a.json", f"{WEIGHTS}/tensors"):
        (tmp_path / "far" / "run" / name).unlink()
    elsewhere.setenv("ISHEEP_CACHE", str(tmp_path / "two"))
    with mirrored(url) as here:
        assert contents(here) == {"recipe.yaml": "r"}
    said = capfd.readouterr().err
    assert "a.json: is gone" in said
    assert "tensors: is gone" in said


def test_a_document_that_was_sent_while_the_index_was_not_counts(
    url: str, tmp_path: Path, elsewhere: pytest.MonkeyPatch
) -> None:
    with mirrored(url) as here:
        put(here, {"recipe.yaml": "r", "a.json": "1"})
    (tmp_path / "far" / "run" / "a.json").write_text("newer")
    (tmp_path / "far" / "run" / "b.json").write_text("not in the index")
    elsewhere.setenv("ISHEEP_CACHE", str(tmp_path / "two"))
    with mirrored(url) as here:
        assert contents(here) == {"recipe.yaml": "r", "a.json": "newer"}


def test_a_run_that_was_copied_there_by_hand(url: str, tmp_path: Path) -> None:
    far = tmp_path / "far" / "run"
    put(far, {"recipe.yaml": "r", "a.json": "1"})
    assert contents(fetched(url)) == {"recipe.yaml": "r", "a.json": "1"}
    with mirrored(url) as here:
        assert contents(here) == {"recipe.yaml": "r", "a.json": "1"}
        put(here, {"b.json": "2"})
    assert there(url) == {"recipe.yaml": "r", "a.json": "1", "b.json": "2"}


def test_who_looks_gets_no_weights_and_knows_of_the_owner(
    url: str, tmp_path: Path, elsewhere: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with mirrored(url) as here:
        put(here, {"recipe.yaml": "r", "a.json": "1"})
        write_atomic(here / WEIGHTS / "tensors", b"w")
        write_atomic(here / "replaced-1" / "a.json", b"0")
    with mirrored(url) as here:
        assert fetched(url) == here  # What this machine works on is not fetched.
        elsewhere.setenv("ISHEEP_CACHE", str(tmp_path / "two"))
        seen = fetched(url)
        assert contents(seen) == {"recipe.yaml": "r", "a.json": "1"}
        assert f"in use by process {os.getpid()} on" in capfd.readouterr().err
        assert contents(fetched(url, weights=True)).keys() == {"recipe.yaml", "a.json", f"{WEIGHTS}/tensors"}
        elsewhere.undo()
    assert fetched(url) == here


def test_a_second_command_is_refused(url: str, tmp_path: Path, elsewhere: pytest.MonkeyPatch) -> None:
    with mirrored(url):
        with pytest.raises(InUse, match=f"{url}: is in use by process {os.getpid()} on .* since"):
            work(url, {"a.json": "1"})
        elsewhere.setenv("ISHEEP_CACHE", str(tmp_path / "two"))
        with pytest.raises(InUse, match=f"{url}: is in use by process {os.getpid()} on .* last heard of"):
            work(url, {"a.json": "1"})
        elsewhere.undo()
    assert there(url) == {}


def test_who_was_taken_over_sends_nothing_more(url: str, tmp_path: Path) -> None:
    def command() -> None:
        with mirrored(url) as here:
            put(here, {"recipe.yaml": "r"})
            lock.write_text(json.dumps({**json.loads(lock.read_text()), "token": "theirs"}))

    lock = tmp_path / "far" / "run" / CLAIM
    with pytest.raises(StageError, match="was taken over by process"):
        command()
    assert there(url) == {}
    assert contents(Place(url).work) == {"recipe.yaml": "r"}
    assert "theirs" in lock.read_text()


def test_an_error_of_the_run_is_not_hidden_by_one_of_the_sending(
    url: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(mirror, "LAST_TRIES", 1)
    with cut_at("recipe.yaml"), pytest.raises(StageError, match="of its own"):
        work(url, {"recipe.yaml": "r"}, StageError("of its own"))
    assert "the same command sends the rest" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("thesis.tex", "", "is not a run .* and not empty"),
        (INDEX, "{", "does not read"),
        (INDEX, "[]", "it lists no files"),
        (INDEX, '{"writer": 3, "files": {}}', "it lists no files"),
        (INDEX, '{"writer": "a", "files": {"a": 3}}', "it lists no files"),
    ],
)
def test_other_things_at_the_url(url: str, tmp_path: Path, name: str, content: str, says: str) -> None:
    put(tmp_path / "far" / "run", {name: content})
    with pytest.raises(UserError, match=says):
        work(url, {"recipe.yaml": "r"})
    assert {file.name for file in (tmp_path / "far" / "run").iterdir()} == {name}


def test_names_in_an_index_that_lead_elsewhere_are_left_out(url: str, tmp_path: Path) -> None:
    far = tmp_path / "far" / "run"
    (tmp_path / "far").mkdir()
    (tmp_path / "far" / "secret").write_text("s")
    put(far, {"recipe.yaml": "r"})
    files = {name: [1, 0] for name in ("recipe.yaml", "../secret", str(tmp_path / "far" / "secret"), "lock")}
    (far / INDEX).write_text(json.dumps({"writer": "w", "files": files}))
    with mirrored(url) as here:
        assert contents(here) == {"recipe.yaml": "r"}
    assert {path.name for path in Place(url).home.rglob("*")} & {"secret"} == set()


def test_a_server_that_is_away_at_the_end_gets_the_rest_from_the_next_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ISHEEP_CACHE", str(tmp_path / "one"))
    monkeypatch.setattr(mirror, "LAST_TRIES", 1)
    url = "s3://runs/mine"

    def command() -> None:
        with mirrored(url) as here:
            server.stop()
            put(here, {"recipe.yaml": "r", "a.json": "1"})

    with serving("runs") as server:
        with pytest.raises(StageError, match=r"It lies whole in .*; the same command sends the rest"):
            command()
        with pytest.raises(StageError, match=f"{url}: cannot be reached"):
            fetched(url)
        server.start()
        work(url, {})
        assert Remote(url).files().keys() == {"recipe.yaml", "a.json", INDEX}
        with pytest.raises(UserError, match=r"s3://none/mine: cannot be looked at .* Make the bucket"):
            work("s3://none/mine", {})
