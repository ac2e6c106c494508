"""What `from isheep import Recipe, Run, run` gives a program or a notebook: a run is made, and looked at.

    recipe = Recipe.load("lamb", iterations=2, size=40)
    finished = run(recipe, "runs/mine")
    finished.records().to_pandas()

Looking never writes, and a run that is under way can be looked at. Nothing here goes on a network but what the recipe
itself asks for. See docs/api.md.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import pyarrow as pa

from isheep.errors import UserError
from isheep.recipe import Recipe
from isheep.store import run as store
from isheep.store.files import read_json_lines
from isheep.store.joined import as_arrow
from isheep.store.remote import is_url
from isheep.store.status import status


class Run:
    """A run directory, to look at. What is asked for is read anew each time, so it follows a run that goes on."""

    directory: Path
    """Where everything of the run lies; what is in it, docs/architecture.md says."""
    recipe: Recipe
    """What the run was begun with, every default written out."""

    def __init__(self, opened: store.Run) -> None:
        self.directory, self.recipe = opened.directory, opened.recipe
        self._run = opened

    @classmethod
    def read(cls, directory: str | Path) -> Self:
        """The run in a directory, whether or not it has ended.

        Args:
            directory: what `run` was given, or `isheep run --dir`.

        Raises:
            UserError: there is no run, or the path is a URL.
        """
        return cls(store.Run.read(_here(directory)))

    def __repr__(self) -> str:
        return f"Run({str(self.directory)!r}, {self.state()}, best iteration {self.best_iteration})"

    def state(self) -> store.State:
        """`running`, `interrupted`, `failed` or `finished`."""
        return self._run.state()

    @property
    def best_iteration(self) -> int | None:
        """The number of the iteration with the highest value of `stop.metric`; 0: the base; None: nothing measured."""
        found: int | None = self.status()["best_iteration"]
        return found

    def status(self) -> dict[str, Any]:
        """The document of `isheep status --json`: state, best iteration, and what each stage of each iteration did.

        Shares are between 0 and 1, costs in seconds, tokens and joules; None: could not tell.
        """
        return status(self._run)

    def scores(self) -> list[dict[str, Any]]:
        """A row for each metric of each measured iteration, in their order, as `pandas.DataFrame` takes them.

        Returns:
            `iteration` (0: the base), `benchmark`, `metric`, `value` in the metric's own units, `low` and `high` (its
            95% interval), `n` (how many values it is the mean of). None: could not tell.
        """
        return [
            {"iteration": row["iteration"], "benchmark": benchmark, "metric": metric, **figure}
            for row in self.status()["iterations"]
            for benchmark, metrics in row["scores"].items()
            for metric, figure in metrics.items()
        ]

    def records(self, iteration: int | None = None) -> pa.Table:
        """Every generated instruction and what became of it, one row each, in the order in which they were made.

        Args:
            iteration: only this one's; None: all of the run.

        Returns:
            An Arrow table (`.to_pandas()` makes it a data frame) with the fields of `isheep records --json`: those of
            the instruction, its response, its assessment (`quality`, `following`: 1 to 10) and its selection; `kept`
            (null while that is open), `dropped_by` and `reason` of the whole. Null: not reached, or could not tell.

        Raises:
            UserError: there are no records of that iteration.
            StageError: a part of a table does not read any more.
        """
        numbers = [one.number for one in self._run.iterations() if one.number]
        wanted = numbers if iteration is None else [iteration]
        self._refuse_missing(wanted, numbers, "records")
        return pa.concat_tables([as_arrow(None), *(as_arrow(self._run.iteration(number)) for number in wanted)])

    def training_set(self, iteration: int | None = None) -> list[dict[str, Any]]:
        """The pairs that trained an iteration's model, in the order of its file `training-set.jsonl`.

        Args:
            iteration: whose; None: of the best iteration.

        Returns:
            A row for each pair: `messages` (a list of `role` and `content`), and `id`, which the records know.

        Raises:
            UserError: that iteration has no training set.
        """
        number = self._chosen(iteration)
        have = [one.number for one in self._run.iterations() if one.training_set_path.is_file()]
        self._refuse_missing([number], have, "training set")
        return list(read_json_lines(self._run.iteration(number).training_set_path))

    def weights(self, iteration: int | None = None) -> Path:
        """The folder with what an iteration trained: `adapter` (PEFT) or `model` (a whole checkpoint).

        Args:
            iteration: whose; None: of the best iteration.

        Raises:
            UserError: that iteration has trained nothing; nor has iteration 0, which is the base (`recipe.model.path`).
        """
        number = self._chosen(iteration)
        have = [one.number for one in self._run.iterations() if one.number and one.weights_path.is_dir()]
        self._refuse_missing([number], have, "weights")
        return self._run.iteration(number).weights_path

    def _chosen(self, iteration: int | None) -> int:
        """The best iteration unless one is named; where nothing was measured, one has to be."""
        number = self.best_iteration if iteration is None else iteration
        if number is None:
            what = "has measured nothing by which an iteration would be the best."
            raise UserError(str(self.directory), what, "Name one, as in `iteration=1`.")
        return number

    def _refuse_missing(self, wanted: list[int], have: list[int], what: str) -> None:
        for number in wanted:
            if number not in have:
                there = ", ".join(map(str, have)) or "none yet"
                base = " (the base)" if number == 0 else ""
                raise UserError(
                    str(self.directory), f"has no {what} of iteration {number}{base}.", f"There are those of: {there}."
                )


def run(
    recipe: Recipe,
    directory: str | Path,
    after_iteration: Callable[[Run], object] = lambda run: None,
    accept_changes: bool = False,
) -> Run:
    """Runs a recipe in a directory, or goes on with the run that is there: the loop of `isheep run`.

    Args:
        recipe: what to do; on an existing run it must be the recipe that the run began with, or a change to accept.
        directory: where everything is written; a new or an empty folder, or one with a run.
        after_iteration: called with the run whenever an iteration has ended, and at the end.
        accept_changes: go on with a changed recipe; what the change touches is set aside and done again.

    Returns:
        The run, ended.

    Raises:
        UserError: found before anything is spent.
        StageError: a stage failed; the same call goes on from there.
        Interrupted: the user asked to stop (Ctrl-C, or the notebook's stop button); the same call goes on from there.
    """
    # Brings torch with it.
    from isheep.loop import run as loop

    return Run(loop(recipe, _here(directory), lambda owned: after_iteration(Run(owned)), accept_changes))


def _here(directory: str | Path) -> Path:
    if is_url(str(directory)):
        mend = "Give a folder; for runs at a URL there is the command line (docs/storage.md)."
        raise UserError(str(directory), "is a URL, and has to be a path on this machine.", mend)
    return Path(directory).expanduser()
