"""The interface of a session log."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol, TypeVar, runtime_checkable

from wakelog.audit._keys import ThreadKey
from wakelog.events import AgentEvent

Result = TypeVar("Result")


class Logged(NamedTuple):
    """An event and its position in the log of its thread.

    Attributes:
        ordinal: Its number, from 1, in the order of appending. No number is reused.
        event: The event.
    """

    ordinal: int
    event: AgentEvent


@runtime_checkable
class SessionLog(Protocol):
    """The durable, ordered log of conversations, one for each ``ThreadKey``.

    Every backend makes the same promises. When ``append`` returns, the events are in the log.
    Ordinals are consecutive from 1 for each key, even with several processes, and never reused.
    Events are never changed. An append that raised may have happened nevertheless, if only its
    response was lost.

    Audit sinks await ``append`` in the event loop to which the log belongs, see
    ``SessionAuditSink``; if its attribute ``any_event_loop`` is True, they await it in the loop of
    a thread of their own.
    """

    async def append(self, key: ThreadKey, events: Sequence[AgentEvent]) -> int:
        """Append events in order.

        Args:
            key: The thread.
            events: The events; may be empty.

        Returns:
            The highest ordinal in the thread.

        Raises:
            SinkError: If they were not accepted.
        """
        ...

    async def load_since(
        self, key: ThreadKey, cursor: int = 0, *, limit: int | None = None
    ) -> list[Logged]:
        """Read what is not archived.

        Args:
            key: The thread.
            cursor: Return only ordinals above this one; 0 for all.
            limit: Return at most this many.

        Returns:
            The events by ascending ordinal.

        Raises:
            SinkError: If the log cannot be read.
        """
        ...

    async def load_archived(
        self, key: ThreadKey, cursor: int = 0, *, limit: int | None = None
    ) -> list[Logged]:
        """Read what is archived, like ``load_since``."""
        ...

    async def archive_before(self, key: ThreadKey, watermark: int) -> int:
        """Archive everything up to and including an ordinal.

        The watermark never decreases. If it is beyond the end of the log, it archives what exists,
        and does not affect later events.

        Args:
            key: The thread.
            watermark: The ordinal.

        Returns:
            How many events this call has archived.

        Raises:
            SinkError: If archiving failed.
        """
        ...

    async def watermark(self, key: ThreadKey) -> int:
        """Return the ordinal up to which everything is archived; 0 if nothing is."""
        ...


async def in_thread(call: Callable[[], Result]) -> Result:
    """Run a blocking function in a thread, or directly while the interpreter shuts down."""
    try:
        future = asyncio.get_running_loop().run_in_executor(None, call)
    except RuntimeError:
        # No executor accepts work any more, and no other task is left to be delayed.
        return call()
    return await future
