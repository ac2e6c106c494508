"""What it costs to make records around a model that answers at once: `python benchmarks/orchestration.py [--json]`.

Records go through three stages (an instruction, its response, its score: one request each) on an instant HTTP server,
which has a process of its own. Three sides, 64 connections each, in turn, medians of three:

1. the stages and the engine of isheep, with rules, novelty, Parquet parts and tokens, as in a run;
2. distilabel with the same three steps, each a TextGeneration (its own environment, made under `build/peers`), from the
   call of `pipeline.run` to its result;
3. a bare aiohttp client that sends the requests of the first side again and reads the answers as JSON.
"""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp
from side import REPEATS, compared, measured, parser, peer_python, show

from isheep.models import Model, Models
from isheep.recipe import Recipe, load_recipe, locate
from isheep.seeds import load_seeds
from isheep.stages.assess import assess
from isheep.stages.respond import respond
from isheep.stages.synthesize import synthesize
from isheep.store.run import Run

HERE = Path(__file__).parent
PEER = ("distilabel[openai]==1.5.3", "requests")
"""The second is what the first imports and does not ask for."""
CONNECTIONS = 64
PACKAGES = ("aiohttp", "numba", "transformers")

STAGES = {"synthesize": 100, "respond": 90, "assess": 64}
"""max_tokens of each stage, by which the server knows what to answer."""

Payloads = list[dict[str, Any]]


def main() -> None:
    """Measures, then prints."""
    arguments = parser(__doc__)
    arguments.add_argument("--records", type=int, default=2_000, help="of each repeat")
    arguments.add_argument("--repeats", type=int, default=REPEATS, help="of each side")
    given = arguments.parse_args()
    python = peer_python("distilabel", *PEER)
    ours, peers, bare = [], [], []
    own_cpu, peers_cpu = [], []
    with tempfile.TemporaryDirectory() as folder:
        answers = write_answers(Path(folder) / "answers.json", 2 * given.records)
        for repeat in range(given.repeats):
            with instant_server(answers) as url:
                recipe = recipe_for(url, given.records)
                payloads: Payloads = []
                seconds, cpu = by_isheep(recipe, Path(folder) / str(repeat), payloads)
                own_cpu.append(cpu / given.records)
                ours.append(given.records / seconds)
                bare.append(len(payloads) / asyncio.run(by_bare_client(url, payloads)))
                found = by_distilabel(python, url, given.records)
                peers_cpu.append(found["cpu"] / given.records)
                peers.append(given.records / found["seconds"])
                print(f"repeat {repeat + 1}: {ours[-1]:.0f} and {peers[-1]:.1f} records/s", file=sys.stderr)
    packages = {"distilabel": found["version"]}
    requests = len(payloads) / given.records
    rows = [
        compared(
            f"{given.records:,} records",
            measured(ours),
            measured(peers),
            "records/s",
            "50x",
            PACKAGES,
            more_is_better=True,
            others=packages,
        ),
        compared(
            f"{given.records:,} records, CPU of each without the server's",
            measured(own_cpu),
            measured(peers_cpu),
            "CPU-s",
            "50x",
            PACKAGES,
            others=packages,
        ),
        compared(
            "requests, beside a bare client",
            measured([rate * requests for rate in ours]),
            measured(bare),
            "requests/s",
            "0.5x",
            PACKAGES,
            more_is_better=True,
            others=packages,
        ),
    ]
    show(rows, given.json)


def recipe_for(url: str, records: int) -> Recipe:
    """lamb's tokenizer with the paper's settings for everything that costs time here."""
    limits = [f"{stage}.max_new_tokens={most}" for stage, most in STAGES.items()]
    server = ["engine.name=openai", f"engine.server.url={url}", f"engine.server.connections={CONNECTIONS}"]
    paper = ["novelty.limit=0.7", "novelty.compare=instruction", "assess.read=generate", "assess.level=quality"]
    return load_recipe("lamb", [f"size={records}", "iterations=1", "engine.batch_size=256", *limits, *server, *paper])


