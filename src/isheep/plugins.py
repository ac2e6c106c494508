"""Plug-ins: filters of pairs, engines, assessors and benchmarks that other packages bring, by Python entry points.

A package names what it brings in its metadata, under `isheep.filters`, `isheep.engines`, `isheep.assessors` or
`isheep.benchmarks`; see docs/plugins.md. That metadata is all that is read of one that the recipe does not name:
nothing of it is imported. The protocols of filters and assessors stand here; those of engines and benchmarks are
`isheep.engines.base.Engine` and `isheep.evaluation.base.Benchmark`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Literal, Protocol

from isheep.errors import IsheepError, StageError, UserError, first_line
from isheep.records import AssessedPair, Pair

Kind = Literal["filters", "engines", "assessors", "benchmarks"]

METHODS: Mapping[Kind, tuple[str, ...]] = {
    "filters": ("verdicts",),
    "engines": ("generate", "score_next", "score_sequences", "embed", "use", "close"),
    "assessors": ("scores",),
    "benchmarks": ("prepare", "protocol", "texts", "measure"),
}
"""Kind -> what an object of it has to have; its protocol says what each does (a test compares them)."""


class Filter(Protocol):
    """A filter of assessed pairs, named in `select.filters`."""

    def verdicts(self, records: Iterable[AssessedPair]) -> Iterable[str | None]:
        """For each record, in their order, None to keep it, or the reason why it is dropped, in one clause.

        The records are those that the filters before it in the list left. Whoever judges each alone is a generator;
        whoever chooses among them reads all first. Who draws lets the ids decide (`random.Random(record.pair.id)`):
        they follow from the run's seed, and work that is done again has to come out the same.

        Args:
            records: the pairs with their scores; nothing of a benchmark, and no right answer.
        """
        ...


class Assessor(Protocol):
    """Who judges in place of a model, named as `assess.assessor: plugin:NAME`.

    One that looks right answers up, or asks a verifier, breaks the method: what is trained on is then no longer what
    the model knows of itself. Nothing here can see that; whoever installs it answers for it.
    """

    def scores(self, pairs: Sequence[Pair], question: str) -> Sequence[float | None]:
        """A score from 1 to 10 for each pair, in their order; None: could not tell.

        A resumed stage asks for other pairs at once, so a score may depend on nothing but its pair and the question.

        Args:
            pairs: some of the iteration's.
            question: `quality` or `following`.
        """
        ...


@dataclass(frozen=True, slots=True)
class Plugin:
    """What a package brings under one name; not imported yet."""

    kind: Kind
    name: str
    origin: str
    """The distribution and its version, as in `isheep-example 0.1.0`."""
    entry: EntryPoint = field(repr=False)

    @property
    def title(self) -> str:
        """How messages call it."""
        return f"the {self.kind[:-1]} `{self.name}` of {self.origin}"

    def load(self) -> Any:
        """What the entry point names, which runs the package's code.

        Raises:
            UserError: it does not import, or is nothing that makes an object of this kind.
        """
        mend = f"Mend or update {self.origin.partition(' ')[0]}, or take `{self.name}` out of the recipe."
        try:
            loaded = self.entry.load()
        except (Exception, SystemExit) as error:
            what = f"cannot be imported ({type(error).__name__}: {first_line(error)})."
            raise UserError(self.title, what, mend) from error
        if not callable(loaded):
            raise UserError(self.title, f"is no class ({self.entry.value}).", mend)
        if isinstance(loaded, type):
            self.refuse_unfit(loaded)
        return loaded

    def refuse_unfit(self, thing: object) -> None:
        """Raises UserError for a class or an object that lacks a method of its protocol."""
        for method in METHODS[self.kind]:
            if not callable(getattr(thing, method, None)):
                mend = "See docs/plugins.md for what one has to have."
                raise UserError(self.title, f"has no method `{method}`.", mend)

    @contextmanager
    def blamed(self) -> Iterator[None]:
        """Within the block what the plug-in raises, and is no error of isheep's kinds, becomes a StageError."""
        try:
            yield
        except IsheepError:
            raise
        except Exception as error:
            raise StageError(f"{self.title} failed ({type(error).__name__}: {first_line(error)}).") from error

    def wrong(self, what: str) -> StageError:
        """The error of a plug-in that gave what its protocol does not allow."""
        return StageError(f"{self.title} {what} It has to be mended, or left out of the recipe.")


@cache
def installed(kind: Kind) -> Mapping[str, tuple[Plugin, ...]]:
    """Name -> the plug-ins of that name, by the metadata of what is installed; sorted by name. Imports nothing."""
    found: dict[str, tuple[Plugin, ...]] = {}
    for entry in sorted(entry_points(group=f"isheep.{kind}"), key=lambda entry: entry.name):
        origin = f"{entry.dist.name} {entry.dist.version}" if entry.dist else "unknown"
        found[entry.name] = (*found.get(entry.name, ()), Plugin(kind, entry.name, origin, entry))
    return found


def find(kind: Kind, name: str) -> Plugin:
    """The plug-in of that name.

    Raises:
        UserError: none is installed, or several packages bring one.
    """
    there = installed(kind).get(name, ())
    if not there:
        what = f"no installed package brings a plug-in `{name}`."
        raise UserError(f"isheep.{kind}", what, "Install the package that does, or take the name out of the recipe.")
    if len(there) > 1:
        which = " and ".join(plugin.origin for plugin in there)
        raise UserError(f"isheep.{kind}", f"`{name}` is brought by {which}.", "Uninstall all of these but one.")
    return there[0]


def origin_of(kind: Kind, name: str) -> str | None:
    """Distribution and version of the plug-in of that name; None where there is none, or more than one."""
    there = installed(kind).get(name, ())
    return there[0].origin if len(there) == 1 else None
