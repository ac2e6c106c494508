"""`isheep push`: what it lays out to look at, that nothing leaves without --yes, and what is said where it cannot."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest
from huggingface_hub import DatasetCard, ModelCard

from isheep.errors import UserError
from isheep.push import Wish, parcels, refuse_name
from isheep.store.run import Run
from tests.export.test_card import metadata

WALLED = """
import socket, sys

def refused(*_):
    raise AssertionError("the network was asked for")

socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = refused
from isheep.cli import main
main()
"""
TOKEN = "hf_" + "x" * 30
TREES = {
    "adapter": {
        "README.md", "adapter_config.json", "adapter_model.safetensors", "chat_template.jinja",
        "generation_config.json", "tokenizer.json", "tokenizer_config.json",
    },
    "merged": {
        "README.md", "chat_template.jinja", "config.json", "generation_config.json", "merge.json", "model.safetensors",
        "tokenizer.json", "tokenizer_config.json",
    },
    "dataset": {"README.md", "data/iteration-01.parquet", "data/iteration-02.parquet"},
}  # fmt: skip


def push(*words: str | Path, code: str = WALLED, **variables: str) -> subprocess.CompletedProcess[str]:
    """The command in a process that has no network, or no other than what the variables name."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    environment |= {"OMP_NUM_THREADS": "1", "COLUMNS": "200", **variables}
    command = [sys.executable, "-c", code, "push", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


def online(*words: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
    return push(*words, code="from isheep.cli import main; main()", **variables)


def files(folder: Path) -> set[str]:
    return {one.relative_to(folder).as_posix() for one in folder.rglob("*") if one.is_file()}


def test_a_preview_is_laid_out_and_nothing_leaves(lamb_run: Path, tmp_path: Path) -> None:
    words: list[str | Path] = [lamb_run, "--to", "me/my-lamb", "--iteration", "2", "--preview", tmp_path / "look"]
    told = push(*words, "--as", "merged", "--license", "Apache-2.0", HF_TOKEN=TOKEN)
    assert told.returncode == 0, told.stderr
    assert files(tmp_path / "look") == {f"model/{name}" for name in TREES["merged"]}
    lines = told.stdout.splitlines()
    assert lines[0] == "me/my-lamb, model:"
    assert {line.split()[0] for line in lines[1:-2]} == TREES["merged"]
    sizes = {line.split()[0]: line.split(maxsplit=1)[1] for line in lines[1:-2]}
    size = (tmp_path / "look" / "model" / "merge.json").stat().st_size
    assert sizes["merge.json"] == f"{size:,} bytes"
    assert lines[-2:] == [
        f"  card: {tmp_path}/look/model/README.md",
        f"nothing was uploaded: look at {tmp_path}/look; `--preview {tmp_path}/look --yes` uploads it as it lies",
    ]
    card = ModelCard.load(tmp_path / "look" / "model" / "README.md")
    assert metadata(card)["license"] == "apache-2.0"
    assert 'AutoModelForCausalLM.from_pretrained("me/my-lamb")' in card.text


def test_a_model_and_its_pairs_go_together(lamb_run: Path, tmp_path: Path) -> None:
    run = Run.read(lamb_run)
    wish = Wish("me/my-lamb", ["adapter", "dataset"], 2)
    places = parcels(run, wish, tmp_path / "look")
    assert [place.repository for place in places] == ["model", "dataset"]
    assert set(places[0].files) == TREES["adapter"]
    assert set(places[1].files) == {"README.md", "data/iteration-02.parquet"}
    assert metadata(ModelCard.load(places[0].card))["datasets"] == ["me/my-lamb"]
    assert metadata(DatasetCard.load(places[1].card))["pretty_name"] == "my-lamb"
    alone = parcels(run, Wish("me/my-lamb", ["dataset"]), tmp_path / "pairs")
    assert [set(place.files) for place in alone] == [TREES["dataset"]]


def test_without_a_place_it_makes_one_and_warns_of_licences(lamb_run: Path, tmp_path: Path) -> None:
    told = push(lamb_run, "--to", "me/pairs", "--as", "dataset", TMPDIR=str(tmp_path))
    assert told.returncode == 0
    assert "! the licence of the dataset is unknown, and its card says so: give --license\n" in told.stdout
    [made] = tmp_path.glob("isheep-push-*/*")
    assert made.name == "pairs"
    assert files(made) == {f"dataset/{name}" for name in TREES["dataset"]}


def test_a_preview_that_was_edited_goes_as_it_lies_and_others_are_refused(lamb_run: Path, tmp_path: Path) -> None:
    run, look = Run.read(lamb_run), tmp_path / "look"
    wish = Wish("me/my-lamb", ["adapter"], 2)
    [place] = parcels(run, wish, look)
    place.card.write_text("---\nlicense: mit\n---\nMine.\n")
    with pytest.raises(UserError, match="is not empty"):
        parcels(run, wish, look)
    assert parcels(run, wish, look, as_it_lies=True) == [place]
    assert place.card.read_text().endswith("Mine.\n")
    for other in (["merged"], ["dataset"], ["adapter", "dataset"]):
        with pytest.raises(UserError, match=f"holds no preview of {' and '.join(other)}"):
            parcels(run, Wish("me/my-lamb", other, 2), look, as_it_lies=True)
    (look / "thesis.tex").touch()
    with pytest.raises(UserError, match="holds no preview"):
        parcels(run, wish, look, as_it_lies=True)
    with pytest.raises(UserError, match="lies in the directory of the run"):
        parcels(run, wish, lamb_run / "look")


@pytest.mark.parametrize("name", ["lamb", "me/", "/lamb", "a/b/c", "me/la mb", "me/a--b", "me/x.git", "", "../x"])
def test_what_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(UserError, match="is no name of a repository"):
        refuse_name(name)


def test_nothing_is_made_for_a_wrong_name_or_without_a_token(lamb_run: Path, tmp_path: Path) -> None:
    look = ("--preview", tmp_path / "look")
    wrong = push(lamb_run, "--to", "no name", *look)
    nobody = push(lamb_run, "--to", "me/lamb", "--yes", *look, HF_HOME=str(tmp_path / "home"))
    offline = push(lamb_run, "--to", "me/lamb", "--yes", *look, HF_TOKEN=TOKEN, HF_HUB_OFFLINE="1")
    both = push(lamb_run, "--to", "me/lamb", "--as", "adapter", "--as", "merged", *look)
    unknown = push(lamb_run, "--to", "me/lamb", "--as", "gguf", *look)
    for told, what in (
        (wrong, "`no name` is no name of a repository"),
        (nobody, "there is no token, by which the hub knows you. Log in with `hf auth login`, or set HF_TOKEN."),
        (offline, "HF_HUB_OFFLINE keeps this machine off the hub"),
        (both, "both are models, and a repository holds one"),
        (unknown, "nothing is pushed as `gguf`. Give adapter, merged or dataset."),
    ):
        assert told.returncode == 2
        assert what in told.stderr
        assert len(told.stderr.splitlines()) == 1
        assert told.stdout == ""
    assert not (tmp_path / "look").exists()


def test_a_hub_that_cannot_be_reached_is_one_message(lamb_run: Path, tmp_path: Path) -> None:
    words: list[str | Path] = [lamb_run, "--to", "me/lamb", "--as", "dataset", "--preview", tmp_path / "look", "--yes"]
    told = online(*words, HF_TOKEN=TOKEN, HF_ENDPOINT="http://127.0.0.1:9")
    assert told.returncode == 3
    first, second = told.stderr.splitlines()
    assert first.startswith("me/lamb (dataset): the upload broke off (")
    assert first.endswith(f"). It lies in {tmp_path}/look/dataset.")
    assert second == "The same command goes on from here."
    assert TOKEN not in told.stdout + told.stderr
    # As it says: what lies there is taken up.
    again = online(*words, HF_TOKEN=TOKEN, HF_ENDPOINT="http://127.0.0.1:9")
    assert (again.returncode, again.stdout) == (3, told.stdout)


class Refusing(BaseHTTPRequestHandler):
    """A hub's no."""

    code = 401

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(self.code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(params=[401, 403])
def refusing(request: pytest.FixtureRequest) -> Iterator[tuple[int, str]]:
    handler = type("Handler", (Refusing,), {"code": request.param})
    with HTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield request.param, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_hub_that_says_no_is_one_message(lamb_run: Path, tmp_path: Path, refusing: tuple[int, str]) -> None:
    code, address = refusing
    words: list[str | Path] = [lamb_run, "--to", "me/lamb", "--as", "dataset", "--preview", tmp_path / "look", "--yes"]
    told = online(*words, HF_TOKEN=TOKEN, HF_ENDPOINT=address)
    assert told.returncode == 2
    what = {401: "the hub does not know the token.", 403: "the hub gives this token no right to write there."}[code]
    assert told.stderr.startswith(f"me/lamb (dataset): {what}")
    assert len(told.stderr.splitlines()) == 1
