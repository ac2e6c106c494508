"""Base models by hub id: fetched once into the hub's own cache; weights, tokenizer and configuration, nothing else.

Not covered: a revision other than the newest; the run's manifest holds the hashes of what was fetched, and a model
that changes under a run is refused.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

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

_ID = re.compile(r"[\w.-]+/[\w.-]+")


def is_hub_id(path: str) -> bool:
    """Whether the path is written like a hub id, `owner/name`, and nothing of that name lies here."""
    if not _ID.fullmatch(path) or locate(path).exists():
        return False
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
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import GatedRepoError, LocalEntryNotFoundError, RepositoryNotFoundError

    missing = f"there is no folder {path}, and"
    unwanted = UNWANTED if weights else [*UNWANTED, "*.safetensors"]
    try:
        return Path(snapshot_download(path, allow_patterns=WANTED, ignore_patterns=unwanted))
    except GatedRepoError:
        what = f"{missing} the hub gives the model of this id only to those who agree to its licence."
        raise UserError(key, what, "Agree on the model's page, then log in with `hf auth login`.") from None
    except RepositoryNotFoundError:
        what = f"{missing} the hub has no model of this id, or shows it only to its owner."
        raise UserError(key, what, "Mend the id, or log in with `hf auth login`.") from None
    except LocalEntryNotFoundError:
        what = f"{missing} the hub, which may have a model of this id, cannot be reached."
        raise UserError(key, what, "Give a local folder, or connect (HF_HUB_OFFLINE has to be unset).") from None
    except Exception as error:
        raise StageError(f"{key}: the download of {path} from the hub broke off ({first_line(error)}).") from error


def _is_whole(folder: Path, weights: bool) -> bool:
    """Whether what is wanted is there: another tool may have fetched the tokenizer alone."""
    if not weights:
        return (folder / "config.json").is_file()
    try:
        read_checkpoint(folder)
    except UserError:
        return False
    return True
