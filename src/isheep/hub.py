"""Base models and seed data by hub id: fetched once into the hub's own cache, and no code with them.

Of a model weights, tokenizer and configuration, of a data set its tables. Not covered: a revision other than the
newest; the run's manifest holds the hashes of what was fetched, and a model that changes under a run is refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from isheep.checkpoint import read_checkpoint
from isheep.errors import StageError, UserError, first_line
from isheep.recipe import PACKAGE_PREFIX, locate
from isheep.recipe.refusals import nearest

WANTED = [
    "*.safetensors",
    "*.safetensors.index.json",
    "config.json",
    "generation_config.json",
    "tokenizer*",
    "vocab*",
    "merges.txt",
    "added_tokens.json",
    "special_tokens_map.json",
    "chat_template*",
    "README.md",
    "LICENSE*",
]
"""What is fetched: no pickle, which can run any code when it is read, and no Python. The last two say under which
licence it stands."""
UNWANTED = ["*/*", "consolidated*", "*.py"]
"""Folders hold the same weights in the formats of other tools, and so do files of this name."""

TABLES = ["*.jsonl", "*.ndjson", "*.json", "*.csv", "*.tsv", "*.parquet", "README.md"]
"""What is fetched of a data set; its README says which file belongs to which split."""
LARGEST_DATA = 2**30
"""Bytes of a data set that is fetched: seed tasks are few."""

_CALLED = {None: "model", "dataset": "data set"}
"""What the hub's client calls a kind of repository -> what messages call it."""

_ID = re.compile(r"[\w.-]+/[\w.-]+")
_DATA = re.compile(r"hf:(?P<id>[\w.-]+/[\w.-]+)(?::(?P<split>[\w.-]+))?")


class Unreachable(UserError):
    """What is wanted is not here, and there is no hub to ask whether it is anywhere."""


class HubData(NamedTuple):
    """`hf:owner/name`, or `hf:owner/name:split`."""

    id: str
    split: str | None


def hub_data(path: str) -> HubData | None:
    """What a seed path that begins with `hf:` names; None for any other.

    Raises:
        UserError: it is not written so.
    """
    if not path.startswith("hf:"):
        return None
    found = _DATA.fullmatch(path)
    if found is None or not _may_be_id(found["id"]):
        mend = "Write it like `hf:owner/name`, or `hf:owner/name:train` for one of its splits."
        raise UserError("seeds.path", f"`{path}` names no data set.", mend)
    return HubData(found["id"], found["split"])


