"""The stages that write drop by the recipe's rules, and not by those that are switched off."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from isheep.engines import Completion
from isheep.models import Models
from isheep.recipe import Recipe, locate, parse_recipe
from isheep.records import Instruction, SeedTask
from isheep.stages.respond import respond
from isheep.stages.shots import gather_shots
from isheep.stages.synthesize import _Writer
from isheep.store.run import Run

SEEDS = [SeedTask("seed", "Sell the shell to her.", "", "Sold.", False)]
WRITTEN = (
    " Name it\nInput: <noinput>\n###\n3. Instruction: - Tell me who fell.\nInput: <noinput>\n###\n4. All the hills"
)

OFF = [
    ({}, ["too_short", "bad_start", "malformed"], {"asks_back"}),
    ({"rules": {"off": ["too_short"]}}, [None, "bad_start", "malformed"], {"asks_back"}),
    ({"rules": {"off": ["bad_start", "asks_back"]}}, ["too_short", None, "malformed"], {None}),
    ({"select": {"threshold": 0}}, ["too_short", "bad_start", "malformed"], {"asks_back"}),
    ({"select": {"threshold": -1}}, [None, None, "malformed"], {None}),
]
"""Settings, what then drops the tasks written above, and what the responses."""

Make = Callable[..., Recipe]


@pytest.fixture
def make(tiny_model: Path, tmp_path: Path) -> Make:
    """A recipe of the tiny model and of a language in which every response asks back."""
    language = yaml.safe_load(locate("package:filters/english.yaml").read_text(encoding="utf-8"))
    language |= {"asks_back_lead_pattern": "", "asks_back_patterns": [r"[\s\S]"], "other_scripts": {}}
    language |= {"turn_markers": [], "answer_labels": [], "choices_heading_patterns": [], "no_input_markers": []}
    file = tmp_path / "language.yaml"
    file.write_text(yaml.safe_dump(language), encoding="utf-8")

    def recipe(settings: dict[str, Any]) -> Recipe:
        return parse_recipe(
            {
                "model": {"path": str(tiny_model), "dtype": "float32"},
                "synthesize": {"shots": 1},
                "respond": {"max_new_tokens": 6},
                "engine": {"device": "cpu", "threads": 1},
                **settings,
                "rules": {"language": str(file), **settings.get("rules", {})},
            },
            "test",
        )

    return recipe


@pytest.fixture
def run(make: Make, tmp_path: Path) -> Iterator[Run]:
    with Run.create_or_resume(tmp_path / "run", make({})) as run:
        yield run


@pytest.mark.parametrize(("settings", "instructions", "responses"), OFF)
def test_what_is_written_is_dropped_by_the_rules_that_are_on(
    run: Run, make: Make, settings: dict[str, Any], instructions: list[str | None], responses: set[str | None]
) -> None:
    recipe, iteration = make(settings), run.iteration(1)
    with Models(recipe) as models:
        pool = gather_shots(iteration, [], SEEDS, recipe, models.base)
        writer = _Writer(1, 0, recipe, pool, SEEDS, [], [])
        made = writer.take(Completion("0", models.encoder.plain(WRITTEN), "stop"), models.base)
        assert [row.dropped_by for row in made] == instructions
        asked = [Instruction(str(place), 1, place, f"Name {place} hills.", "", [], 0, "p") for place in range(20)]
        iteration.table("instructions").append(asked)
        iteration.table("instructions").close()
        respond(iteration, recipe, models.base)
    answers = iteration.table("responses").rows()
    assert {row.dropped_by for row in answers if row.response} == responses


def test_with_the_rules_off_novelty_still_drops(run: Run, make: Make) -> None:
    recipe = make({"select": {"threshold": -1}})
    with Models(recipe) as models:
        pool = gather_shots(run.iteration(1), [], SEEDS, recipe, models.base)
        writer = _Writer(1, 0, recipe, pool, SEEDS, [], [])
        text = f" {SEEDS[0].instruction}\nInput: <noinput>\n###\n"
        (row,) = writer.take(Completion("0", models.encoder.plain(text), "stop"), models.base)
    assert (row.dropped_by, row.rouge_id) == ("not_novel", "seed")


@pytest.mark.parametrize(("tokenizer", "dropped_by"), [("rouge", None), ("words", "not_novel")])
def test_novelty_compares_what_its_tokenizer_sees(run: Run, make: Make, tokenizer: str, dropped_by: str | None) -> None:
    recipe = make({"select": {"threshold": -1}, "novelty": {"tokenizer": tokenizer}})
    seeds = [SeedTask("seed", "Продай ей большую раковину.", "", "Да.", False)]
    with Models(recipe) as models:
        pool = gather_shots(run.iteration(1), [], seeds, recipe, models.base)
        writer = _Writer(1, 0, recipe, pool, seeds, [], [])
        text = f" {seeds[0].instruction}\nInput: <noinput>\n###\n"
        (row,) = writer.take(Completion("0", models.encoder.plain(text), "stop"), models.base)
    assert row.dropped_by == dropped_by
