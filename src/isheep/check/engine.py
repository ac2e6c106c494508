"""What can be known of the engine before anything is spent."""

from __future__ import annotations

from importlib.metadata import packages_distributions, version
from typing import get_args

from isheep.engines.vllm import refuse_missing
from isheep.recipe import Recipe
from isheep.recipe.settings import EngineName, EngineSettings


def refuse_device(recipe: Recipe) -> None:
    """Raises UserError where `engine.device`, on which the training works too, cannot be used here."""
    if recipe.engine.device in ("auto", "cpu"):
        return
    # Importing torch takes seconds, which the usual devices need not wait for.
    from isheep.engines.loading import pick_device

    pick_device(recipe.engine.device)


def engine_found(settings: EngineSettings) -> str:
    """Which engine it will be, in words.

    Raises:
        UserError: it is not installed.
    """
    if settings.name == "vllm":
        refuse_missing()
    if settings.name == "openai":
        return f"a server, {settings.server.connections} requests at once at most"
    if settings.name not in get_args(EngineName):
        return f"{settings.name} (a plug-in), {settings.batch_size} requests at once"
    package = packages_distributions()[settings.name][0]
    return f"{package} {version(package)}, {settings.batch_size} requests at once"
