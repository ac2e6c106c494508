"""What can be known of a server that runs the model (`engine.name: openai`) before anything is spent."""

from __future__ import annotations

from pathlib import Path

from isheep.encoder import Encoder
from isheep.errors import UserError
from isheep.filters.pairs import pair_filter
from isheep.recipe import Recipe


def refuse_without_model(recipe: Recipe) -> None:
    """Raises UserError where the recipe needs what no server of this kind gives."""
    if recipe.engine.name != "openai":
        return
    mend = "Leave it out, or choose another engine.name."
    for name in recipe.select.filters:
        if pair_filter(name).vectors:
            what = f"names `{name}`, whose vectors no server gives (engine.name openai)."
            raise UserError("select.filters", what, mend)
    if recipe.synthesize.shots_drawn == "clusters":
        what = "is clusters, whose vectors no server gives (engine.name openai)."
        raise UserError("synthesize.shots_drawn", what, mend)
    if recipe.train.method == "full":
        what = "is full, but a server goes on with its own weights, and adapters on them (engine.name openai)."
        raise UserError("train.method", what, "Give lora or qlora, or choose another engine.name.")
    if recipe.assess.other_model is not None and recipe.assess.questions:
        what = f"is {recipe.assess.other_model}, but the server serves model.path alone (engine.name openai)."
        raise UserError("assess.assessor", what, "Give current or base, or choose another engine.name.")


def ask_server(recipe: Recipe, folder: Path, encoder: Encoder) -> tuple[str, list[str]]:
    """Asks the server what it can; returns that in one line, and what the run will do without.

    Args:
        recipe: whose `engine.server` it is.
        folder: of the model.
        encoder: the model's.

    Raises:
        UserError: it cannot be used at all, or not for this recipe.
    """
    from isheep.engines.openai import HOW_TO_SERVE, OpenAIEngine

    with OpenAIEngine(folder, recipe.engine.server, encoder) as engine:
        able, positions, url = engine.abilities, engine.positions, recipe.engine.server.url
    asked_of_a_trained_model = recipe.iterations > 1 or recipe.evaluate.benchmarks
    if asked_of_a_trained_model and able.adapters is None:
        what = f"{url} does not load adapters, so the trained models cannot be asked there."
        raise UserError("engine.server", what, f"Start it so: {HOW_TO_SERVE}")
    if not able.scores:
        _refuse_perplexity(recipe, url)
    for name, wanted in (("synthesize", recipe.synthesize), ("respond", recipe.respond)):
        if positions is not None and wanted.max_new_tokens >= positions:
            what = f"{wanted.max_new_tokens} leaves no room for a prompt in the server's {positions} tokens."
            raise UserError(f"{name}.max_new_tokens", what, f"Give less than {positions}, or start it with more.")
    told = {
        "token ids" if able.tokens_in else "text": True,
        "stop ids" if able.stop_ids else "stop strings": True,
        "log-probabilities": able.scores,
        "adapters": able.adapters is not None,
    }
    length = "" if able.max_length is None else f", {able.max_length} tokens"
    line = f"{url}  {able.model}{length}: {', '.join(name for name, there in told.items() if there)}"
    without = []
    if not able.scores and recipe.assess.read == "distribution" and recipe.assess.questions:
        without.append("it gives no log-probabilities: assess.read distribution will write its scores and parse them")
    if not able.tokens_in:
        without.append("it takes text alone: a special token that an instruction spells is read as one")
    return line, without


def _refuse_perplexity(recipe: Recipe, url: str) -> None:
    what = f"needs log-probabilities, which the server {url} does not give."
    mend = "Leave it out, or serve the model with vLLM."
    for name in recipe.select.filters:
        if pair_filter(name).log_probabilities:
            raise UserError("select.filters", f"names `{name}`, which {what}", mend)
    if recipe.synthesize.shots_drawn == "inverse_perplexity":
        raise UserError("synthesize.shots_drawn", f"is inverse_perplexity, which {what}", mend)
