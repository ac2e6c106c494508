"""`python -m tests.faults.soak [--records N] [--kill-every S]`: many records through every stage, killed all the time.

The model is a server that answers at once, as the seed of a request says, so that the run costs what isheep costs and
an undisturbed run has the same records. It prints, and writes to `build/soak.json`, what was killed, counted and
measured: memory over time, and how the time of a record grows.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from shutil import rmtree
from typing import Any

from isheep.encoder import Encoder
from isheep.store.files import sha256_file, write_json
from isheep.store.run import Run
from tests.data import LAMB
from tests.faults.command import Command, set_environment

SERVER = Path(__file__).parents[2] / "benchmarks" / "instant_server.py"
LIMITS = {"synthesize": 100, "respond": 90, "assess": 64}
"""max_new_tokens of each stage, by which the server knows what to answer."""
TABLES = {"synthesize": "instructions", "respond": "responses", "assess": "assessments"}
BATCH = 256
LOOK_S = 0.25


@dataclass
class Sample:
    """A look at the run: seconds that it has worked so far, bytes that its process holds, parts of each table."""

    worked: float
    memory: int
    parts: dict[str, int]


@dataclass
class Soak:
    """One run, and what was seen of it."""

    directory: Path
    words: list[str | Path]
    samples: list[Sample] = field(default_factory=list)
    acknowledged: dict[str, str] = field(default_factory=dict)
    """Part -> hash, as it stood when a process was killed."""
    kills: int = 0
    worked: float = 0.0

    def go(self, rng: random.Random, kill_every: float | None) -> None:
        """Runs to the end, over as many processes as it takes.

        A life in which nothing came to be is followed by one that may last twice as long: what is done at one go (the
        selection, a training's first step) would else never end.
        """
        in_vain = 0
        while True:
            made = self._made()
            command = Command(self.words, self.directory.with_suffix(".log"))
            lives = rng.uniform(0.5, 1.5) * kill_every * 2**in_vain if kill_every else math.inf
            began = time.monotonic()
            while not command.ended and time.monotonic() - began < lives:
                time.sleep(LOOK_S)
                self._look(command.pid, self.worked + time.monotonic() - began)
            self.worked += time.monotonic() - began
            if command.ended:
                break
            command.signal(9)
            command.wait()
            self.kills += 1
            in_vain = in_vain + 1 if self._made() == made else 0
            for file in self.directory.glob("iteration-01/*/part-*.parquet"):
                self.acknowledged.setdefault(str(file), sha256_file(file))
        ended = command.wait()
        if ended.code != 0:
            raise RuntimeError(f"exit {ended.code}: {ended.said[-3000:]}")

    def _made(self) -> int:
        """Parts and documents so far."""
        return sum(1 for _ in self.directory.glob("iteration-01/**/*.*"))

    def _look(self, process: int, worked: float) -> None:
        try:
            pages = int(Path(f"/proc/{process}/statm").read_text(encoding="ascii").split()[1])
        except (FileNotFoundError, IndexError, ProcessLookupError):
            return
        folder = self.directory / "iteration-01"
        parts = {stage: len(list((folder / table).glob("part-*.parquet"))) for stage, table in TABLES.items()}
        self.samples.append(Sample(worked, pages * os.sysconf("SC_PAGE_SIZE"), parts))

    def lost(self) -> int:
        """Parts that were there at a kill and are not what they were."""
        return sum(
            not Path(file).is_file() or sha256_file(Path(file)) != was for file, was in self.acknowledged.items()
        )


def main() -> int:
    """Soaks, counts, prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=50_000)
    parser.add_argument("--kill-every", type=float, default=8.0, help="seconds, on average")
    parser.add_argument("--to", type=Path, default=Path("build/soak.json"))
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="isheep-soak-"))
    set_environment()
    os.environ["ISHEEP_CACHE"] = str(folder / "cache")
    with _server(_answers(folder / "answers.json", 4 * given.records)) as url:
        killed = Soak(folder / "killed", _words(folder / "killed", url, given.records))
        killed.go(random.Random(0), given.kill_every)
        alone = Soak(folder / "alone", _words(folder / "alone", url, given.records))
        alone.go(random.Random(0), None)
    document = {**_counts(killed, alone), "disturbed": _measured(killed), "undisturbed": _measured(alone)}
    write_json(given.to, document)
    print(json.dumps(document, indent=1))
    rmtree(folder)
    return 0 if document["lost"] == document["duplicated"] == 0 and document["same_as_undisturbed"] else 1


