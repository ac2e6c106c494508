"""Models by hub id: what is fetched from a hub (one of our own on this machine, spoken to by the real client), and
what is said where there is none."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from hashlib import sha1
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from shutil import copytree

import huggingface_hub.constants
import pytest

from isheep.check import check
from isheep.encoder import Encoder
from isheep.errors import IsheepError, StageError, UserError
from isheep.export.licences import licence_of
from isheep.hub import is_hub_id, known_folder, model_folder
from isheep.init import Answers, init
from isheep.measure import measure_models
from isheep.recipe import load_recipe
from isheep.recipe.settings import SeedSettings
from isheep.records import SeedTask
from isheep.seeds import read_seeds
from isheep.stages.train import train
from isheep.store.manifest import model_hashes, seed_hash
from isheep.store.run import Run

ID = "someone/some-model"
COMMIT = "1" * 40


class Hub(ThreadingHTTPServer):
    """A hub with one model, the files of `folder`."""

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.folder = folder
        self.sent: list[str] = []
        """The files that were asked for, with their content."""
        self.gated = False
        self.broken = False

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Hub

    def do_GET(self) -> None:
        # A data set lies at the same addresses, under a folder of its kind.
        path = self.path.partition("?")[0].replace("/api/datasets/", "/api/models/").removeprefix("/datasets")
        if self.server.gated and ID in path:
            self._refuse("GatedRepo")
        elif path == f"/api/models/{ID}/revision/main":
            self._answer(json.dumps({"id": ID, "sha": COMMIT, "siblings": []}).encode())
        elif path == f"/api/models/{ID}/tree/{COMMIT}":
            files = [file for file in self.server.folder.rglob("*") if file.is_file()]
            tree = [
                {"type": "file", "path": name(file, self.server.folder), "size": file.stat().st_size, "oid": oid(file)}
                for file in files
            ]
            self._answer(json.dumps(tree).encode())
        elif path.startswith(f"/{ID}/resolve/"):
            self._send_file(path.removeprefix(f"/{ID}/resolve/").partition("/")[2])
        else:
            self._refuse("RepoNotFound")

    def do_HEAD(self) -> None:
        self.do_GET()

    def _send_file(self, file: str) -> None:
        if self.command == "GET":
            self.server.sent.append(file)
            if self.server.broken:
                self.send_error(403)
                return
        content = (self.server.folder / file).read_bytes()
        self._answer(content, {"ETag": f'"{oid(self.server.folder / file)}"', "X-Repo-Commit": COMMIT})

    def _answer(self, content: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(200)
        for key, value in {"Content-Length": str(len(content)), **(headers or {})}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def _refuse(self, code: str) -> None:
        self.send_response(404 if code == "RepoNotFound" else 403)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


def name(file: Path, folder: Path) -> str:
    return file.relative_to(folder).as_posix()


def oid(file: Path) -> str:
    return sha1(file.read_bytes(), usedforsecurity=False).hexdigest()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty hub cache."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "cache"


@pytest.fixture
def hub(tiny_model: Path, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """The tiny model with files beside it that nobody should fetch."""
    folder = Path(copytree(tiny_model, tmp_path / "on-the-hub"))
    for file in ("pytorch_model.bin", "modeling_own.py", "tokenizer_own.py", "notes.md", "consolidated.safetensors"):
        (folder / file).write_bytes(b"not wanted")
    (folder / "original").mkdir()
    (folder / "original" / "model.safetensors").write_bytes(b"not wanted")
    server = Hub(folder)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", server.address)
    template = f"{server.address}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    yield server
    server.shutdown()


def refusal(path: str, kind: type[IsheepError] = UserError) -> str:
    with pytest.raises(kind) as caught:
        model_folder(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("Qwen/Qwen3-0.6B-Base", True),
        ("runs/model", True),
        ("./model", False),
        ("../model", False),
        ("~/model", False),
        ("/some/model", False),
        ("a/b/c", False),
        ("model", False),
        ("a--b/c", False),
        ("package:lamb/model", False),
    ],
)
def test_what_is_written_like_a_hub_id(path: str, expected: bool) -> None:
    assert is_hub_id(path) is expected


def test_a_folder_that_is_here_is_no_hub_id(cache: Path) -> None:
    Path("some/model").mkdir(parents=True)
    assert not is_hub_id("some/model")
    assert model_folder("some/model") == known_folder("some/model") == Path("some/model")


def test_a_plan_needs_no_weights(hub: Hub) -> None:
    folder = model_folder(ID, weights=False)
    names = {file.name for file in folder.rglob("*")}
    assert {"config.json", "tokenizer.json"} <= names
    assert not any(name.endswith(".safetensors") for name in names)
    hub.sent.clear()
    assert model_folder(ID, weights=False) == folder
    assert hub.sent == []
    # Who then runs the model fetches the rest.
    assert (model_folder(ID) / "model.safetensors").is_file()


def test_a_model_is_fetched_once_without_pickles_and_code(hub: Hub) -> None:
    assert known_folder(ID) is None
    folder = model_folder(ID)
    assert {file.name for file in folder.rglob("*")} == {
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    assert sorted(hub.sent) == sorted(file.name for file in folder.iterdir())
    assert (folder / "model.safetensors").read_bytes() == (hub.folder / "model.safetensors").read_bytes()
    hub.sent.clear()
    hub.gated = True
    assert model_folder(ID) == known_folder(ID) == folder
    assert hub.sent == []


def test_what_another_tool_fetched_in_part_is_completed(hub: Hub) -> None:
    huggingface_hub.hf_hub_download(ID, "tokenizer.json")
    hub.sent.clear()
    folder = model_folder(ID)
    assert "tokenizer.json" not in hub.sent
    assert (folder / "model.safetensors").is_file()


def test_a_recipe_with_a_hub_id_is_checked_and_hashed(hub: Hub) -> None:
    config = hub.folder / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "max_position_embeddings": 2048}))
    recipe = load_recipe("lamb", [f"model.path={ID}"])
    assert model_hashes(recipe) == {}
    findings = {finding.what: finding.found for finding in check(recipe)}
    assert findings["model"].startswith(f"{ID}  ")
    assert set(model_hashes(recipe)) == {file.name for file in model_folder(ID).iterdir()}


def test_a_hub_id_is_measured(hub: Hub) -> None:
    words = ["evaluate.tasks=package:lamb/benchmark", "engine.device=cpu", "respond.max_new_tokens=8"]
    found = measure_models(Path(ID), ["lamb"], 2, words)
    assert found.scores[ID]["lamb"]["prompt_level_strict_acc"]["n"] == 2


def test_an_adapter_names_its_base_by_the_hub_id(hub: Hub, tmp_path: Path) -> None:
    recipe = load_recipe("lamb", [f"model.path={ID}", "train.steps=1", "train.batch_size=1", "train.warmup_steps=0"])
    messages = [{"role": "user", "content": "Say he."}, {"role": "assistant", "content": "he"}]
    encoder = Encoder.load(model_folder(ID), "chatml")
    with Run.create_or_resume(tmp_path / "run", recipe) as owned:
        iteration = owned.iteration(1)
        iteration.write_training_set([{"id": "1", "messages": messages}])
        train(iteration, [], recipe, encoder)
    config = json.loads((iteration.weights_path / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == ID


def test_a_model_that_the_hub_does_not_have(hub: Hub) -> None:
    assert refusal("someone/other-model") == (
        "model.path: there is no folder someone/other-model, and the hub has no model of this id, or shows it only to "
        "its owner. Mend the id, or log in with `hf auth login`."
    )


def test_a_model_behind_a_licence(hub: Hub) -> None:
    hub.gated = True
    assert refusal(ID) == (
        f"model.path: there is no folder {ID}, and the hub gives the model of this id only to those who agree to its "
        "licence. Agree on the model's page, then log in with `hf auth login`."
    )


def test_a_download_that_breaks_off_is_gone_on_with(hub: Hub) -> None:
    hub.broken = True
    assert f"model.path: the download of {ID} from the hub broke off (" in refusal(ID, StageError)
    hub.broken = False
    assert (model_folder(ID) / "model.safetensors").is_file()


def test_a_hub_that_cannot_be_reached(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    said = (
        f"model.path: there is no folder {ID}, and the hub, which may have a model of this id, cannot be reached. "
        "Give a local folder, or connect (HF_HUB_OFFLINE has to be unset)."
    )
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert refusal(ID) == said
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    hub.shutdown()
    hub.server_close()
    assert refusal(ID) == said


def test_another_setting_is_named_with_what_else_it_takes(cache: Path) -> None:
    with pytest.raises(UserError) as caught:
        model_folder("curent", "assess.assessor", ("current", "base"))
    assert str(caught.value) == (
        "assess.assessor: there is no folder curent. Did you mean `current`? Give current, base, a local folder with "
        "the model, or a hub id such as `Qwen/Qwen3-0.6B-Base`."
    )


def test_the_terminal_sees_one_line_where_the_hub_is_switched_off(tmp_path: Path) -> None:
    words = ["check", "lamb", "model.path=Qwen/Qwen3-0.6B-Base"]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(tmp_path)}
    ended = subprocess.run(
        [sys.executable, "-c", "from isheep.cli import main; main()", *words],
        capture_output=True, text=True, check=False, env=environment, cwd=tmp_path,
    )  # fmt: skip
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert ended.stderr.startswith("model.path: there is no folder Qwen/Qwen3-0.6B-Base, and the hub")
    assert len(ended.stderr.splitlines()) == 1


def test_what_says_its_licence_is_fetched_too(hub: Hub) -> None:
    (hub.folder / "README.md").write_text("---\nlicense: CC-BY-4.0\n---\n# A model\n")
    assert licence_of(ID, model_folder(ID, weights=False)) == "cc-by-4.0"


def seeds_of(path: str) -> SeedSettings:
    return SeedSettings(path=path)


@pytest.fixture
def tables(hub: Hub, tmp_path: Path) -> Hub:
    """The hub with a data set of two splits, and files beside it that nobody should fetch."""
    hub.folder = tmp_path / "data-on-the-hub"
    (hub.folder / "data").mkdir(parents=True)
    for name_, answer in (("train", "007"), ("test", "008")):
        (hub.folder / "data" / f"{name_}.csv").write_text(f"question,answer\nWho?,{answer}\n")
    (hub.folder / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
    for name_ in ("some-model.py", "data.pkl", "picture.png"):
        (hub.folder / name_).write_bytes(b"not wanted")
    return hub


def test_seeds_from_the_hub_are_fetched_once_and_no_code_with_them(
    tables: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = read_seeds(seeds_of(f"hf:{ID}"))
    assert found.tasks == [SeedTask("seed-2", "Who?", "", "007", False)]
    assert found.said.startswith('CSV, split train of train, test: instruction from "question"')
    assert sorted(set(tables.sent)) == ["README.md", "data/test.csv", "data/train.csv"]
    tables.sent.clear()
    assert [task.output for task in read_seeds(seeds_of(f"hf:{ID}:test")).tasks] == ["008"]
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert read_seeds(seeds_of(f"hf:{ID}")) == found
    assert tables.sent == []


def test_the_hash_of_seeds_from_the_hub_is_of_their_content_and_split(tables: Hub) -> None:
    recipes = [load_recipe("lamb", [f"seeds.path=hf:{ID}{split}"]) for split in ("", ":train", ":test")]
    assert [seed_hash(recipe) for recipe in recipes] == [None] * 3
    read_seeds(seeds_of(f"hf:{ID}"))
    assert len({seed_hash(recipe) for recipe in recipes} - {None}) == 3


def test_seeds_that_the_hub_does_not_give(tables: Hub) -> None:
    with pytest.raises(UserError, match=r"the hub has no data set of this id, or shows it only to its owner\."):
        read_seeds(seeds_of("hf:someone/else"))
    with pytest.raises(UserError, match=r"has no split `dev`\. There are train, test\. Name one in its place"):
        read_seeds(seeds_of(f"hf:{ID}:dev"))


def test_more_than_seed_tasks_take_is_not_fetched(tables: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("isheep.hub.LARGEST_DATA", 30)
    with pytest.raises(UserError, match="far more than seed tasks take"):
        read_seeds(seeds_of(f"hf:{ID}"))
    assert tables.sent == []


def test_a_gated_data_set(tables: Hub) -> None:
    tables.gated = True
    with pytest.raises(UserError, match=r"gives the data set of this id only to those who agree to its licence\."):
        read_seeds(seeds_of(f"hf:{ID}"))


def test_a_download_of_seeds_that_breaks_goes_on(tables: Hub) -> None:
    tables.broken = True
    with pytest.raises(StageError, match="broke off"):
        read_seeds(seeds_of(f"hf:{ID}"))
    tables.broken = False
    assert len(read_seeds(seeds_of(f"hf:{ID}")).tasks) == 1


def test_init_fetches_no_weights(hub: Hub, tmp_path: Path) -> None:
    made = init(Answers(model=ID, seeds="shipped", hardware="h100"), tmp_path / "my.yaml", None)
    assert [file for file in hub.sent if file.endswith((".safetensors", ".bin", ".py"))] == []
    assert "tokenizer.json" in hub.sent
    recipe = load_recipe(str(made.file))
    assert (recipe.model.path, recipe.model.template, recipe.model.dtype) == (ID, "chatml", "bfloat16")
    assert any(one.found.startswith("of it the weights are not here yet") for one in made.findings)
