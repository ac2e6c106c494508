"""A filter of pairs that a plug-in brings, and what is refused of what it says."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from isheep.filters import Drop
from isheep.recipe import Recipe
from isheep.recipe.plugged import opened
from isheep.records import AssessedPair


def plugged(name: str, records: Callable[[], Iterable[AssessedPair]], recipe: Recipe) -> Iterator[Drop | None]:
    """What the plug-in of that name says of each record, in their order; the rule of its drops has its name.

    Args:
        name: as in `select.filters`.
        records: makes an iterator over the same records each time.
        recipe: with its settings.

    Raises:
        UserError: it is not installed, does not import, or its settings are wrong.
        StageError: it fails, or says something else than None or a reason for each record.
    """
    plugin, judge = opened("filters", name, recipe)
    with plugin.blamed():
        said = iter(judge.verdicts(records()))
    for record in records():
        with plugin.blamed():
            verdict = next(said, _NOTHING)
        if verdict is _NOTHING:
            raise plugin.wrong(f"said nothing of the pair {record.pair.id}, nor of any after it.")
        if not (verdict is None or (isinstance(verdict, str) and verdict.strip())):
            kind = "an empty text" if isinstance(verdict, str) else type(verdict).__name__
            raise plugin.wrong(f"said {kind} of the pair {record.pair.id}, where None keeps and a reason drops.")
        yield None if verdict is None else Drop(name, verdict)
    with plugin.blamed():
        more = next(said, _NOTHING)
    if more is not _NOTHING:
        raise plugin.wrong("said more than there are pairs.")


_NOTHING = object()
