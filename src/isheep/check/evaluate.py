"""What can be known of the benchmarks before anything is spent: names, data, metrics, graders, judges."""

from __future__ import annotations

from collections.abc import Iterator

from isheep.errors import UserError
from isheep.evaluation.base import in_words
from isheep.evaluation.registry import CODE, prepared
from isheep.recipe import Recipe, locate
from isheep.recipe.settings import EvaluateSettings


def code_let_in(settings: EvaluateSettings) -> Iterator[str]:
    """A warning for each setting by which code of others comes to run with the user's rights."""
    if settings.trust_tasks and settings.tasks is not None:
        yield f"functions that the files in {settings.tasks} name run with all your rights (evaluate.trust_tasks)"
    if not settings.sandbox and any(name in CODE for name in settings.benchmarks):
        yield "generated code runs with all your rights (evaluate.sandbox)"


def benchmarks_found(recipe: Recipe) -> Iterator[str]:
    """A line for each benchmark of what will measure it.

    Raises:
        UserError: something that one of them needs is missing.
    """
    settings = recipe.evaluate
    if settings.tasks is not None:
        folder = locate(settings.tasks)
        if not folder.is_dir():
            what = f"{settings.tasks} is no folder."
            raise UserError("evaluate.tasks", what, "Give a folder with lm-eval task files.")
        if not any(folder.rglob("*.yaml")):
            what = f"{settings.tasks} holds no lm-eval task file (*.yaml)."
            raise UserError("evaluate.tasks", what, "Give a folder that does, or take the setting out.")
    for name, benchmark in prepared(settings.benchmarks, recipe).items():
        yield f"{name}  {in_words(benchmark.protocol())}"
