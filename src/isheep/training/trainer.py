"""One supervised fine-tuning, on token ids and labels of our own; it goes on where it was cut or ran out of memory."""

from __future__ import annotations

import gc
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from datasets import Dataset
from transformers import PrinterCallback, set_seed
from transformers.trainer_pt_utils import get_model_param_count
from trl import SFTConfig

from isheep import drain
from isheep.encoder import IGNORED, Encoder
from isheep.engines.loading import pick_device
from isheep.errors import Interrupted, StageError, UserError
from isheep.progress import bar, say
from isheep.recipe import Recipe
from isheep.recipe.settings import CHECKPOINTING_FROM as CHECKPOINTING_FROM
from isheep.training import ranks
from isheep.training.examples import Example
from isheep.training.launch import on_gpus, processes
from isheep.training.steps import Trainer, collator, is_out_of_memory, quicken_dropout
from isheep.training.trackers import Tracked, tracking
from isheep.training.watching import Broken, Watch, Watching, best_step, evaluations, last_whole, step_of
from isheep.training.weights import trained_model

SCHEDULES = {"constant": "constant_with_warmup"}


@dataclass(frozen=True, slots=True)
class Outcome:
    """The checkpoint to keep and what the training came to."""

    checkpoint: Path
    steps: int
    """That were made."""
    kept_step: int
    loss: float
    """Mean over the steps, of a training that broke over those up to the kept one."""
    evaluation_loss: float | None
    stopped: str | None
    """Why the training ended before its last step; None where it did not."""


