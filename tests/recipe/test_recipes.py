"""The recipes that ship: what the paper says stands in them, each ablation changes what it is about and nothing else,
whatever it is laid over, and each runs on lamb for one iteration."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lm_eval.tasks
import pytest

from isheep.check import check
from isheep.encoder import TURN_ENDS
from isheep.errors import StageError, UserError
from isheep.loop import run
from isheep.prompts import Prompt
from isheep.recipe import Recipe, load_recipe, locate, parse_recipe, shipped_recipes
from isheep.recipe.files import FOLDER, about_recipes, read_recipes
from isheep.records import Assessment, Selection
from isheep.stages.once import SWEEP
from isheep.store.run import Iteration, Run

Changes = dict[str, Any]

FIRST_LINE = re.compile(r"# isheep run (?P<words>.+) --dir runs/(?P<directory>[\w.-]+): (?P<about>\S.+)")

TASK = re.compile(r"^(?:task|group): *['\"]?(\w+)['\"]?\s*$", re.MULTILINE)
"""The name in a task file of lm-eval."""

MODELS = {
    "qwen1.5-1.8b": ("Qwen/Qwen1.5-1.8B", "chatml", 2),
    "qwen1.5-4b": ("Qwen/Qwen1.5-4B", "chatml", 2),
    "qwen1.5-7b": ("Qwen/Qwen1.5-7B", "chatml", 2),
    "qwen1.5-14b": ("Qwen/Qwen1.5-14B", "chatml", 2),
    "qwen1.5-32b": ("Qwen/Qwen1.5-32B", "chatml", 3),
    "qwen1.5-72b": ("Qwen/Qwen1.5-72B", "chatml", 5),
    "llama3-8b": ("meta-llama/Meta-Llama-3-8B", "llama3", 2),
    "llama3-70b": ("meta-llama/Meta-Llama-3-70B", "llama3", 5),
}
"""Recipe -> model, template, iterations."""

PAPER = {
    "size": 10_000, "setting": "one_base", "novelty.limit": 0.7,
    "synthesize.shots": 5, "synthesize.shots_from": "seeds", "synthesize.shots_drawn": "uniform",
    "synthesize.temperature": 1.0, "synthesize.top_p": 0.95, "synthesize.max_new_tokens": 1000,
    "respond.temperature": 1.0, "respond.top_p": 0.95, "respond.max_new_tokens": 1000,
    "assess.variant": "combined", "assess.level": "both", "assess.assessor": "current", "assess.read": "generate",
    "select.filters": ["threshold", "cap"], "select.threshold": 8, "select.cap": 3000,
    "train.lora.rank": 8, "train.lora.alpha": 16, "train.lora.dropout": 0.05, "train.learning_rate": 5e-5,
    "train.schedule": "cosine", "train.warmup_steps": 20, "train.epochs": 2, "train.batch_size": 16,
    "train.micro_batch_size": 1, "train.cutoff": 1024, "train.held_out": 0.1, "train.evaluate_every": 100,
}  # fmt: skip
"""What the paper or the authors' scripts say, and the recipe `paper` writes out."""

UNJUDGED: Changes = {"assess.level": "none", "select.threshold": 0.0}
PROMPTS: Changes = {"assess.quality_prompt": None, "assess.following_prompt": None}


def direct(size: int) -> Changes:
    return {"setting": "direct", "iterations": 1, "size": size}


def threshold(limit: float) -> Changes:
    return {"select.filters": ["threshold", "cap"], "select.threshold": limit}


def filters(name: str, **more: Any) -> Changes:
    return {**UNJUDGED, "select.filters": [name, "cap"], **more}


CHANGES: dict[str, Changes] = {
    "ablations/one-last": {"setting": "one_last"},
    "ablations/total-base": {"setting": "total_base"},
    "ablations/direct-20k": direct(20_000),
    "ablations/direct-30k": direct(30_000),
    "ablations/threshold-minus-1": threshold(-1),
    **{f"ablations/threshold-{limit}": threshold(limit) for limit in (0, 1, 2, 4, 6, 8, 9)},
    **{f"ablations/size-{thousands}k": {"size": 1000 * thousands} for thousands in (10, 20, 30, 40, 50)},
    "ablations/filter-perplexity": filters(
        "perplexity", **{"select.perplexity.limit": 50.0, "select.perplexity.of": "both"}
    ),
    "ablations/filter-density": filters("density", **{"select.density.keep": "random"}),
    "ablations/filter-density-perplexity": filters("density", **{"select.density.keep": "lowest_perplexity"}),
    "ablations/assess-none": UNJUDGED,
    **{f"ablations/assess-{level}": {"assess.level": level} for level in ("quality", "following", "both")},
    **{f"ablations/prompt-{name}": {"assess.variant": name, **PROMPTS} for name in ("simple", "combined", "icl")},
    "baselines/self-instruct": {"iterations": 1, **UNJUDGED},
    "baselines/dromedary": {"iterations": 1, "respond.principles": "package:prompts/principles.txt", **UNJUDGED},
}
"""Ablation -> every setting that it makes, whatever stood there before."""

