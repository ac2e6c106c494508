"""`isheep eval`: the loop's own evaluation on a model, an adapter, the iterations of a run, or answers in a file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from isheep.checkpoint import ADAPTER_CONFIG, read_checkpoint
from isheep.encoder import Encoder
from isheep.errors import UserError, first_line
from isheep.evaluation.base import Scores
from isheep.evaluation.lm_eval_task import LmEvalTask
from isheep.evaluation.registry import open_benchmark, prepared
from isheep.hub import is_hub_id, model_folder
from isheep.models import Model, Models
from isheep.recipe import Recipe, locate, overridden, parse_recipe, without_code
from isheep.store.files import cache_folder, fingerprint, write_json
from isheep.store.run import RECIPE, Run
from isheep.store.status import status

Protocols = dict[str, dict[str, Any]]
"""Benchmark -> what decides its figures beside the model."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What `isheep eval` shows."""

    scores: dict[str, Scores]
    """Model -> benchmark -> metric -> figure."""
    protocols: Protocols


def measure_models(
    what: Path,
    benchmarks: Sequence[str] | None = None,
    limit: int | None = None,
    settings: Sequence[str] = (),
    iterations: Sequence[int] | None = None,
) -> Evaluation:
    """The figures of one model or several.

    A model folder is asked as a base model, with bare text; a folder with a PEFT adapter, and the iterations of a run
    but for 0, through the recipe's template. What was measured before of the same weights in the same way is not
    measured again (`$ISHEEP_CACHE/evaluations`), so a command that was stopped goes on with the benchmark it was at.

    Args:
        what: a model folder, a hub id, an adapter folder, a run directory, or a file with answers that are written
            already: JSON lines with `prompt` and `response`.
        benchmarks: their names; those of the recipe unless given.
        limit: at most this many items of each.
        settings: `key=value` on the run's recipe, or on the paper's defaults.
        iterations: of a run; its best one unless given.

    Raises:
        UserError: nothing of that kind is there, no benchmark is named, or something that one needs is missing.
    """
    if (what / RECIPE).is_file():
        recipe, weights = _of_run(what, settings, iterations)
    elif iterations is not None:
        raise UserError(str(what), "is no run, so it has no iterations.", "Leave --iterations out.")
    elif what.is_file():
        return grade(what, benchmarks or (), limit, settings)
    elif (what / ADAPTER_CONFIG).is_file():
        recipe, weights = _recipe_for(_base_of(what / ADAPTER_CONFIG), settings), {str(what): (1, what)}
    elif (what / "config.json").is_file() or is_hub_id(str(what)):
        recipe, weights = _recipe_for(str(what), settings), {str(what): (0, None)}
    else:
        raise UserError(str(what), "is no model, no adapter, no run and no file.", "Give the folder of one of them.")
    if limit:
        recipe = overridden(recipe, [f"evaluate.limit={limit}"])
    names = _named(benchmarks, recipe)
    read_checkpoint(model_folder(recipe.model.path))
    bare = all(number == 0 for number, _ in weights.values())
    with Models(recipe, _encoder_of_base(recipe) if bare else None) as models:
        asked = {name: Model(models, number, folder) for name, (number, folder) in weights.items()}
        return _measured(names, recipe, asked)


def _base_of(config: Path) -> str:
    """The base that an adapter names."""
    try:
        base = json.loads(config.read_text(encoding="utf-8"))["base_model_name_or_path"]
    except (ValueError, KeyError, TypeError):
        base = None
    if not isinstance(base, str):
        what = "names no base model (`base_model_name_or_path`)."
        raise UserError(str(config), what, "Save the adapter with PEFT, or copy it again.")
    return base


