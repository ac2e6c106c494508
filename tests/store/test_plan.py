"""What each stage is made from: declared in one table, held against what the code of the stage reads."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_origin

import pytest
from pydantic import BaseModel

import isheep
from isheep.filters.rules import Rules
from isheep.recipe import Recipe, load_recipe, overridden, setting_names
from isheep.store.plan import (
    HASHED_AT_START,
    HOW,
    PATHS,
    STAGES,
    WEIGHTS,
    changed,
    files_made,
    files_read,
    inputs,
    key_of,
    settings_read,
)
from tests.recipe.reads import Chain, Reads, group_paths

SOURCE = Path(isheep.__file__).parent

GROUND = (
    "isheep.store.run",
    "isheep.store.table",
    "isheep.store.manifest",
    "isheep.recipe",
    "isheep.drain",
    "isheep.progress",
    "isheep.training.trackers",
)
"""Not walked into: they store or tell what they are given, and decide nothing of what a stage makes."""

ROOTS = {
    "synthesize": ("isheep.stages.synthesize:synthesize",),
    "respond": ("isheep.stages.respond:respond",),
    "assess": ("isheep.stages.assess:assess", "isheep.models:Models.assessor"),
    "decontaminate": ("isheep.stages.decontaminate:decontaminate",),
    "select": ("isheep.stages.select:select",),
    "examine": ("isheep.stages.examine:examine",),
    "embed": ("isheep.stages.embed:embed",),
    "gather": ("isheep.stages.training_set:gather",),
    "draw": ("isheep.stages.draw:draw", "isheep.models:Models.assessor"),
    "train": ("isheep.stages.train:train",),
    "evaluate": ("isheep.stages.evaluate:evaluate",),
}
"""Stage -> where its work begins: the room, and what the loop does to get its arguments."""

SEEDS = {name for name in setting_names() if name.startswith("seeds.")}

PASSED = {"synthesize": SEEDS, "embed": SEEDS, "train": {"model.template"}}
"""What the loop reads for them: the seed tasks, and how text becomes token ids."""

OF_THE_LOOP = {"iterations"}
"""What `align` reads itself beside the group of the seeds, whose tasks synthesis gets: how often it goes round."""

ABOUT_THE_LOOP = {"iterations"} | {name for name in setting_names() if name.startswith(("stop.", "watch."))}
"""Settings that decide how often the loop goes round, and nothing of what a stage makes."""

Definition = ast.FunctionDef | ast.ClassDef


class Module:
    """A module's functions and classes, and what its imports mean."""

    def __init__(self, file: Path) -> None:
        parts = ("isheep", *file.relative_to(SOURCE).with_suffix("").parts)
        self.name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        tree = ast.parse(file.read_text(encoding="utf-8"))
        self.definitions = {node.name: node for node in tree.body if isinstance(node, Definition)}
        self.texts = {name: text for node in tree.body if isinstance(node, ast.Assign) for name, text in _texts(node)}
        self.imports = {
            alias.asname or alias.name: (node.module or "", alias.name)
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
        }


def _texts(node: ast.Assign) -> Iterator[tuple[str, str]]:
    """The names that a statement gives to texts."""
    names, values = (side.elts if isinstance(side, ast.Tuple) else [side] for side in (node.targets[0], node.value))
    for name, value in zip(names, values, strict=False):
        if isinstance(name, ast.Name) and isinstance(value, ast.Constant) and isinstance(value.value, str):
            yield name.id, value.value


MODULES = {
    module.name: module
    for module in map(Module, (file for file in SOURCE.rglob("*.py") if "lamb" not in file.relative_to(SOURCE).parts))
}


