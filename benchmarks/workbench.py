"""What the workbench's record list costs: `python benchmarks/workbench.py [--json] [--records 100000]`.

Makes a run directory of so many records in five iterations through the run's own store (a fifth dropped by rules, half
of the rest by the threshold; responses of 60 words and more), then looks at it as the page does:

1. the first view in a process of its own that has read nothing yet (imports aside, the disk's cache not),
2. a filter by the rule that dropped, a search in all texts, a sort, each of a page of 50, when the list is in memory,
3. the whole life of a record's tables, read for one record,
4. the memory that the process holds after all this, beside what it held before.

Seconds on the wall, medians of three.
"""

from __future__ import annotations

import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

from side import REPEATS, Row, compared, measured, parser, show, wall_seconds

from isheep.recipe import load_recipe
from isheep.records import Assessment, Instruction, Response, Selection
from isheep.seeding import record_id
from isheep.store.run import Run
from isheep.workbench.catalog import Catalog, Query

ITERATIONS, PART = 5, 512
PACKAGES = ("pyarrow", "numpy")
WORDS = [f"{a}{b}{c}" for a in ("re", "un", "con", "pro", "") for b in ("for", "vis", "tend", "port", "sol") for c in
         ("m", "ion", "ing", "er", "able", "s", "")]  # fmt: skip
QUERIES = {
    "filter by the rule that dropped": Query(rule="not_novel"),
    "a search in all texts": Query(text="CONSOLable portion"),
    "a search for what every record holds": Query(text="e"),
    "sort by quality": Query(sort="quality", descending=True),
    "filter, search and sort": Query(outcome="kept", text="protend", sort="rouge_max"),
}
GOAL = "1 s"


def main() -> None:
    """Measures, then prints."""
    arguments = parser(__doc__)
    arguments.add_argument("--records", type=int, default=100_000, help="in the run")
    arguments.add_argument("--look", type=Path, help="look at this run directory once, and print what it cost")
    given = arguments.parse_args()
    if given.look:
        print(json.dumps(look(given.look)))
        return
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder) / "run"
        make(directory, given.records)
        size = sum(file.stat().st_size for file in directory.rglob("*.parquet"))
        command = [sys.executable, __file__, "--look", str(directory)]
        # S603: this script itself.
        looks = [json.loads(subprocess.check_output(command)) for _ in range(REPEATS)]  # noqa: S603
    rows = []
    for name in looks[0]:
        values = measured([one[name] for one in looks])
        unit, goal = ("MiB", "") if name.startswith("memory") else ("s", GOAL)
        rows.append(compared(f"{given.records:,} records, {name}", values, None, unit, goal, PACKAGES))
    rows.append(_size(given.records, size))
    show(rows, given.json)


def look(directory: Path) -> dict[str, float]:
    """What each costs in this process, in seconds; memory in MiB."""
    before = _resident()
    start = time.perf_counter()
    catalog = Catalog(Run.read(directory))
    first = catalog.page(Query(), {})
    catalog.rules()
    found = {"first view": time.perf_counter() - start}
    if first.found == 0:
        raise AssertionError("nothing was found")
    for name, query in QUERIES.items():
        catalog.page(query, {})
        found[name] = wall_seconds(partial(catalog.page, query, {}))
    found["one record's tables"] = wall_seconds(partial(catalog.joined, first.rows[0].id))
    found["memory, over that of the imports"] = _resident() - before
    return found


def make(directory: Path, records: int) -> None:
    """A run of that many records, written part by part as a loop writes them."""
    draw = random.Random(0)  # noqa: S311  # it has to repeat, no secret
    with Run.create_or_resume(directory, load_recipe(["lamb"], [f"iterations={ITERATIONS}"])) as run:
        for number in range(1, ITERATIONS + 1):
            iteration = run.iteration(number)
            made = [_instruction(draw, number, index) for index in range(records // ITERATIONS)]
            answers = [_response(draw, one.id) for one in made if one.dropped_by is None]
            scores = [
                Assessment(one.id, draw.uniform(1, 10), draw.uniform(1, 10), _raw(draw), _raw(draw), "base")
                for one in answers
            ]
            tables = {"instructions": made, "responses": answers, "assessments": scores}
            for name, rows in tables.items():
                table = iteration.table(name)
                for start in range(0, len(rows), PART):
                    table.append(rows[start : start + PART])
                table.close()
            chosen = iteration.table("selection")
            chosen.append([_selection(one) for one in scores])
            chosen.close()


def _instruction(draw: random.Random, iteration: int, index: int) -> Instruction:
    dropped = "not_novel" if draw.random() < 0.2 else None
    return Instruction(
        id=record_id(0, iteration, index),
        iteration=iteration,
        index=index,
        instruction=_text(draw, draw.randint(8, 30)),
        input=_text(draw, 20) if draw.random() < 0.4 else "",
        shot_ids=[f"seed_task_{draw.randrange(175)}" for _ in range(5)],
        source=iteration - 1,
        prompt_id="0123456789abcdef",
        dropped_by=dropped,
        reason="ROUGE-L 0.812 with seed_task_1, more than 0.7" if dropped else None,
        rouge_max=draw.random(),
        rouge_id="seed_task_1",
    )


def _response(draw: random.Random, id_: str) -> Response:
    words = draw.randint(60, 140)
    return Response(id_, _text(draw, words), "stop", words * 2)


def _selection(one: Assessment) -> Selection:
    kept = (one.lowest(("quality", "following")) or 0) > 4
    return Selection(one.id, kept, None if kept else "threshold", None if kept else "quality 3.10, not over 4", 8.1, 9)


def _raw(draw: random.Random) -> str:
    return json.dumps({str(score): round(draw.random(), 6) for score in range(1, 11)})


def _text(draw: random.Random, words: int) -> str:
    return " ".join(draw.choices(WORDS, k=words))


def _size(records: int, size: int) -> Row:
    return compared(f"{records:,} records, on disk", measured([size / 2**20]), None, "MiB", "", PACKAGES)


def _resident() -> float:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize() / 2**20


if __name__ == "__main__":
    main()
