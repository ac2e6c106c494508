"""Cards: they read as the hub reads them, say what is so, and hold no text that acts, no place and no secret."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import DatasetCard, EvalResult, ModelCard

from isheep.errors import UserError
from isheep.export.card import Model, Publication, dataset_card, licences, model_card
from isheep.export.licences import licence_id, licence_of
from isheep.export.published import write_dataset
from isheep.recipe import dump_recipe, parse_recipe
from isheep.store.joined import find
from isheep.store.run import Run
from isheep.store.status import status
from isheep.terminal import is_hidden
from tests.nasties import HUGE, NASTIES
from tests.test_markup import pieces
from tests.test_nasties import fill


def metadata(card: ModelCard | DatasetCard | str) -> dict[str, Any]:
    """As the hub reads it."""
    read: Any = ModelCard(card) if isinstance(card, str) else card
    found: dict[str, Any] = read.data.to_dict()
    return found


ADAPTER = Model("adapter", 2, None)
PARTS = {
    "blockquote_open", "bullet_list_close", "bullet_list_open", "code_inline", "fence", "heading_close", "heading_open",
    "html_block", "link_close", "link_open", "list_item_close", "list_item_open", "paragraph_close", "paragraph_open",
    "softbreak", "table_close", "table_open", "tbody_close", "tbody_open", "td_close", "td_open", "text", "th_close",
    "th_open", "thead_close", "thead_open", "tr_close", "tr_open",
}  # fmt: skip


def test_a_models_card_reads_on_the_hub(run: Run) -> None:
    text = model_card(run, ADAPTER, Publication("me/my-lamb", "me/my-lamb", "mit"))
    card = ModelCard(text)
    data = metadata(card)
    assert {key: data[key] for key in ("library_name", "license", "pipeline_tag", "language", "datasets")} == {
        "library_name": "peft",
        "license": "mit",
        "pipeline_tag": "text-generation",
        "language": "en",
        "datasets": ["me/my-lamb"],
    }
    assert "base_model" not in data, "which has to be on the hub"
    assert {"i-sheep", "lora", "arxiv:2408.08072"} <= set(data["tags"])
    assert card.text.startswith("\n# my-lamb\n")
    # Read, written and read again, it is what it was.
    assert metadata(str(card)) == data


def test_its_figures_are_the_runs_with_their_intervals(run: Run) -> None:
    card: Any = ModelCard(model_card(run, ADAPTER))
    scores = status(run)["iterations"][2]["scores"]
    found = {(one.dataset_type, one.metric_type): one for one in card.data.eval_results}
    assert all(isinstance(one, EvalResult) for one in found.values())
    assert found.keys() == {(name, metric) for name, metrics in scores.items() for metric in metrics}
    for (name, metric), one in found.items():
        figure = scores[name][metric]
        assert one.metric_value == figure["value"]
        assert one.metric_args == {"n": figure["n"], "low_95": figure["low"], "high_95": figure["high"]}


def test_a_hub_base_is_named_as_one(run: Run) -> None:
    data = run.recipe.model_dump(mode="json")
    data["model"]["path"] = "someone/some-model"
    data["seeds"]["path"] = "hf:someone/tasks:train"
    other = Run(run.directory, parse_recipe(data, "test"), None)
    for model, relation in ((ADAPTER, "adapter"), (Model("merged", 2, None), "finetune")):
        text = model_card(other, model)
        read = metadata(text)
        assert (read["base_model"], read["base_model_relation"]) == ("someone/some-model", relation)
        assert read["license"] == "unknown"
        assert "path: hf:someone/tasks:train" in text
        assert "* The seed tasks, `hf:someone/tasks:train`: `unknown`." in text
    assert 'AutoModelForCausalLM.from_pretrained("someone/some-model")' in model_card(other, ADAPTER)
    assert licences(other, None).base is None


def test_it_says_what_is_not_known_as_a_dash_and_what_was_not_done(run: Run, tmp_path: Path) -> None:
    recipe = parse_recipe({"model": {"path": "nowhere"}, "seeds": {"path": "gone.jsonl"}}, "test")
    with Run.create_or_resume(tmp_path / "run", recipe):
        text = model_card(Run.read(tmp_path / "run"), Model("adapter", 1, None))
    assert "| 0 | 0 | 0 | 0 | 0 | &#45; | &#45; |" in text
    for said in ("No benchmark was measured.", "Not looked for:", "anything by a benchmark", "Nobody said which."):
        assert said in text
    data = metadata(text)
    assert data["license"] == "unknown"
    assert "model-index" not in data


def test_the_recipe_in_it_reads_as_the_runs(run: Run) -> None:
    body = ModelCard(model_card(run, ADAPTER)).text
    found = yaml.safe_load(next(content for kind, content in pieces(body) if kind == "fence" and "setting:" in content))
    whole = yaml.safe_load(dump_recipe(run.recipe))
    assert found == {key: value for key, value in whole.items() if key not in ("engine", "watch")}


def test_what_it_says_to_load_it_loads(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from isheep.export import Wanted, export

    for kind in ("adapter", "merged"):
        export(run, tmp_path / kind, kind, Wanted(2))
        body = (tmp_path / kind / "README.md").read_text(encoding="utf-8")
        load, ask = [content for name, content in pieces(ModelCard(body).text) if name == "fence"][:2]
        load = load.replace("path/to/this/folder", str(tmp_path / kind))
        load = load.replace("path/to/model", str(Path(__file__).parents[2] / "src/isheep/lamb/model"))
        exec(load + ask, {})  # noqa: S102 - it is what a reader is told to do
        assert capsys.readouterr().out.strip()


def test_no_place_of_this_machine_and_no_secret_stands_in_it(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = run.recipe.model_dump(mode="json")
    data["model"]["path"] = "/home/somebody/models/secret-name-CANARY"
    data["seeds"]["path"] = "~/tasks/mine.jsonl"
    data["synthesize"]["prompt"] = "../prompts/own.txt"
    data["evaluate"]["judge"]["url"] = "http://10.1.2.3:8000/v1"
    data["engine"]["server"]["url"] = "http://10.1.2.4:8000/v1"
    other = Run(run.directory, parse_recipe(data, "test"), None)
    monkeypatch.setenv("SOME_TOKEN", "secret-name-CANARY")
    for text in (model_card(other, ADAPTER), dataset_card(other, {1: 5}, [])):
        for place in ("/home", "somebody", "~/", "tasks/", "../", "10.1.2", str(run.directory), "CANARY"):
            assert place not in text, place
        assert "mine.jsonl" in text
        assert "path: (SOME_TOKEN)" in text


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Every nasty as a record, as an alarm and its name, as a benchmark and as a metric."""
    directory = tmp_path_factory.mktemp("hostile") / "run"
    small = [nasty for nasty in NASTIES if nasty not in HUGE and not nasty.surrogate]
    path = "./<b>[x](http:) `|` www.nowhere.invalid"
    recipe = parse_recipe({"model": {"path": path}}, "test")
    figure = {"value": 0.5, "low": 0.4, "high": 0.6, "n": 9}
    with Run.create_or_resume(directory, recipe) as made:
        fill(made)
        scores = {nasty.text: {nasty.text: figure} for nasty in small}
        made.iteration(1).write_json("scores.json", scores)
        made.iteration(1).write_json("contamination.json", {one.text: {"texts": 3, "hits": []} for one in small})
    return Run.read(directory)


