"""``InMemorySessionLog``: for tests, and for conversations that end with the program."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

from wakelog.audit._codec import document_of, event_in
from wakelog.audit._keys import ThreadKey, checked
from wakelog.audit._log import Logged
from wakelog.events import AgentEvent
from wakelog.runtime import ForkOrder, notice_fork, noticed, reset_in_child


@dataclass(slots=True)
class _Thread:
    documents: list[str] = field(default_factory=list)
    watermark: int = 0


class InMemorySessionLog:
    """Stores conversations in memory, serialized, so that appended events cannot be changed.

    A forked child continues with a copy of its own.

    ``_lock`` guards the threads; nothing is encoded under it.
    """

    def __init__(self) -> None:
        self._threads: dict[ThreadKey, _Thread] = {}
        self._after_fork()
        reset_in_child(self._after_fork, ForkOrder.STORAGE)

    def _after_fork(self) -> None:
        self._lock = threading.RLock()

    def append_now(
        self,
        key: ThreadKey,
        events: Sequence[AgentEvent],
        timeout: float,  # noqa: ARG002 - the lock is never held for long
    ) -> int:
        """Append events in the calling thread; see ``SessionLog.append``."""
        if not noticed[0]:
            notice_fork()
        documents = [document_of(event) for event in events]
        with self._lock:
            thread = self._threads.get(checked(key))
            if thread is None:
                thread = self._threads[key] = _Thread()
            thread.documents += documents
            return len(thread.documents)

    async def append(self, key: ThreadKey, events: Sequence[AgentEvent]) -> int:
        """Append events in order; see ``SessionLog``."""
        return self.append_now(key, events, 0)

    async def load_since(
        self, key: ThreadKey, cursor: int = 0, *, limit: int | None = None
    ) -> list[Logged]:
        """Read what is not archived; see ``SessionLog``."""
        notice_fork()
        thread = self._threads.get(checked(key), _Thread())
        return _loaded(thread, max(cursor, thread.watermark), len(thread.documents), limit)

    async def load_archived(
        self, key: ThreadKey, cursor: int = 0, *, limit: int | None = None
    ) -> list[Logged]:
        """Read what is archived; see ``SessionLog``."""
        notice_fork()
        thread = self._threads.get(checked(key), _Thread())
        return _loaded(thread, cursor, thread.watermark, limit)

    async def archive_before(self, key: ThreadKey, watermark: int) -> int:
        """Archive everything up to an ordinal; see ``SessionLog``."""
        notice_fork()
        with self._lock:
            thread = self._threads.get(checked(key), _Thread())
            reached = max(thread.watermark, min(watermark, len(thread.documents)))
            archived, thread.watermark = reached - thread.watermark, reached
            return archived

    async def watermark(self, key: ThreadKey) -> int:
        """Return the ordinal up to which everything is archived."""
        notice_fork()
        return self._threads.get(checked(key), _Thread()).watermark


def _loaded(thread: _Thread, after: int, up_to: int, limit: int | None) -> list[Logged]:
    after = max(after, 0)
    end = up_to if limit is None else min(up_to, after + limit)
    documents = thread.documents[after:end]
    return [Logged(number, event_in(text)) for number, text in enumerate(documents, after + 1)]
