"""What can be known of the self-assessment before anything is spent."""

from __future__ import annotations

from isheep.checkpoint import Checkpoint
from isheep.encoder import Encoder
from isheep.errors import UserError
from isheep.filters.threshold import score_limit
from isheep.recipe import Recipe, locate
from isheep.stages.assess import FIELDS, load_prompt, prompt_files


def refuse_contradictions(recipe: Recipe) -> None:
    """Raises UserError where a filter wants scores that nobody is asked for."""
    limit = score_limit(recipe.select)
    if not recipe.assess.questions and limit is not None:
        raise UserError(
            "assess.level",
            f"none asks for no score, so that select.threshold {limit:g} would drop every pair.",
            "Set select.threshold to 0, or assess.level to both.",
        )


def unused_prompts(recipe: Recipe) -> list[str]:
    """The prompt settings of one's own that nobody is shown."""
    settings = recipe.assess
    own = {"quality": settings.quality_prompt, "following": settings.following_prompt}
    read = prompt_files(settings)
    return [f"assess.{question}_prompt" for question, file in own.items() if file is not None and question not in read]


def refuse_no_room(recipe: Recipe, checkpoint: Checkpoint, encoder: Encoder) -> None:
    """Raises UserError where the assessor's context or vocabulary does not hold the prompts, a pair and an answer.

    Args:
        recipe: whose assessment.
        checkpoint: the assessor's.
        encoder: the assessor's.
    """
    rows, positions, wanted = checkpoint.rows, checkpoint.positions, recipe.assess.max_new_tokens
    files = prompt_files(recipe.assess)
    if files and recipe.assess.read == "generate" and positions is not None and wanted >= positions:
        what = f"{wanted} leaves no room for a prompt in the model's {positions} tokens."
        raise UserError("assess.max_new_tokens", what, f"Give less than {positions}.")
    for question, file in files.items():
        ids = encoder.plain(load_prompt(locate(file)).render(**dict.fromkeys(FIELDS, "")))
        if rows is not None and max(ids) >= rows:
            what = f"its tokenizer writes token {max(ids)}, which lies outside the model's {rows} embedding rows."
            raise UserError(str(checkpoint.folder), what, "Take the tokenizer and the weights from the same model.")
        if positions is not None and len(ids) >= positions:
            what = f"{file} alone takes {len(ids)} of the assessor's {positions} tokens and leaves no room for a pair."
            mend = f"Give a shorter assess.{question}_prompt, another assess.variant or another assess.assessor."
            raise UserError("assess", what, mend)
