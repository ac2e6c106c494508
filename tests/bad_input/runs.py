"""Run directories, and what is asked of them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from isheep.recipe import load_recipe
from isheep.records import Instruction
from isheep.store.run import Run
from tests.bad_input.case import Case, Lay, Place, file, folder
from tests.bad_input.models import lamb

HOLD = """
import sys, time
from pathlib import Path
from isheep.store.lock import Lock
lock = Lock(Path(sys.argv[1]) / "lock")
print("held", flush=True)
time.sleep(600)
"""


def begun(*settings: str, name: str = "run", finished: bool = False) -> Lay:
    """A run of lamb that has begun, with the records of one instruction."""

    def lay(place: Place) -> None:
        recipe = load_recipe("lamb", [place.fill(setting) for setting in settings])
        with Run.create_or_resume(place.folder / name, recipe) as run:
            run.note_command(["isheep", "run"])
            table = run.iteration(1).table("instructions")
            table.append([Instruction("a", 1, 0, "Name a bird.", "", [], 0, "p", "too_short", "3 words")])
            table.close()
            if finished:
                run.note_end("finished")
                run.finish()

    return lay


def _held(place: Place) -> None:
    """Another process that holds the run, until the case has ended."""
    begun()(place)
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(place.folder / "run")], stdout=subprocess.PIPE)
    place.stack.callback(holder.wait)
    place.stack.callback(holder.kill)
    assert holder.stdout is not None
    place.stack.callback(holder.stdout.close)
    assert holder.stdout.readline() == b"held\n"


def _touch(name: str, content: str) -> Lay:
    """Other content for a file that was copied."""

    def lay(place: Place) -> None:
        path = place.folder / name
        path.unlink()
        path.write_text(content)

    return lay


def _seeds(place: Place) -> None:
    from isheep.lamb.seeds import __file__ as module

    place.path("seeds.jsonl").write_bytes(Path(module).with_name("seeds.jsonl").read_bytes())


def _more(place: Place) -> None:
    with place.path("seeds.jsonl").open("a") as opened:
        opened.write("\n")


RUN = "run lamb --dir DIR/run"
OWN_MODEL = "run lamb model.path=DIR/model --dir DIR/run"

CASES = [
    Case(
        "dir-foreign",
        "a directory that holds other things",
        RUN,
        ("DIR/run: is not a run (it has no recipe.yaml) and not empty (`thesis.tex`). Give a new or an empty --dir."),
        (file("run/thesis.tex"),),
    ),
    Case(
        "dir-file",
        "a file instead of a directory",
        RUN,
        "DIR/run: cannot be written (File exists). Give another --dir or mend the rights.",
        (file("run"),),
    ),
    Case(
        "dir-below-a-file",
        "a directory below a file",
        "run lamb --dir DIR/file/run",
        ("DIR/file/run: cannot be written (Not a directory). Give another --dir or mend the rights."),
        (file("file"),),
    ),
    Case(
        "dir-name-too-long",
        "a name that no disk can hold",
        f"run lamb --dir DIR/{'n' * 300}",
        "DIR/…: cannot be used (File name too long). Mend the path, or its rights.",
    ),
    Case(
        "dir-lock-folder",
        "a run whose lock is a folder",
        RUN,
        "DIR/run: cannot be written (Is a directory). Give another --dir or mend the rights.",
        (folder("run/lock"),),
    ),
    Case(
        "dir-of-another-recipe",
        "a run of another recipe",
        "run lamb seed=4 --dir DIR/run",
        (
            "DIR/run: was begun with other settings: seed: 0 -> 4 Resume it with the same settings, "
            "accept the change with --accept-changes, or give another --dir."
        ),
        (begun(),),
    ),
    Case(
        "dir-recipe-broken",
        "a run whose recipe.yaml does not parse, with another recipe",
        f"{RUN} seed=5",
        (
            "recipe DIR/run/recipe.yaml: cannot be read as YAML: expected the node content, but found "
            "'<stream end>', line 1. Mend the file."
        ),
        (begun(), file("run/recipe.yaml", "size: [")),
    ),
    Case(
        "dir-recipe-old",
        "a run whose recipe.yaml has an unknown setting",
        "status DIR/run",
        "recipe DIR/run/recipe.yaml, speed: unknown setting. Did you mean `seed`?",
        (begun(), file("run/recipe.yaml", "model: {path: m}\nspeed: 3\n")),
    ),
    Case(
        "dir-model-changed",
        "a run whose model has changed",
        OWN_MODEL,
        (
            "DIR/model/generation_config.json: changed since the run began. Put the old file back, accept"
            " the change with --accept-changes, or start a new run with another --dir."
        ),
        (lamb(), begun("model.path=DIR/model"), _touch("model/generation_config.json", "{}")),
    ),
    Case(
        "dir-model-grown",
        "a run whose model has a new file",
        OWN_MODEL,
        (
            "DIR/model/new.json: is new since the run began. Put the old file back, accept the change "
            "with --accept-changes, or start a new run with another --dir."
        ),
        (lamb(), begun("model.path=DIR/model"), file("model/new.json", "{}")),
    ),
    Case(
        "dir-seeds-changed",
        "a run whose seed file has changed",
        "run lamb seeds.path=DIR/seeds.jsonl --dir DIR/run",
        (
            "DIR/seeds.jsonl: changed since the run began. Put the old file back, accept the change with "
            "--accept-changes, or start a new run with another --dir."
        ),
        (_seeds, begun("seeds.path=DIR/seeds.jsonl"), _more),
    ),
    Case(
        "dir-held",
        "a run that another process holds",
        RUN,
        ("DIR/run: is in use by process … on … since …. Wait for it, stop it, or give another --dir."),
        (_held,),
    ),
    Case(
        "url-unknown-protocol",
        "a URL of no known protocol",
        "run lamb --dir s4://bucket/run",
        "s4://bucket/run: fsspec knows no protocol `s4`. Give one that it knows (s3, gs, abfs, sftp).",
    ),
    Case(
        "url-package-missing",
        "a URL whose package is not installed",
        "check lamb --dir gs://bucket/run",
        "gs://bucket/run: needs the package `gcsfs`. Install it: pip install gcsfs.",
        absent="gcsfs",
    ),
    Case(
        "run-url-with-password",
        "a URL with a password",
        "run lamb --dir sftp://me:word@host/run",
        (
            "the URL of the run: a password, a query, a chain or a key in it is not taken: it would be written down."
            " Give `PROTOCOL://BUCKET/PATH`; keys belong into the environment."
        ),
    ),
    Case(
        "url-bucket-alone",
        "a bucket without a folder",
        "run lamb --dir s3://bucket",
        "s3://bucket: names no folder in the bucket. Give one: s3://bucket/NAME.",
    ),
    Case(
        "url-foreign",
        "a URL where other things lie",
        "run lamb --dir file://DIR/far/run",
        (
            "file://DIR/far/run: is not a run (it has no recipe.yaml) and not empty (`thesis.tex`). "
            "Give a new or an empty --dir."
        ),
        (file("far/run/thesis.tex"),),
    ),
    Case(
        "url-index-broken",
        "a URL whose index does not read",
        "run lamb --dir file://DIR/far/run",
        (
            "file://DIR/far/run/mirror.json: does not read (it lists no files). "
            "Take it away: then all that lies there is the run."
        ),
        (file("far/run/mirror.json", "[]"),),
    ),
    Case(
        "url-status-no-run",
        "status of a URL where no run is",
        "status file://DIR/far/run",
        "file://DIR/far/run: is not a run (it has no recipe.yaml). Give the --dir of `isheep run`.",
    ),
    Case(
        "url-watched",
        "a run at a URL that is to be watched",
        "status --watch s3://bucket/run",
        "s3://bucket/run: has to be a path on this machine. Give one (docs/storage.md says what takes a URL).",
    ),
    Case(
        "url-of-a-sweep",
        "a sweep at a URL",
        "sweep lamb --over size=4,5 --dir s3://bucket/runs",
        "s3://bucket/runs: has to be a path on this machine. Give one (docs/storage.md says what takes a URL).",
    ),
    Case(
        "manifest-of-another-kind",
        "a run whose manifest.json is a list",
        RUN,
        (
            "DIR/run/manifest.json: is no manifest of a run. Put the old file back, or take it away: the "
            "same command then begins a new one."
        ),
        (begun(), file("run/manifest.json", "[]")),
    ),
    Case(
        "manifest-without-models",
        "a run whose manifest.json lacks the model",
        RUN,
        (
            "DIR/run/manifest.json: is no manifest of a run. Put the old file back, or take it away: the "
            "same command then begins a new one."
        ),
        (begun(), file("run/manifest.json", '{"commands": []}')),
    ),
    Case(
        "status-no-run",
        "status of what is no run",
        "status DIR",
        "DIR: is not a run (it has no recipe.yaml). Give the --dir of `isheep run`.",
    ),
    Case(
        "status-near",
        "status of a run whose name is misspelt",
        "status DIR/rum",
        "DIR/rum: is not a run (it has no recipe.yaml). Did you mean DIR/run?",
        (begun(),),
    ),
    Case(
        "status-folder-of-runs",
        "status of the folder that runs lie in",
        "status DIR",
        "DIR: is not a run (it has no recipe.yaml). Give a run in it, such as DIR/run.",
        (begun(),),
    ),
    Case(
        "status-missing",
        "status of what is not there",
        "status DIR/none",
        "DIR/none: is not a run (it has no recipe.yaml). Give the --dir of `isheep run`.",
    ),
    Case(
        "status-name-too-long",
        "status of a name that no disk can hold",
        f"status DIR/{'n' * 300}",
        "DIR/…/recipe.yaml: cannot be used (File name too long). Mend the path, or its rights.",
    ),
    Case(
        "records-no-run",
        "records of what is no run",
        "records DIR",
        "DIR: is not a run (it has no recipe.yaml). Give the --dir of `isheep run`.",
    ),
    Case(
        "records-iteration",
        "records of an iteration that there is not",
        "records DIR/run --iteration 9",
        "--iteration: DIR/run has no records of iteration 9. It has: 1.",
        (begun(),),
    ),
    Case(
        "records-reason",
        "records of a rule that dropped nothing",
        "records DIR/run --reason novelty",
        "--reason: no rule 'novelty' dropped anything here. These did: too_short.",
        (begun(),),
    ),
    Case(
        "records-kept-and-dropped",
        "records that are kept and dropped",
        "records DIR/run --kept --dropped",
        "--kept --dropped: no record is both. Give one of them, or none.",
        (begun(),),
    ),
    Case(
        "report-no-run",
        "a report of what is no run",
        "report DIR",
        "DIR: is not a run (it has no recipe.yaml). Give the --dir of `isheep run`.",
    ),
    Case(
        "report-folder",
        "a folder where the report belongs",
        "report DIR/run",
        (
            "DIR/run/report.html: cannot be written (Is a directory). Mend the rights. The same command "
            "goes on from here."
        ),
        (begun(), folder("run/report.html")),
        code=3,
    ),
    Case(
        "ui-no-run",
        "a workbench over what is no run",
        "ui DIR/run DIR",
        "DIR: is not a run (it has no recipe.yaml). Give a run in it, such as DIR/run.",
        (begun(),),
    ),
    Case(
        "ui-nowhere",
        "a workbench over what is not there",
        "ui DIR/nowhere",
        "DIR/nowhere: is not there. Give the --dir of `isheep run`.",
    ),
    Case(
        "compare-no-run",
        "a comparison with what is no run",
        "compare DIR/run DIR",
        "DIR: is neither a run nor a sweep. Give the --dir of one of them.",
        (begun(),),
    ),
    Case(
        "eval-nothing",
        "a path that is nothing of the kind",
        "eval DIR/none --benchmarks lamb",
        "DIR/none: is no model, no adapter, no run and no file. Give the folder of one of them.",
    ),
    Case(
        "eval-iteration-missing",
        "an iteration that has no model",
        "eval DIR/run --iterations 9",
        ("DIR/run: iteration 9 has no model; those that have one are 0. Give --iterations of those."),
        (begun(),),
    ),
    Case(
        "eval-iterations-words",
        "iterations that are no numbers",
        "eval DIR/run --iterations 1-3",
        "--iterations: `1-3` is no list of numbers. Write it like `0,3`.",
        (begun(),),
    ),
    Case(
        "eval-iterations-of-a-model",
        "iterations of a model",
        "eval PACKAGE/lamb/model --iterations 1",
        "PACKAGE/lamb/model: is no run, so it has no iterations. Leave --iterations out.",
    ),
    Case(
        "eval-adapter-broken",
        "an adapter whose configuration is no JSON",
        "eval DIR/a --benchmarks lamb",
        (
            "DIR/a/adapter_config.json: names no base model (`base_model_name_or_path`). Save the adapter"
            " with PEFT, or copy it again."
        ),
        (file("a/adapter_config.json", "{"),),
    ),
    Case(
        "eval-adapter-without-base",
        "an adapter that names no base",
        "eval DIR/a --benchmarks lamb",
        (
            "DIR/a/adapter_config.json: names no base model (`base_model_name_or_path`). Save the adapter"
            " with PEFT, or copy it again."
        ),
        (file("a/adapter_config.json", "{}"),),
    ),
    Case(
        "eval-adapter-base-missing",
        "an adapter whose base is not there",
        "eval DIR/a --benchmarks lamb",
        (
            "model.path: there is no folder DIR/none. Give a local folder with the model, or a hub id "
            "such as `Qwen/Qwen3-0.6B-Base`."
        ),
        (file("a/adapter_config.json", '{"base_model_name_or_path": "DIR/none"}'),),
    ),
    Case(
        "export-nothing-kept",
        "a training set of a run that has kept nothing",
        "export DIR/run --as alpaca --to DIR/out.json",
        "DIR/run: has kept no pairs. Look at what dropped them: isheep status.",
        (begun(),),
    ),
    Case(
        "export-no-such-iteration",
        "a training set of an iteration that there is not",
        "export DIR/run --as messages --to DIR/out.jsonl --iteration 4",
        "--iteration: DIR/run has no records of iteration 4. It has: 1.",
        (begun(),),
    ),
    Case(
        "export-suffix",
        "a training set named as another kind",
        "export DIR/run --as sharegpt --to DIR/out.jsonl",
        "DIR/out.jsonl: is not named like a file of this kind (`.json`). Name it out.json.",
        (begun(),),
    ),
    Case(
        "export-dropped",
        "a training set with what was dropped",
        "export DIR/run --as alpaca --all --to DIR/out.json",
        "--all: a training set has no place for records that were dropped. Leave it out, or give --as csv, jsonl or "
        "parquet.",
        (begun(),),
    ),
    Case(
        "export-folder-not-empty",
        "a folder for LLaMA-Factory that holds something",
        "export DIR/run --as llamafactory --to DIR/out",
        "DIR/out: is not empty. Give a new or an empty folder.",
        (begun(), folder("out/mine")),
    ),
    Case(
        "export-no-alternatives",
        "preferences where one response was drawn to an instruction",
        "export DIR/run --as preference --to DIR/out.jsonl",
        "DIR/run: has no instruction with several responses, of which one could be preferred. Draw them: isheep run "
        "DIR/run/recipe.yaml respond.draws=4 --dir DIR/run --accept-changes",
        (begun(),),
    ),
    Case(
        "export-model-missing",
        "a model of an iteration that has none",
        "export DIR/run --as adapter --to DIR/out --iteration 1",
        "--iteration: iteration 1 has no model; none has one yet. Let the run train one first.",
        (begun(),),
    ),
    Case(
        "export-model-of-the-base",
        "the model of iteration 0",
        "export DIR/run --as merged --to DIR/out --iteration 0",
        (
            "--iteration: iteration 0 is the untouched base, of which the run has no model of its own; none has one "
            "yet. Let the run train one first."
        ),
        (begun(),),
    ),
    Case(
        "export-model-which",
        "the best model of a run of which nothing was measured",
        "export DIR/run --as merged --to DIR/out",
        (
            "--iteration: nothing was measured that would say which model is the best; those that have one are 1. "
            "Give --iteration of those."
        ),
        (begun(), folder("run/iteration-01/adapter")),
    ),
    Case(
        "export-model-not-empty",
        "a folder with something in it for a model",
        "export DIR/run --as merged --to DIR/out --iteration 1",
        "DIR/out: is not empty. Give a new or an empty folder.",
        (begun(), folder("run/iteration-01/adapter"), file("out/thesis.tex")),
    ),
    Case(
        "export-adapter-dtype",
        "another dtype for an adapter",
        "export DIR/run --as adapter --to DIR/out --iteration 1 --dtype float16",
        "--dtype: an adapter is copied as it was trained. Leave it out, or give --as merged.",
        (begun(), folder("run/iteration-01/adapter")),
    ),
    Case(
        "export-adapter-of-a-full-training",
        "an adapter of a run that trains every weight",
        "export DIR/run --as adapter --to DIR/out --iteration 1",
        (
            "--as adapter: the run trained every weight (train.method full), so there is no adapter. Give --as merged, "
            "which is the whole model."
        ),
        (begun("train.method=full"), file("run/iteration-01/model/config.json", "{}")),
    ),
    Case(
        "export-adapter-pickle",
        "an adapter whose weights are a pickle",
        "export DIR/run --as adapter --to DIR/out --iteration 1",
        (
            "DIR/run/iteration-01/adapter/adapter_model.bin: is a pickle, which can run any code when it is read; "
            "isheep reads no pickle. Save the model as safetensors."
        ),
        (begun(), *(file(f"run/iteration-01/adapter/adapter_{name}") for name in ("config.json", "model.bin"))),
    ),
    Case(
        "push-name",
        "a name that no repository can have",
        "push DIR/run --to lamb --preview DIR/look",
        (
            "--to: `lamb` is no name of a repository. Give owner/name: letters, digits, `-`, `_` and `.`, 96 "
            "characters at most."
        ),
        (begun(),),
    ),
    Case(
        "push-kind",
        "something that is not pushed",
        "push DIR/run --to me/lamb --as gguf --preview DIR/look",
        "--as: nothing is pushed as `gguf`. Give adapter, merged or dataset.",
        (begun(),),
    ),
    Case(
        "push-two-models",
        "two models for one repository",
        "push DIR/run --to me/lamb --as adapter --as merged --preview DIR/look",
        "--as adapter --as merged: both are models, and a repository holds one. Push them under two names.",
        (begun(),),
    ),
    Case(
        "push-licence",
        "a licence that is a sentence",
        "push DIR/run --to me/lamb --license 'do what you like' --preview DIR/look",
        (
            "--license: `do what you like` is no identifier of a licence. Give one as the hub lists them: apache-2.0, "
            "cc-by-4.0, other."
        ),
        (begun(),),
    ),
    Case(
        "push-offline",
        "an upload where the hub is switched off",
        "push DIR/run --to me/lamb --preview DIR/look --yes",
        "--yes: HF_HUB_OFFLINE keeps this machine off the hub. Unset it.",
        (begun(),),
    ),
    Case(
        "push-preview-taken",
        "a folder with something in it for a preview",
        "push DIR/run --to me/lamb --preview DIR/look",
        "DIR/look: is not empty. Give a new folder; or --yes, to upload the preview in it.",
        (begun(), file("look/thesis.tex")),
    ),
    Case(
        "push-nothing-kept",
        "the pairs of a run that has kept none",
        "push DIR/run --to me/lamb --as dataset --preview DIR/look",
        "DIR/run: has kept no pair. Let the run go on first.",
        (begun(),),
    ),
]
