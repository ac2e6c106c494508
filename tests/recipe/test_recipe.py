"""The recipe: what is refused and how it is said, what a recipe file may look like, and that every setting is read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

import isheep
from isheep.errors import UserError
from isheep.recipe import Recipe, difference, dump_recipe, load_recipe, locate, parse_recipe, setting_names
from isheep.terminal import printable
from tests.recipe.reads import Reads

SOURCE = Path(isheep.__file__).parent
WHOLE = "Give a whole number of at least 1"
TRAIN = (
    "Settings of `train` are lora, method, learning_rate, schedule, warmup_steps, epochs, steps, batch_size, "
    "micro_batch_size, gradient_checkpointing, cutoff, held_out, evaluate_every, track, launch, processes, nodes."
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The smallest recipe."""
    file = tmp_path / "mine.yaml"
    file.write_text("model: {path: some/model}\n")
    return file


def refusal(name: Path | str, *overrides: str) -> tuple[str, str, str]:
    """Where, what and mend of the UserError."""
    with pytest.raises(UserError) as caught:
        load_recipe(str(name), overrides)
    assert caught.value.exit_code == 2
    return caught.value.where, caught.value.what, caught.value.mend


@pytest.mark.parametrize(
    ("override", "mend"),
    [
        ("train.lora.rnak=3", "Did you mean `train.lora.rank`?"),
        ("sizes=3", "Did you mean `size`?"),
        ("treshold=7", "Did you mean `select.threshold`?"),
        ("assess.treshold=7", "Did you mean `select.threshold`?"),
        ("rank=3", "Did you mean `train.lora.rank`?"),
        ("lora_rank=3", "Did you mean `train.lora.rank`?"),
        ("train.rank=3", "Did you mean `train.lora.rank`?"),
        ("top_p=1", "Did you mean `synthesize.top_p` or `respond.top_p`?"),
        (
            "temperature=1",
            "Did you mean `synthesize.temperature`, `respond.temperature` or `assess.temperature`?",
        ),
        ("train.xyz=3", TRAIN),
        ("train.lora.wwwwww=3", "Settings of `train.lora` are rank, alpha, dropout."),
    ],
)
def test_an_unknown_key_is_named_with_the_nearest(file: Path, override: str, mend: str) -> None:
    key = override.partition("=")[0]
    assert refusal(file, override) == (f"recipe {file}, {key}", "unknown setting.", mend)


def test_an_unknown_group_is_named_with_the_nearest(file: Path) -> None:
    unknown = (f"recipe {file}, sythesize", "unknown setting.", "Did you mean `synthesize`?")
    assert refusal(file, "sythesize.shots=3") == unknown
    file.write_text("model: {path: m}\nsythesize: {shots: 3}\n")
    assert refusal(file) == unknown
    assert refusal(file, "sythesize=null", "sythesize.shots=3") == unknown
    file.write_text("model: {path: m}\n1: 2\n")
    assert refusal(file)[:2] == (f"recipe {file}, 1", "a setting's name has to be text.")


def test_a_key_like_no_other_gets_the_list(file: Path) -> None:
    where, what, mend = refusal(file, "zzz=1")
    assert (where, what) == (f"recipe {file}, zzz", "unknown setting.")
    assert mend == f"Settings are {', '.join(Recipe.model_fields)}."