def known_data(data: HubData) -> Path | None:
    """The folder of a data set in the hub's cache; None where it would have to be fetched first."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return Path(snapshot_download(data.id, repo_type="dataset", allow_patterns=TABLES, local_files_only=True))
    except LocalEntryNotFoundError:
        return None


def data_folder(data: HubData) -> Path:
    """The folder of a data set; what is not here yet is fetched from the hub: tables alone, and never code.

    Raises:
        UserError: no such data set on the hub, or none for this user, one of more than `LARGEST_DATA` bytes, or no hub
            to be reached.
        StageError: the connection broke; the same command goes on with the download.
    """
    folder = known_data(data)
    if folder is not None:
        return folder
    wanted: dict[str, Any] = {"repo_type": "dataset", "allow_patterns": TABLES}
    missing = f"hf:{data.id} is not here yet, and"
    if (size := _size(data.id, wanted)) > LARGEST_DATA:
        what = f"the tables of hf:{data.id} have {size / 1e9:.1f} GB, far more than seed tasks take."
        raise UserError("seeds.path", what, "Save those that are to be shown to the model as a file, and give that.")
    return Path(_snapshot(data.id, "seeds.path", missing, "Give a file", **wanted))


def _size(identity: str, wanted: Mapping[str, Any]) -> int:
    """Bytes that would be fetched; 0 where nothing can be, of which the download itself says why."""
    from huggingface_hub import snapshot_download

    try:
        return sum(file.file_size for file in snapshot_download(identity, **wanted, dry_run=True))
    except Exception:
        return 0


def is_hub_id(path: str) -> bool:
    """Whether the path is written like a hub id, `owner/name`, and nothing of that name lies here."""
    return bool(_ID.fullmatch(path)) and not locate(path).exists() and _may_be_id(path)


def _may_be_id(path: str) -> bool:
    # Importing it takes its time, which the commands on local models need not wait for.
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    try:
        validate_repo_id(path)
    except HFValidationError:
        return False
    return True


def known_folder(path: str) -> Path | None:
    """The model's folder: local, or the hub's cache; None where it would have to be fetched first."""
    if not is_hub_id(path):
        return locate(path) if locate(path).is_dir() else None
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return Path(snapshot_download(path, allow_patterns=WANTED, ignore_patterns=UNWANTED, local_files_only=True))
    except LocalEntryNotFoundError:
        return None


def model_folder(path: str, key: str = "model.path", words: Sequence[str] = (), weights: bool = True) -> Path:
    """The folder of a model; what is not here yet is fetched from the hub, on standard error with a bar.

    Args:
        path: a local folder, `package:...` or a hub id.
        key: the setting that messages name.
        words: what the setting takes beside a model.
        weights: whether these are wanted, or the configuration and the tokenizer alone.

    Raises:
        UserError: no such folder, and no such model on the hub, or none for this user, or no hub to be reached.
        StageError: the connection broke; the same command goes on with the download.
    """
    folder = known_folder(path)
    if is_hub_id(path):
        return folder if folder is not None and _is_whole(folder, weights) else _fetch(path, key, weights)
    if folder is not None:
        return folder
    if path.startswith(PACKAGE_PREFIX):
        raise UserError(key, f"the package holds no {path}.", "Install isheep anew, or give a local folder.")
    what = f"{path} is a file, not a folder." if locate(path).exists() else f"there is no folder {path}."
    either = f"{', '.join(words)}, " if words else ""
    mend = f"Give {either}a local folder with the model, or a hub id such as `Qwen/Qwen3-0.6B-Base`."
    raise UserError(key, what, f"{nearest(path, words)} {mend}".lstrip())


def _fetch(path: str, key: str, weights: bool) -> Path:
    unwanted = UNWANTED if weights else [*UNWANTED, "*.safetensors"]
    wanted = {"allow_patterns": WANTED, "ignore_patterns": unwanted}
    return Path(_snapshot(path, key, f"there is no folder {path}, and", "Give a local folder", **wanted))


def _snapshot(identity: str, key: str, missing: str, instead: str, **wanted: Any) -> Any:
    """What the hub's client answers; each way in which it fails is said in one message.

    Args:
        identity: on the hub.
        key: the setting that messages name.
        missing: how the message begins.
        instead: what may be given without a hub.
        wanted: which files, as `snapshot_download` takes it.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import GatedRepoError, LocalEntryNotFoundError, RepositoryNotFoundError

    kind = _CALLED[wanted.get("repo_type")]
    try:
        return snapshot_download(identity, **wanted)
    except GatedRepoError:
        what = f"{missing} the hub gives the {kind} of this id only to those who agree to its licence."
        raise UserError(key, what, f"Agree on the {kind}'s page, then log in with `hf auth login`.") from None
    except RepositoryNotFoundError:
        what = f"{missing} the hub has no {kind} of this id, or shows it only to its owner."
        raise UserError(key, what, "Mend the id, or log in with `hf auth login`.") from None
    except LocalEntryNotFoundError:
        what = f"{missing} the hub, which may have a {kind} of this id, cannot be reached."
        raise Unreachable(key, what, f"{instead}, or connect (HF_HUB_OFFLINE has to be unset).") from None
    except Exception as error:
        raise StageError(f"{key}: the download of {identity} from the hub broke off ({first_line(error)}).") from error


def _is_whole(folder: Path, weights: bool) -> bool:
    """Whether what is wanted is there: another tool may have fetched the tokenizer alone."""
    if not weights:
        return (folder / "config.json").is_file()
    try:
        read_checkpoint(folder)
    except UserError:
        return False
    return True
