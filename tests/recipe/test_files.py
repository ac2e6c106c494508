"""Recipe files that build on others: what is laid over what, and what is refused."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isheep.errors import UserError
from isheep.recipe import dump_recipe, load_recipe, shipped_recipes
from isheep.recipe.files import apply_override, dump_yaml, merge, read_recipes, read_values
from isheep.store.run import Run

KEYS = st.sampled_from("abcd")
LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.lists(st.integers())
SETTINGS = st.dictionaries(KEYS, st.recursive(LEAVES, lambda inner: st.dictionaries(KEYS, inner), max_leaves=6))


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A recipe that others extend, in a folder of its own."""
    file = tmp_path / "bases" / "base.yaml"
    file.parent.mkdir()
    file.write_text(
        "model: {path: some/model, template: llama3}\n"
        "size: 30\n"
        "select: {cap: 7, random: [1, 2]}\n"
        "train: {epochs: 3, lora: {rank: 4, alpha: 2}}\n"
    )
    return file


def write(file: Path, text: str) -> Path:
    file.write_text(text)
    return file


def refusal(*names: Path | str) -> str:
    with pytest.raises(UserError) as caught:
        load_recipe([str(name) for name in names])
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_group_is_merged_and_a_value_replaced() -> None:
    below = {"a": 1, "b": {"c": 2, "d": {"e": 3}}, "f": [1, 2], "g": {"h": 1}, "i": 5}
    above = {"b": {"d": {"x": 4}, "c": 9}, "f": [3], "g": None, "i": {"j": 6}}
    kept = {"a": 1, "b": {"c": 9, "d": {"e": 3, "x": 4}}, "f": [3], "g": None, "i": {"j": 6}}
    before = repr((below, above))
    assert merge(below, above) == kept
    assert repr((below, above)) == before


