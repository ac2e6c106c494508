"""Many records through everything that one iteration does with them: `python benchmarks/million.py [--json]`.

Texts are made up from the seed of each request: words drawn by rank as in real text (Zipf), eight instructions of some
15 words to a completion, that open in one of 2,000 ways, and responses of some 60. One instruction in ten is another
one with a word exchanged, one in twenty breaks a rule. The engine answers at once, in this process, and bytes are
tokens; all else is the loop's own code, each stage in a process of its own, with parts of 256 requests. A tenth of the
pairs is kept at most (`select.cap`), and scores are those of quality alone, read from a distribution.

The search of novelty grows with the square of the records: in sizes over `--searched` it is left out, and all else done
(`fill`, which smaller sizes do besides). `resume` is what a synthesis costs that was stopped just before its end.

CPU seconds; memory is the most that the process held (VmHWM), and by how much that is more than before the stage, with
everything loaded that the stage needs.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache, partial
from importlib.metadata import version
from pathlib import Path
from shutil import copytree, ignore_patterns
from tempfile import TemporaryDirectory
from typing import Any, cast

import numpy as np

import isheep.models
from isheep.encoder import Encoder
from isheep.engines import Completion, Request
from isheep.engines.base import Engine
from isheep.filters.compiled import CompiledPool
from isheep.models import Models
from isheep.prompts.tasks import list_tasks, next_task
from isheep.recipe import Recipe, load_recipe, locate
from isheep.seeds import load_seeds
from isheep.stages.assess import assess
from isheep.stages.decontaminate import decontaminate
from isheep.stages.examine import examine
from isheep.stages.once import Once
from isheep.stages.respond import respond
from isheep.stages.select import select
from isheep.stages.synthesize import synthesize
from isheep.stages.training_set import gather
from isheep.store.joined import find
from isheep.store.run import Run
from isheep.store.status import status

SIZES = (10_000, 30_000, 100_000, 300_000, 1_000_000)
WORDS, FAMILIES = 30_000, 2_000
"""Of the language; and how many instructions lend their opening or, with another word in them, come again."""
ANSWERS = 4_096
"""Different responses."""
WARMING = 200
"""Records by which a process is warmed up."""
TASKS = 8
"""Of a completion."""
SETTINGS: dict[str, Any] = {
    "iterations": 1,
    "novelty.limit": 0.7,
    "novelty.compare": "instruction",
    "health.twin": 0.7,
    "assess.level": "quality",
    "engine.name": "openai",
    "engine.batch_size": 256,
}
TOKENS = {"synthesize": 1_000, "respond": 400}
"""max_new_tokens of both, by which the engine knows what to answer."""
LOG_PROBABILITIES = [[-abs(score - middle) - 0.5 for score in range(1, 11)] for middle in np.linspace(4, 10, 61)]
"""Distributions over the ten scores, as an assessor of middling decision gives them."""


class Letters:
    """Bytes for tokens: a tokenizer's time is its library's, and the same for every record."""

    stop_ids: frozenset[int] = frozenset()
    pad_id = 0

    def plain(self, text: str) -> tuple[int, ...]:
        """See `Encoder`."""
        return tuple(text.encode())

    def decode(self, ids: Sequence[int]) -> str:
        """See `Encoder`."""
        return bytes(ids).decode()


class Language:
    """Made-up words, each used as often as its rank says."""

    def __init__(self) -> None:
        syllables = [start + end for start in "bcdfghjklmnprstvwz" for end in ("a", "e", "i", "o", "u", "an", "er")]
        draw = np.random.default_rng(0)
        self.words = ["".join(draw.choice(syllables, length)) for length in draw.integers(1, 4, WORDS)]
        self._cumulated = np.cumsum(1 / np.arange(1, WORDS + 1))

    def sentence(self, draw: np.random.Generator, length: float) -> list[str]:
        """So many words, more or less."""
        count = max(5, int(draw.normal(length, length / 4)))
        ranks = np.searchsorted(self._cumulated, draw.random(count) * self._cumulated[-1])
        return [self.words[rank] for rank in ranks.tolist()]


class InstantEngine:
    """Answers at once, as the seed of a request says (scores: as the prompt says)."""

    positions: int | None = None
    workers = 1

    def __init__(self, first: int) -> None:
        """`first` is the number of the task that a synthesis goes on with."""
        self._language, self._first, draw = Language(), first, np.random.default_rng(0)
        self._families = [self._language.sentence(draw, 15) for _ in range(FAMILIES)]
        answers = (" ".join(self._language.sentence(draw, 60)).capitalize() for _ in range(ANSWERS))
        self._answers = [tuple(f"{answer}.".encode()) for answer in answers]

    def generate(self, requests: Iterable[Request]) -> Iterator[Completion]:
        """See `Engine`."""
        for request in requests:
            if request.max_new_tokens == TOKENS["synthesize"]:
                made = tuple(self._tasks(np.random.default_rng(request.seed)).encode())
            else:
                made = self._answers[request.seed % ANSWERS]
            yield Completion(request.id, made, "stop")

    def _tasks(self, draw: np.random.Generator) -> str:
        made = []
        for _ in range(TASKS):
            kind, family = draw.random(), self._families[draw.integers(FAMILIES)]
            if kind < 0.1:
                words = [*family[1:], self._language.words[draw.integers(WORDS)]]
            else:
                words = [*family[:6], *self._language.sentence(draw, 9)][: 2 if kind < 0.13 else None]
            end = " https://a.b" if 0.13 <= kind < 0.15 else "."
            made.append((f"{' '.join(words).capitalize()}{end}", ""))
        return list_tasks(made, self._first).removeprefix(next_task(self._first))

    def score_next(
        self, prompts: Sequence[tuple[int, ...]], candidates: Sequence[tuple[int, ...]]
    ) -> list[list[float]]:
        """See `Engine`."""
        return [LOG_PROBABILITIES[hash(prompt) % len(LOG_PROBABILITIES)][: len(candidates)] for prompt in prompts]

    def score_sequences(self, sequences: Sequence[tuple[int, ...]]) -> list[list[float]]:
        """See `Engine`."""
        return [[-1.0] * (len(ids) - 1) for ids in sequences]

    def embed(self, sequences: Sequence[tuple[int, ...]]) -> list[list[float]]:
        """See `Engine`."""
        return [[1.0] for _ in sequences]

    def use(self, adapter: Path | None) -> None:
        """See `Engine`."""

    def close(self) -> None:
        """See `Engine`."""

    __enter__ = Engine.__enter__
    __exit__ = Engine.__exit__


instant_engine = cache(InstantEngine)
"""One for a process: its words take a second."""


def recipe_for(size: int) -> Recipe:
    """lamb's seeds and benchmark with the paper's novelty."""
    limits = {f"{stage}.max_new_tokens": most for stage, most in TOKENS.items()}
    sizes = {"size": size, "select.cap": size // 10}
    return load_recipe("lamb", [f"{key}={value}" for key, value in (sizes | limits | SETTINGS).items()])


def does(name: str, directory: Path, size: int) -> Callable[[], object]:
    """What a stage or a command is, ready to be done and measured."""
    if name in LOOKS:
        return partial(LOOKS[name], directory)
    if name == "resume":
        resumed = directory.with_suffix(".resumed")
        copytree(directory, resumed, ignore=ignore_patterns("done.json"), copy_function=os.link)
        directory = resumed
    if name == "fill":
        CompiledPool.nearest = lambda self, tokens, occurrences, over: (over, -1)  # type: ignore[method-assign]
    recipe = recipe_for(size)
    models, seeds = Models(recipe, cast(Encoder, Letters())), load_seeds(locate(recipe.seeds.path))
    engine = instant_engine(recipe.synthesize.shots + 1)
    isheep.models.open_engine = lambda recipe, encoder: engine  # type: ignore[assignment, attr-defined]
    stages: dict[str, Callable[[Once, Run], None]] = {
        "synthesize": lambda once, run: once.do(synthesize, run.iteration(1), [], seeds, recipe, models.base),
        "respond": lambda once, run: once.do(respond, run.iteration(1), recipe, models.base),
        "assess": lambda once, run: once.do(assess, run.iteration(1), recipe, models.base),
        "decontaminate": lambda once, run: once.do(decontaminate, run.iteration(1), recipe),
        "select": lambda once, run: once.do(select, run.iteration(1), recipe, models.base),
        "examine": lambda once, run: once.do(examine, run.iteration(1), [], recipe),
        "gather": lambda once, run: once.do(gather, run.iteration(1), [], recipe),
    }
    stages["resume"] = stages["fill"] = stages["synthesize"]

    def work() -> None:
        # As a command that goes on: the parts that are there are looked through first.
        with Run.create_or_resume(directory, recipe) as run:
            stages[name](Once(run), run)

    return work


def warm_up(name: str) -> None:
    """All that this process will do, done to a few records: what is loaded for it is no growth."""
    with TemporaryDirectory() as folder:
        before = STAGES[1:] if name in LOOKS else STAGES[1 : STAGES.index(name) + 1]
        for stage in before or ["synthesize"]:
            does(stage, Path(folder) / "run", WARMING)()


def _report(directory: Path) -> None:
    from isheep.report import write_report

    write_report(Run.read(directory))


LOOKS: dict[str, Callable[[Path], object]] = {
    "status": lambda directory: status(Run.read(directory)),
    "records": lambda directory: find(Run.read(directory), kept=False, reason="too_short", limit=20),
    "report": _report,
}
STAGES = ("synthesize", "fill", "resume", "respond", "assess", "decontaminate", "select", "examine", "gather", *LOOKS)


def main() -> None:
    """Measures, then prints; as a child, does one thing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="instructions that pass")
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=STAGES)
    parser.add_argument("--searched", type=int, default=100_000, help="the greatest size with novelty's search")
    parser.add_argument("--json", action="store_true", help="one JSON document instead of a table")
    parser.add_argument("--dir", type=Path, help="keep the runs here, and go on with those that are there")
    parser.add_argument("--child", choices=STAGES, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        warm_up(given.child)
        print(json.dumps(costs(does(given.child, given.dir, given.sizes[0]))))
        return
    with TemporaryDirectory() as folder:
        above, rows = given.dir or Path(folder), []
        for size, stage in itertools.product(given.sizes, given.stages):
            if stage != "synthesize" or size <= given.searched:
                # What is filled beside a synthesis is no part of its run.
                name = f"{size}.filled" if stage == "fill" and size <= given.searched else str(size)
                rows.append({"size": size, "stage": stage, **child(stage, above / name, size)})
    print(json.dumps({"versions": versions(), "rows": rows}, indent=1) if given.json else table(rows))


def child(stage: str, directory: Path, size: int) -> dict[str, float]:
    """The cost of one thing, done in a process of its own."""
    command = [sys.executable, __file__, "--child", stage, "--dir", str(directory), "--sizes", str(size)]
    # S603: our own script, no shell.
    ended = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)  # noqa: S603
    found: dict[str, float] = json.loads(ended.stdout.splitlines()[-1])
    told = ", ".join(f"{name} {value:.4g}" for name, value in found.items())
    print(f"{size:,} {stage}: {told}", file=sys.stderr, flush=True)
    return found


