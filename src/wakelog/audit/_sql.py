"""The common part of session logs in SQL databases: the statements, which every database accepts."""

from __future__ import annotations

import abc
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, TypeVar

from wakelog.audit._codec import document_of, event_in
from wakelog.audit._keys import ThreadKey, checked
from wakelog.audit._log import Logged, in_thread
from wakelog.events import AgentEvent

Result = TypeVar("Result")

_THREAD = "tenant_id = ? AND thread_id = ?"


class SQLSessionLog(abc.ABC):
    """Stores conversations in three tables: threads, live events and archived events."""

    any_event_loop: ClassVar = True

    async def append(self, key: ThreadKey, events: Sequence[AgentEvent]) -> int:
        """Append events in order; see ``SessionLog``."""
        thread = _columns(key)
        documents = [document_of(event) for event in events]

        def insert(connection: Any) -> int:
            # The row stays locked until the commit, so ordinals become visible in order, and the
            # ordinals of a failed append are used by the next one.
            (reached,) = connection.execute(
                self._statement(
                    "INSERT INTO {}.threads AS t (tenant_id, thread_id, last_ordinal) "
                    "VALUES (?, ?, ?) ON CONFLICT (tenant_id, thread_id) "
                    "DO UPDATE SET last_ordinal = t.last_ordinal + excluded.last_ordinal "
                    "RETURNING last_ordinal"
                ),
                (*thread, len(documents)),
            ).fetchone()
            first = reached - len(documents) + 1
            connection.cursor().executemany(
                self._statement("INSERT INTO {}.events VALUES (?, ?, ?, ?)"),
                [(*thread, ordinal, text) for ordinal, text in enumerate(documents, first)],
            )
            return int(reached)

        return await self._in_thread("append to", key, insert)

    async def load_since(
        self, key: ThreadKey, cursor: int = 0, *, limit: int | None = None
    ) -> list[Logged]:
        """Read what is not archived; see ``SessionLog``."""
        return await self._load("events", key, cursor, limit)

    async def load_archived(
        self, key: ThreadKey, cursor: int = 0, *, limit: int | None = None
    ) -> list[Logged]:
        """Read what is archived; see ``SessionLog``."""
        return await self._load("archived_events", key, cursor, limit)

    async def archive_before(self, key: ThreadKey, watermark: int) -> int:
        """Archive everything up to an ordinal by moving it to another table; see ``SessionLog``."""
        thread = _columns(key)

        def move(connection: Any) -> int:
            # The row stays locked until the commit, so no event is appended between the statements.
            raised = connection.execute(
                self._statement(
                    "UPDATE {}.threads SET watermark = "
                    "CASE WHEN last_ordinal < ? THEN last_ordinal ELSE ? END "
                    "WHERE tenant_id = ? AND thread_id = ? AND watermark < ?"
                ),
                (watermark, watermark, *thread, watermark),
            )
            if not raised.rowcount:
                return 0  # all of these events are archived already, or there are none
            rows = f"FROM {{}}.events WHERE {_THREAD} AND ordinal <= ?"
            copy = self._statement(f"INSERT INTO {{}}.archived_events SELECT * {rows}")
            connection.execute(copy, (*thread, watermark))
            moved = connection.execute(self._statement(f"DELETE {rows}"), (*thread, watermark))
            return int(moved.rowcount)

        return await self._in_thread("archive in", key, move)

    async def watermark(self, key: ThreadKey) -> int:
        """Return the ordinal up to which everything is archived."""
        thread = _columns(key)
        query = self._statement(f"SELECT watermark FROM {{}}.threads WHERE {_THREAD}")  # noqa: S608 - constants
        row = await self._in_thread("read", key, lambda c: c.execute(query, thread).fetchone())
        return int(row[0]) if row else 0

    async def _load(
        self, table: str, key: ThreadKey, cursor: int, limit: int | None
    ) -> list[Logged]:
        query = self._statement(
            f"SELECT ordinal, CAST(event AS text) FROM {{}}.{table} WHERE {_THREAD} "  # noqa: S608 - constants
            f"AND ordinal > ? ORDER BY ordinal{'' if limit is None else ' LIMIT ?'}"
        )
        values = (*_columns(key), cursor, *(() if limit is None else (limit,)))
        rows = await self._in_thread("read", key, lambda c: c.execute(query, values).fetchall())
        return [Logged(ordinal, event_in(text)) for ordinal, text in rows]

    async def _in_thread(
        self, operation: str, key: ThreadKey, call: Callable[[Any], Result]
    ) -> Result:
        return await in_thread(lambda: self._run(operation, key.tenant_id, call))

    @abc.abstractmethod
    def _statement(self, text: str) -> Any:
        """Return a statement with the name of the schema for ``{}``, and the driver's ``?``."""

    @abc.abstractmethod
    def _run(self, operation: str, tenant: str, call: Callable[[Any], Result]) -> Result:
        """Run a function in a transaction, which is given the connection.

        Args:
            operation: The operation, for messages; ``read`` if nothing is written.
            tenant: The tenant whose rows it may access.
            call: The function.

        Raises:
            SessionLogError: If the database has refused it.
        """


def _columns(key: ThreadKey) -> tuple[str, str]:
    """Return the values of a thread's columns.

    Raises:
        ConfigurationError: If it is not a ``ThreadKey``.
    """
    return checked(key).tenant_id, key.thread_id
