"""Commands before a run: what it would be, whether it can be, what it would take."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from isheep.cli.app import OUT, AsJson, RecipeWords, asked, command, here, line, print_json, quiet, recipe_of
from isheep.errors import UserError


@command(
    "Plan",
    "isheep init",
    "isheep init --model lamb --seeds my.csv --hardware cpu --to my.yaml",
    name="init",
)
def init_recipe(
    model: Annotated[str | None, typer.Option(help="A base model: a folder, a hub id, or lamb, which ships.")] = None,
    seeds: Annotated[
        str | None, typer.Option(help="Seed tasks: a file, a folder, hf:owner/name, or `shipped`.")
    ] = None,
    hardware: Annotated[str | None, typer.Option(help="cpu, gpu, or GPUs of another machine: h100, 8xh100.")] = None,
    column: Annotated[
        list[str] | None,
        typer.Option(metavar="ROLE=NAME", help="A column of the seeds: output=reply; may be given again."),
    ] = None,
    to: Annotated[Path, typer.Option(metavar="FILE", help="The recipe to write.")] = Path("my.yaml"),
    yes: Annotated[bool, typer.Option("--yes", help="Take what is proposed for what is not given.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
) -> None:
    """Ask for model, seeds and hardware, and write a commented recipe.

    What is given is not asked for.
    """
    quiet()
    from isheep.init import Answers, init

    ask = (lambda question, proposal: proposal) if yes else asked if sys.stdin.isatty() else None
    made = init(Answers(model, seeds, hardware, column or ()), to, ask, force)
    for finding in made.findings:
        line(f"{'!' if finding.warning else ' '} {finding.what:<12} {finding.found}")
    line(f"{made.file}: written; next:")
    for words in made.commands:
        line(f"  {words}")


@command("Plan", "isheep check my.yaml engine=vllm", "isheep check lamb --dir runs/first", name="check")
def check_recipe(
    words: RecipeWords = None,
    directory: Annotated[str | None, typer.Option("--dir", help="Also look at this run directory.")] = None,
) -> None:
    """Find out everything that can be known before anything is spent."""
    quiet()
    from isheep.check import check

    recipe = recipe_of(words)
    for finding in check(recipe, here(directory, may_be_new=True) if directory is not None else None):
        mark = "!" if finding.warning else " "
        line(f"{mark} {finding.what:<12} {finding.found}")
    line("ready to run")


@command("Plan", "isheep estimate my.yaml --gpu h100", "isheep estimate lamb --probe runs/probe", name="estimate")
def estimate_run(
    words: RecipeWords = None,
    probe: Annotated[
        Path | None,
        typer.Option("--probe", metavar="DIR", help="A small run of the recipe to go by; made there if need be."),
    ] = None,
    gpu: Annotated[
        str | None, typer.Option("--gpu", metavar="NAME", help="For GPUs of this kind, such as h100.")
    ] = None,
    gpus: Annotated[
        int | None, typer.Option("--gpus", min=1, help="So many of them; else as the recipe wants.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Tell what a run will take: tokens, time, GPU-hours, memory, disk.

    Of the model, config.json is enough. Without --probe, habits of the
    model are guessed; every guess is said. Time is told by a probe, for
    this machine, or from data sheets, for the GPUs of --gpu.
    """
    recipe = recipe_of(words)
    if gpus is not None and gpu is None:
        raise UserError("--gpus", "of which kind is not said.", "Give --gpu, too, such as `--gpu h100`.")
    quiet()
    from isheep.cli.estimates import estimate_tables
    from isheep.estimate import as_document, estimate, gpus_wanted, hardware

    found = estimate(recipe, hardware(gpu, gpus or gpus_wanted(recipe)) if gpu else None, probe)
    print_json(as_document(found)) if as_json else OUT.print(estimate_tables(found))


@command("Plan", "isheep show qwen1.5-7b ablations/threshold-4")
def show(words: RecipeWords = None) -> None:
    """Print a recipe with every default written out."""
    from isheep.recipe import dump_recipe

    line(dump_recipe(recipe_of(words)).rstrip("\n"))


@command("Plan", "isheep recipes")
def recipes() -> None:
    """List the recipes that ship."""
    from isheep.recipe.files import about_recipes

    for folder, named in about_recipes().items():
        heading = f"{folder}, over any recipe: isheep run lamb NAME" if folder else "recipes: isheep run NAME"
        line(f"{heading} --dir DIR")
        for name, about in named.items():
            line(f"  {name:<36} {about}")


@command("Plan", "isheep doctor", "isheep doctor --json")
def doctor(as_json: AsJson = False) -> None:
    """Print the environment, what is installed, and what is missing for which feature.

    To paste into a bug report: no value of a key is in it.
    """
    from isheep.doctor import as_document, as_text, examine

    found = examine()
    print_json(as_document(found)) if as_json else line(as_text(found))