class Training:
    """A training whose whole state lies in the folder `checkpoints`."""

    def __init__(
        self,
        recipe: Recipe,
        encoder: Encoder,
        checkpoints: Path,
        seed: int,
        title: str,
        start: Path | None = None,
        tracked: Tracked | None = None,
        watch: Watching | None = None,
    ) -> None:
        """Says what is trained and who looks on.

        Args:
            recipe: the run's.
            encoder: gives the tokens to pad with, and the tokenizer.
            checkpoints: the folder.
            seed: decides the adapter's first weights and what dropout drops.
            title: names it in messages.
            start: a folder of weights to train on from; None begins with the base.
            tracked: who is told of it.
            watch: what a process that another one started has in the place of a user.
        """
        self._recipe, self._encoder, self._checkpoints = recipe, encoder, checkpoints
        self._seed, self._title, self._start = seed, title, start
        self._tracked, self._watching = tracked or Tracked(), watch or Watching()
        self._processes = 1 if recipe.train.launch == "local" else recipe.train.nodes * processes(recipe)

    def run(self, examples: Sequence[Example], held_out: Sequence[Example]) -> Outcome:
        """Trains on the examples in their order, `train.batch_size` an optimizer step.

        Where memory does not suffice, half as many pairs at once go on from the last checkpoint; a step stays what it
        was but for rounding and for which numbers dropout draws. A loss that is no number, or that explodes, ends the
        training with the best checkpoint from before.

        Returns:
            The checkpoint with the lowest loss on `held_out`, or the last one where nothing is held out.

        Raises:
            UserError: the adapter to train on from has another shape than the recipe's, or what is gone on from is a
                checkpoint that could run code.
            StageError: the loss is no number before there is a checkpoint to keep, memory does not suffice for a single
                pair, or a checkpoint cannot be written.
            Interrupted: the user asked to stop; a checkpoint was written.
        """
        return within_memory(
            self._recipe,
            self._checkpoints,
            self._title,
            self._recipe.train.batch_size,
            lambda micro: self.once(examples, held_out, micro, last_whole(self._checkpoints)),
        )

    def once(self, examples: Sequence[Example], held_out: Sequence[Example], micro: int, last: Path | None) -> Outcome:
        """Trains as `run` does, in one try: with `micro` pairs at once in each process, on from the checkpoint `last`.

        Raises:
            RuntimeError, MemoryError: memory does not suffice (`is_out_of_memory`).
        """
        steps = len(examples) // self._recipe.train.batch_size
        done = step_of(last) if last else 0
        trainer = self._trainer(examples, held_out, steps, micro)
        # All processes log the same; the first one tells of it.
        tracked = self._tracked if ranks.own() == 0 else Tracked()
        with tracking(tracked, done) as told, bar(self._title, steps, done) as advance:
            watch = Watch(self._checkpoints, advance, self._watching)
            trainer.add_callback(watch)
            trainer.add_callback(told)
            try:
                trainer.train(resume_from_checkpoint=str(last) if last else None)
            except UnpicklingError:
                # Ours hold tensors and numbers; torch reads nothing else of them.
                what = "is no checkpoint of isheep's own: it holds more than numbers, which could run any code."
                raise UserError(str(last), what, "Delete it, and the training begins anew.") from None
        # Until the first process has marked the last checkpoint and removed others.
        ranks.wait()
        state = trainer.state
        if watch.broken is not None:
            kept_step = last_step = self._last_good(watch.broken, state.log_history)
        else:
            if state.global_step < steps:
                raise Interrupted(drain.STOPPED)
            kept_step, last_step = best_step(state.log_history) or steps, steps
        losses = [entry["loss"] for entry in state.log_history if "loss" in entry and entry["step"] <= last_step]
        return Outcome(
            checkpoint=self._checkpoints / f"checkpoint-{kept_step}",
            steps=state.global_step,
            kept_step=kept_step,
            loss=math.fsum(losses) / len(losses),
            evaluation_loss=evaluations(state.log_history).get(kept_step),
            stopped=watch.broken.why if watch.broken else None,
        )

    def _last_good(self, broken: Broken, history: Sequence[dict[str, Any]]) -> int:
        """The step of the checkpoint that is kept of a training that broke: the best, or the last from before it."""
        saved = map(step_of, self._checkpoints.glob("checkpoint-*"))
        best = best_step(history)
        kept = best or max((step for step in saved if step <= broken.good_until), default=None)
        mend = "Lower train.learning_rate or choose another model.dtype."
        if kept is None:
            raise StageError(f"{self._checkpoints}: {broken.why}, before there is a checkpoint to keep. {mend}")
        say(f"! {self._title}: {broken.why}; stopped, the checkpoint of step {kept} is kept. {mend}")
        return kept

    def _trainer(self, examples: Sequence[Example], held_out: Sequence[Example], steps: int, micro: int) -> Any:
        alone = self._recipe.train.launch == "local"
        # Several processes do not try the device, which would leave something of each on the first GPU.
        on_cpu = pick_device(self._recipe.engine.device).type == "cpu" if alone else not on_gpus(self._recipe)
        if self._recipe.engine.threads is not None:
            torch.set_num_threads(self._recipe.engine.threads)
        # Before the model: where several processes train it, they know of each other by then, and how it is to be put
        # in parts as it is read.
        arguments = self._arguments(steps, micro, bool(held_out), on_cpu)
        if self._recipe.train.launch == "fsdp" and on_cpu:
            ranks.put_in_parts_on_cpus()
        set_seed(self._seed % 2**32)
        model = trained_model(self._recipe, self._place(arguments), self._start)
        if on_cpu:
            quicken_dropout(model)
        twice = self._recipe.train.gradient_checkpointing
        parted = self._recipe.train.launch == "deepspeed"
        parameters = get_model_param_count(model) if parted else model.num_parameters()
        arguments.gradient_checkpointing = parameters >= CHECKPOINTING_FROM if twice is None else twice
        held_out = even(sorted(held_out, key=lambda example: len(example.ids)), micro)
        rounded = self._recipe.train.method == "qlora"
        trained = {
            name: one.detach().clone() for name, one in model.named_parameters() if rounded and one.requires_grad
        }
        trainer = Trainer(
            model=model,
            args=arguments,
            train_dataset=_dataset(examples),
            eval_dataset=_dataset(held_out) if held_out else None,
            data_collator=collator(self._encoder.pad_id),
            processing_class=self._encoder.tokenizer,
        )
        refuse_whole(trainer, self._recipe.train.launch)
        # TRL rounds the adapter of a quantized model to bfloat16, to which a small step adds nothing.
        for name, one in trainer.model.named_parameters():
            if name in trained:
                one.data = trained[name]
        if held_out:
            trainer.held_out_tokens = _learned_tokens(held_out) / len(held_out)
        # The tokenizer need not lie in every checkpoint, nor may the trainer change the model's special tokens by it.
        trainer.processing_class = None
        trainer.remove_callback(PrinterCallback)
        if ranks.own() > 0:
            # The weights began alike; what dropout drops of other pairs need not be the same.
            torch.manual_seed((self._seed + ranks.own()) % 2**32)
        return trainer

    def _place(self, arguments: Any) -> torch.device:
        """Where the model is read to: FSDP puts it in parts from there to the devices."""
        if self._recipe.train.launch == "local":
            return pick_device(self._recipe.engine.device)
        device: torch.device = torch.device("cpu") if self._recipe.train.launch == "fsdp" else arguments.device
        return device

    def _arguments(self, steps: int, micro: int, evaluated: bool, on_cpu: bool) -> Any:
        settings, dtype = self._recipe.train, self._recipe.model.dtype
        arguments = SFTConfig(
            output_dir=str(self._checkpoints),
            dataset_kwargs={"skip_prepare_dataset": True},
            max_length=None,
            train_sampling_strategy="sequential",
            max_steps=steps,
            per_device_train_batch_size=micro,
            per_device_eval_batch_size=micro,
            gradient_accumulation_steps=settings.batch_size // (micro * self._processes),
            learning_rate=settings.learning_rate,
            lr_scheduler_type=SCHEDULES.get(settings.schedule, settings.schedule),
            warmup_steps=settings.warmup_steps,
            eval_strategy="steps" if evaluated else "no",
            eval_steps=settings.evaluate_every if evaluated else None,
            save_strategy="steps",
            save_steps=settings.evaluate_every,
            logging_steps=1,
            logging_nan_inf_filter=False,
            seed=self._seed % 2**32,
            # accelerate hands a model to DeepSpeed only where it is not told of a CPU, which DeepSpeed finds by itself.
            use_cpu=on_cpu and settings.launch != "deepspeed",
            bf16=dtype == "bfloat16",
            fp16=dtype == "float16",
            dataloader_num_workers=0,
            dataloader_pin_memory=not on_cpu,
            report_to="none",
            disable_tqdm=True,
        )
        # With several GPUs in sight the trainer would ask for a launcher; an adapter trains on one.
        arguments._n_gpu = min(arguments.n_gpu, 1)
        return arguments


