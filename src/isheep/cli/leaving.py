"""Commands that take something out of a run, for other programs and people."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from isheep.cli.app import RunDirectory, command, here, line, on_this_machine, quiet

KINDS = (
    *("csv", "jsonl", "parquet", "alpaca", "sharegpt", "messages", "llamafactory", "preference"),
    *("adapter", "merged"),
)
"""As `isheep.export.KINDS` has them, which a help does not wait for."""

Dtype = Annotated[
    Literal["float32", "bfloat16", "float16"] | None,
    typer.Option(help="Of a merged model; else the recipe's model.dtype."),
]


@command(
    "Take away",
    "isheep export runs/first --to pairs.csv",
    "isheep export runs/first --all --to records.parquet",
    "isheep export runs/first --as alpaca --to alpaca.json",
    "isheep export runs/first --as merged --to my-model",
)
def export(
    directory: RunDirectory,
    to: Annotated[Path, typer.Option("--to", metavar="PATH", parser=on_this_machine, help="What to write.")],
    kind: Annotated[
        str | None,
        typer.Option(
            "--as",
            metavar="KIND",
            help=f"One of {', '.join(KINDS)}; else by the suffix of PATH.",
            autocompletion=lambda incomplete: [kind for kind in KINDS if kind.startswith(incomplete)],
        ),
    ] = None,
    iteration: Annotated[
        int | None, typer.Option(help="Only this iteration; else all of them, or the best one's model.")
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Every record, with what became of it, and its hand mark.")
    ] = False,
    dtype: Dtype = None,
) -> None:
    """Write the kept pairs, or a model, for other programs.

    In CSV a cell that a spreadsheet would take for a formula gets an
    apostrophe in front, and a NUL is \\x00. All others hold the texts
    as they are. An adapter or a merged model is a new folder, with
    the tokenizer, the template and a card.
    """
    from isheep.export import Wanted
    from isheep.export import export as export_from
    from isheep.store.run import Run

    quiet()
    run = Run.read(here(directory, weights=kind in ("adapter", "merged")))
    written = export_from(run, to, kind, Wanted(iteration, everything, dtype))
    line(f"{to}: {written}")


@command(
    "Take away",
    "isheep push runs/first --to me/my-lamb --preview my-lamb",
    "isheep push runs/first --to me/my-lamb --as merged --as dataset --yes",
)
def push(
    directory: RunDirectory,
    to: Annotated[str, typer.Option("--to", metavar="OWNER/NAME", help="The repository.")],
    kinds: Annotated[
        list[str] | None,
        typer.Option(
            "--as", metavar="KIND", help="adapter, merged or dataset; may be given again. Else the run's own model."
        ),
    ] = None,
    iteration: Annotated[
        int | None, typer.Option(help="Only this iteration; else the best one's model, and all pairs.")
    ] = None,
    dtype: Dtype = None,
    licence: Annotated[
        str | None, typer.Option("--license", metavar="ID", help="That you give it, as the hub calls it: apache-2.0.")
    ] = None,
    preview: Annotated[
        Path | None,
        typer.Option(parser=on_this_machine, metavar="FOLDER", help="Where to put what would be uploaded."),
    ] = None,
    private: Annotated[bool, typer.Option("--private", help="Of a new repository: for nobody else to see.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Upload it.")] = False,
) -> None:
    """Show what would be published on the Hugging Face Hub, with its card; with --yes, publish it.

    Without --yes nothing leaves this machine. With --yes the folder of
    an earlier --preview is uploaded as it lies, its card edited or not.
    """
    from tempfile import mkdtemp

    from isheep import push as pushing
    from isheep.store.run import Run

    quiet()
    pushing.refuse_name(to)
    if yes:
        pushing.refuse_no_token()
    run = Run.read(here(directory, weights=True))
    wish = pushing.Wish(to, kinds or (), iteration, dtype, licence)
    folder = preview or Path(mkdtemp(prefix="isheep-push-"), to.rpartition("/")[2])
    places = pushing.parcels(run, wish, folder, as_it_lies=yes)
    for place in places:
        line(f"{to}, {place.repository}:")
        for name in pushing.tree(place):
            line(f"  {name}")
        line(f"  card: {place.card}")
    for warning in pushing.warnings(run, places):
        line(f"! {warning}")
    if not yes:
        line(f"nothing was uploaded: look at {folder}; `--preview {folder} --yes` uploads it as it lies")
        return
    for url in pushing.upload(places, to, private):
        line(f"uploaded: {url}")
