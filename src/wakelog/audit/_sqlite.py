"""``SQLiteSessionLog``: conversations in one SQLite file, without a server."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from wakelog.audit._sql import Result, SQLSessionLog
from wakelog.errors import JournalError, SessionLogError
from wakelog.journal import Durability
from wakelog.runtime import (
    SYSTEM,
    ForkOrder,
    absolute,
    check_directory,
    check_for_sqlite,
    make_directories,
    notice_fork,
    reset_in_child,
)

_VERSION = 1
_RETRY_SECONDS = 0.01
_SCHEMA = """
CREATE TABLE IF NOT EXISTS threads (
    tenant_id TEXT NOT NULL, thread_id TEXT NOT NULL,
    last_ordinal INTEGER NOT NULL, watermark INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (tenant_id, thread_id)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS events (
    tenant_id TEXT NOT NULL, thread_id TEXT NOT NULL, ordinal INTEGER NOT NULL,
    event TEXT NOT NULL,
    PRIMARY KEY (tenant_id, thread_id, ordinal)
);
CREATE TABLE IF NOT EXISTS archived_events (
    tenant_id TEXT NOT NULL, thread_id TEXT NOT NULL, ordinal INTEGER NOT NULL,
    event TEXT NOT NULL,
    PRIMARY KEY (tenant_id, thread_id, ordinal)
);
"""
# Connections that a forked child has inherited: closing them there would affect the parent.
_inherited: list[sqlite3.Connection] = []
# How long a fork waits for a transaction to end: if a thread of the parent held one of SQLite's
# internal locks, the child would inherit it and wait for it forever.
_FORK_SECONDS = 1.0


class SQLiteSessionLog(SQLSessionLog):
    """Stores conversations in one SQLite file, which several processes may share.

    The database is in WAL mode. Calls run in a thread, one at a time.

    ``_lock`` guards the connection.

    Args:
        path: The file. Missing parent directories are created.
        durability: ``OS_BUFFERED`` (``append`` survives ``kill -9``) or ``FSYNC`` (survives a power
            failure).
        busy_timeout: The longest wait for another process's transaction, in seconds.

    Raises:
        ValueError: If the durability does not exist.
        SessionLogError: For ``PERIODIC``, which SQLite does not support.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        durability: Durability | str = Durability.OS_BUFFERED,
        *,
        busy_timeout: float = 30.0,
    ) -> None:
        self.path = absolute(path)
        self.durability = Durability(durability)
        if self.durability is Durability.PERIODIC:
            raise SessionLogError("SQLite has no PERIODIC durability: use OS_BUFFERED or FSYNC")
        self._busy_timeout = busy_timeout
        self._connection: sqlite3.Connection | None = None
        self._lock = threading.Lock()
        _logs.add(self)
        reset_in_child(self._after_fork, ForkOrder.STORAGE)

    def _after_fork(self) -> None:
        self._lock = threading.Lock()
        if self._connection is not None:
            _inherited.append(self._connection)
            self._connection = None

    def hold(self, timeout: float) -> bool:
        """Prevent new transactions until ``let_go``; return whether none is running."""
        return self._lock.acquire(timeout=timeout)

    def let_go(self) -> None:
        """Allow transactions again."""
        self._lock.release()

    def close(self) -> None:
        """Close the file, which is opened again when needed."""
        notice_fork()
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def _statement(self, text: str) -> str:
        return text.replace("{}", "main")

    def _run(
        self, operation: str, tenant: str, call: Callable[[sqlite3.Connection], Result]
    ) -> Result:
        del tenant
        notice_fork()
        with self._lock, self._transaction(operation) as connection:
            return call(connection)

    @contextmanager
    def _transaction(self, operation: str) -> Iterator[sqlite3.Connection]:
        try:
            connection = self._connection = self._connection or self._open_patiently()
            # "IMMEDIATE" waits for other writers now and not later, where it could deadlock.
            connection.execute("BEGIN" if operation == "read" else "BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
        except (sqlite3.Error, OSError, JournalError) as error:
            raise SessionLogError(f"cannot {operation} {self.path}: {error}") from error

    def _open_patiently(self) -> sqlite3.Connection:
        """Open the file, even if other processes open it for the first time at the same moment.

        If two connections change a new file to WAL mode, SQLite does not apply the time-out,
        because each would wait for the other: one of them fails with SQLITE_BUSY at once.
        """
        deadline = time.monotonic() + self._busy_timeout
        while True:
            try:
                return self._open()
            except sqlite3.OperationalError as error:
                # The low byte is the primary code; see "Result and Error Codes" in SQLite's manual.
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                    raise
                if time.monotonic() >= deadline:
                    raise
                time.sleep(_RETRY_SECONDS)

    def _open(self) -> sqlite3.Connection:
        make_directories(self.path.parent)
        # SQLite creates more files beside it, and follows symbolic links with their names.
        check_directory(self.path.parent)
        # SQLite would create it readable for everybody.
        os.close(SYSTEM.open(self.path, os.O_RDWR | os.O_CREAT, 0o600))
        check_for_sqlite(self.path)
        connection = sqlite3.connect(
            self.path, timeout=self._busy_timeout, isolation_level=None, check_same_thread=False
        )
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            level = "FULL" if self.durability is Durability.FSYNC else "NORMAL"
            connection.execute(f"PRAGMA synchronous = {level}")
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if version != _VERSION:
                _check(self.path, version)
                connection.executescript(
                    f"BEGIN IMMEDIATE; {_SCHEMA} PRAGMA user_version = 1; COMMIT"
                )
        except BaseException:
            connection.close()
            raise
        return connection


def _check(path: Path, version: int) -> None:
    if version > _VERSION:
        raise SessionLogError(
            f"cannot read {path}: its schema is {version}, and this Wakelog knows {_VERSION}. "
            "Install the newer Wakelog"
        )


def _before_fork() -> None:
    held = [log for log in list(_logs) if log.hold(_FORK_SECONDS)]
    _held[threading.get_ident()] = held


def _after_fork_in_parent() -> None:
    for log in _held.pop(threading.get_ident(), []):
        log.let_go()


_logs: weakref.WeakSet[SQLiteSessionLog] = weakref.WeakSet()
# The logs that a forking thread holds, by thread id.
_held: dict[int, list[SQLiteSessionLog]] = {}
reset_in_child(_held.clear, ForkOrder.STORAGE)
os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent)
