"""Algorithm 1, last line: the training set trains an adapter, or every weight: of the base, or of the model before."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from shutil import rmtree
from typing import TYPE_CHECKING

from isheep.encoder import Encoder
from isheep.recipe import Recipe
from isheep.seeding import derive_seed
from isheep.store.run import Iteration
from isheep.training.examples import Lessons, lessons

if TYPE_CHECKING:
    from isheep.training.trainer import Outcome


def train(iteration: Iteration, earlier: Sequence[Iteration], recipe: Recipe, encoder: Encoder) -> None:
    """Trains the iteration's model from its training set; goes on from the last whole checkpoint of a cut training.

    Under `one_last` the training begins with the weights of the iteration before (iteration 1 with the base's), and the
    optimizer, the warm-up and the schedule begin anew. Of an adapter that is not what merging it into the base and
    training a second adapter on top would be: the update of the base keeps `train.lora.rank` however many iterations
    went by, where merging adds as much rank with each, and what is saved loads alone on the untouched base, where a
    second adapter would need the merged model under it. Every other setting begins with the base.

    Leaves the adapter (the whole model where `train.method` is full) and train.json: start (`base` or `iteration-N`,
    whose weights the training began with), examples, held_out, steps, epochs, loss (mean over the steps),
    evaluation_loss (mean over the learned tokens held out, of the checkpoint that was kept; null where nothing was held
    out), kept_step and stopped (why the training ended before its last step; null where it did not).

    Raises:
        UserError: `one_last`, and the adapter before has another rank or alpha than the recipe.
        StageError: there is nothing to train on, the loss was no number from the start, or the processes of the
            training ended without a word.
        Interrupted: the user asked to stop; a checkpoint was written.
    """
    checkpoints = iteration.path / "checkpoints"
    if iteration.weights_path.is_dir() and iteration.read_json("train.json") is not None:
        rmtree(checkpoints, ignore_errors=True)
        return
    last = earlier[-1] if recipe.setting == "one_last" and earlier else None
    seed = derive_seed(recipe.seed, iteration.number, "train")
    learned = lessons(iteration.training_set_path, recipe, encoder, seed)
    outcome = _trained(iteration, last.weights_path if last else None, learned, recipe, encoder, seed)
    iteration.write_json(
        "train.json",
        {
            "start": f"iteration-{last.number}" if last else "base",
            "examples": len(learned.training),
            "held_out": len(learned.held_out),
            "steps": outcome.steps,
            "epochs": outcome.steps * recipe.train.batch_size / len(learned.training),
            "loss": outcome.loss,
            "evaluation_loss": outcome.evaluation_loss,
            "kept_step": outcome.kept_step,
            "stopped": outcome.stopped,
        },
    )
    from isheep.training import weights

    with iteration.new_weights("model" if recipe.train.method == "full" else "adapter") as folder:
        weights.keep(outcome.checkpoint, folder, recipe, encoder)
    rmtree(checkpoints)


def _trained(
    iteration: Iteration, start: Path | None, learned: Lessons, recipe: Recipe, encoder: Encoder, seed: int
) -> Outcome:
    """By this process, or by those that `train.launch` asks for."""
    from isheep.training.trackers import Tracked
    from isheep.training.trainer import Training

    checkpoints, title = iteration.path / "checkpoints", f"Train {iteration.number}"
    if recipe.train.launch == "local":
        tracked = Tracked(recipe.train.track, iteration.path.parent, iteration.number)
        training = Training(recipe, encoder, checkpoints, seed, title, start, tracked)
        return training.run(learned.in_order, learned.held_out)
    from isheep.training.child import Task
    from isheep.training.launched import Launch

    task = Task(
        recipe=recipe.model_dump(mode="json"),
        directory=str(iteration.path.parent),
        number=iteration.number,
        checkpoints=str(checkpoints),
        training_set=str(iteration.training_set_path),
        seed=seed,
        title=title,
        start=str(start) if start else None,
        steps=learned.steps,
    )
    return Launch(recipe, task).run()
