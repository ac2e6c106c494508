"""`isheep init`: three questions (model, seeds, hardware), and out of the answers a recipe that `check` accepts."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from isheep.check import check
from isheep.check.findings import Finding
from isheep.errors import UserError
from isheep.init import choices
from isheep.init.choices import Base, base_of, choose
from isheep.init.devices import Device, device_of, proposed
from isheep.init.writing import recipe_text
from isheep.recipe import load_recipe
from isheep.recipe.settings import ColumnSettings, SeedSettings
from isheep.seeds import Seeds, read_seeds
from isheep.store.files import write_atomic

Ask = Callable[[str, str], str]
"""A question and what is proposed -> what the user answers."""

LAMB, SHIPPED = "lamb", "shipped"
QUESTIONS = {
    "model": "Base model: a folder, a hub id, or lamb, which is small and ships",
    "seeds": "Seed tasks: a file (CSV, JSON, JSON lines, Parquet), hf:owner/name, or those that are shipped",
    "hardware": "Hardware: cpu, gpu, or GPUs of another machine such as h100 or 8xh100; ",
}
PROPOSED = {"model": LAMB, "seeds": SHIPPED}
SEEDS = {LAMB: "package:lamb/seeds.jsonl", "": "package:seeds/general.jsonl"}


@dataclass(frozen=True, slots=True)
class Answers:
    """As the user gives them; None: to be asked."""

    model: str | None = None
    """`lamb`, a folder or a hub id."""
    seeds: str | None = None
    """What `seeds.path` takes, or `shipped`."""
    hardware: str | None = None
    """`cpu`, `gpu` (this machine's), or GPUs of another by name: `h100`, `8xh100`."""
    columns: Sequence[str] = ()
    """Of the seeds: `instruction=NAME`."""


@dataclass(frozen=True, slots=True)
class Made:
    """The recipe that was written."""

    file: Path
    findings: list[Finding]
    """What `isheep check` says of it, as far as it can look."""
    commands: list[str]
    """What comes next."""


def init(answers: Answers, to: Path, ask: Ask | None, force: bool = False) -> Made:
    """Asks what is not answered yet, writes the recipe and checks it.

    Args:
        answers: those that are known.
        to: the file to write.
        ask: asks one question; None: nobody is there to be asked.
        force: whether a file that is there may be replaced.

    Raises:
        UserError: an answer is missing and nobody is there to give it, a file is there already, or an answer is such
            that no run can be made of it; then nothing has been written.
    """
    if to.suffix not in (".yaml", ".yml"):
        raise UserError(str(to), "a recipe's name ends in .yaml.", "Give such a name.")
    if to.exists() and not force:
        raise UserError(str(to), "is there already.", "Give another --to, or --force to replace it.")
    answers = _asked(answers, ask)
    base, seeds, device = _understood(answers)
    chosen = choose(base, len(seeds[1].tasks), device)
    text = recipe_text(to, base, seeds, device, chosen)
    with TemporaryDirectory() as folder:
        draft = Path(folder) / to.name
        draft.write_text(text, encoding="utf-8")
        findings = check(load_recipe(str(draft)), elsewhere=not device.here, model=base.whole)
    write_atomic(to, text.encode())
    notes = [Finding(what, found, warning=True) for what, found in chosen.notes]
    return Made(to, [*findings, *notes], _commands(to, base, device))


def _asked(answers: Answers, ask: Ask | None) -> Answers:
    missing = [name for name in QUESTIONS if getattr(answers, name) is None]
    if not missing:
        return answers
    if ask is None:
        several = len(missing) > 1
        what = f"{'are' if several else 'is'} not given, and there is no terminal to ask at."
        mend = f"Give {'them' if several else 'it'}, or --yes to take what is proposed."
        raise UserError(", ".join(f"--{name}" for name in missing), what, mend)
    for name in missing:
        question = QUESTIONS[name]
        proposal, found = proposed() if name == "hardware" else (PROPOSED[name], "")
        given: Any = {name: ask(f"{question}{found}", proposal).strip() or proposal}
        answers = replace(answers, **given)
    return answers


def _understood(answers: Answers) -> tuple[Base, tuple[SeedSettings, Seeds], Device]:
    """The answers as what they name; the cheapest to find wrong come first."""
    model, path = str(answers.model), str(answers.seeds)
    device = device_of(str(answers.hardware))
    if path == SHIPPED:
        path = SEEDS[LAMB if model == LAMB else ""]
    settings = SeedSettings(path=path, columns=_columns(answers.columns))
    try:
        seeds = read_seeds(settings)
    except UserError as error:
        where, mend = (said.replace("seeds.columns.", "--column ") for said in (error.where, error.mend))
        raise UserError(where, error.what, mend) from None
    return base_of(choices.LAMB if model == LAMB else model), (settings, seeds), device


def _columns(words: Sequence[str]) -> ColumnSettings:
    told = dict(word.partition("=")[::2] for word in words)
    if wrong := next((word for word in words if "=" not in word), None):
        raise UserError("--column", f"`{wrong}` is not COLUMN=NAME.", "Write it like `instruction=question`.")
    if unknown := next((name for name in told if name not in ColumnSettings.model_fields), None):
        known = ", ".join(ColumnSettings.model_fields)
        raise UserError("--column", f"a seed task has no `{unknown}`.", f"It has {known}.")
    return ColumnSettings(**told)


def _commands(to: Path, base: Base, device: Device) -> list[str]:
    file, run = shlex.quote(str(to)), shlex.quote(f"runs/{to.stem}")
    if not device.here:
        return [f"isheep estimate {file} --gpu {device.name} --gpus {device.gpus}", f"isheep run {file} --dir {run}"]
    first = [] if base.whole else [f"isheep check {file}"]
    return [*first, f"isheep estimate {file} --probe {run}-probe", f"isheep run {file} --dir {run}"]


__all__ = ["Answers", "Made", "init"]
