"""The loop: Algorithm 1 of the paper, line by line. Read this first; every line below is a room of its own.

Iteration 0 is the untouched base model, measured by the same path as every later one. Iteration t >= 1: the model of
iteration t-1 writes instructions, answers them and judges its answers; what it kept trains the base model into the
model of iteration t.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Literal

from isheep import drain, progress, watchdog
from isheep.check import check
from isheep.errors import IsheepError, StageError, first_line
from isheep.models import Models
from isheep.progress import say
from isheep.recipe import Recipe
from isheep.seeds import read_seeds
from isheep.stages.assess import assess
from isheep.stages.decontaminate import decontaminate
from isheep.stages.draw import draw
from isheep.stages.embed import embed
from isheep.stages.evaluate import evaluate
from isheep.stages.examine import examine
from isheep.stages.once import Once
from isheep.stages.respond import respond
from isheep.stages.select import select
from isheep.stages.synthesize import synthesize
from isheep.stages.train import train
from isheep.stages.training_set import gather
from isheep.stop import refuse_unmeasured, stop_after, summary
from isheep.store.run import Run
from isheep.store.status import status
from isheep.store.under_way import note_progress


def run(
    recipe: Recipe,
    directory: Path,
    after_iteration: Callable[[Run], object] = lambda run: None,
    accept_changes: bool = False,
) -> Run:
    """Runs a recipe in a directory, or goes on with the run that is there.

    Args:
        recipe: what to do; on an existing run it must be the recipe that the run began with, or a change to accept.
        directory: where everything is written, and all that is known of the run.
        after_iteration: called whenever an iteration has ended, and at the end (the command line writes the report).
        accept_changes: go on with a changed recipe; what the change touches is set aside and done again.

    Raises:
        UserError: found by `check` before anything is spent.
        StageError: a stage failed; the same call goes on from there.
        Interrupted: the user asked to stop; the same call goes on from there.
    """
    for finding in check(recipe, directory, accept_changes):
        if finding.warning:
            say(f"! {finding.what}: {finding.found}")
    with (
        Run.create_or_resume(directory, recipe, accept_changes) as owned,
        drain.on_signals(),
        watchdog.on(recipe.watch.patience, recipe.watch.restarts, say),
        progress.told_to(lambda reached: note_progress(directory, reached)),
    ):
        owned.note_command(sys.argv)
        watchdog.on_restart(lambda why: _note_failure(owned, "failed", why))
        try:
            align(owned, after_iteration)
        except (KeyboardInterrupt, IsheepError) as error:
            stopped = isinstance(error, KeyboardInterrupt) or error.exit_code == 130
            _note_failure(owned, "interrupted" if stopped else "failed", str(error))
            raise
        except OSError as error:
            what = f"{error.filename or directory}: {error.strerror or first_line(error)}."
            failed = StageError(f"{what} Make room, mend the rights, or put back what is gone.")
            _note_failure(owned, "failed", str(failed))
            raise failed from error
        except Exception as error:
            _note_failure(owned, "failed", f"{type(error).__name__}: {error}")
            raise
        owned.note_end("finished")
    ended = Run.read(directory)
    if recipe.train.track:
        from isheep.training.trackers import tell_end

        tell_end(recipe.train.track, directory, ended.iterations()[-1].number)
    after_iteration(ended)
    return ended


def _note_failure(run: Run, outcome: Literal["interrupted", "failed"], why: str) -> None:
    """Writes it down where that can be done: what it failed of may be the disk."""
    with suppress(StageError, OSError):
        run.note_end(outcome, why)


def align(run: Run, after_iteration: Callable[[Run], object]) -> None:
    """Algorithm 1: Ds the seed tasks, Mbase the base model, T the iterations, C the threshold, I the data size.

    `do` does a stage, unless another run of the same sweep has done it with the same inputs.
    """
    recipe, do = run.recipe, Once(run).do
    seeds = read_seeds(recipe.seeds).tasks
    with Models(recipe) as models:
        base = run.iteration(0)
        do(evaluate, base, recipe, models.base)
        refuse_unmeasured(status(run)["iterations"], recipe)
        do(embed, base, seeds, recipe, models.base)
        if base.close():
            after_iteration(run)
        for number in range(1, recipe.iterations + 1):
            iteration = run.iteration(number)
            earlier = [run.iteration(past) for past in range(1, number)]
            model = models.out_of(run.iteration(number - 1))

            do(synthesize, iteration, earlier, seeds, recipe, model)
            do(respond, iteration, recipe, model)
            with models.assessor(model) as assessor:
                do(assess, iteration, recipe, assessor)
            do(decontaminate, iteration, recipe)
            do(select, iteration, recipe, model)
            do(examine, iteration, earlier, recipe)
            do(embed, iteration, seeds, recipe, models.base)
            do(gather, iteration, earlier, recipe)
            do(draw, iteration, recipe, model)
            models.release()
            # Not `model`: what is trained begins with the base again, but under the setting `one_last`.
            do(train, iteration, earlier, recipe, models.encoder)
            do(evaluate, iteration, recipe, models.out_of(iteration))
            if iteration.close():
                after_iteration(run)
            rows = status(run)["iterations"]
            if stop := stop_after(rows[: number + 1], recipe):
                break
    run.finish(summary(rows, recipe, stop))