def grade(file: Path, names: Sequence[str], limit: int | None = None, settings: Sequence[str] = ()) -> Evaluation:
    """The figures of answers in a file, for benchmarks of lm-eval that generate.

    Raises:
        UserError: a line that is no answer, a prompt without one, or another kind of benchmark.
    """
    answers: dict[str, str] = {}
    try:
        lines = file.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        what = f"cannot be read ({first_line(error)})."
        raise UserError(str(file), what, "Give JSON lines in UTF-8, with `prompt` and `response`.") from None
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                row = json.loads(line)
                answers[str(row["prompt"])] = str(row["response"])
            except (ValueError, KeyError, TypeError):
                what = "is no JSON object with `prompt` and `response`."
                raise UserError(f"{file}, line {number}", what, "Mend or delete the line.") from None
    evaluate = [f"evaluate.limit={limit}"] if limit else []
    recipe = _recipe_for("none", [*settings, *evaluate])
    scores: Scores = {}
    protocols: Protocols = {}
    for name in _named(names, recipe):
        benchmark = open_benchmark(name, recipe)
        if not isinstance(benchmark, LmEvalTask):
            raise UserError(name, "does not take answers from a file.", "Measure the model that wrote them.")
        benchmark.prepare()
        scores |= benchmark.grade(answers, recipe.seed).scores
        protocols[name] = benchmark.protocol()
    return Evaluation({str(file): scores}, protocols)


def _measured(names: Sequence[str], recipe: Recipe, models: dict[str, Model]) -> Evaluation:
    found: dict[str, Scores] = {}
    kept = _kept()
    benchmarks = prepared(names, recipe)
    protocols = {name: benchmark.protocol() for name, benchmark in benchmarks.items()}
    base = fingerprint(model_folder(recipe.model.path))
    tasks = fingerprint(locate(recipe.evaluate.tasks)) if recipe.evaluate.tasks else None
    how = recipe.model_dump(mode="json", include={"model": {"template", "dtype"}, "engine": True, "seed": True})
    for called, model in models.items():
        weights = fingerprint(model.weights) if model.weights else None
        scores: Scores = {}
        for name, benchmark in benchmarks.items():
            decides = [base, weights, model.trained, how, recipe.evaluate.prompts, tasks, name, protocols[name]]
            file = kept / f"{_hash(decides)}.json"
            if not file.is_file():
                measured = benchmark.measure(model, recipe.seed)
                rows = json.loads(json.dumps(measured.items, default=str))
                write_json(file, {"decided_by": decides, "scores": measured.scores, "items": rows})
            scores |= json.loads(file.read_text(encoding="utf-8"))["scores"]
        found[called] = scores
    return Evaluation(found, protocols)


def _kept() -> Path:
    """Where figures are kept, seen to before any is measured."""
    folder = cache_folder() / "evaluations"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        what = f"figures cannot be kept there ({error.strerror})."
        raise UserError(str(folder), what, "Mend the rights, or set ISHEEP_CACHE to another folder.") from None
    return folder


def _of_run(
    directory: Path, settings: Sequence[str], iterations: Sequence[int] | None
) -> tuple[Recipe, dict[str, tuple[int, Path | None]]]:
    run = Run.read(directory)
    found = status(run)
    trained = {0} | {one.number for one in run.iterations() if one.weights_path.is_dir()}
    wanted = [found["best_iteration"] or 0] if iterations is None else iterations
    for number in wanted:
        if number not in trained:
            what = f"iteration {number} has no model; those that have one are {', '.join(map(str, sorted(trained)))}."
            raise UserError(str(directory), what, "Give --iterations of those.")
    weights = {number: run.iteration(number).weights_path if number else None for number in wanted}
    return overridden(without_code(run.recipe), settings), {
        f"iteration-{n}": (n, folder) for n, folder in weights.items()
    }


def _named(benchmarks: Sequence[str] | None, recipe: Recipe) -> list[str]:
    names = list(benchmarks or recipe.evaluate.benchmarks)
    if not names:
        raise UserError("--benchmarks", "none is named.", "Give some, as in `--benchmarks arc_easy,piqa`.")
    return names


def _encoder_of_base(recipe: Recipe) -> Encoder:
    """A base is asked in bare text, so that a template which its tokenizer has no tokens for is no hindrance."""
    folder = model_folder(recipe.model.path)
    try:
        return Encoder.load(folder, recipe.model.template)
    except UserError:
        return Encoder.load(folder, None)


def _recipe_for(model: str, settings: Sequence[str]) -> Recipe:
    return overridden(parse_recipe({"model": {"path": model}}, model), settings)


def _hash(decides: object) -> str:
    text = json.dumps(decides, sort_keys=True, ensure_ascii=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:32]
