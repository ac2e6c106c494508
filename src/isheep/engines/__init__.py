"""What runs the model. `open_engine` is the way in; the loop knows the protocol in `base` and nothing else."""

from __future__ import annotations

from isheep.encoder import Encoder
from isheep.engines.base import Completion, Engine, NoLogProbabilities, Request
from isheep.hub import model_folder
from isheep.recipe import Recipe
from isheep.recipe.settings import EngineSettings


def part_size(settings: EngineSettings) -> int:
    """Requests whose records are written together: a window of the embedded engine, else a batch."""
    return settings.batch_size * (settings.window if settings.name == "transformers" else 1)


def open_engine(recipe: Recipe, encoder: Encoder) -> Engine:
    """Loads the recipe's base model into the recipe's engine, or finds the server that serves it.

    Raises:
        UserError: the model does not load, the device is not there, or no such server.
    """
    if recipe.engine.workers:
        from isheep.engines.ray import RayEngine

        return RayEngine(recipe, encoder)
    folder = model_folder(recipe.model.path)
    match recipe.engine.name:
        case "transformers":
            # Importing torch takes seconds, which the commands that only look at a run need not wait for.
            from isheep.engines.transformers import TransformersEngine

            return TransformersEngine(
                folder,
                dtype=recipe.model.dtype,
                device=recipe.engine.device,
                batch_size=recipe.engine.batch_size,
                window=part_size(recipe.engine),
                threads=recipe.engine.threads,
                pad_id=encoder.pad_id,
            )
        case "vllm":
            from isheep.engines.vllm import VllmEngine

            return VllmEngine(folder, recipe)
        case "openai":
            from isheep.engines.openai import OpenAIEngine

            return OpenAIEngine(folder, recipe.engine.server, encoder)
        case name:
            from isheep.engines.plugged import PluggedEngine

            return PluggedEngine(name, folder, recipe, encoder)


__all__ = ["Completion", "Engine", "NoLogProbabilities", "Request", "open_engine", "part_size"]
