"""Whether who is to be told of the training is there."""

from __future__ import annotations

from collections.abc import Iterator

from isheep.check.findings import Finding
from isheep.errors import UserError
from isheep.recipe import Recipe

INSTALLED_BY = {
    "tensorboard": 'pip install "isheep[tensorboard]"',
    "wandb": "pip install wandb",
    "mlflow": "pip install mlflow",
    "trackio": "pip install trackio",
}


def trackers_found(recipe: Recipe) -> Iterator[Finding]:
    """Who is told, and of those that may send it elsewhere that they may.

    Raises:
        UserError: one of them is not installed, or its own environment variable switches it off.
    """
    names = list(dict.fromkeys(recipe.train.track))
    if not names:
        return
    # Importing transformers takes seconds, which a run that nobody is told of need not wait for.
    from transformers import integrations

    there = {
        "tensorboard": integrations.is_tensorboard_available,
        "wandb": integrations.is_wandb_available,
        "mlflow": integrations.is_mlflow_available,
        "trackio": integrations.is_trackio_available,
    }
    for name in names:
        if not there[name]():
            mend = f"Install it with `{INSTALLED_BY[name]}`, or take it out."
            raise UserError("train.track", f"{name} is not installed, or switched off.", mend)
    yield Finding("trackers", ", ".join(names))
    for name in names:
        if name != "tensorboard":
            what = f"{name} gets the training's figures and sends them where its own environment says"
            yield Finding("trackers", what, warning=True)
