"""What a training step computes: TRL's trainer, without what a step for nothing but its loss does not need."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from accelerate.utils.memory import should_reduce_batch_size
from safetensors import SafetensorError
from torch.nn import functional
from trl import SFTTrainer

from isheep import meter, watchdog
from isheep.encoder import IGNORED
from isheep.errors import StageError, first_line
from isheep.training import ranks


class Trainer(SFTTrainer):  # type: ignore[misc]
    """SFTTrainer that computes logits for learned positions alone and draws dropout's randomness at its rate.

    Its losses are the mean over learned tokens: of an optimizer step, and of all that is held out, however these are
    cut into batches and however many processes share them. Not covered: label smoothing, other losses than the negative
    log-likelihood.
    """

    held_out_tokens = 1.0
    """Learned tokens of a held-out example, on average."""

    def training_step(self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None) -> torch.Tensor:
        """The loss of a micro-batch, as a share of its step's; its gradients are added to those that are there."""
        if not model.training:
            model.train()
        with self.compute_loss_context_manager():
            loss = self.compute_loss(model, self._prepare_inputs(inputs), num_items_in_batch=num_items_in_batch)
        # DeepSpeed would divide it by the micro-batches of a step, as whose share it is computed already.
        scaled = {"scale_wrt_gas": False} if self.is_deepspeed_enabled else {}
        self.accelerator.backward(loss, **scaled)
        watchdog.beat()
        detached: torch.Tensor = loss.detach()
        return detached

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The negative log-likelihood of the learned tokens, over those of the whole step."""
        labels = inputs["labels"][:, 1:]
        learned = labels != IGNORED
        others = {name: value for name, value in inputs.items() if name != "labels"}
        if self.aux_loss_enabled:
            others["output_router_logits"] = True
        else:
            # A causal model looks back, and padding lies behind what is learned; without a mask attention is faster.
            del others["attention_mask"]
        with _logits_at(self.model.get_output_embeddings(), learned):
            outputs = model(**others, use_cache=False)
        total = functional.cross_entropy(outputs.logits[0].float(), labels[learned], reduction="sum")
        if num_items_in_batch is None:
            loss = total / (len(labels) * self.held_out_tokens)
        else:
            # Counted over all processes, whose gradients are averaged and not summed.
            loss = total * ranks.count() / num_items_in_batch
        if self.aux_loss_enabled:
            loss = loss + self.router_aux_loss_coef * outputs.aux_loss / self.current_gradient_accumulation_steps
        return (loss, outputs) if return_outputs else loss

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        try:
            super()._save_checkpoint(model, trial)
        except (OSError, RuntimeError, SafetensorError) as error:
            if is_out_of_memory(error):
                raise
            where = f"{self.args.output_dir}: the checkpoint of step {self.state.global_step}"
            raise StageError(
                f"{where} cannot be written ({first_line(error)}). Make room or mend the rights."
            ) from error

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        """Nobody reads the estimate, for which every parameter would be counted at every micro-batch."""
        return 0


@contextmanager
def _logits_at(head: torch.nn.Module, places: torch.Tensor) -> Iterator[None]:
    """Within the block the head sees the states of these places [rows, width - 1] alone, as one row.

    What a model does with its logits afterwards (a scale, a cap) it does with each alone, so that they are the same.
    """

    def pick(module: torch.nn.Module, arguments: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor]:
        return (arguments[0][:, :-1][places][None],)

    handle = head.register_forward_pre_hook(pick)
    try:
        yield
    finally:
        handle.remove()


class SparseDropout(torch.nn.Module):
    """Dropout that draws the gaps between the numbers that it drops, not a number for each that it might drop.

    Distributed as `torch.nn.Dropout` is, from torch's generator; at 5% it is some ten times as fast on a CPU, where
    drawing took longer than the matrices of a small model.
    """

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """States of any shape, unchanged outside training."""
        if not self.training:
            return states
        factors = torch.full((states.numel(),), 1 / (1 - self.share), dtype=states.dtype)
        factors[_dropped(states.numel(), self.share)] = 0
        return states * factors.view(states.shape)


def _dropped(count: int, share: float) -> torch.Tensor:
    """Which of `count` independent trials of probability `share` succeed, in order."""
    expected = count * share
    last, parts = -1, []
    while last < count:
        # Six standard deviations more than expected: a second round is hardly ever needed.
        gaps = torch.empty(int(expected + 6 * math.sqrt(expected)) + 8, dtype=torch.int64).geometric_(share)
        parts.append(gaps.cumsum(0) + last)
        last = int(parts[-1][-1])
    places = torch.cat(parts)
    return places[places < count]


def quicken_dropout(model: torch.nn.Module) -> None:
    """Puts SparseDropout in the place of every dropout of a model on a CPU."""
    for module in list(model.modules()):
        for name, child in module.named_children():
            if type(child) is torch.nn.Dropout and child.p > 0:
                setattr(module, name, SparseDropout(child.p))


def collator(pad_id: int) -> Callable[[Sequence[dict[str, list[int]]]], dict[str, torch.Tensor]]:
    """Pads rows on the right, [rows, longest]; padding is neither seen nor learned."""

    def collate(rows: Sequence[dict[str, list[int]]]) -> dict[str, torch.Tensor]:
        width = max(len(row["input_ids"]) for row in rows)

        def padded(name: str, value: int) -> torch.Tensor:
            return torch.tensor([row[name] + [value] * (width - len(row[name])) for row in rows])

        lengths = torch.tensor([[len(row["input_ids"])] for row in rows])
        meter.read(int(lengths.sum()))
        return {
            "input_ids": padded("input_ids", pad_id),
            "labels": padded("labels", IGNORED),
            "attention_mask": (torch.arange(width)[None] < lengths).long(),
        }

    return collate


def is_out_of_memory(error: BaseException) -> bool:
    """Whether fewer rows at once may help."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or should_reduce_batch_size(error)
