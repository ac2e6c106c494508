"""What can be known of the iterative setting, the shots, the principles and the training before anything is spent."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib.util import find_spec

from isheep.check.findings import Finding, counted
from isheep.check.select import most_pairs, quotas, refuse_filters, training_pairs
from isheep.check.server import refuse_without_model
from isheep.checkpoint import Checkpoint
from isheep.encoder import Encoder
from isheep.errors import UserError
from isheep.prompts import Prompt, bare
from isheep.recipe import Recipe, locate
from isheep.recipe.settings import LoraSettings
from isheep.records import SeedTask
from isheep.stages.respond import FIELDS


def settings_found(recipe: Recipe) -> Iterator[Finding]:
    """Settings that are each right and together wrong."""
    refuse_iterations(recipe)
    refuse_filters(recipe)
    refuse_without_model(recipe)
    refuse_method(recipe)
    refuse_draws(recipe)
    train = recipe.train
    if train.batch_size % train.micro_batch_size:
        raise UserError(
            "train.micro_batch_size",
            f"{train.micro_batch_size} does not divide train.batch_size {train.batch_size}.",
            "Give a divisor of it.",
        )
    if train.steps is not None and train.warmup_steps >= train.steps:
        raise UserError(
            "train.warmup_steps",
            f"{train.warmup_steps} leaves nothing of train.steps {train.steps}: the learning rate would only rise.",
            f"Give less than {train.steps}.",
        )
    own, pairs = most_pairs(recipe), training_pairs(recipe)
    fewest = min(pairs)
    if train.held_out and not int(fewest * train.held_out):
        keys = ", ".join(("size", *quotas(recipe, pairs.index(fewest) + 1)))
        raise UserError(
            "train.held_out",
            f"{train.held_out} of at most {counted(fewest, 'pair')} is none to evaluate on.",
            f"Give 0 to hold nothing out, or raise it or one of {keys}.",
        )
    trained = max(own) - int(max(own) * train.held_out)
    steps = train.steps or -(-trained * train.epochs // train.batch_size)
    yield Finding("training", f"at most {trained} pairs, {steps:.0f} steps of {train.batch_size} in each iteration")
    if before := pairs[-1] - own[-1]:
        yield Finding("training", f"with total_base up to {before} pairs of earlier iterations more in the last one")
    for found in without_effect(recipe):
        yield Finding("settings", found, warning=True)
    if train.warmup_steps >= steps:
        yield Finding("training", f"all {steps:.0f} steps lie within train.warmup_steps {train.warmup_steps}", True)


def refuse_iterations(recipe: Recipe) -> None:
    """Raises UserError where the iterative setting has another number of iterations than the recipe."""
    if recipe.setting == "direct" and recipe.iterations > 1:
        what = f"direct is one iteration of the base, but iterations is {recipe.iterations}."
        raise UserError(
            "setting", what, "Set iterations to 1 (and size to what it shall make), or setting to one_base."
        )


def refuse_draws(recipe: Recipe) -> None:
    """Raises UserError where several responses to an instruction could not differ, or nobody would tell them apart."""
    if recipe.respond.draws == 1:
        return
    what = f"{recipe.respond.draws} responses to an instruction would"
    if recipe.respond.temperature == 0:
        why = "all be the same at respond.temperature 0."
        raise UserError("respond.draws", f"{what} {why}", "Give 1, or a temperature above 0.")
    if not recipe.assess.questions:
        why = "have no scores to choose by, since assess.level none asks for none."
        raise UserError("respond.draws", f"{what} {why}", "Give 1, or set assess.level to both.")


FOUR_BIT_DEVICES = ("auto", "cpu", "cuda", "xpu")
"""Beginnings of `engine.device` on which bitsandbytes trains in 4 bits."""


def refuse_method(recipe: Recipe) -> None:
    """Raises UserError where the training's method cannot run here."""
    if recipe.train.method != "qlora":
        return
    if find_spec("bitsandbytes") is None:
        what = "qlora reads the base in 4 bits by bitsandbytes, which is not installed."
        raise UserError("train.method", what, 'Install it with `pip install "isheep[qlora]"`, or give lora.')
    if not recipe.engine.device.startswith(FOUR_BIT_DEVICES):
        what = f"qlora does not run on engine.device {recipe.engine.device}."
        raise UserError("train.method", what, "Give lora, or a device of cpu, cuda or xpu.")


def without_effect(recipe: Recipe) -> list[str]:
    """What the recipe asks for and another of its settings leaves nothing of, in words."""
    idle = []
    if recipe.train.method == "full" and recipe.train.lora != LoraSettings():
        idle.append("train.lora is for adapters, and train.method is full")
    if recipe.train.launch == "local" and (recipe.train.processes is not None or recipe.train.nodes > 1):
        idle.append("train.processes and train.nodes are for several processes, and train.launch is local")
    if recipe.iterations == 1:
        if recipe.setting in ("one_last", "total_base"):
            idle.append(f"setting {recipe.setting} differs from one_base from iteration 2 on, and iterations is 1")
        if recipe.synthesize.shots_from == "mixed":
            idle.append("synthesize.shots_from mixed shows seeds only in iteration 1, and iterations is 1")
    if recipe.synthesize.shots_drawn == "clusters" and recipe.synthesize.shots == 1:
        idle.append("synthesize.shots_drawn clusters draws as uniform does where synthesize.shots is 1")
    return idle


def principles_room(recipe: Recipe, checkpoint: Checkpoint, encoder: Encoder, seeds: Sequence[SeedTask]) -> str | None:
    """What to warn of where the longest task inside the principles leaves less than a whole response, or None.

    Raises:
        UserError: the principles are no prompt file, or they leave no room for any task and its response.
    """
    path, positions = recipe.respond.principles, checkpoint.positions
    if path is None or positions is None:
        return None
    principles = Prompt.load(locate(path), FIELDS)
    tasks = [bare(seed.instruction, seed.input) for seed in seeds]

    def tokens(task: str) -> int:
        shown = principles.render(task=task)
        return max(len(encoder.plain(f"{shown}\n")), len(encoder.chat([{"role": "user", "content": shown}])))

    shortest, longest = tokens(min(tasks, key=len)), tokens(max(tasks, key=len))
    if shortest >= positions:
        what = (
            f"{path} with the shortest seed task in it takes {shortest} of the model's {positions} tokens and leaves "
        )
        what += "no room for a response."
        raise UserError("respond.principles", what, "Give a shorter file, or a model with a longer context.")
    needed = longest + recipe.respond.max_new_tokens
    if needed > positions:
        return f"the longest seed task inside {path} with its response takes {needed} of {positions} tokens"
    return None
