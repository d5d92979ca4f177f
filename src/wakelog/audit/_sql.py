"""The common part of session logs in SQL databases."""

from __future__ import annotations

import abc
from typing import ClassVar

from wakelog.audit._codec import event_in
from wakelog.audit._keys import ThreadKey, checked
from wakelog.audit._log import Logged


class SQLSessionLog(abc.ABC):
    """Reads conversations from two tables of a database: live events and archived events."""

    any_event_loop: ClassVar = True

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

    async def _load(
        self, table: str, key: ThreadKey, cursor: int, limit: int | None
    ) -> list[Logged]:
        rows = await self._select(table, columns(key), cursor, limit)
        return [Logged(ordinal, event_in(text)) for ordinal, text in rows]

    @abc.abstractmethod
    async def _select(
        self, table: str, thread: tuple[str, str], cursor: int, limit: int | None
    ) -> list[tuple[int, str]]:
        """Return the ordinals and documents of a thread after an ordinal, in order."""


def columns(key: ThreadKey) -> tuple[str, str]:
    """Return the values of a thread's columns.

    Raises:
        ConfigurationError: If it is not a ``ThreadKey``.
    """
    return checked(key).tenant_id, key.thread_id
