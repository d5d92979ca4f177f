"""What a session log is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol, TypeVar, runtime_checkable

from wakelog.audit._keys import ThreadKey
from wakelog.events import AgentEvent

Result = TypeVar("Result")


class Logged(NamedTuple):
    """An event and its place in the log of its thread.

    Attributes:
        ordinal: Its number, from 1, in the order of appending. No number is ever used again.
        event: The event.
    """

    ordinal: int
    event: AgentEvent


@runtime_checkable
class SessionLog(Protocol):
    """The durable, ordered log of conversations, one for each ``ThreadKey``.

    Every backend keeps the same promises. What ``append`` has returned for is in the log. Ordinals
    are dense from 1 for each key, whoever appends, and never used again. Events are never changed.
    An append that raised may have happened all the same where the answer was lost.

    Audit sinks await ``append`` in the event loop that the log lives in, see ``SessionAuditSink``; a log
    whose attribute ``any_event_loop`` is True is awaited in a loop of their own thread.
    """

    async def append(self, key: ThreadKey, events: Sequence[AgentEvent]) -> int:
        """Append events in order.

        Args:
            key: The thread.
            events: What to append; nothing is appended for none.

        Returns:
            The highest ordinal in the thread.

        Raises:
            SinkError: When they were not accepted.
        """
        ...

    async def load_since(
        self, key: ThreadKey, cursor: int = 0, *, limit: int | None = None
    ) -> list[Logged]:
        """Read what is not archived.

        Args:
            key: The thread.
            cursor: Return only ordinals above this one; 0 for all.
            limit: Return at most so many.

        Returns:
            The events by ascending ordinal.

        Raises:
            SinkError: When the log cannot be read.
        """
        ...

    async def load_archived(
        self, key: ThreadKey, cursor: int = 0, *, limit: int | None = None
    ) -> list[Logged]:
        """Read what is archived, as ``load_since`` reads what is not."""
        ...

    async def archive_before(self, key: ThreadKey, watermark: int) -> int:
        """Archive everything up to an ordinal, that one included.

        The watermark never goes back. Beyond the end of the log it archives what is there and
        hides nothing that comes later.

        Args:
            key: The thread.
            watermark: The ordinal.

        Returns:
            How many events this call has archived.

        Raises:
            SinkError: When the log refused.
        """
        ...

    async def watermark(self, key: ThreadKey) -> int:
        """Return the ordinal up to which everything is archived, 0 when nothing is."""
        ...


async def in_thread(call: Callable[[], Result]) -> Result:
    """Run what blocks without blocking the event loop, also while the interpreter shuts down."""
    try:
        future = asyncio.get_running_loop().run_in_executor(None, call)
    except RuntimeError:
        # No executor takes work any more, and nobody is left whom it could hold up.
        return call()
    return await future
