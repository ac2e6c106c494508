"""What judges have answered, kept by content: the same question to the same judge is paid once, by whichever run.

One SQLite file for all runs of a user. Not covered: a folder on a network disk whose locks do not work.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from isheep.errors import StageError, UserError
from isheep.store.files import cache_folder, set_aside, storable

logger = logging.getLogger(__name__)

FILE = "judgements.sqlite"

_WAIT_S = 60.0
"""How long another process may hold the file."""

_TABLE = "CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, answer TEXT NOT NULL, seal TEXT NOT NULL)"


def content_key(question: Mapping[str, Any]) -> str:
    """The name of a question: the hash of all that decides its answer."""
    text = json.dumps(question, ensure_ascii=True, sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


class JudgeCache:
    """Context manager over the file; several processes may have it open at once."""

    def __init__(self, folder: Path | None = None) -> None:
        """Opens or makes it; a file that is damaged is set aside.

        Args:
            folder: where it lies; `cache_folder()` unless given.

        Raises:
            UserError: the folder cannot be written.
        """
        self.file = (folder or cache_folder()) / FILE
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            with self._alone():
                self._connection = self._open()
        except (OSError, sqlite3.OperationalError) as error:
            mend = "Mend the rights, or set ISHEEP_CACHE to another folder."
            raise UserError(str(self.file), f"answers of the judge cannot be kept there ({error}).", mend) from None

    def get(self, key: str) -> Any | None:
        """The answer under this key; None where there is none, or one that is not as it was stored."""
        with self._told():
            row = self._connection.execute("SELECT answer, seal FROM answers WHERE key = ?", (key,)).fetchone()
        if row is None or not isinstance(row[0], str) or row[1] != _seal(key, row[0]):
            return None
        return json.loads(row[0])

    def put(self, key: str, answer: Any) -> None:
        """Stores an answer, which outlasts whatever happens next.

        Raises:
            StageError: it cannot be stored.
        """
        text = storable(json.dumps(answer, ensure_ascii=False, allow_nan=False))
        with self._told(), self._connection:
            self._connection.execute("INSERT OR REPLACE INTO answers VALUES (?, ?, ?)", (key, text, _seal(key, text)))

    def close(self) -> None:
        """Ends the use of the file."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """No other process opens the file meanwhile, so that none sets aside what another has just made."""
        with self.file.with_suffix(".lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _open(self) -> sqlite3.Connection:
        try:
            return self._connect()
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError as error:
            aside = set_aside(self.file)
            # What it left half done belongs to it: SQLite would put it into the new file.
            journal = self.file.with_name(f"{FILE}-journal")
            if journal.exists():
                set_aside(journal)
            logger.warning("%s is damaged (%s) and set aside as %s", self.file, error, aside.name)
            return self._connect()

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.file, timeout=_WAIT_S)
        try:
            connection.execute(_TABLE)
            found = connection.execute("PRAGMA quick_check(1)").fetchone()
            if found != ("ok",):
                raise sqlite3.DatabaseError(str(found[0] if found else "no answer").strip())
            connection.execute("SELECT key, answer, seal FROM answers LIMIT 1")
        except BaseException:
            connection.close()
            raise
        return connection

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            what = f"{self.file}: answers of the judge cannot be kept ({error})."
            raise StageError(f"{what} Make room, mend the rights, or move the file away.") from error


def _seal(key: str, text: str) -> str:
    """Says that an answer is whole and belongs to its key."""
    return hashlib.sha256(f"{key} {text}".encode()).hexdigest()
