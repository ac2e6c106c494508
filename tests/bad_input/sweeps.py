"""Sweeps: what they vary, and the directories that hold them."""

from __future__ import annotations

from tests.bad_input.case import Case, file

SWEEP = "sweep lamb --dir DIR/sweep"

CASES = [
    Case(
        "compare-sweep-broken",
        "a comparison of a sweep whose sweep.json is none",
        "compare DIR/sweep",
        ("DIR/sweep/sweep.json: names no runs. Start the sweep's command again, which writes it anew."),
        (file("sweep/sweep.json", "{"),),
    ),
    Case(
        "compare-sweep-empty",
        "a comparison of a sweep whose sweep.json names no runs",
        "compare DIR/sweep",
        ("DIR/sweep/sweep.json: names no runs. Start the sweep's command again, which writes it anew."),
        (file("sweep/sweep.json", "{}"),),
    ),
    Case(
        "compare-sweep-unbegun",
        "a comparison of a sweep of which no run is there",
        "compare DIR/sweep",
        "DIR/sweep: is a sweep of which no run is there. Start its command again.",
        (file("sweep/sweep.json", '{"runs": ["a"]}'),),
    ),
    Case(
        "work-no-sweep",
        "help for what is no sweep",
        "work DIR",
        "DIR: is not a sweep (it has no sweep.json). Give the --dir of `isheep sweep`.",
    ),
    Case(
        "sweep-nothing-varied",
        "a sweep over nothing",
        SWEEP,
        "--over: nothing is varied. Give `--over KEY=VALUE,VALUE`, or `--seeds N`.",
    ),
    Case(
        "sweep-no-value",
        "a sweep over no value",
        f"{SWEEP} --over seed=",
        (
            "`seed=`: holds no value. Write it like `select.threshold=4,6,8`, or "
            "`'select.filters=[[threshold], [threshold, cap]]'`."
        ),
    ),
    Case(
        "sweep-no-key",
        "a sweep over no key",
        f"{SWEEP} --over 3,4",
        (
            "`3,4`: is not KEY=VALUE,VALUE. Write it like `select.threshold=4,6,8`, or "
            "`'select.filters=[[threshold], [threshold, cap]]'`."
        ),
    ),
    Case(
        "sweep-unknown-key",
        "a sweep over an unknown setting",
        f"{SWEEP} --over sedd=1,2",
        "recipe lamb, sedd: unknown setting. Did you mean `seed`?",
    ),
    Case(
        "sweep-wrong-value",
        "a sweep with a value out of range",
        f"{SWEEP} --over size=20,0",
        "recipe lamb, size: cannot be 0. Give a whole number of at least 1.",
    ),
    Case(
        "sweep-date",
        "a sweep over a day",
        f"{SWEEP} --over model.path=2026-01-02,a",
        "--over model.path: 2026-01-02 is no value of a setting. Put it in quotes.",
    ),
    Case(
        "sweep-twice",
        "a sweep with a value twice",
        f"{SWEEP} --over size=20,20",
        "--over: size-20-545b39d4 and size-20-545b39d4 are the same run. Give each value once.",
    ),
    Case(
        "sweep-key-twice",
        "a sweep over a key twice",
        f"{SWEEP} --over seed=1,2 --seeds 2",
        "--over seed: is given 2 times (--seeds varies it, too). Give all its values at once.",
    ),
    Case(
        "sweep-too-many",
        "a sweep of a million runs",
        f"{SWEEP} --seeds 1000000",
        "--over: makes 1,000,000 runs. Give values that make at most 1,000.",
    ),
    Case(
        "sweep-foreign",
        "a sweep in a directory that holds other things",
        f"{SWEEP} --over seed=1,2",
        "DIR/sweep: is not a sweep (it has no sweep.json) and not empty. Give a new --dir.",
        (file("sweep/thesis.tex"),),
    ),
    Case(
        "sweep-cell",
        "a sweep one of whose runs cannot be",
        f"{SWEEP} --over seeds.path=DIR/none.jsonl,package:lamb/seeds.jsonl",
        ("DIR/none.jsonl: there is no such seed file. Give a seed file that exists and can be read."),
    ),
]
