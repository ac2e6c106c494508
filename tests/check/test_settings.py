"""What is found of the iterative setting, the shots and the principles before anything is spent."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from isheep.check import Finding, check
from isheep.check.resources import disk_needed
from isheep.check.select import most_pairs
from isheep.check.settings import refuse_draws
from isheep.checkpoint import read_checkpoint
from isheep.encoder import Encoder
from isheep.errors import UserError
from isheep.recipe import Recipe, overridden, parse_recipe

POSITIONS = 256


@pytest.fixture
def seeds(tmp_path: Path) -> Path:
    file = tmp_path / "seeds.jsonl"
    words = ("a hill", "two owls", "one ant", "the sea" + " and a shell" * 5)
    file.write_text("".join(f'{{"instruction": "Name {word}.", "input": "", "output": "Owl"}}\n' for word in words))
    return file


def make(model: Path, seeds: Path, **settings: Any) -> Recipe:
    data: dict[str, Any] = {
        "model": {"path": str(model), "dtype": "float32"},
        "seeds": {"path": str(seeds)},
        "iterations": 2,
        "size": 100,
        "synthesize": {"shots": 2, "max_new_tokens": 30},
        "respond": {"max_new_tokens": 20},
        "assess": {"level": "none"},
        "select": {"threshold": 0},
        "train": {"warmup_steps": 2},
        "engine": {"device": "auto"},
    }
    for key, value in settings.items():
        data[key] = {**data[key], **value} if isinstance(value, dict) else value
    return parse_recipe(data, "test")


def warnings(findings: list[Finding]) -> list[str]:
    return [finding.found for finding in findings if finding.warning]


def test_direct_with_several_iterations_names_both_keys(tiny_model: Path, seeds: Path) -> None:
    with pytest.raises(UserError) as caught:
        check(make(tiny_model, seeds, setting="direct"))
    assert (caught.value.where, caught.value.what, caught.value.mend) == (
        "setting",
        "direct is one iteration of the base, but iterations is 2.",
        "Set iterations to 1 (and size to what it shall make), or setting to one_base.",
    )
    check(make(tiny_model, seeds, setting="direct", iterations=1))


@pytest.mark.parametrize(
    ("settings", "what"),
    [
        ({"respond": {"temperature": 0.0}, "assess": {"level": "both"}}, "all be the same at respond.temperature 0."),
        ({"assess": {"level": "none"}}, "have no scores to choose by, since assess.level none asks for none."),
    ],
)
def test_responses_that_nobody_could_tell_apart_are_refused(
    tiny_model: Path, seeds: Path, settings: dict[str, Any], what: str
) -> None:
    settings = {**settings, "respond": {**settings.get("respond", {}), "draws": 3}}
    with pytest.raises(UserError, match=f"respond.draws: 3 responses to an instruction would {what}"):
        refuse_draws(make(tiny_model, seeds, **settings))
    refuse_draws(make(tiny_model, seeds, respond={"draws": 3}, assess={"level": "quality"}))
    refuse_draws(make(tiny_model, seeds, respond={"temperature": 0.0}))


def test_further_responses_count_on_the_disk(tiny_model: Path, seeds: Path) -> None:
    one, three = (
        make(tiny_model, seeds, respond={"draws": draws}, assess={"level": "both", "max_new_tokens": 9})
        for draws in (1, 3)
    )
    checkpoint = read_checkpoint(tiny_model)
    # 2 iterations of 100 pairs with 2 responses more, which lie there drawn and judged, of 4 bytes a token.
    assert disk_needed(three, checkpoint) - disk_needed(one, checkpoint) == 2 * 100 * 2 * 2 * 4 * (20 + 2 * 9)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"setting": "one_last"}, "setting one_last differs from one_base from iteration 2 on, and iterations is 1"),
        (
            {"setting": "total_base"},
            "setting total_base differs from one_base from iteration 2 on, and iterations is 1",
        ),
        (
            {"synthesize": {"shots_from": "mixed"}},
            "synthesize.shots_from mixed shows seeds only in iteration 1, and iterations is 1",
        ),
    ],
)
def test_what_one_iteration_leaves_nothing_of(
    tiny_model: Path, seeds: Path, settings: dict[str, Any], said: str
) -> None:
    assert said in warnings(check(make(tiny_model, seeds, iterations=1, **settings)))
    assert said not in warnings(check(make(tiny_model, seeds, **settings)))


def test_one_cluster_is_no_cluster(tiny_model: Path, seeds: Path) -> None:
    said = "synthesize.shots_drawn clusters draws as uniform does where synthesize.shots is 1"
    settings = {"shots_drawn": "clusters", "shots": 1}
    assert said in warnings(check(make(tiny_model, seeds, synthesize=settings)))
    assert said not in warnings(check(make(tiny_model, seeds, synthesize={**settings, "shots": 2})))


def test_total_base_says_what_it_adds_up_to_and_takes_the_disk_for_it(tiny_model: Path, seeds: Path) -> None:
    total, one = (make(tiny_model, seeds, iterations=4, setting=name) for name in ("total_base", "one_base"))
    said = "with total_base up to 300 pairs of earlier iterations more in the last one"
    assert said in [finding.found for finding in check(total)]
    assert said not in [finding.found for finding in check(one)]
    checkpoint = read_checkpoint(tiny_model)
    assert disk_needed(total, checkpoint) - disk_needed(one, checkpoint) == 4 * (1 + 2 + 3) * most_pairs(one)[0] * 50


def principles(folder: Path, characters: int) -> dict[str, Any]:
    file = folder / "principles.txt"
    file.write_text(f"# Header.\n---\n{'x' * characters}\n{{{{task}}}}\n")
    return {"principles": str(file)}


def test_principles_are_named_and_need_their_field(tiny_model: Path, seeds: Path, tmp_path: Path) -> None:
    settings = principles(tmp_path, 10)
    found = next(f.found for f in check(make(tiny_model, seeds, respond=settings)) if f.what == "prompts")
    assert settings["principles"] in found
    Path(settings["principles"]).write_text("# Header.\n---\nBe brief.\n")
    with pytest.raises(UserError, match=r"has the fields \[\]\. It needs just \{\{task\}\}"):
        check(make(tiny_model, seeds, respond=settings))


def test_principles_that_leave_no_room(tiny_model: Path, seeds: Path, tmp_path: Path) -> None:
    settings = principles(tmp_path, POSITIONS)
    with pytest.raises(UserError) as caught:
        check(make(tiny_model, seeds, respond=settings))
    assert caught.value.where == "respond.principles"
    assert "of the model's 256 tokens and leaves no room for a response." in caught.value.what


def test_principles_that_leave_little_room(tiny_model: Path, seeds: Path, tmp_path: Path) -> None:
    longest = max((json.loads(line)["instruction"] for line in seeds.read_text().splitlines()), key=len)
    turn = [{"role": "user", "content": f"x\n{longest}"}]
    room = POSITIONS - 20 - len(Encoder.load(tiny_model, "chatml").chat(turn)) + 1
    assert room > 1
    for characters, tight in ((room, False), (room + 1, True)):
        settings = principles(tmp_path, characters)
        said = f"the longest seed task inside {settings['principles']} with its response takes 257 of 256 tokens"
        assert (said in warnings(check(make(tiny_model, seeds, respond=settings)))) is tight


def test_qlora_without_bitsandbytes(tiny_model: Path, seeds: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(UserError) as caught:
        check(make(tiny_model, seeds, train={"method": "qlora"}))
    assert (caught.value.where, caught.value.what, caught.value.mend) == (
        "train.method",
        "qlora reads the base in 4 bits by bitsandbytes, which is not installed.",
        'Install it with `pip install "isheep[qlora]"`, or give lora.',
    )


def test_qlora_on_a_device_that_cannot(tiny_model: Path, seeds: Path) -> None:
    pytest.importorskip("bitsandbytes")
    with pytest.raises(UserError, match=r"qlora does not run on engine\.device mps"):
        check(make(tiny_model, seeds, train={"method": "qlora"}, engine={"device": "mps"}))
    check(make(tiny_model, seeds, train={"method": "qlora"}, engine={"device": "cpu"}))


def test_the_shape_of_an_adapter_that_nobody_trains(tiny_model: Path, seeds: Path) -> None:
    full = check(make(tiny_model, seeds, train={"method": "full", "lora": {"rank": 4}}))
    assert "train.lora is for adapters, and train.method is full" in warnings(full)
    assert not [
        found for found in warnings(check(make(tiny_model, seeds, train={"method": "full"}))) if "lora" in found
    ]


def test_training_every_weight_takes_disk_and_memory(tiny_model: Path, seeds: Path) -> None:
    checkpoint = read_checkpoint(tiny_model)
    recipe = overridden(make(tiny_model, seeds, train={"method": "full"}), ["model.dtype=bfloat16"])
    adapters = make(tiny_model, seeds)
    count, adapter = checkpoint.parameters, 4 * checkpoint.adapter_parameters(8)
    more = disk_needed(recipe, checkpoint) - disk_needed(adapters, checkpoint)
    # Two iterations' models in bfloat16, and three checkpoints of weights and two moments in float32.
    assert more == 2 * (2 * count - adapter) + 9 * (4 * count - adapter)
    (memory,) = (finding.found for finding in check(recipe) if finding.what == "memory")
    assert "training all of them 0 MiB" in memory