def write_answers(file: Path, count: int) -> Path:
    """Instructions that are all novel, responses, and scores; see `instant_server.py` for the format."""
    encode = Models(load_recipe("lamb")).encoder.plain
    begin = len(encode(""))
    draw = random.Random(0)  # noqa: S311  # it has to repeat, no secret
    syllables = [start + end for start in "bcdfglmnprst" for end in ("a", "e", "i", "o", "u")]
    words = ["".join(draw.choices(syllables, k=draw.randint(1, 3))) for _ in range(600)]

    def told(text: str) -> list[Any]:
        return [text, list(encode(text)[begin:])]

    def sentence(length: int) -> str:
        return " ".join(draw.choices(words, k=length))

    answers = {
        "synthesize": [told(f" Write {sentence(10)}.\nInput: <noinput>") for _ in range(count)],
        "respond": [told(f"{sentence(15).capitalize()}.") for _ in range(97)],
        "assess": [told(f" {score}||It is what was asked for.") for score in (7, 8, 9)],
    }
    file.write_text(json.dumps({str(STAGES[stage]): given for stage, given in answers.items()}), encoding="utf-8")
    return file


@contextmanager
def instant_server(answers: Path) -> Iterator[str]:
    """Yields the url of a server in a process of its own."""
    # S603: our own scripts, no shell.
    process = subprocess.Popen([sys.executable, HERE / "instant_server.py", answers], stdout=subprocess.PIPE, text=True)  # noqa: S603
    try:
        if process.stdout is None:
            raise ValueError("the server was started without a pipe")
        yield f"http://127.0.0.1:{int(process.stdout.readline())}/v1"
    finally:
        process.kill()
        process.wait()


def by_isheep(recipe: Recipe, directory: Path, payloads: Payloads) -> tuple[float, float]:
    """Seconds and CPU seconds of the three stages and the engine's start; `payloads` is filled with what was sent."""
    seeds = load_seeds(locate(recipe.seeds.path))
    with Run.create_or_resume(directory, recipe) as run, Models(recipe) as models:
        iteration, model = run.iteration(1), models.base
        start, before = time.perf_counter(), time.process_time()
        synthesize(iteration, [], seeds, recipe, model)
        respond(iteration, recipe, model)
        assess(iteration, recipe, model)
        seconds, cpu = time.perf_counter() - start, time.process_time() - before
        rows = iteration.table("assessments").rows()
        if sum(row.quality is not None for row in rows) != recipe.size:
            raise AssertionError(f"{recipe.size} records were to be scored, not {len(rows)}")
        payloads += payloads_of(run, recipe, model)
    return seconds, cpu


def payloads_of(run: Run, recipe: Recipe, model: Model) -> Payloads:
    """The requests of the run as they went to the server, as far as their size goes."""
    made = []
    for stage, text in (("synthesize", "1. Instruction: " * 12), ("respond", ""), ("assess", "Score this. " * 20)):
        for row in run.iteration(1).table("instructions").rows():
            prompt = list(model.encoder.plain(text + row.instruction))
            made.append(
                {
                    "model": "instant",
                    "prompt": prompt,
                    "max_tokens": STAGES[stage],
                    "temperature": recipe.synthesize.temperature,
                    "top_p": recipe.synthesize.top_p,
                    "seed": row.index,
                    "return_token_ids": True,
                }
            )
    return made


async def by_bare_client(url: str, payloads: Sequence[dict[str, Any]]) -> float:
    """Seconds for all of them."""
    waiting = iter(payloads)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=CONNECTIONS)) as session:

        async def work() -> None:
            for payload in waiting:
                async with session.post(f"{url}/completions", json=payload) as answer:
                    json.loads(await answer.read())["choices"][0]["token_ids"]

        start = time.perf_counter()
        await asyncio.gather(*(work() for _ in range(CONNECTIONS)))
        return time.perf_counter() - start


def by_distilabel(python: Path, url: str, records: int) -> dict[str, Any]:
    """Its seconds and version; its records are counted."""
    command = [python, HERE / "orchestration_distilabel.py", url, str(records)]
    # S603: our own scripts, no shell.
    ended = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if ended.returncode:
        raise RuntimeError(ended.stderr[-2000:])
    found: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    if found["records"] != records:
        raise AssertionError(f"{records} records were to be made, not {found['records']}")
    return found


if __name__ == "__main__":
    main()