def test_no_text_acts_in_a_card(hostile: Run) -> None:
    records = find(hostile, kept=True)
    cards: list[Any] = [
        ModelCard(model_card(hostile, Model("merged", 1, None))),
        DatasetCard(dataset_card(hostile, {1: 5}, records)),
    ]
    for card in cards:
        assert not any(map(is_hidden, str(card)))
        found = pieces(card.text)
        assert {kind for kind, _ in found} <= PARTS
        assert [kind for kind, _ in found].count("link_open") == 1, "the paper's"
        assert [content.strip() for kind, content in found if kind == "html_block"] == [
            "<details>\n<summary>The recipe, every default written out; files by their names alone</summary>",
            "</details>",
        ]
    headings = [[content for kind, content in pieces(card.text) if kind == "heading_open"] for card in cards]
    assert [len(one) for one in headings] == [9, 10]
    fences = [content for kind, content in pieces(cards[1].text) if kind == "fence"]
    assert len(fences) == len(records) + 2


def test_a_datasets_folder_loads(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    write_dataset(run, tmp_path / "all", None, Publication("me/pairs"))
    assert sorted(one.relative_to(tmp_path / "all").as_posix() for one in (tmp_path / "all").rglob("*.*")) == [
        "README.md",
        "data/iteration-01.parquet",
        "data/iteration-02.parquet",
    ]
    kept = find(run, kept=True)
    read = datasets.load_dataset(str(tmp_path / "all"), cache_dir=str(tmp_path / "cache"))["train"]
    assert read["id"][:] == [record.instruction.id for record in kept]
    assert list(read.features) == [
        "instruction", "input", "output", "id", "iteration", "quality", "following", "messages",
    ]  # fmt: skip
    trained = [json.loads(line) for line in run.iteration(2).training_set_path.read_text().splitlines()]
    second = datasets.load_dataset(str(tmp_path / "all"), "iteration-02", cache_dir=str(tmp_path / "cache"))["train"]
    assert [{"id": row["id"], "messages": row["messages"]} for row in second] == trained
    card = DatasetCard.load(tmp_path / "all" / "README.md")
    assert metadata(card)["license"] == "unknown"
    assert [one["config_name"] for one in metadata(card)["configs"]] == ["default", "iteration-01", "iteration-02"]
    write_dataset(run, tmp_path / "one", 2, Publication(licence="cc0-1.0"))
    alone = datasets.load_dataset(str(tmp_path / "one"), cache_dir=str(tmp_path / "cache"))["train"]
    assert [row["messages"] for row in alone] == [row["messages"] for row in trained]


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("README.md", "---\nlicense: MIT\n---\n# x", "mit"),
        ("README.md", "---\nlicense: [a\n---\n", None),
        ("README.md", "---\nlicense: '<script>'\n---\n", None),
        ("LICENSE", "                 Apache License\n           Version 2.0, January 2004", "apache-2.0"),
        ("LICENCE.txt", "MIT License\n\nCopyright", "mit"),
        ("LICENSE", "All rights reserved", None),
        ("config.json", '{"license": "gemma"}', "gemma"),
        ("config.json", "[", None),
    ],
)
def test_a_licence_is_told_by_what_lies_beside(tmp_path: Path, name: str, content: str, expected: str | None) -> None:
    (tmp_path / name).write_text(content)
    assert licence_of(str(tmp_path), tmp_path) == expected


def test_what_ships_stands_under_the_projects_licence_and_what_is_not_here_under_none() -> None:
    assert licence_of("package:lamb/model", None) == "apache-2.0"
    assert licence_of("someone/some-model", None) is None
    assert licence_id("Apache-2.0") == "apache-2.0"
    with pytest.raises(UserError, match="no identifier of a licence"):
        licence_id("my own\nlicence: x")
