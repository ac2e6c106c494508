"""`isheep eval`: the loop's own evaluation on a model, an adapter, or a run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from isheep.errors import UserError
from isheep.evaluation.base import Scores
from isheep.evaluation.rooms import measure
from isheep.hub import is_hub_id
from isheep.models import Model, Models
from isheep.recipe import Recipe, overridden, parse_recipe
from isheep.run import RECIPE, Run
from isheep.status import status

ADAPTER_CONFIG = "adapter_config.json"


def measure_model(
    what: Path, benchmarks: Sequence[str] | None = None, limit: int | None = None, settings: Sequence[str] = ()
) -> Scores:
    """Benchmark -> metric -> figure of a model.

    A model folder is asked as a base model, with bare text; a folder with a PEFT adapter, and the best iteration of a
    run, through the recipe's template.

    Args:
        what: a model folder, a hub id, an adapter folder, or a run directory.
        benchmarks: lm-eval tasks; those of the recipe unless given.
        limit: at most this many items of each.
        settings: `key=value` on the run's recipe, or on the paper's defaults.

    Raises:
        UserError: none of the three is there, or no benchmark is named.
    """
    if (what / RECIPE).is_file():
        run = Run.read(what)
        recipe = overridden(run.recipe, settings)
        number = status(run)["best_iteration"] or 0
        weights = run.iteration(number).weights_path if number else None
    elif (what / ADAPTER_CONFIG).is_file():
        base = json.loads((what / ADAPTER_CONFIG).read_text(encoding="utf-8"))["base_model_name_or_path"]
        recipe, number, weights = _recipe_for(base, settings), 1, what
    elif (what / "config.json").is_file() or is_hub_id(str(what)):
        recipe, number, weights = _recipe_for(str(what), settings), 0, None
    else:
        raise UserError(str(what), "holds no model, no adapter and no run.", "Give the folder of one of them.")
    names = benchmarks or recipe.evaluate.benchmarks
    if not names:
        raise UserError("--benchmarks", "none is named.", "Give lm-eval tasks, such as `--benchmarks arc_easy,piqa`.")
    recipe = overridden(recipe, [f"evaluate.limit={limit}"] if limit else [])
    with Models(recipe) as models:
        return measure(names, recipe, Model(models, number, weights)).scores


def _recipe_for(model: str, settings: Sequence[str]) -> Recipe:
    return overridden(parse_recipe({"model": {"path": model}}, model), settings)