def leaves(settings: Any, path: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    """Where each value stands; an empty group is one."""
    if not isinstance(settings, dict) or not settings:
        return {path: settings}
    return {place: value for key, inner in settings.items() for place, value in leaves(inner, (*path, key)).items()}


@given(SETTINGS, SETTINGS)
def test_every_value_above_counts_and_those_below_that_it_does_not_cover(
    below: dict[str, Any], above: dict[str, Any]
) -> None:
    before = copy.deepcopy((below, above))
    merged = leaves(merge(below, above))
    over = {place: value for place, value in leaves(above).items() if value != {}}
    assert over.items() <= {place: value for place, value in merged.items() if place in over}.items()
    for place, value in leaves(below).items():
        covered = any(place[: len(other)] == other or other[: len(place)] == place for other in leaves(above))
        assert covered or merged[place] == value
    assert (below, above) == before
    assert merge(below, {}) == merge({}, below) == merge(below, below) == below


@given(LEAVES, st.lists(st.sampled_from("abc"), min_size=1, max_size=4))
def test_an_override_puts_any_value_where_its_key_says(value: Any, groups: list[str]) -> None:
    data: dict[str, Any] = {"z": 1}
    apply_override(data, f"{'.'.join(groups)}={dump_yaml({'x': value}).partition(':')[2]}")
    expected: Any = value
    for group in reversed(groups):
        expected = {group: expected}
    assert data == {"z": 1, **expected}


def test_a_recipe_extends_one_beside_it(base: Path, tmp_path: Path) -> None:
    mine = write(
        tmp_path / "mine.yaml", "extends: bases/base.yaml\nsize: 40\nselect: {random: [5]}\ntrain: {lora: {rank: 16}}\n"
    )
    recipe = load_recipe(str(mine))
    assert (recipe.model.path, recipe.model.template) == ("some/model", "llama3")
    assert (recipe.size, recipe.train.epochs) == (40, 3)
    assert (recipe.select.cap, recipe.select.random) == (7, [5])
    assert (recipe.train.lora.rank, recipe.train.lora.alpha, recipe.train.lora.dropout) == (16, 2, 0.05)


def test_a_chain_of_recipes_by_every_kind_of_name(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(base, "extends: lamb\nsize: 30\nseed: 1\n")
    middle = write(tmp_path / "middle.yaml", f"extends: {base}\nseed: 2\n")
    write(tmp_path / "bases" / "top.yaml", "extends: ../middle.yaml\nseed: 3\n")
    monkeypatch.chdir(tmp_path)
    recipe = load_recipe("bases/top.yaml", ["iterations=1"])
    assert recipe == load_recipe("lamb", ["iterations=1", "size=30", "seed=3"])
    assert read_recipes(["bases/top.yaml"])[1] == f"bases/top.yaml (extends ../middle.yaml, {base}, lamb)"
    assert middle.read_text().startswith("extends: ")


def test_what_is_left_empty_does_not_fall_back_to_the_base(base: Path, tmp_path: Path) -> None:
    recipe = load_recipe(str(write(tmp_path / "mine.yaml", "extends: bases/base.yaml\nselect: {random: null}\n")))
    assert (recipe.select.random, recipe.select.cap) == (None, 7)
    assert "select: is a group of settings, left empty" in refusal(
        write(tmp_path / "mine.yaml", "extends: bases/base.yaml\nselect:\n")
    )


def test_recipes_named_together_are_laid_over_each_other(base: Path, tmp_path: Path) -> None:
    part = write(tmp_path / "part.yaml", "select: {threshold: 4}\nsize: 50\n")
    other = write(tmp_path / "other.yaml", "select: {cap: 9}\nsize: 60\n")
    recipe = load_recipe([str(base), str(part), str(other)], ["size=70"])
    assert (recipe.select.threshold, recipe.select.cap, recipe.select.random) == (4, 9, [1, 2])
    assert recipe.size == 70
    assert load_recipe([str(base), str(part), str(other)]).size == 60
    assert load_recipe([str(base), str(other), str(part)]).size == 50
    assert read_recipes([str(base), str(part)])[1] == f"{base} + {part}"


def test_a_recipe_named_later_counts_with_all_that_it_extends(base: Path, tmp_path: Path) -> None:
    part = write(tmp_path / "part.yaml", "extends: bases/base.yaml\nseed: 9\n")
    recipe = load_recipe(["lamb", str(part)])
    assert (recipe.model.path, recipe.size, recipe.seed) == ("some/model", 30, 9)
    assert recipe.seeds.path == "package:lamb/seeds.jsonl"


def test_a_run_directory_holds_the_resolved_recipe(tmp_path: Path) -> None:
    mine = write(tmp_path / "mine.yaml", "extends: lamb\nsize: 30\n")
    recipe = load_recipe(str(mine))
    Run.create_or_resume(tmp_path / "run", recipe).release()
    written = tmp_path / "run" / "recipe.yaml"
    assert "extends" not in written.read_text()
    assert written.read_text() == dump_recipe(recipe)
    mine.unlink()
    assert Run.read(tmp_path / "run").recipe == recipe


def test_a_circle_is_named(base: Path, tmp_path: Path) -> None:
    mine = write(tmp_path / "mine.yaml", "extends: bases/base.yaml\n")
    write(base, "extends: ../mine.yaml\n")
    where = f"recipe {tmp_path}/bases/base.yaml, extends '../mine.yaml'"
    mend = "Take the line out of one of them."
    assert refusal(mine) == f"{where}: comes back to itself: {mine} -> bases/base.yaml -> ../mine.yaml. {mend}"
    top = write(tmp_path / "top.yaml", "extends: mine.yaml\n")
    assert refusal(top) == f"{where}: comes back to itself: mine.yaml -> bases/base.yaml -> ../mine.yaml. {mend}"
    write(mine, "extends: mine.yaml\n")
    assert "comes back to itself: " in refusal(mine)


def test_a_base_that_is_not_there(tmp_path: Path) -> None:
    mine = write(tmp_path / "mine.yaml", "extends: lmab\n")
    mend = "Or give a YAML file."
    assert refusal(mine) == (
        f"recipe {mine}, extends 'lmab': there is no such recipe or file. Did you mean `lamb`? {mend}"
    )
    write(mine, "extends: no/such.yaml\n")
    what = "there is no such recipe or file. `isheep recipes` lists what ships."
    assert refusal(mine) == f"recipe {mine}, extends 'no/such.yaml': {what} {mend}"
    write(mine, "extends: .\n")
    assert "extends '.': is a folder, not a recipe." in refusal(mine)
    write(mine, "extends: base.yaml\n")
    write(tmp_path / "base.yaml", "model: [\n")
    assert refusal(mine).startswith(f"recipe {tmp_path}/base.yaml: cannot be read as YAML")


@pytest.mark.parametrize(
    ("value", "shown"), [("", "null"), ("[lamb]", "['lamb']"), ("3", "3"), ("{a: b}", "a group of settings")]
)
def test_what_is_no_name_is_refused(tmp_path: Path, value: str, shown: str) -> None:
    mine = write(tmp_path / "mine.yaml", f"extends: {value}\n")
    mend = "Give the name or the path of one recipe."
    assert refusal(mine) == f"recipe {mine}, extends {shown}: is not the name of a recipe. {mend}"


def test_a_wrong_setting_is_told_with_every_file_it_may_stand_in(base: Path, tmp_path: Path) -> None:
    mine = write(tmp_path / "mine.yaml", "extends: bases/base.yaml\nsiez: 3\n")
    assert refusal(mine).startswith(f"recipe {mine} (extends bases/base.yaml), siez: unknown setting.")
    part = write(tmp_path / "part.yaml", "siez: 3\n")
    assert refusal(base, part).startswith(f"recipe {base} + {part}, siez: unknown setting.")


def test_extends_is_no_setting(base: Path) -> None:
    with pytest.raises(UserError, match="extends: unknown setting"):
        load_recipe(str(base), ["extends=lamb"])


def test_a_shipped_recipe_is_known_by_its_folder_and_name() -> None:
    shipped = shipped_recipes()
    assert next(iter(shipped)) == "lamb"
    assert all(file.as_posix().endswith(f"/recipes/{name}.yaml") for name, file in shipped.items())


def test_a_word_for_the_engine_is_its_name() -> None:
    plain, named = load_recipe("lamb"), load_recipe("lamb", ["engine=vllm"])
    assert named.engine == plain.engine.model_copy(update={"name": "vllm"})
    assert load_recipe("lamb", ["engine={name: vllm}"]).engine.batch_size == 32


@pytest.mark.parametrize(
    ("words", "values"),
    [
        ("select.threshold=0,2,4.5,8", [0, 2, 4.5, 8]),
        (" seed = 1, 2", [1, 2]),
        ("train.learning_rate=1e-4,5e-5", [1e-4, 5e-5]),
        ("assess.read=generate,distribution", ["generate", "distribution"]),
        ("select.random=null,5", [None, 5]),
        ("select.filters=[[threshold],[threshold,cap]]", [["threshold"], ["threshold", "cap"]]),
        ("select.filters=[threshold],[threshold,cap]", [["threshold"], ["threshold", "cap"]]),
        ("select.threshold=[0,2]", [0, 2]),
        ("select.filters=[[cap]]", [["cap"]]),
        ("select.perplexity={limit: 9},{limit: 50}", [{"limit": 9}, {"limit": 50}]),
        ('model.path="a,b",c', ["a,b", "c"]),
        ("select.threshold=8", [8]),
    ],
)
def test_values_are_read_as_yaml(words: str, values: list[object]) -> None:
    assert read_values(words) == (words.partition("=")[0].strip(), values)


@pytest.mark.parametrize(
    ("words", "what"),
    [
        ("select.threshold", "is not KEY=VALUE,VALUE."),
        ("=3", "is not KEY=VALUE,VALUE."),
        ("select.threshold=", "holds no value."),
        ("select.threshold=[]", "holds no value."),
        ("select.threshold=[0,2", "the value does not read as YAML: expected ',' or ']'"),
    ],
)
def test_values_that_cannot_be_read(words: str, what: str) -> None:
    with pytest.raises(UserError) as caught:
        read_values(words)
    assert caught.value.where == f"`{words}`"
    assert caught.value.what.startswith(what)
    assert "select.threshold=4,6,8" in caught.value.mend