@pytest.mark.parametrize(
    ("override", "what", "mend"),
    [
        ("size=many", "cannot be 'many', which is text.", f"{WHOLE}."),
        ('size="100"', "cannot be '100', which is text.", f"{WHOLE}, without quotes."),
        ("size=0", "cannot be 0.", f"{WHOLE}."),
        ("size=1.5", "cannot be 1.5.", f"{WHOLE}."),
        ("size=yes", "cannot be true.", f"{WHOLE}."),
        ("size=", "cannot be null.", f"{WHOLE}."),
        ("size={a: 1}", "is one setting, not a group of them.", f"{WHOLE}."),
        ("seed.x=3", "is one setting, not a group of them.", "Give a whole number of at least 0."),
        ("select.threshold=10", "cannot be 10.", "Give a number of at least -1 and less than 10."),
        ("novelty.limit=0", "cannot be 0.", "Give a number greater than 0 and at most 1."),
        ("train.learning_rate=no", "cannot be false.", "Give a number greater than 0."),
        ("train.learning_rate=.nan", "cannot be nan.", "Give a number greater than 0."),
        ("respond.temperature=.inf", "cannot be inf.", "Give a number of at least 0."),
        ("model.dtype=int8", "cannot be 'int8'.", "Give `float32`, `bfloat16` or `float16`."),
        ("model.path=7", "cannot be 7.", "Give text, in quotes."),
        ("evaluate.benchmarks=lamb", "cannot be 'lamb'.", "Give a list in brackets (each entry text)."),
        (
            "select.random=[]",
            "cannot be [].",
            f"{WHOLE}, or a list in brackets (each entry a whole number of at least 1), or null.",
        ),
        ("train=3", "is a group of settings, so it cannot be 3.", "Set what is in it, as in `train.lora.rank=...`."),
        ("engine=", "is a group of settings, left empty.", "Set what is in it, as in `engine.name=...`."),
        (f"size={'x' * 99}", f"cannot be '{'x' * 36}..., which is text.", f"{WHOLE}."),
    ],
)
def test_a_wrong_value_is_told_with_what_it_would_take(file: Path, override: str, what: str, mend: str) -> None:
    key = override.partition("=")[0].removesuffix(".x")
    assert refusal(file, override) == (f"recipe {file}, {key}", what, mend)


def test_several_wrong_settings_are_told_at_once(file: Path) -> None:
    assert refusal(file, "size=0", "train.lora.rank=x", "nonsense=1")[:2] == (
        f"recipe {file}",
        "3 settings are wrong:\n"
        f"  size: cannot be 0. {WHOLE}.\n"
        f"  train.lora.rank: cannot be 'x', which is text. {WHOLE}.\n"
        f"  nonsense: unknown setting. Settings are {', '.join(Recipe.model_fields)}.\n",
    )


def test_a_recipe_without_a_model(file: Path) -> None:
    mend = "Give it, as in `model.path=...`."
    file.write_text("size: 3\n")
    assert refusal(file) == (f"recipe {file}, model", "is missing.", mend)
    assert refusal(file, "model.dtype=float32") == (f"recipe {file}, model.path", "is missing.", mend)


@pytest.mark.parametrize("word", ["size", "=3", " =3", ""])
def test_an_override_is_key_equals_value(file: Path, word: str) -> None:
    assert refusal(file, word) == (f"`{word}`", "is not KEY=VALUE.", "Write it like `select.threshold=7`.")


def test_an_override_of_what_is_no_group(file: Path) -> None:
    file.write_text("model: {path: m}\nsize: 3\n")
    what = "`size` is one setting, not a group of them."
    assert refusal(file, "size.x=3") == ("`size.x=3`", what, "Set `size` itself.")


def test_an_override_that_is_no_yaml(file: Path) -> None:
    where, what, mend = refusal(file, "model.path=[a")
    assert (where, mend) == ("`model.path=[a`", "Put the value in quotes, as in `'model.path=\"...\"'`.")
    assert what.startswith("the value does not read as YAML: expected ',' or ']'")
    assert refusal(file, "size=2024-13-45")[1] == "the value does not read as YAML: month must be in 1..12."


def test_overrides_are_read_as_yaml_and_the_last_one_counts(file: Path) -> None:
    file.write_text("model: {path: m}\ntrain:\nselect: {cap: 7}\n")
    recipe = load_recipe(
        str(file),
        [
            "size=5", "size=6", "train.learning_rate=5e-5", "select.threshold=0", "select.random=[3, 4]",
            " model.template =a=b", "evaluate.benchmarks=[x, y]",
        ],
    )  # fmt: skip
    assert recipe.size == 6
    assert recipe.train.learning_rate == 5e-5
    assert recipe.select.threshold == 0
    assert recipe.select.random == [3, 4]
    assert recipe.select.cap == 7
    assert recipe.model.template == "a=b"
    assert recipe.evaluate.benchmarks == ["x", "y"]


