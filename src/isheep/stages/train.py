"""Algorithm 1, last line: the training set trains an adapter, or every weight: of the base, or of the model before."""

from __future__ import annotations

import math
from collections.abc import Sequence
from shutil import rmtree

from isheep.encoder import Encoder
from isheep.recipe import Recipe
from isheep.seeding import derive_seed
from isheep.store.run import Iteration
from isheep.training.examples import read_examples, split, training_order


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
        StageError: there is nothing to train on, or the loss was no number from the start.
        Interrupted: the user asked to stop; a checkpoint was written.
    """
    checkpoints = iteration.path / "checkpoints"
    if iteration.weights_path.is_dir() and iteration.read_json("train.json") is not None:
        rmtree(checkpoints, ignore_errors=True)
        return
    settings = recipe.train
    last = earlier[-1] if recipe.setting == "one_last" and earlier else None
    seed = derive_seed(recipe.seed, iteration.number, "train")
    examples = read_examples(iteration.training_set_path, encoder, settings.cutoff)
    training, held_out = split(examples, settings.held_out, seed)
    steps = settings.steps or math.ceil(settings.epochs * len(training) / settings.batch_size)
    order = training_order([len(example.ids) for example in training], steps, settings.batch_size, seed)

    from isheep.training import weights
    from isheep.training.trackers import Tracked
    from isheep.training.trainer import Training

    start = last.weights_path if last else None
    tracked = Tracked(settings.track, iteration.path.parent, iteration.number)
    outcome = Training(recipe, encoder, checkpoints, seed, f"Train {iteration.number}", start, tracked).run(
        [training[index] for index in order], held_out
    )
    iteration.write_json(
        "train.json",
        {
            "start": f"iteration-{last.number}" if last else "base",
            "examples": len(training),
            "held_out": len(held_out),
            "steps": outcome.steps,
            "epochs": outcome.steps * settings.batch_size / len(training),
            "loss": outcome.loss,
            "evaluation_loss": outcome.evaluation_loss,
            "kept_step": outcome.kept_step,
            "stopped": outcome.stopped,
        },
    )
    with iteration.new_weights("model" if settings.method == "full" else "adapter") as folder:
        weights.keep(outcome.checkpoint, folder, recipe, encoder)
    rmtree(checkpoints)