CONTRARY = """
extends: lamb
iterations: 3
size: 77
setting: total_base
synthesize: {shots_from: mixed}
respond: {principles: mine.txt}
assess: {variant: icl, level: quality, quality_prompt: mine.txt, following_prompt: mine.txt, assessor: base}
select:
  filters: [top, random]
  threshold: 3
  top: 5
  random: 4
  density: {clusters: 7, keep: lowest_perplexity}
  perplexity: {limit: 9, of: pair}
"""
"""A base recipe that differs from the defaults in all that an ablation might forget to set."""


def flat(data: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Dotted key -> value."""
    found: dict[str, Any] = {}
    for key, value in data.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return found


def settings(recipe: Recipe) -> dict[str, Any]:
    return flat(recipe.model_dump())


PRESETS = ("evaluate/paper", "evaluate/quick")


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_says_what_is_measured_and_nothing_else(name: str) -> None:
    word = name.partition("/")[2]
    changed = settings(load_recipe("lamb", [f"evaluate={word}"]))
    assert changed == settings(load_recipe(["lamb", name]))
    differing = {key for key, value in settings(load_recipe("lamb")).items() if changed[key] != value}
    assert "evaluate.benchmarks" in differing
    assert differing <= {"evaluate.benchmarks", "evaluate.limit", "evaluate.ppl"}
    assert load_recipe("lamb", [f"evaluate={word}", "evaluate.limit=7"]).evaluate.limit == 7


@pytest.mark.parametrize("name", shipped_recipes())
def test_a_recipe_begins_with_its_command(name: str) -> None:
    lines = shipped_recipes()[name].read_text(encoding="utf-8").splitlines()
    first = FIRST_LINE.fullmatch(lines[0])
    assert first is not None
    names = [word for word in first["words"].split() if "=" not in word]
    overrides = [word for word in first["words"].split() if "=" in word]
    assert names[-1] == name
    assert first["directory"] == name.rpartition("/")[2]
    assert names[:-1] == (["lamb"] if "/" in name else [])
    assert load_recipe(names, overrides).model.path
    assert about_recipes()[name.rpartition("/")[0]][name] == first["about"]
    assert max(map(len, lines)) <= 120


@pytest.mark.parametrize("name", shipped_recipes())
def test_each_value_has_its_reason(name: str) -> None:
    lines = shipped_recipes()[name].read_text(encoding="utf-8").splitlines()
    bare = [
        line
        for before, line in zip(["", *lines], lines, strict=False)
        if re.match(r" *\w+: *[^ #]", line) and "#" not in line and not before.lstrip().startswith("#")
    ]
    assert [line for line in bare if not line.lstrip().startswith(("extends:", "path:", "tasks:"))] == []


def test_the_recipes_are_those_of_the_paper_lamb_and_a_small_model() -> None:
    assert set(shipped_recipes()) == {"lamb", "paper", "qwen3-0.6b", *MODELS, *CHANGES, *PRESETS}
    assert {file.suffix for file in FOLDER.rglob("*") if file.is_file()} == {".yaml"}
    shipped = list(shipped_recipes())
    assert shipped[0] == "lamb"
    assert shipped.index("qwen1.5-4b") < shipped.index("qwen1.5-14b") < shipped.index("ablations/assess-both")


def test_the_papers_settings_are_written_out_and_are_the_defaults() -> None:
    written = flat(read_recipes(["paper"])[0])
    assert {key: written.get(key) for key in PAPER} == PAPER
    resolved = load_recipe("paper", ["model.path=m"])
    default = parse_recipe({"model": {"path": "m"}, "evaluate": {"benchmarks": resolved.evaluate.benchmarks}}, "test")
    assert resolved == default
    assert resolved.stop.patience is not None


def test_the_benchmarks_are_lm_evals() -> None:
    files = Path(lm_eval.tasks.__file__).parent.rglob("*.yaml")
    known = {found[1] for file in files if (found := TASK.search(file.read_text(encoding="utf-8", errors="replace")))}
    for name in ("paper", "qwen3-0.6b"):
        assert set(load_recipe(name, ["model.path=m"]).evaluate.benchmarks) <= known
    assert load_recipe("paper", ["model.path=m"]).evaluate.benchmarks[0] == "ifeval"


@pytest.mark.parametrize("name", MODELS)
def test_a_model_of_the_paper(name: str) -> None:
    path, template, iterations = MODELS[name]
    recipe = load_recipe(name)
    assert (recipe.model.path, recipe.model.template, recipe.iterations) == (path, template, iterations)
    assert recipe.model.dtype == "bfloat16"
    assert template in TURN_ENDS
    paper = settings(load_recipe("paper", [f"model.path={path}"]))
    differing = {key for key, value in settings(recipe).items() if value != paper[key]}
    assert differing <= {"model.template", "iterations", "engine.batch_size"}


def test_the_llama_template_has_no_system_turn_and_the_qwen_one_has() -> None:
    qwen, llama = (locate(f"package:templates/{MODELS[name][1]}.jinja") for name in ("qwen1.5-7b", "llama3-8b"))
    assert "system" in qwen.read_text(encoding="utf-8").partition("#}\n")[2]
    assert "system" not in llama.read_text(encoding="utf-8").partition("#}\n")[2]


def test_the_small_model_keeps_the_papers_method() -> None:
    recipe = load_recipe("qwen3-0.6b")
    paper = settings(load_recipe("paper", ["model.path=Qwen/Qwen3-0.6B-Base"]))
    differing = {key for key, value in settings(recipe).items() if value != paper[key]}
    assert not any(
        key.startswith(("rules", "novelty", "setting", "train.lora", "train.learning_rate")) for key in differing
    )
    assert recipe.assess.read == "distribution"


@pytest.mark.parametrize("base", ["lamb", "qwen1.5-7b", "contrary"])
@pytest.mark.parametrize("name", CHANGES)
def test_an_ablation_sets_what_it_is_about_over_any_recipe(name: str, base: str, tmp_path: Path) -> None:
    if base == "contrary":
        file = tmp_path / "contrary.yaml"
        file.write_text(CONTRARY)
        base = str(file)
    assert settings(load_recipe([base, name])) == settings(load_recipe(base)) | CHANGES[name]


@pytest.mark.parametrize("name", CHANGES)
def test_an_ablation_alone_says_what_to_lay_it_over(name: str) -> None:
    with pytest.raises(UserError) as caught:
        load_recipe(name)
    assert str(caught.value) == (
        f"recipe {name}, model: is missing. Name one that has a model before it, as in `isheep run lamb {name}`, "
        "or give `model.path=...`."
    )
    assert load_recipe(name, ["model.path=m"]).model.path == "m"


def test_ablations_are_laid_over_each_other() -> None:
    recipe = load_recipe(["qwen1.5-7b", "ablations/total-base", "ablations/size-20k", "ablations/threshold-4"])
    assert (recipe.setting, recipe.size, recipe.select.threshold) == ("total_base", 20_000, 4)


def test_two_ablations_that_contradict_each_other_are_refused() -> None:
    recipe = load_recipe(["lamb", "ablations/assess-none", "ablations/threshold-4"])
    with pytest.raises(UserError, match=r"assess\.level: none asks for no score, so that select\.threshold 4"):
        check(recipe)


@pytest.mark.parametrize("name", CHANGES)
def test_an_ablation_of_full_size_passes_the_check_on_lamb(name: str) -> None:
    check(load_recipe(["lamb", name], SHORTER.get(name, [])))


SMALL = [
    "iterations=1", "train.steps=2", "train.batch_size=4", "train.micro_batch_size=4", "train.warmup_steps=0",
    "evaluate.limit=4", "select.density.clusters=8", "engine.batch_size=32",
]  # fmt: skip
SHORTER = {"baselines/dromedary": ["respond.principles=package:lamb/principles.txt"]}
"""As the recipe says: lamb's context is too short for the principles that ship."""
STRICT = {f"ablations/threshold-{limit}": ["rules.max_words=9"] for limit in ("minus-1", "0")}
"""So that the rules have something to drop."""
MEASURED = "ablations/total-base"
"""The others leave the evaluation out, which no ablation touches, for the sake of time."""

Ran = Callable[[str], Run]


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """`ran(name)`: one iteration of lamb with an ablation, at a small part of its size. All of them lie in one sweep,
    so that what is equal in them is made once."""
    above = tmp_path_factory.mktemp("ablations")
    (above / SWEEP).write_text("{}")

    def read(name: str) -> Run:
        directory = above / name.replace("/", "-")
        if not directory.is_dir():
            words = ["lamb", name]
            size = load_recipe(words).size // 2500 or 24
            more = [*SHORTER.get(name, []), *STRICT.get(name, [])]
            if name != MEASURED:
                more += ["evaluate.benchmarks=[]", "evaluate.tasks=null"]
            recipe = load_recipe(words, [*SMALL, *more, f"size={size}"])
            try:
                run(recipe, directory)
            except StageError:
                assert kept(Run.read(directory)) == []
        return Run.read(directory)

    return read


def of(found: Run) -> Iteration:
    return found.iteration(1)


def selected(found: Run) -> dict[str, Selection]:
    return {row.id: row for row in of(found).table("selection").rows()}


def scores(found: Run) -> dict[str, Assessment]:
    return {row.id: row for row in of(found).table("assessments").rows()}


def kept(found: Run) -> list[str]:
    return [id_ for id_, row in selected(found).items() if row.kept]


def responses(found: Run) -> dict[str, str]:
    return {row.id: row.response for row in of(found).table("responses").rows()}


@pytest.mark.parametrize("name", CHANGES)
def test_an_ablation_runs_on_lamb(name: str, ran: Ran) -> None:
    found = ran(name)
    passed = [row for row in of(found).table("instructions").rows() if row.dropped_by is None]
    assert len(passed) == found.recipe.size == (load_recipe(["lamb", name]).size // 2500 or 24)
    assert len(scores(found)) == len(selected(found)) > 0
    if kept(found):
        assert found.state() == "finished"
        lines = of(found).training_set_path.read_text(encoding="utf-8").splitlines()
        assert [json.loads(line)["id"] for line in lines] == kept(found)
        assert (of(found).weights_path / "adapter_model.safetensors").is_file()
        assert list(of(found).read_json("scores.json") or {}) == found.recipe.evaluate.benchmarks
    else:
        assert found.state() == "failed"


@pytest.mark.parametrize("limit", [1, 2, 4, 6, 8, 9])
def test_a_threshold_parts_the_pairs(limit: int, ran: Ran) -> None:
    found = ran(f"ablations/threshold-{limit}")
    judged = scores(found)
    for id_, row in selected(found).items():
        told = (judged[id_].quality, judged[id_].following)
        assert row.kept is all(score is not None and score > limit for score in told)


def test_zero_leaves_the_rules_and_minus_one_nothing(ran: Ran) -> None:
    rules_on, rules_off = ran("ablations/threshold-0"), ran("ablations/threshold-minus-1")
    for found in (rules_on, rules_off):
        assert kept(found) == list(selected(found))
        assert any(row.quality is not None for row in scores(found).values())
    assert all(row.dropped_by is None for row in of(rules_off).table("responses").rows())
    dropped_by = [{row.dropped_by for row in of(found).table("instructions").rows()} for found in (rules_on, rules_off)]
    assert dropped_by[0] - {None, "novelty"}
    assert dropped_by[1] <= {None, "novelty"}


def test_a_level_asks_for_its_scores_alone(ran: Ran) -> None:
    asked = {"none": set(), "quality": {"quality"}, "following": {"following"}, "both": {"quality", "following"}}
    for level, names in asked.items():
        rows = scores(ran(f"ablations/assess-{level}")).values()
        for name in ("quality", "following"):
            assert any(getattr(row, name) is not None for row in rows) is (name in names), (level, name)


def test_each_prompt_asks_in_another_way(ran: Ran) -> None:
    found = [ran(f"ablations/prompt-{variant}") for variant in ("simple", "combined", "icl")]
    assert responses(found[0]) == responses(found[1]) == responses(found[2])
    told = [[row.quality for row in scores(one).values()] for one in found]
    assert told[0] != told[1] != told[2] != told[0]


def test_the_filters_that_ask_for_no_score(ran: Ran) -> None:
    for row in selected(ran("ablations/filter-perplexity")).values():
        assert row.ppl_response is not None
        assert row.ppl_pair is not None
        assert row.kept is (max(row.ppl_response, row.ppl_pair) <= 50)
    one, likeliest = ran("ablations/filter-density"), ran("ablations/filter-density-perplexity")
    for found in (one, likeliest):
        clusters = [selected(found)[id_].cluster for id_ in kept(found)]
        assert len(clusters) == len(set(clusters)) == len({row.cluster for row in selected(found).values()}) > 1
        assert all(row.quality is None for row in scores(found).values())
    for row in selected(likeliest).values():
        others = [other for other in selected(likeliest).values() if other.cluster == row.cluster]
        assert row.kept is (row.id == min(others, key=greater_perplexity).id)
    assert kept(one) != kept(likeliest)


def greater_perplexity(row: Selection) -> float:
    assert row.ppl_response is not None
    assert row.ppl_pair is not None
    return max(row.ppl_response, row.ppl_pair)


def test_the_baselines(ran: Ran) -> None:
    plain, guided = ran("baselines/self-instruct"), ran("baselines/dromedary")
    for found in (plain, guided):
        assert kept(found) == list(selected(found))
        assert all(row.quality is None and row.following is None for row in scores(found).values())
    assert responses(plain) != responses(guided)
    shown = Prompt.load(locate(SHORTER["baselines/dromedary"][0].partition("=")[2]), ("task",)).render(task="")
    trained = of(guided).training_set_path.read_text(encoding="utf-8")
    assert shown.split("\n")[0] not in trained