def test_a_recipe_that_is_not_there(tmp_path: Path) -> None:
    shipped = "`isheep recipes` lists what ships. Or give a YAML file."
    what = "there is no such recipe or file."
    assert refusal("lmab") == ("recipe lmab", what, "Did you mean `lamb`? Or give a YAML file.")
    assert refusal("no/such.yaml") == ("recipe no/such.yaml", what, shipped)
    assert refusal(tmp_path) == (f"recipe {tmp_path}", "is a folder, not a recipe.", shipped)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"model: [", "cannot be read as YAML: expected the node content, but found '<stream end>', line 1."),
        (b"model: {path: m}\nsize: 1\nsize: 2\n", "cannot be read as YAML: the key `size` stands there twice, line 3."),
        (b"a: \xff", "cannot be read as YAML: 'utf-8' codec can't decode byte 0xff in position 3: invalid start byte."),
        (b"size: !!python/name:os.system", "cannot be read as YAML: could not determine a constructor for the tag "
         "'tag:yaml.org,2002:python/name:os.system', line 1."),
        (b"", "holds no settings."),
        (b"lamb", "holds no `key: value` settings."),
    ],
)  # fmt: skip
def test_a_recipe_that_does_not_read(file: Path, content: bytes, what: str) -> None:
    file.write_bytes(content)
    assert refusal(file)[:2] == (f"recipe {file}", what)


def test_the_defaults_are_the_papers(file: Path) -> None:
    recipe = load_recipe(str(file))
    assert (recipe.iterations, recipe.size) == (3, 10_000)
    assert (recipe.select.threshold, recipe.select.cap, recipe.novelty.limit) == (8, 3000, 0.7)
    lora, train = recipe.train.lora, recipe.train
    assert (lora.rank, lora.alpha, lora.dropout) == (8, 16, 0.05)
    assert (train.learning_rate, train.schedule, train.warmup_steps, train.epochs) == (5e-5, "cosine", 20, 2)
    assert (train.batch_size, train.cutoff, train.held_out, train.evaluate_every) == (16, 1024, 0.1, 100)


def test_a_recipe_is_frozen_and_takes_no_other_field(file: Path) -> None:
    recipe = load_recipe(str(file))
    with pytest.raises(ValidationError, match="frozen"):
        recipe.size = 3
    with pytest.raises(ValidationError, match="frozen"):
        recipe.train.lora.rank = 3
    for settings in (recipe, *groups(recipe)):
        with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
            type(settings).model_validate({**settings.model_dump(), "extra": 1})


@pytest.mark.parametrize("word", [r'seeds.path="a\0b"', r'seeds.path="\ud800"', r'evaluate.benchmarks=[a, "b\0"]'])
def test_what_is_no_text_is_refused_where_it_stands(file: Path, word: str) -> None:
    with pytest.raises(UserError, match="holds a NUL character or half of a surrogate pair") as caught:
        load_recipe(str(file), [word])
    assert caught.value.where.endswith(f", {word.partition('=')[0]}")


def groups(settings: BaseModel) -> Iterator[BaseModel]:
    for name in type(settings).model_fields:
        inner = getattr(settings, name)
        if isinstance(inner, BaseModel):
            yield inner
            yield from groups(inner)


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["select.threshold=0", "select.random=[3, 4]", "train.learning_rate=1e-7", "evaluate.benchmarks=[a]"],
        ['model.path="1e5"', 'seeds.path="yes"', 'engine.device="007"', 'model.template=" é\\n"'],
        [r'seeds.path="\x1b[2J\u202e\x85\u2028\U000e0041 :bug: [bold]é"', r'evaluate.benchmarks=["\u200b", "a\ufeff"]'],
    ],
)
def test_a_recipe_written_out_reads_as_itself(file: Path, tmp_path: Path, overrides: list[str]) -> None:
    recipe = load_recipe(str(file), overrides)
    written = tmp_path / "written.yaml"
    written.write_text(dump_recipe(recipe), encoding="utf-8")
    again = load_recipe(str(written))
    assert again == recipe
    assert dump_recipe(again) == dump_recipe(recipe)
    assert difference(recipe, again) == []
    assert printable(written.read_text(encoding="utf-8")) == written.read_text(encoding="utf-8")
    assert all(f"{name.rpartition('.')[2]}:" in written.read_text(encoding="utf-8") for name in setting_names())


