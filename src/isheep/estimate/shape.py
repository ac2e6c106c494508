"""A model's size and shape as far as an estimate needs them: from its weights' headers, or from config.json alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from isheep.checkpoint import NUMBER_BYTES, Checkpoint, has_weights, read_checkpoint, read_config
from isheep.errors import UserError, first_line
from isheep.hub import model_folder
from isheep.recipe import Recipe


@dataclass(frozen=True, slots=True)
class Shape:
    """Numbers of a causal language model."""

    checkpoint: Checkpoint
    layers: int
    hidden: int
    inner: int
    """Width of the MLP."""
    vocabulary: int
    cached: int
    """Numbers that a token leaves in the cache of keys and values."""
    number: int
    """Bytes of one number in `model.dtype`."""
    drafted: bool
    """Whether config.json alone told, and no weights were there."""

    @property
    def weights(self) -> int:
        """Bytes."""
        return self.checkpoint.parameters * self.number


def shape_of(recipe: Recipe) -> Shape:
    """Of the recipe's base; of a model on the hub the configuration and the tokenizer are fetched, not the weights.

    Raises:
        UserError: no such model, or a config.json that describes none.
    """
    folder = model_folder(recipe.model.path, weights=False)
    config = _config(folder)
    drafted = not has_weights(folder)
    checkpoint = Checkpoint(folder, read_config(folder), _shapes(config)) if drafted else read_checkpoint(folder)
    text = config.get_text_config()
    heads = text.num_attention_heads
    kept = getattr(text, "num_key_value_heads", None) or heads
    width = getattr(text, "head_dim", None) or text.hidden_size // heads
    return Shape(
        checkpoint=checkpoint,
        layers=text.num_hidden_layers,
        hidden=text.hidden_size,
        inner=getattr(text, "intermediate_size", None) or 4 * text.hidden_size,
        vocabulary=checkpoint.rows or text.vocab_size,
        cached=2 * text.num_hidden_layers * kept * width,
        number=NUMBER_BYTES[recipe.model.dtype],
        drafted=drafted,
    )


def _config(folder: Any) -> Any:
    from transformers import AutoConfig

    read_config(folder)
    try:
        return AutoConfig.from_pretrained(str(folder), trust_remote_code=False, local_files_only=True)
    except (OSError, ValueError, KeyError, TypeError) as error:
        what = f"describes no model that the installed transformers knows ({first_line(error)})."
        raise UserError(str(folder / "config.json"), what, "Update transformers, or choose another model.") from None


def _shapes(config: Any) -> dict[str, tuple[int, ...]]:
    """Name -> shape of each tensor that a model of this configuration has; none of them is made."""
    import torch
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    return {name: tuple(one.shape) for name, one in model.named_parameters()}