class Reached:
    """The code that is reached from some functions: what they name, and the methods of classes that they name.

    A method counts as called where an attribute of its name is read, whatever object it is read from, and where its
    class is of another library's kind (which may call any).
    """

    def __init__(self, roots: tuple[str, ...]) -> None:
        self._done: set[tuple[str, str]] = set()
        self._classes: set[tuple[str, str]] = set()
        self._attributes: set[str] = set()
        self.texts: set[str] = set()
        """The texts that modules have names for and that are reached by these."""
        for root in roots:
            module, _, name = root.partition(":")
            head, _, method = name.partition(".")
            self._attributes.add(method)
            self._reach(module, head)
        while self._methods_called():
            pass

    def sources(self) -> Iterator[str]:
        """The reached code of each module."""
        for module in {name for name, _ in self._done}:
            texts = []
            for name, node in MODULES[module].definitions.items():
                if isinstance(node, ast.ClassDef):
                    # Methods as functions: what one learns of `self` counts for the others, as in the class.
                    texts += [
                        ast.unparse(part) for part in node.body if (module, f"{name}.{_name(part)}") in self._done
                    ]
                elif (module, name) in self._done:
                    texts.append(ast.unparse(node))
            yield "\n".join(texts)

    def _reach(self, module: str, name: str) -> None:
        if module not in MODULES or module in GROUND:
            return
        if name in MODULES[module].imports:
            self._reach(*MODULES[module].imports[name])
        if name in MODULES[module].texts:
            self.texts.add(MODULES[module].texts[name])
        node = MODULES[module].definitions.get(name)
        if isinstance(node, ast.ClassDef):
            if (module, name) not in self._classes:
                self._classes.add((module, name))
                for part in (*node.bases, *(part for part in node.body if not isinstance(part, ast.FunctionDef))):
                    self._follow(module, part)
        elif node is not None and (module, name) not in self._done:
            self._done.add((module, name))
            self._follow(module, node)

    def _follow(self, module: str, node: ast.AST) -> None:
        for part in ast.walk(node):
            if isinstance(part, ast.Attribute):
                self._attributes.add(part.attr)
            elif isinstance(part, ast.Name):
                self._reach(module, part.id)

    def _methods_called(self) -> bool:
        before = len(self._done)
        for module, name in list(self._classes):
            node = MODULES[module].definitions[name]
            assert isinstance(node, ast.ClassDef)
            for part in (part for part in node.body if isinstance(part, ast.FunctionDef)):
                called = bool(node.bases) or "__" in part.name or part.name in self._attributes
                if called and (module, f"{name}.{part.name}") not in self._done:
                    self._done.add((module, f"{name}.{part.name}"))
                    self._follow(module, part)
        return len(self._done) > before


def _name(node: ast.AST) -> str:
    return node.name if isinstance(node, ast.FunctionDef) else ""


def properties(model: type[BaseModel] = Recipe, path: Chain = ()) -> dict[str, set[str]]:
    """A property of the recipe -> the settings that it is computed from."""
    files = (SOURCE / "recipe" / name for name in ("__init__.py", "settings.py"))
    nodes = [node for file in files for node in ast.parse(file.read_text(encoding="utf-8")).body]
    places = {name: ".".join(chain[1:]) for name, chain in group_paths(model, ("recipe",)).items()}
    return {
        f"{places[node.name]}.{part.name}": {
            f"{places[node.name]}.{read.attr}"
            for read in ast.walk(part)
            if isinstance(read, ast.Attribute) and isinstance(read.value, ast.Name) and read.value.id == "self"
        }
        for node in nodes
        if isinstance(node, ast.ClassDef) and node.name in places
        for part in node.body
        if isinstance(part, ast.FunctionDef)
    }


PROPERTIES = properties()


def settings_in(source: str) -> set[str]:
    """The settings that some code reads, also through properties of the recipe."""
    found = Reads(source).read
    through = {name for one in found for name in PROPERTIES.get(one, ())}
    return (found | through) & set(setting_names())


def read_by(stage: str) -> set[str]:
    """The settings that the code of a stage reads."""
    return set().union(*(settings_in(source) for source in Reached(ROOTS[stage]).sources()))


def declared(stage: str) -> set[str]:
    groups = STAGES[stage].settings
    return {name for name in setting_names() if any(name == one or name.startswith(f"{one}.") for one in groups)}


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_declares_the_settings_that_it_reads_and_no_others(stage: str) -> None:
    assert declared(stage) == read_by(stage) | PASSED.get(stage, set())


def test_every_setting_belongs_to_a_stage_or_to_the_loop() -> None:
    of_stages = set[str]().union(*map(declared, STAGES))
    assert of_stages == set(setting_names()) - ABOUT_THE_LOOP