def test_the_difference_of_two_recipes(file: Path) -> None:
    old, new = load_recipe(str(file)), load_recipe(str(file), ["seed=4", "select.threshold=0", "train.lora.rank=4"])
    assert difference(old, new) == ["select.threshold: 8.0 -> 0.0", "train.lora.rank: 8 -> 4", "seed: 0 -> 4"]
    assert difference(new, old) == ["select.threshold: 0.0 -> 8.0", "train.lora.rank: 4 -> 8", "seed: 4 -> 0"]


def test_setting_names_are_the_leaves() -> None:
    names = setting_names()
    assert names[:3] == ["model.path", "model.template", "model.dtype"]
    assert "train.lora.rank" in names
    assert not {"train", "train.lora"} & set(names)
    assert names[-1] == "seed"
    assert len(names) == len(set(names))


def test_paths_of_the_package_and_of_the_user() -> None:
    assert locate("package:recipes/lamb.yaml") == SOURCE / "recipes" / "lamb.yaml"
    assert locate("some/model") == Path("some/model")
    assert locate("~/model") == Path.home() / "model"


def test_a_mapping_is_validated_under_its_name() -> None:
    with pytest.raises(UserError, match=r"^recipe the test, size: cannot be 0\. Give"):
        parse_recipe({"model": {"path": "m"}, "size": 0}, "the test")


@pytest.mark.parametrize(
    ("source", "read"),
    [
        ("def f(recipe): return recipe.train.lora.rank", "train.lora.rank"),
        ("def f(self): return self._recipe.size", "size"),
        ("def f(run):\n    settings = run.recipe.train\n    lora = settings.lora\n    g(lora.rank)", "train.lora.rank"),
        ("def f(recipe):\n    a, b = recipe.train, 1\n    g(a.steps + b)", "train.steps"),
        ("def f(settings: TrainSettings): return settings.steps", "train.steps"),
        ("class A:\n def f(self): return self.s.cap\n def g(self, recipe): self.s = recipe.select", "select.cap"),
    ],
)
def test_the_walk_finds_what_is_read(source: str, read: str) -> None:
    assert read in Reads(source).read


@pytest.mark.parametrize(
    "source",
    [
        "def f(other): return other.train.lora.rank",
        "def f(recipe): return rank, 'recipe.train.lora.rank'",
        "def f(recipe):\n    lora = recipe.train.lora\n\ndef g(lora): return lora.rank",
    ],
)
def test_the_walk_finds_nothing_else(source: str) -> None:
    assert "train.lora.rank" not in Reads(source).read


def test_every_setting_is_read() -> None:
    # What only `check` looks at decides nothing.
    apart = {SOURCE / "recipe", SOURCE / "check"}
    modules = [file for file in SOURCE.rglob("*.py") if not apart & set(file.parents)]
    read: set[str] = set().union(*(Reads(file.read_text(encoding="utf-8")).read for file in modules))
    unread = [name for name in setting_names() if name not in read]
    assert unread == [], f"no stage reads {', '.join(unread)}"


def test_values_are_not_made_into_other_types() -> None:
    wrong: list[dict[str, Any]] = [{"iterations": True}, {"iterations": "3"}, {"iterations": 3.0}]
    for entries in wrong:
        with pytest.raises(UserError, match="iterations: cannot be"):
            parse_recipe({"model": {"path": "m"}, **entries}, "test")
