"""The file of an index: opened, made, brought up to date, and made anew where it cannot be used."""

from __future__ import annotations

import os
import sqlite3
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from wakelog.errors import JournalError
from wakelog.index._place import FILE
from wakelog.index._refresh import Refresh
from wakelog.index._schema import create, is_current
from wakelog.runtime import SYSTEM, ForeignFileError, check_for_sqlite, open_file

if TYPE_CHECKING:
    from wakelog.index._refresh import Progress
    from wakelog.index._sources import Held

_BUSY_SECONDS: Final = 30.0
# The second is what becomes of the first where SQLite's message quotes what is damaged.
_UNUSABLE: Final = (sqlite3.DatabaseError, UnicodeDecodeError)


class Database:
    """The database of an index.

    Args:
        folder: Where it is kept; None for a temporary file that ends with this process.

    Attributes:
        folder: The same; None also where the file there could not be used.
        connection: The connection, which is another one after ``make_current`` has made the index anew.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self.connection = self._open()

    def _open(self) -> sqlite3.Connection:
        """Open the database where the index is kept, else one that ends with this process."""
        if self.folder is None:
            return _connect("")
        path = self.folder / FILE
        with suppress(OSError):
            os.close(open_file(path, os.O_RDWR | os.O_CREAT))
        try:
            check_for_sqlite(path)
            return _connect(str(path))
        except (*_UNUSABLE, ForeignFileError):
            return _connect("")

    def make_current(self, held: Held, progress: Progress | None) -> None:
        """Bring the index up to date, and make it anew where it cannot be used.

        Args:
            held: What it is the index of.
            progress: Is told how far it is.

        Raises:
            JournalError: When the file system refuses.
        """
        for attempt in range(3):
            try:
                if not is_current(self.connection):
                    self._begin_anew()
                Refresh(self.connection, held, progress).run()
            except _UNUSABLE as error:
                if attempt == 2:  # noqa: PLR2004 - the last
                    raise JournalError(
                        "make an index of",
                        held.root,
                        error,
                        "Check the space on the disk, or set XDG_CACHE_HOME or TMPDIR to another one",
                    ) from error
                self._replace(error, last=attempt == 1)
            else:
                return

    def give_up(self, error: sqlite3.DatabaseError) -> None:
        """Close the index, and delete it where an error of SQLite's says that it is damaged."""
        self.connection.close()
        if self.folder is not None and _says_damaged(error):
            self._delete()

    def _begin_anew(self) -> None:
        (tables,) = self.connection.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()
        if tables and self.folder is not None:
            self._delete()
            self.connection = _connect(str(self.folder / FILE))
        try:
            create(self.connection)
        except sqlite3.OperationalError:
            # Another reader has begun it in this moment.
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK")
            if not is_current(self.connection):
                raise

    def _replace(self, error: Exception, *, last: bool) -> None:
        """Go on with a new index: in its place where the old one is damaged, else in a temporary file."""
        self.connection.close()
        if self.folder is None or last or not _says_damaged(error):
            self.folder = None
            self.connection = _connect("")
            return
        self._delete()
        self.connection = _connect(str(self.folder / FILE))

    def _delete(self) -> None:
        """Delete the index. Readers that have it open go on with what they have."""
        self.connection.close()
        assert self.folder is not None  # noqa: S101 - a temporary one is never deleted
        for suffix in ("", "-wal", "-shm", "-journal"):
            with suppress(FileNotFoundError):
                SYSTEM.unlink(self.folder / f"{FILE}{suffix}")


def _says_damaged(error: Exception) -> bool:
    return not isinstance(error, sqlite3.OperationalError) or "malformed" in str(error)


def _connect(path: str) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None)
    try:
        connection.execute(
            "PRAGMA synchronous = OFF" if not path else "PRAGMA synchronous = NORMAL"
        )
        if path:
            connection.execute("PRAGMA journal_mode = WAL")
    except BaseException:
        connection.close()
        raise
    return connection
