"""`isheep push`: what would be uploaded, as folders to look at; and, when that is wanted, the upload to a hub."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from isheep.check.findings import in_bytes
from isheep.checkpoint import ADAPTER_CONFIG
from isheep.errors import StageError, UserError, first_line
from isheep.export import Wanted
from isheep.export.card import CARD, Model, Publication, licences, model_card
from isheep.export.folders import new_folder, refuse_folder
from isheep.export.licences import UNKNOWN_LICENCE, licence_id
from isheep.export.published import write_dataset
from isheep.export.weights import MERGE, chosen_iteration, export_adapter, export_merged
from isheep.store.files import read_json, storable, write_atomic
from isheep.store.run import Run

Repository = Literal["model", "dataset"]

KINDS: dict[str, Repository] = {"adapter": "model", "merged": "model", "dataset": "dataset"}
"""What can be published -> the type of its repository."""


@dataclass(frozen=True, slots=True)
class Parcel:
    """What goes into one repository."""

    repository: Repository
    """Its type; both have the same name."""
    folder: Path

    @property
    def card(self) -> Path:
        """Its front page."""
        return self.folder / CARD

    @property
    def files(self) -> dict[str, int]:
        """Path in the repository -> bytes."""
        found = sorted(file for file in self.folder.rglob("*") if file.is_file())
        return {file.relative_to(self.folder).as_posix(): file.stat().st_size for file in found}


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to be published, and as what."""

    name: str
    """`owner/name` on the hub."""
    kinds: Sequence[str] = ()
    """Of `KINDS`; none: the adapter, or the whole model after full training."""
    iteration: int | None = None
    """Whose model, and whose pairs; None: the best one's model, and all pairs."""
    dtype: str | None = None
    licence: str | None = None
    """Identifier of the licence that who publishes gives it."""


def parcels(run: Run, wish: Wish, folder: Path, as_it_lies: bool = False) -> list[Parcel]:
    """What would be uploaded, in folders of its own below a folder; nothing leaves this machine.

    Args:
        run: whose.
        wish: what, and as what.
        folder: a new or an empty one; `model/` and `dataset/` appear in it.
        as_it_lies: an earlier call's folder is taken as it is now, cards that were edited and all.

    Raises:
        UserError: a name that is none, kinds that do not go together, another folder, or what `export` refuses.
        StageError: it cannot be written.
    """
    refuse_name(wish.name)
    kinds = _kinds(run, wish)
    known = licence_id(wish.licence) if wish.licence is not None else None
    if folder.resolve().is_relative_to(run.directory.resolve()):
        raise UserError(str(folder), "lies in the directory of the run.", "Give a folder elsewhere.")
    places = [Parcel(KINDS[kind], folder / KINDS[kind]) for kind in kinds]
    if folder.is_dir() and any(folder.iterdir()):
        _refuse_other(folder, kinds, places, as_it_lies)
        return places
    refuse_folder(folder)
    publication = Publication(wish.name, wish.name if "dataset" in kinds else None, known)
    with new_folder(folder) as whole:
        for kind in kinds:
            if kind == "dataset":
                write_dataset(run, whole / KINDS[kind], wish.iteration, publication)
            else:
                _model(run, kind, whole / KINDS[kind], wish, publication)
    return places


def tree(parcel: Parcel) -> list[str]:
    """Its files with their sizes, a line each."""
    files = parcel.files
    width = max(map(len, files))
    return [f"{name:<{width}}  {_size(size)}" for name, size in files.items()]


def warnings(run: Run, places: Sequence[Parcel]) -> list[str]:
    """What who publishes should know first."""
    from huggingface_hub import metadata_load

    said = [
        f"the licence of the {place.repository} is unknown, and its card says so: give --license"
        for place in places
        if (metadata_load(place.card) or {}).get("license") in (None, UNKNOWN_LICENCE)
    ]
    if licences(run, None).base is None:
        said.append("the licence of the base could not be told; see whether it lets you publish this")
    return said


