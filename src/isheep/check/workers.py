"""The engine's workers on a Ray cluster, and how many of them find room there."""

from __future__ import annotations

from isheep.check.findings import Finding, counted
from isheep.engines.ray_cluster import connect, has_gpus, nodes, refuse_missing, share_of
from isheep.errors import UserError
from isheep.recipe import Recipe
from isheep.recipe.settings import EngineSettings


def refuse_workers(settings: EngineSettings) -> None:
    """Raises UserError where workers make no sense, or nothing is there to run them; imports nothing."""
    if not settings.workers:
        return
    if settings.name == "openai":
        what = f"{settings.workers} workers would all ask the same server."
        raise UserError("engine.workers", what, "Give 0, and as many engine.server.connections as it can take.")
    refuse_missing()


def workers_found(recipe: Recipe) -> Finding:
    """How many of the recipe's workers find room on the cluster as it is now.

    Raises:
        UserError: no such cluster, or one with no machine on which a single worker would fit.
    """
    ray = connect(recipe.engine.ray.address)
    there = nodes(ray)
    share = share_of(recipe, has_gpus(there))
    fitting, wanted = share.of(there), recipe.engine.workers
    of = f"on {counted(len(there), 'machine')}"
    if not fitting:
        what = f"none of {wanted} finds room {of}: each wants {share.in_words()} on one machine."
        mend = "Lower engine.ray.cpus, .gpus or .memory, or give a cluster with more."
        raise UserError("engine.workers", what, mend)
    if fitting < wanted:
        found = (
            f"{fitting} of {wanted} find room {of}, with {share.in_words()} each; the others start when there is more"
        )
        return Finding("workers", found, warning=True)
    return Finding("workers", f"{wanted} of {fitting} that find room {of}, with {share.in_words()} each")