def test_the_loop_itself_decides_by_no_other_setting() -> None:
    align = MODULES["isheep.loop"].definitions["align"]
    assert settings_in(ast.unparse(align)) == OF_THE_LOOP


def test_the_loop_does_every_stage_by_its_name_and_through_the_one_hook() -> None:
    align = MODULES["isheep.loop"].definitions["align"]
    calls = [node for node in ast.walk(align) if isinstance(node, ast.Call)]
    done = {ast.unparse(call.args[0]) for call in calls if ast.unparse(call.func) == "do"}
    assert done == set(STAGES)
    assert not {ast.unparse(call.func) for call in calls} & set(STAGES)


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_declares_the_files_that_it_reads_and_no_others(stage: str) -> None:
    names = {file for one in STAGES.values() for file in one.makes}
    attributes = {"training_set_path": {"training-set.jsonl"}, "weights_path": {"adapter", "model"}}
    reached = Reached(ROOTS[stage])
    nodes = [node for source in reached.sources() for node in ast.walk(ast.parse(source))]
    found = ({node.value for node in nodes if isinstance(node, ast.Constant)} | reached.texts) & names
    for node in nodes:
        found |= attributes.get(node.attr, set()) if isinstance(node, ast.Attribute) else set()
    # An item's row of the evaluation has a field of that name.
    found -= {"responses"} if stage == "evaluate" else set()
    # Vectors are the base's: the setting of that name is read, no iteration's model.
    found -= {"model"} if stage == "embed" else set()
    read, made = {file for reads in STAGES[stage].reads for file in reads.files}, set(STAGES[stage].makes)
    assert found <= read | made
    # The loop hands the weights on; all else that is declared is named by the code.
    assert (read | made) - set(WEIGHTS) <= found


def test_every_text_setting_is_known_as_a_file_or_as_none() -> None:
    annotations = {name: annotation(Recipe, name.split(".")) for name in setting_names()}
    texts = {name for name, kind in annotations.items() if takes_text(kind)}
    server = {"engine.server.url", "engine.server.model", "engine.server.key_variable", "engine.ray.address"}
    judge = {"evaluate.judge.url", "evaluate.judge.model", "evaluate.judge.key_variable"}
    # Of what a benchmark is measured with, its protocol holds the content (data) or the version (graders).
    measuring = {"evaluate.data_dir", "evaluate.evalplus", "evaluate.alpaca_eval"}
    # A plug-in is told by its version and its settings.
    plugins = {"engine.name", "plugins"}
    columns = SEEDS - {"seeds.path"}
    others = {"engine.device", "stop.metric", *columns}
    assert texts - server - judge - measuring - plugins - others == {*PATHS, *HASHED_AT_START}


def takes_text(kind: Any) -> bool:
    return kind is str or (get_origin(kind) is not list and any(map(takes_text, get_args(kind))))


def annotation(model: Any, path: list[str]) -> Any:
    kind = model.model_fields[path[0]].annotation
    return annotation(kind, path[1:]) if path[1:] else kind


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    prompt = tmp_path / "prompt.txt"
    prompt.write_text("one")
    return load_recipe("lamb", [f"synthesize.prompt={prompt}"])


def changed_to(recipe: Recipe, *overrides: str) -> Recipe:
    return overridden(recipe, overrides)


def key(name: str, recipe: Recipe, directory: Path, number: int = 1, **hashes: Any) -> str:
    return key_of(inputs(name, number, recipe, hashes, directory))


@pytest.mark.parametrize(
    ("override", "others"),
    [
        ("select.threshold=3", {"select", "examine"}),
        ("select.cap=7", {"select"}),
        ("iterations=9", set()),
        ("stop.patience=9", set()),
        ("setting=total_base", set()),
        ("health.twin=0.5", {"examine"}),
        ("evaluate.limit=3", {"evaluate"}),
        ("train.lora.rank=3", {"train"}),
        ("train.track=[wandb]", set()),
        ("respond.top_p=0.5", {"respond", "draw"}),
        ("respond.draws=3", {"draw"}),
        ("assess.read=generate", {"assess", "draw"}),
        ("seed=5", set(STAGES) - {"decontaminate", "examine", "gather"}),
        ("select.threshold=-1", {"synthesize", "respond", "draw", "select", "examine"}),
    ],
)
def test_a_setting_changes_the_keys_of_those_that_read_it(
    recipe: Recipe, tmp_path: Path, override: str, others: set[str]
) -> None:
    other = changed_to(recipe, override)
    assert {name for name in STAGES if key(name, recipe, tmp_path) != key(name, other, tmp_path)} == others