def _words(directory: Path, url: str, records: int) -> list[str | Path]:
    limits = [f"{stage}.max_new_tokens={most}" for stage, most in LIMITS.items()]
    server = ["engine.name=openai", f"engine.server.url={url}", f"engine.batch_size={BATCH}"]
    rest = [
        "iterations=1",
        f"size={records}",
        "evaluate.benchmarks=[]",
        "novelty.limit=0.7",
        "train.steps=1",
        "train.warmup_steps=0",
    ]
    return ["run", "lamb", *rest, "assess.read=generate", *limits, *server, "--dir", directory]


def _answers(file: Path, count: int) -> Path:
    """Instructions of made-up words, hardly two alike, responses, and scores."""
    encoder, draw = Encoder.load(LAMB, None), random.Random(0)
    begin = len(encoder.plain(""))
    syllables = [start + end for start in "bcdfglmnprst" for end in "aeiou"]
    words = ["".join(draw.choices(syllables, k=draw.randint(1, 3))) for _ in range(600)]

    def told(stage: str, text: str) -> list[Any]:
        # What a server may not send, more tokens than were asked for, would be asked for again and again.
        ids = list(encoder.plain(text)[begin:])
        if len(ids) >= LIMITS[stage]:
            raise ValueError(f"an answer of {stage} has {len(ids)} tokens")
        return [text, ids]

    def sentence(length: int) -> str:
        return " ".join(draw.choices(words, k=length))

    answers = {
        "synthesize": [told("synthesize", f" Write {sentence(8)}.\nInput: <noinput>") for _ in range(count)],
        "respond": [told("respond", f"{sentence(8).capitalize()}.") for _ in range(97)],
        "assess": [told("assess", f" {score}||It is what was asked for.") for score in (7, 8, 9)],
    }
    file.write_text(json.dumps({str(LIMITS[stage]): texts for stage, texts in answers.items()}), encoding="utf-8")
    return file


@contextmanager
def _server(answers: Path) -> Iterator[str]:
    command = [sys.executable, str(SERVER), str(answers), "--by-seed"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{int(process.stdout.readline())}/v1"
    finally:
        process.kill()
        process.wait()


def _counts(killed: Soak, alone: Soak) -> dict[str, Any]:
    one, other = (Run.read(soak.directory).iteration(1) for soak in (killed, alone))
    ids = {name: one.table(name).columns("id")["id"] for name in (*TABLES.values(), "selection")}
    same = all(one.table(name).rows() == other.table(name).rows() for name in ids)
    passed = one.table("instructions").columns("dropped_by")["dropped_by"].count(None)
    return {
        "kills": killed.kills,
        "rows": {name: len(found) for name, found in ids.items()},
        "instructions_that_passed": passed,
        "kept": sum(one.table("selection").columns("kept")["kept"]),
        "lost": killed.lost(),
        "duplicated": sum(len(found) - len(set(found)) for found in ids.values()),
        "same_as_undisturbed": same,
    }


def _measured(soak: Soak) -> dict[str, Any]:
    quarters = [soak.samples[len(soak.samples) * part // 4 : len(soak.samples) * (part + 1) // 4] for part in range(4)]
    memory = [statistics.fmean(sample.memory for sample in quarter) / 2**20 for quarter in quarters]
    return {
        "seconds_at_work": round(soak.worked, 1),
        "memory_mib_by_quarter": [round(one, 1) for one in memory],
        "memory_most_mib": round(max(sample.memory for sample in soak.samples) / 2**20, 1),
        "last_quarter_over_second": round(memory[3] / memory[1], 3),
        "stages": {stage: _growth(soak.samples, stage) for stage in TABLES},
    }


def _growth(samples: Sequence[Sample], stage: str) -> dict[str, float | None]:
    """Seconds of the stage, and the exponent with which they grow from its first half to all of it."""
    under_way = [sample for sample in samples if sample.parts[stage] > 0]
    most = max((sample.parts[stage] for sample in under_way), default=0)
    until = {
        share: next((one.worked for one in under_way if one.parts[stage] >= share * most), None)
        for share in (0, 0.5, 1)
    }
    start, half, end = until[0], until[0.5], until[1]
    if start is None or half is None or end is None or half <= start:
        return {"seconds": None, "exponent": None}
    return {"seconds": round(end - start, 1), "exponent": round(math.log2((end - start) / (half - start)), 2)}


if __name__ == "__main__":
    sys.exit(main())
