"""A folder that an export makes: whole, or not there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import disk_usage, rmtree
from tempfile import mkdtemp

from safetensors import SafetensorError

from isheep.check.findings import in_bytes, nearest_existing
from isheep.check.resources import RESERVE
from isheep.errors import StageError, UserError, first_line
from isheep.store.files import sync


@contextmanager
def new_folder(to: Path) -> Iterator[Path]:
    """A folder beside `to`, to be filled; it takes the place of `to` when the block ends well, and else is gone.

    Raises:
        UserError: it cannot be begun (rights).
        StageError: it cannot be written.
    """
    try:
        folder = Path(mkdtemp(prefix=f"{to.name}.", suffix=".tmp", dir=to.parent))
    except OSError as error:
        raise UserError(
            str(to), f"cannot be written ({error.strerror}).", "Give another one or mend the rights."
        ) from None
    try:
        folder.chmod(0o755)
        yield folder
        for file in (*folder.rglob("*"), folder):
            sync(file)
        folder.rename(to)
        sync(to.parent)
    except (OSError, SafetensorError) as error:
        what = first_line(error)
        raise StageError(f"{to}: cannot be written ({what}). Make room or mend the rights.") from error
    finally:
        rmtree(folder, ignore_errors=True)


def refuse_folder(to: Path) -> None:
    """Raises UserError for what cannot become a new folder: not empty, no folder, or nowhere."""
    if to.exists() and not to.is_dir():
        raise UserError(str(to), "is a file.", "Give a new folder.")
    if to.is_dir() and any(to.iterdir()):
        raise UserError(str(to), "is not empty.", "Give a new or an empty folder.")
    if not to.parent.is_dir():
        raise UserError(str(to), f"there is no folder {to.parent}.", "Give a folder in one that is there.")


def refuse_no_disk(to: Path, needed: int) -> None:
    """Raises UserError where so many bytes have no room."""
    free = disk_usage(nearest_existing(to)).free
    if free < needed + RESERVE:
        what = f"too little disk: {in_bytes(free)} are free there, {in_bytes(needed)} are to be written."
        raise UserError(str(to), what, "Make room, or give a folder on another disk.")
