"""The database file of an index: opening, updating and rebuilding it."""

from __future__ import annotations

import os
import sqlite3
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from wakelog.errors import JournalError
from wakelog.index._place import FILE
from wakelog.index._refresh import Progress, Refresh
from wakelog.index._schema import create, is_current
from wakelog.runtime import SYSTEM, ForeignFileError, check_for_sqlite, open_file

if TYPE_CHECKING:
    from wakelog.index._sources import Held

_BUSY_SECONDS: Final = 30.0
# SQLite raises the second when its message about damage contains the damaged bytes.
_UNUSABLE: Final = (sqlite3.DatabaseError, UnicodeDecodeError)


class Database:
    """The database of an index.

    Args:
        folder: The folder of the index; None for a temporary file that is deleted when this process
            ends.

    Attributes:
        folder: The same; None also if the file in it could not be used.
        connection: The connection, which ``make_current`` replaces when it rebuilds the index.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self.connection = self._open()

    def _open(self) -> sqlite3.Connection:
        """Open the database in the folder, or else a temporary one."""
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
        """Bring the index up to date, and rebuild it if it cannot be used.

        Args:
            held: What the index is of.
            progress: Called with the progress.

        Raises:
            JournalError: If reading or writing fails.
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
        """Close the index, and delete it if SQLite's error means that it is damaged."""
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
            # Another reader may have just created the tables.
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK")
            if not is_current(self.connection):
                raise

    def _replace(self, error: Exception, *, last: bool) -> None:
        """Use a new index: in the same place if the old one is damaged, else a temporary one."""
        self.connection.close()
        if self.folder is None or last or not _says_damaged(error):
            self.folder = None
            self.connection = _connect("")
            return
        self._delete()
        self.connection = _connect(str(self.folder / FILE))

    def _delete(self) -> None:
        """Delete the index. Readers that have it open can continue to use it."""
        self.connection.close()
        assert self.folder is not None  # noqa: S101 - temporary files are not deleted here
        for suffix in ("", "-wal", "-shm", "-journal"):
            with suppress(FileNotFoundError):
                SYSTEM.unlink(self.folder / f"{FILE}{suffix}")


def _says_damaged(error: Exception) -> bool:
    return not isinstance(error, sqlite3.OperationalError) or "malformed" in str(error)


def _connect(path: str) -> sqlite3.Connection:
    # One thread at a time uses it; the page closes it in another thread than it was opened in.
    connection = sqlite3.connect(
        path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
    )
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