def costs(work: Callable[[], object]) -> dict[str, float]:
    """CPU seconds, and the most memory that was held above what is held before, in MiB."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # The most begins anew.
    before, start, wall = memory("VmRSS"), time.process_time(), time.perf_counter()
    work()
    seconds, wall = time.process_time() - start, time.perf_counter() - wall
    most = memory("VmHWM")
    return {"seconds": seconds, "wall": wall, "before": before, "most": most, "grown": most - before}


def memory(name: str) -> float:
    """MiB of this process."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:")) / 1024


def versions() -> dict[str, str]:
    """Of what the figures depend on."""
    return {"python": platform.python_version(), **{name: version(name) for name in ("numba", "numpy", "pyarrow")}}


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Markdown: for each stage and size CPU seconds, their exponent from the size before, and memory."""
    lines = [
        "| what | records | CPU-s | records/CPU-s | exponent | MiB | grown by | bytes a record |",
        "|" + "---|" * 8,
    ]
    for stage in dict.fromkeys(row["stage"] for row in rows):
        before: dict[str, Any] | None = None
        for row in sorted((row for row in rows if row["stage"] == stage), key=lambda row: row["size"]):
            size, seconds, exponent, each = row["size"], row["seconds"], "", ""
            if before is not None:
                exponent = f"{math.log(seconds / before['seconds']) / math.log(size / before['size']):.2f}"
                each = f"{(row['grown'] - before['grown']) * 2**20 / (size - before['size']):.0f}"
            memory = f"{row['most']:.0f} | {row['grown']:.0f} | {each}"
            lines.append(f"| {stage} | {size:,} | {seconds:.3g} | {size / seconds:,.0f} | {exponent} | {memory} |")
            before = row
    return "\n".join([*lines, "", ", ".join(f"{name} {number}" for name, number in versions().items())])


if __name__ == "__main__":
    main()