def refuse_name(name: str) -> None:
    """Raises UserError for what is no `owner/name` of a hub."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    try:
        validate_repo_id(name)
        well = name.count("/") == 1
    except HFValidationError:
        well = False
    if not well:
        what = f"`{name}` is no name of a repository."
        raise UserError("--to", what, "Give owner/name: letters, digits, `-`, `_` and `.`, 96 characters at most.")


def refuse_no_token() -> None:
    """Raises UserError where an upload cannot begin: no token, or the hub is switched off."""
    from huggingface_hub import constants, get_token

    if constants.HF_HUB_OFFLINE:
        raise UserError("--yes", "HF_HUB_OFFLINE keeps this machine off the hub.", "Unset it.")
    if get_token() is None:
        what = "there is no token, by which the hub knows you."
        raise UserError("--yes", what, "Log in with `hf auth login`, or set HF_TOKEN.")


def upload(places: Sequence[Parcel], name: str, private: bool) -> list[str]:
    """Makes the repositories where they are not there yet, and uploads each folder as one commit; returns their URLs.

    Raises:
        UserError: the hub does not know the token, or gives it no right to write there.
        StageError: the hub cannot be reached, or the connection broke.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    api = HfApi()
    urls = []
    # The dataset first: the model's card leads to it.
    for place in sorted(places, key=lambda one: one.repository):
        try:
            made = api.create_repo(name, repo_type=place.repository, private=private, exist_ok=True)
            api.upload_folder(
                repo_id=name, repo_type=place.repository, folder_path=place.folder, commit_message="Upload by isheep"
            )
        except HfHubHTTPError as error:
            code = error.response.status_code
            if code == 401:
                what, mend = "does not know the token.", "Log in again with `hf auth login`, or set HF_TOKEN."
            elif code in (403, 404):
                what, mend = (
                    "gives this token no right to write there.",
                    "Give a token that may write, or your own name.",
                )
            else:
                raise StageError(_broke(name, error, place)) from error
            raise UserError(f"{name} ({place.repository})", f"the hub {what}", mend) from None
        except Exception as error:
            # Of the network, in whichever library the hub's client uses for it.
            raise StageError(_broke(name, error, place)) from error
        urls.append(str(made))
    return urls


def _kinds(run: Run, wish: Wish) -> list[str]:
    kinds = list(dict.fromkeys(wish.kinds)) or ["merged" if run.recipe.train.method == "full" else "adapter"]
    if unknown := [kind for kind in kinds if kind not in KINDS]:
        *others, last = KINDS
        raise UserError("--as", f"nothing is pushed as `{unknown[0]}`.", f"Give {', '.join(others)} or {last}.")
    if {"adapter", "merged"} <= set(kinds):
        what = "both are models, and a repository holds one."
        raise UserError("--as adapter --as merged", what, "Push them under two names.")
    return kinds


def _refuse_other(folder: Path, kinds: Sequence[str], places: Sequence[Parcel], as_it_lies: bool) -> None:
    """Raises UserError for a folder with something in it, unless it is a preview of these kinds that is to be sent."""
    if not as_it_lies:
        raise UserError(str(folder), "is not empty.", "Give a new folder; or --yes, to upload the preview in it.")
    names = {place.folder.name for place in places}
    adapters = {(place.folder / ADAPTER_CONFIG).is_file() for place in places if place.repository == "model"}
    whole = names == {one.name for one in folder.iterdir()} and all(place.card.is_file() for place in places)
    if not whole or adapters - {"adapter" in kinds}:
        what = f"holds no preview of {' and '.join(kinds)}."
        raise UserError(str(folder), what, "Give a new folder, or the one of that preview.")


def _model(run: Run, kind: str, folder: Path, wish: Wish, publication: Publication) -> None:
    number, _ = chosen_iteration(run, wish.iteration)
    made: Any = export_adapter if kind == "adapter" else export_merged
    made(run, folder, Wanted(number, dtype=wish.dtype))
    merge = read_json(folder / MERGE, writable=False)
    model = Model("adapter" if kind == "adapter" else "merged", number, merge)
    write_atomic(folder / CARD, storable(model_card(run, model, publication)).encode())


def _size(count: int) -> str:
    return f"{count:,} bytes" if count < 2**20 else in_bytes(count)


def _broke(name: str, error: BaseException, place: Parcel) -> str:
    return f"{name} ({place.repository}): the upload broke off ({first_line(error)}). It lies in {place.folder}."
