"""A folder at a URL, by fsspec: S3, Google's and Azure's stores, SFTP, `file://`, whatever a package is there for.

What is listed there is not trusted: a name that would lead elsewhere is left out, and nothing is read beyond its size.
Keys are the environment's affair; a URL that holds one is refused.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from isheep.errors import StageError, UserError, first_line
from isheep.secrecy import secret_in

logger = logging.getLogger(__name__)

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:(//|:)")
_PIECE = 16 << 20
"""Bytes that are fetched at once."""


def is_url(text: str) -> bool:
    """Whether it is meant for fsspec and not for the disk."""
    return _URL.match(text) is not None


def is_safe(name: str) -> bool:
    """Whether a name with `/` between its parts stays, as a path, in the folder that it is taken for."""
    parts = name.split("/")
    return name.isprintable() and "\\" not in name and not {"", ".", ".."} & set(parts)


class Remote:
    """The folder; names in it are relative, with `/` between their parts."""

    def __init__(self, url: str) -> None:
        """Raises UserError: it holds a key, no package speaks its protocol, or it cannot be opened."""
        _refuse_keys(url)
        self._fs, root = _opened(url)
        self.url = url.rstrip("/")
        self._root = root.rstrip("/")
        # An object appears whole or not at all; a file is first written beside its place.
        self._is_disk = not getattr(self._fs, "async_impl", False)

    def files(self) -> dict[str, int]:
        """Name -> bytes of all that lies there.

        Raises:
            UserError: there is no such bucket, or no right to look.
            StageError: it cannot be reached.
        """
        self._fs.invalidate_cache()
        with self._reaching():
            found = self._fs.find(self._root, detail=True)
        listed = {path[len(self._root) + 1 :]: about for path, about in found.items()}
        unsafe = [name for name in listed if not is_safe(name)]
        if unsafe:
            logger.warning("%s: %d names that no run has are left alone (%r)", self.url, len(unsafe), unsafe[0])
        return {
            name: int(about["size"])
            for name, about in listed.items()
            if is_safe(name) and about["type"] == "file" and not about.get("islink")
        }

    def read(self, name: str, most: int) -> bytes | None:
        """The content of a file, None where there is none; raises as `files` does, ValueError where it is larger."""
        self._fs.invalidate_cache()
        with self._reaching():
            try:
                if self._fs.size(self._path(name)) == 0:
                    return b""  # Of which S3 gives no part.
                # One request, since another may come in its place at any moment.
                content: bytes = self._fs.cat_file(self._path(name), start=0, end=most + 1)
            except FileNotFoundError:
                return None
        if len(content) > most:
            raise ValueError(f"{self.url}/{name} has more than {most:,} bytes")
        return content

    def fetch(self, name: str, target: Path, size: int) -> None:
        """Copies a file here, whole or not at all.

        Raises:
            StageError: it cannot be had, has another size than was listed, or the disk is full.
        """
        unfinished = target.with_name(f"{target.name}.{os.getpid()}.tmp")
        left = size
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with self._fs.open(self._path(name), "rb", cache_type="none") as source, unfinished.open("wb") as file:
                while left >= 0 and (piece := source.read(min(_PIECE, left + 1))):
                    left -= len(piece)
                    file.write(piece)
            if left == 0:
                unfinished.replace(target)
        except Exception as error:
            raise StageError(f"{self.url}/{name}: cannot be fetched ({first_line(error)}).") from error
        finally:
            unfinished.unlink(missing_ok=True)
        if left != 0:
            raise StageError(f"{self.url}/{name}: changed while it was fetched.")

    def put(self, source: Path, name: str) -> None:
        """Copies a file there in the place of what was there, whole or not at all."""
        self._at_once(name, lambda path: self._fs.put_file(str(source), path))

    def write(self, name: str, content: bytes) -> None:
        """The same with a text that is at hand."""
        self._at_once(name, lambda path: self._fs.pipe_file(path, content))

    def create(self, name: str, content: bytes) -> None:
        """Writes a file that must not be there yet, where the store can hold to that; raises FileExistsError."""
        path = self._path(name)
        try:
            if self._is_disk:
                self._fs.makedirs(self._root, exist_ok=True)
            self._fs.pipe_file(path, content, mode="create")
        except FileExistsError:
            raise
        except Exception:
            # A store, or a package, that knows no condition: whoever asks has to look who came last.
            self.write(name, content)

    def remove(self, names: Iterable[str]) -> None:
        """Takes files away, those that are there."""
        for name in names:
            try:
                self._fs.rm_file(self._path(name))
            except FileNotFoundError:
                continue

    def _at_once(self, name: str, make: Callable[[str], object]) -> None:
        """Has `make` write where it is told, so that the file appears whole."""
        path = self._path(name)
        if not self._is_disk:
            make(path)
            return
        self._fs.makedirs(path.rpartition("/")[0], exist_ok=True)
        make(f"{path}.tmp")
        self._fs.mv(f"{path}.tmp", path)

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"

    @contextmanager
    def _reaching(self) -> Iterator[None]:
        try:
            yield
        except (FileNotFoundError, PermissionError) as error:
            what = f"cannot be looked at ({first_line(error)})."
            raise UserError(self.url, what, "Make the bucket, mend the URL, or give the rights.") from None
        except Exception as error:
            raise StageError(f"{self.url}: cannot be reached ({first_line(error)}).") from error


def refuse_no_room(folder: Path, needed: int) -> None:
    """Raises UserError where so many bytes do not fit."""
    free = shutil.disk_usage(folder).free
    if needed > free:
        what = f"{needed:,} bytes have to be fetched, and {free:,} are free."
        raise UserError(str(folder), what, "Make room, or set ISHEEP_CACHE to a folder that has it.")


def _refuse_keys(url: str) -> None:
    """Where a key may stand nothing may; the URL is not repeated, since it would be."""
    try:
        password = urlsplit(url).password
    except ValueError:
        password = None
    if password is not None or "?" in url or "#" in url or "::" in url or secret_in(url):
        what = "a password, a query, a chain or a key in it is not taken: it would be written down."
        raise UserError("the URL of the run", what, "Give `PROTOCOL://BUCKET/PATH`; keys belong into the environment.")


def _opened(url: str) -> tuple[Any, str]:
    protocol, _, path = url.partition("://")
    protocol = protocol.lower()
    if "/" not in path.strip("/"):
        # The whole of a bucket is nobody's run, nor is a folder of the root.
        raise UserError(url, "names no folder in the bucket.", f"Give one: {url.rstrip('/')}/NAME.")
    # Importing it takes its time, which commands on local runs need not wait for.
    from fsspec.core import url_to_fs
    from fsspec.registry import known_implementations

    known = known_implementations.get(protocol)
    if known is None:
        raise UserError(url, f"fsspec knows no protocol `{protocol}`.", "Give one that it knows (s3, gs, abfs, sftp).")
    package = known["class"].partition(".")[0]
    try:
        import_module(package)
        fs, root = url_to_fs(f"{protocol}://{path}")
    except ImportError:
        raise UserError(url, f"needs the package `{package}`.", f"Install it: pip install {package}.") from None
    except Exception as error:
        raise UserError(url, f"cannot be opened ({first_line(error)}).", "Mend the URL.") from None
    return fs, str(root)
