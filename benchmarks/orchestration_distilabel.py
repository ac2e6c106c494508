"""The peer's side of `orchestration.py`, run in its own environment: URL RECORDS; prints what it took as JSON."""

from __future__ import annotations

import json
import os
import sys
import time
from importlib.metadata import version

from distilabel.models import OpenAILLM
from distilabel.pipeline import Pipeline
from distilabel.steps import LoadDataFromDicts
from distilabel.steps.tasks import TextGeneration

STAGES = {"synthesize": 100, "respond": 90, "assess": 64}
"""max_tokens, by which the server knows what to answer."""

BATCH = 64
"""As many requests at once as the other sides have connections."""


def main() -> None:
    """Instruction, response and score of so many records, each made out of the one before."""
    url, records = sys.argv[1], int(sys.argv[2])
    with Pipeline(name="orchestration") as pipeline:
        shots = "1. Name a river of Europe.\n2. Write a short note.\n3. Add two and three.\n4."
        last = LoadDataFromDicts(data=[{"shots": shots} for _ in range(records)], batch_size=BATCH)
        steps = [
            ("synthesize", "Come up with a task.\n{{ shots }}", ["shots"], "task"),
            ("respond", "{{ task }}", ["task"], "response"),
            ("assess", "Score this from 1 to 10.\n{{ task }}\n{{ response }}", ["task", "response"], "score"),
        ]
        for name, template, columns, made in steps:
            llm = OpenAILLM(
                model="instant", base_url=url, api_key="none", generation_kwargs={"max_new_tokens": STAGES[name]}
            )
            step = TextGeneration(
                name=name,
                llm=llm,
                template=template,
                columns=columns,
                output_mappings={"generation": made},
                input_batch_size=BATCH,
                add_raw_output=False,
                add_raw_input=False,
            )
            last.connect(step)
            last = step
    start, before = time.perf_counter(), sum(os.times()[:4])
    made_set = pipeline.run(use_cache=False)
    seconds = time.perf_counter() - start
    cpu = sum(os.times()[:4]) - before
    rows = made_set["default"]["train"]
    whole = sum(bool(row["task"] and row["response"] and row["score"]) for row in rows)
    print(json.dumps({"seconds": seconds, "cpu": cpu, "records": whole, "version": version("distilabel")}))


if __name__ == "__main__":
    main()
