"""A buffer before the journal, for ``DurableLogRecordProcessor(buffer=...)``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

from wakelog.buffer import WAIT, AsyncQueue, Buffer, Queue, QueueClosedError
from wakelog.errors import JournalError
from wakelog.journal import Durability, Journal, Receipt
from wakelog.otel._records import EventLogRecord
from wakelog.record import Resource

_BATCH = 512


class Encoded(NamedTuple):
    """A record that is ready to be written.

    Attributes:
        id: The record's id.
        content: The return value of ``wakelog.record.encode``.
        resource: The record's resource.
        event: The record itself, if one of Wakelog's own APIs waits for the result.
    """

    id: str
    content: bytes
    resource: Resource
    event: EventLogRecord | None


class JournalBuffer:
    """Holds encoded records in memory and writes them to a journal in a thread of its own.

    ``item`` makes what it holds.

    A batch of records that need to be synced to disk costs one sync. A record with a ``durability``
    of its own is waited for.

    Args:
        settings: Capacity and policy.
        journal: Returns the journal for a resource.
        accepted: Called with the last sequence number of a batch that was written.
        refused: Called with the error when a record could not be written.
    """

    item = Encoded

    def __init__(
        self,
        settings: Buffer,
        journal: Callable[[Resource], Journal],
        accepted: Callable[[int], None],
        refused: Callable[[Exception], None],
    ) -> None:
        self._journal, self._accepted, self._refused = journal, accepted, refused
        self.queue: Queue[Encoded] = Queue(
            settings, self._write, most=_BATCH, name="wakelog-buffer", tells=False
        )
        self._from_tasks = AsyncQueue(self.queue)

    def put(self, item: Encoded) -> bool:
        """Add a record as the overflow policy says.

        For a record that a coroutine records, ``event.settling`` is set to what it has to await.

        Returns:
            False if the buffer has been closed and the caller has to write the record.

        Raises:
            BufferFullError: If the buffer was full.
            SinkError: If the record was waited for, and the journal refused it.
        """
        try:
            self._put(item)
        except QueueClosedError:
            return False
        if item.event is not None:
            item.event.answered = True
        return True

    def _put(self, item: Encoded) -> None:
        event = item.event
        if event is None:
            self.queue.put(item)
        elif not event.deferred:
            if event.durability is None:
                self.queue.put(item)
            else:
                self.queue.put_through(item)
        elif event.durability is not None:
            event.settling = partial(self._from_tasks.put_through, item)
        else:
            with self.queue.lock:
                answer = self.queue.offer(item, None)
            if answer is WAIT:
                event.settling = partial(self._from_tasks.put, item)

    def _write(self, batch: list[Encoded]) -> Mapping[int, BaseException]:
        failed: dict[int, BaseException] = {}
        journal: Journal | None = None
        receipts: dict[int, Receipt] = {}
        for number, item in enumerate(batch):
            durability = None if item.event is None else item.event.durability
            try:
                journal = self._journal(item.resource)
                receipts[number] = journal.write(item.id, item.content, item.resource, durability)
            except Exception as error:  # noqa: BLE001 - one bad record must not cost the others
                failed[number] = error
        wait_for = [n for n, r in receipts.items() if r.durability is Durability.FSYNC]
        for writer in journal.open_writers if wait_for and journal is not None else ():
            waiting = [n for n in wait_for if receipts[n].writer == writer.id]
            try:
                if waiting:
                    writer.commit_written()
            except JournalError as error:
                failed.update(dict.fromkeys(waiting, error))
        last = 0
        for number, receipt in receipts.items():
            event = batch[number].event
            if number not in failed:
                last = receipt.seq
                if event is not None:
                    event.receipt = receipt
        if last:
            self._accepted(last)
        for number, reason in failed.items():
            event = batch[number].event
            if isinstance(reason, Exception) and (event is None or event.durability is None):
                self._refused(reason)  # no caller waits for the error
        return failed