def within_memory(
    recipe: Recipe, checkpoints: Path, title: str, share: int, attempt: Callable[[int], Outcome]
) -> Outcome:
    """What comes of `attempt`, which trains with so many pairs at once: half of them where memory does not suffice.

    `share` is a step's pairs that one process has.

    Raises:
        StageError: memory does not suffice for a single pair.
    """
    micro = _largest_divisor(share, recipe.train.micro_batch_size)
    while True:
        try:
            outcome = attempt(micro)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        else:
            _free_memory()  # The engine comes next, in a process of its own if it is vLLM.
            return outcome
        # Outside the block nothing holds the tensors of the failed step any more.
        _free_memory()
        if micro == 1:
            raise StageError(
                f"{checkpoints}: out of memory with a single pair at once. Lower train.cutoff, set "
                "train.gradient_checkpointing=true, or choose train.method=qlora or a smaller model."
            )
        micro = _largest_divisor(share, micro // 2)
        line = f"! {title}: out of memory; going on from the last checkpoint with {micro} of the "
        line += f"{share} pairs of a step at once (train.micro_batch_size)"
        say(line)


def refuse_whole(trainer: Any, launch: str) -> None:
    """Raises StageError where each process would hold the whole model, and parts were asked for."""
    if (launch == "fsdp" and not trainer.is_fsdp_enabled) or (
        launch == "deepspeed" and not trainer.is_deepspeed_enabled
    ):
        raise StageError(f"accelerate did not set up {launch}, which train.launch asks for.")


def even(held_out: Sequence[Example], micro: int) -> list[Example]:
    """As many as all processes read `micro` at a time; those added are learned nothing of, so they count for nothing.

    Otherwise the library would evaluate some twice so that each process has as many.
    """
    missing = -len(held_out) % (micro * ranks.count()) if ranks.count() > 1 else 0
    nothing = [Example(one.ids, (IGNORED,) * len(one.ids)) for one in held_out[:1]]
    return [*held_out, *nothing * missing]


def _free_memory() -> None:
    """Of a trainer that is done or has failed, whose parts hold each other."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _learned_tokens(examples: Sequence[Example]) -> int:
    """Those that some token before them predicts."""
    return sum(label != IGNORED for example in examples for label in example.labels[1:])


def _largest_divisor(number: int, limit: int) -> int:
    """The largest divisor of `number` that is no greater than `limit`: a step's examples split evenly."""
    return max(divisor for divisor in range(1, min(number, limit) + 1) if number % divisor == 0)


def _dataset(examples: Sequence[Example]) -> Any:
    columns = {
        "input_ids": [list(example.ids) for example in examples],
        "labels": [list(example.labels) for example in examples],
    }
    return Dataset.from_dict(columns)
