"""A folder at a URL: nothing that is listed there leads out of it, and no key gets into what is written down."""

from __future__ import annotations

from pathlib import Path

import pytest

from isheep.errors import StageError, UserError
from isheep.store.remote import Remote, is_safe, is_url, refuse_no_room


@pytest.mark.parametrize(
    "name", ["..", "../a", "a/../../b", "/etc/passwd", "a//b", "a/.", "", "a\\b", "a\nb", "a\x00b"]
)
def test_names_that_lead_elsewhere(name: str) -> None:
    assert not is_safe(name)


@pytest.mark.parametrize("name", ["recipe.yaml", "iteration-01/evaluation/größe.jsonl", "a/..b", ".hidden"])
def test_names_of_a_run(name: str) -> None:
    assert is_safe(name)


@pytest.mark.parametrize(
    ("text", "url"),
    [("s3://b/x", True), ("FILE:///x", True), ("memory://x", True), ("runs/x", False), ("a:b", False), ("./s3", False)],
)
def test_what_is_a_url(text: str, url: bool) -> None:
    assert is_url(text) is url


@pytest.mark.parametrize(
    "url",
    ["s3://me:word@b/x", "https://h/b/x?sig=1", "s3://b/x#k", "filecache::s3://b/x", "s3://b/a-long-secret-word"],
)
def test_a_url_with_a_key_is_refused_and_not_repeated(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_TOKEN", "a-long-secret-word")
    with pytest.raises(UserError, match="keys belong into the environment") as refused:
        Remote(url)
    assert url not in str(refused.value)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("nope://b/x", "fsspec knows no protocol `nope`"),
        ("file:///", "names no folder"),
        ("s3://bucket/", "names no folder"),
        ("dropbox://b/x", "needs the package `dropboxdrivefs`"),
    ],
)
def test_a_url_that_cannot_be_one(url: str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        Remote(url)


def test_written_read_listed_and_removed(tmp_path: Path) -> None:
    remote = Remote(f"file://{tmp_path}/far/run/")
    assert remote.files() == {}
    assert remote.read("a/b", 10) is None
    remote.write("a/b", b"12345")
    remote.write("a/b", b"123")
    (tmp_path / "here").write_bytes(b"x" * 100)
    remote.put(tmp_path / "here", "c")
    assert remote.files() == {"a/b": 3, "c": 100}
    assert remote.read("a/b", 3) == b"123"
    with pytest.raises(ValueError, match="more than 2 bytes"):
        remote.read("a/b", 2)
    remote.remove(["a/b", "none"])
    assert remote.files() == {"c": 100}
    with pytest.raises(FileExistsError):
        remote.create("c", b"")


def test_no_link_is_followed_and_no_strange_name_taken(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    far = tmp_path / "far"
    far.mkdir()
    (far / "sound").write_bytes(b"1")
    (tmp_path / "secret").write_bytes(b"2")
    (far / "link").symlink_to(tmp_path / "secret")
    (far / "a\\b").write_bytes(b"3")
    assert Remote(f"file://{far}").files() == {"sound": 1}
    assert "1 names that no run has" in caplog.text


@pytest.mark.parametrize("listed", [9, 11])
def test_nothing_is_fetched_beyond_or_below_its_size(tmp_path: Path, listed: int) -> None:
    remote = Remote(f"file://{tmp_path}/far")
    remote.write("a", b"0123456789")
    with pytest.raises(StageError, match="changed while it was fetched"):
        remote.fetch("a", tmp_path / "here" / "a", listed)
    assert not list((tmp_path / "here").iterdir())
    remote.fetch("a", tmp_path / "here" / "a", 10)
    assert (tmp_path / "here" / "a").read_bytes() == b"0123456789"


def test_what_does_not_fit_is_not_begun(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="have to be fetched"):
        refuse_no_room(tmp_path, 1 << 60)
