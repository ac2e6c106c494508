"""Keys and tokens of the environment, each planted as a word of its own: no command leaves or says one."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet
import pytest

from isheep.cli import main
from isheep.errors import UserError
from isheep.evaluation.judge import open_judge
from isheep.recipe import load_recipe
from isheep.secrecy import secret_in, without_secrets
from isheep.store.run import Run
from tests.cli.conftest import SMALL
from tests.data import LAMB
from tests.engines.served import Fault, Manners, Served, serve
from tests.evaluation.judged import Reply, judged_by, judging

_NAMES = "OPENAI_API_KEY HF_TOKEN HUGGING_FACE_HUB_TOKEN WANDB_API_KEY JUDGE_KEY AWS_SECRET DB_PASSWORD".split()
PLANTED = {name: f"sk-CANARY-{number}-{name.lower()}" for number, name in enumerate(_NAMES)}
CANARY = "CANARY"
TINY = (
    *SMALL, "iterations=1", "size=6", "synthesize.patience=40", "select.threshold=0", "train.steps=1",
    "train.batch_size=1", "train.micro_batch_size=1", "train.warmup_steps=0", "train.held_out=0.0", "evaluate.limit=2",
    "respond.max_new_tokens=24", "evaluate.contamination=ignore",
)  # fmt: skip


class Commands:
    """The user's commands in one folder, in this process, and everything that they said."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch, screen: pytest.CaptureFixture[str]) -> None:
        self.folder, self.said = folder, ""
        self._patch, self._screen = patch, screen
        (folder / "tmp").mkdir()
        for name, value in {**PLANTED, "ISHEEP_CACHE": str(folder / "cache"), "COLUMNS": "100"}.items():
            patch.setenv(name, value)
        patch.setattr(tempfile, "tempdir", str(folder / "tmp"))

    def __call__(self, *words: str | Path, code: int = 0) -> str:
        self._patch.setattr(sys, "argv", ["isheep", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main()
        said = "".join(self._screen.readouterr())
        assert ended.value.code == code, said
        self.said += said
        return said

    def holding(self) -> list[str]:
        """What holds a canary: files by name, Parquet files by what is packed in them, and `said`."""
        files = [file for file in self.folder.rglob("*") if file.is_file()]
        tables = [file for file in files if file.suffix == ".parquet"]
        packed = [str(one) for one in tables if CANARY in str(pyarrow.parquet.read_table(one).to_pylist())]
        plain = [str(one) for one in files if CANARY.encode() in one.read_bytes()]
        return [*packed, *plain, *(["said"] if CANARY in self.said else [])]


@pytest.fixture
def server() -> Iterator[Served]:
    with serve(LAMB, Manners(key=PLANTED["OPENAI_API_KEY"])) as served:
        yield served


def at(server: Served) -> tuple[str, ...]:
    return "engine.name=openai", f"engine.server.url={server.url}", "engine.server.retries=1"


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Commands:
    return Commands(tmp_path, monkeypatch, capfd)


def test_a_run_and_all_that_looks_at_it(commands: Commands, server: Served) -> None:
    run = commands.folder / "run"
    assert "ready to run" in commands("check", *TINY, *at(server))
    commands("run", *TINY, *at(server), "--dir", run)
    assert set(server.keys) == {f"Bearer {PLANTED['OPENAI_API_KEY']}"}
    for words in (("status", run), ("status", run, "--json"), ("records", run, "--json"), ("records", run)):
        commands(*words)
    commands("report", run)
    commands("eval", run, "--iterations", "0", "--limit", "1", "--json")
    assert any(run.rglob("*.parquet"))
    assert any((commands.folder / "cache").rglob("*.json"))
    assert commands.holding() == []


def test_a_run_that_fails_at_a_server_which_repeats_the_key(commands: Commands, server: Served) -> None:
    key = PLANTED["OPENAI_API_KEY"]
    server.faults = lambda number, payload: Fault(500, body=f'{{"error": "{key} is over its quota"}}'.encode())
    run = commands.folder / "run"
    none = ("evaluate.benchmarks=[]", "evaluate.tasks=null")
    words = ("run", *TINY, *none, *at(server), "--dir", str(run))
    assert "over its quota" in commands(*words, code=3)
    first = len(server.requests)
    server.faults = lambda number, payload: Fault(403, body=key.encode()) if number > first + 40 else None
    commands(*words, code=2)
    commands("status", run)
    commands("report", run)
    assert commands.holding() == []


def test_keys_where_they_do_not_belong(commands: Commands) -> None:
    key = PLANTED["OPENAI_API_KEY"]
    wrong = (
        f"engine.server.url=http://user:{key}@127.0.0.1:9/v1",
        f"engine.server.url=http://127.0.0.1:9/v1?key={key}",
        f"evaluate.judge.url=http://user:{CANARY}@127.0.0.1:9/v1",
        f"evaluate.judge.key_variable=sk-{CANARY}",
        f"engine.server.key_variable=sk-{CANARY}",
        f"engine.server.model={key}",
        f"model.path=/nowhere/{PLANTED['HF_TOKEN']}",
        f"seed={key}",
        f"{key}=1",
        f"{key}",
        f"engine.server={{key: {key}",
    )
    for word in wrong:
        commands("run", "lamb", word, "--dir", commands.folder / "run", code=2)
        commands("show", "lamb", word, code=2)
    assert not (commands.folder / "run").exists()
    over = ("--over", f"engine.server.model={key},b", "--dir", commands.folder / "sweep")
    commands("sweep", "lamb", *over, code=2)
    assert commands.holding() == []


def test_what_is_noted_of_a_command_has_no_secret(commands: Commands) -> None:
    key = PLANTED["DB_PASSWORD"]
    with Run.create_or_resume(commands.folder / "run", load_recipe("lamb")) as run:
        run.note_command(["isheep", "run", "--dir", f"/somewhere/{key}"])
        run.note_end("failed", f"/somewhere/{key} is gone")
    assert "/somewhere/(DB_PASSWORD) is gone" in (run.directory / "manifest.json").read_text()
    commands("status", run.directory)
    commands("report", run.directory)
    assert commands.holding() == []


def test_a_judge_that_repeats_the_key(commands: Commands) -> None:
    with judging(lambda number, payload: Reply("Rating: [[5]]"), key="another") as server:
        recipe = load_recipe("lamb", judged_by(server, "key_variable=JUDGE_KEY"))
        with pytest.raises(UserError, match="Incorrect API key provided") as caught:
            open_judge(recipe).prepare()
    assert CANARY not in repr(caught.value) + str(caught.value)


def test_which_variables_hold_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if secret_in(os.environ[name])]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("A_KEY", "abcdefgh")
    monkeypatch.setenv("LONGER_TOKEN", "abcdefghij")
    monkeypatch.setenv("EMPTY_KEY", "EMPTY")
    monkeypatch.setenv("KEY_FILE", "/some/place")
    assert secret_in("a abcdefgh b") == "A_KEY"
    assert secret_in("EMPTY /some/place") is None
    assert without_secrets("abcdefgh, abcdefghij") == "(A_KEY), (LONGER_TOKEN)"
    with pytest.raises(UserError, match="holds the value of the environment variable A_KEY"):
        load_recipe("lamb", ["engine.server.model=abcdefgh"])