def test_of_a_file_the_content_counts_and_not_its_name(recipe: Recipe, tmp_path: Path) -> None:
    before = key("synthesize", recipe, tmp_path)
    (tmp_path / "copy.txt").write_text("one")
    assert key("synthesize", changed_to(recipe, f"synthesize.prompt={tmp_path / 'copy.txt'}"), tmp_path) == before
    (tmp_path / "prompt.txt").write_text("other")
    assert key("synthesize", recipe, tmp_path) != before


def test_the_hashes_of_the_manifest_count_for_models_and_seeds(recipe: Recipe, tmp_path: Path) -> None:
    bare = key("synthesize", recipe, tmp_path)
    one = key("synthesize", recipe, tmp_path, model={"model.safetensors": "a"}, seeds="s")
    assert len({bare, one, key("synthesize", recipe, tmp_path, model={"model.safetensors": "b"}, seeds="s")}) == 3
    assert one != key("synthesize", recipe, tmp_path, model={"model.safetensors": "a"}, seeds="t")
    judged = changed_to(recipe, "assess.assessor=some/model")
    hashes = [{"some/model": {"model.safetensors": text}} for text in "ab"]
    assert len({key("assess", judged, tmp_path, assessors=known) for known in hashes}) == 2


def test_the_content_of_what_earlier_stages_made_counts(recipe: Recipe, tmp_path: Path) -> None:
    def write(file: str, text: str) -> dict[str, str]:
        path = tmp_path / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return {name: key(name, recipe, tmp_path, number=2) for name in STAGES}

    before = write("iteration-01/instructions/part-00000.parquet", "a")
    after = write("iteration-01/instructions/part-00000.parquet", "b")
    assert {name for name in STAGES if before[name] != after[name]} == {"synthesize", "examine"}
    assert write("iteration-01/instructions/done.json", "{}") == after
    after = write("iteration-01/adapter/adapter_model.safetensors", "a")
    again = write("iteration-01/adapter/adapter_model.safetensors", "b")
    assert {name for name in STAGES if after[name] != again[name]} == {
        "synthesize", "respond", "assess", "select", "draw",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("override", "name", "more"),
    [
        ("setting=total_base", "gather", {
            "iteration-01/instructions", "iteration-01/responses", "iteration-01/selection",
        }),
        ("setting=one_last", "train", {"iteration-01/adapter", "iteration-01/model"}),
        ("synthesize.shots_from=mixed", "synthesize", {
            "iteration-01/responses", "iteration-01/assessments", "iteration-01/selection",
        }),
    ],
)  # fmt: skip
def test_settings_that_let_a_stage_read_more(recipe: Recipe, override: str, name: str, more: set[str]) -> None:
    other = changed_to(recipe, override)
    assert set(files_read(name, 2, other)) - set(files_read(name, 2, recipe)) == more
    assert files_read(name, 1, other) == files_read(name, 1, recipe)


def test_iteration_0_reads_nothing_of_the_run(recipe: Recipe) -> None:
    assert files_read("evaluate", 0, recipe) == []
    assert files_read("synthesize", 1, recipe) == []


def test_what_is_a_change_and_what_is_none() -> None:
    before = {"size": 3, "engine.threads": 1, "gone": 1, "iteration-01/adapter": "a"}
    assert changed(before, {**before, "new": 2}, ended=False) == []
    assert changed(before, {key: before[key] for key in before if key != "gone"}, ended=False) == []
    assert changed(before, {**before, "size": 4}, ended=True) == ["size"]
    assert changed(before, {**before, "engine.threads": 2}, ended=False) == ["engine.threads"]
    assert changed(before, {**before, "engine.threads": 2}, ended=True) == []
    more = {**before, "iteration-02/adapter": "b"}
    assert changed(before, more, ended=True) == changed(more, before, ended=True) == ["iteration-02/adapter"]


def test_the_settings_of_how_work_is_done_are_settings() -> None:
    assert all(any(name.startswith(how) for name in setting_names()) for how in HOW)


def test_what_a_stage_makes_lies_in_its_iteration() -> None:
    assert files_made("train", 3) == [f"iteration-03/{file}" for file in ("train.json", "adapter", "model")]
    assert files_made("train", 3, scratch=True)[-1] == "iteration-03/checkpoints"


@pytest.mark.parametrize("threshold", [-1, -0.5, 0, 0.5, 8])
def test_of_the_threshold_the_rules_look_at_no_more_than_counts(threshold: float) -> None:
    recipe = load_recipe("lamb", [f"select.threshold={threshold}"])
    off = Rules.of(recipe).instruction("Draw a picture of a bird, please.", "") is None
    assert [settings_read(stage, recipe)["select.threshold"] for stage in ("synthesize", "respond")] == [off, off]


def test_a_key_is_of_every_input_whatever_their_order() -> None:
    # These very keys stand in the notes of runs that people have: another spelling would do all their work again.
    assert key_of({"stage": "respond", "iteration": 1, "é": [1, None]}) == "9dc26c39e9c9cd369ee5207f"
    assert key_of({"é": [1, None], "iteration": 1, "stage": "respond"}) == "9dc26c39e9c9cd369ee5207f"


def test_the_inputs_name_the_stage_and_the_iteration(recipe: Recipe, tmp_path: Path) -> None:
    found = inputs("gather", 2, recipe, {}, tmp_path)
    assert found == {
        "stage": "gather",
        "iteration": 2,
        "setting": None,
        "iteration-02/instructions": None,
        "iteration-02/responses": None,
        "iteration-02/selection": None,
    }


@pytest.mark.parametrize(
    ("name", "number", "files"),
    [
        ("respond", 1, ["iteration-01/instructions"]),
        ("respond", 3, ["iteration-02/adapter", "iteration-02/model", "iteration-03/instructions"]),
        ("evaluate", 2, ["iteration-02/adapter", "iteration-02/model"]),
        (
            "synthesize",
            3,
            ["iteration-02/adapter", "iteration-02/model", "iteration-01/instructions", "iteration-02/instructions"],
        ),
        ("train", 2, ["iteration-02/training-set.jsonl"]),
    ],
)
def test_the_files_that_a_stage_reads_are_of_its_own_iteration_the_last_or_all_earlier(
    recipe: Recipe, name: str, number: int, files: list[str]
) -> None:
    assert files_read(name, number, recipe) == files


def test_what_a_setting_names_is_known_by_its_content_alone(recipe: Recipe, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x")
    hashes = {"model": {"b": "2", "a": "1"}, "assessors": {"judge": {"f": "0"}, "other": {"f": "1"}}}
    judged = changed_to(recipe, "assess.assessor=judge")

    def of(key_: str, stage: str, known: dict[str, Any], one: Recipe = judged) -> Any:
        return inputs(stage, 1, one, known, tmp_path)[key_]

    assert of("model.path", "assess", hashes) == of("model.path", "assess", {**hashes, "model": {"a": "1", "b": "2"}})
    assert of("model.path", "assess", hashes) != of("model.path", "assess", {**hashes, "model": {"a": "1", "b": "3"}})
    assert of("model.path", "assess", {}) == "package:lamb/model"
    other = {**hashes, "assessors": {"judge": {"f": "0"}, "other": {"f": "7"}}}
    assert of("assess.assessor", "assess", hashes) == of("assess.assessor", "assess", other)
    assert of("assess.assessor", "assess", hashes) not in ("judge", of("assess.assessor", "assess", {"assessors": {}}))
    current = changed_to(recipe, "assess.assessor=current")
    assert of("assess.assessor", "assess", {"assessors": {}}, current) == "current"
    named = changed_to(recipe, "engine.device=" + str(tmp_path / "a"))
    assert of("engine.device", "assess", hashes, named) == str(tmp_path / "a"), "no setting of a file"
