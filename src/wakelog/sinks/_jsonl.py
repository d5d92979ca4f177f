"""``JSONLSink`` and ``AsyncJSONLSink``: events as lines of one file with a given name."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Self

from wakelog import _arguments as a
from wakelog.errors import EventTooLargeError
from wakelog.events import AgentEvent, event_encoder, fields_of, plain_content_of
from wakelog.events.semconv import IDENTITY
from wakelog.journal import Durability, FileRotation, Receipt, SharedFile, compiled_writer
from wakelog.record import SEAL_BYTES, encode
from wakelog.runtime import in_asyncio, is_cancellation, notice_fork, noticed

MAX_LINE_BYTES = 1024 * 1024
# Access to an enumeration's member takes four times as long as to a module's name.
_FSYNC, _PERIODIC = Durability.FSYNC, Durability.PERIODIC


class JSONLSink:
    """Writes each event as one line of exactly one file, before ``write`` returns.

    Threads and processes may share the file: lines stay whole. ``wakelog show FILE`` reads it.

    With ``max_bytes``, ``max_age`` or ``at_midnight`` the file is rotated: ``events.jsonl`` is
    renamed to ``events.20261121T075022.123456Z.jsonl`` in the same directory, after the current
    time in UTC, and a new file begins. No file is ever truncated. Processes that share a file
    should have the same rules. A value too large for a line (1 MiB) is stored whole in
    ``events.jsonl.blobs/``, which is renamed and deleted with the file. Without ``keep_files``,
    ``keep_bytes`` or ``keep_age`` nothing is deleted; otherwise a file is deleted at the next
    rotation after one of them applies, and never while a process writes to it.

    Args:
        path: The file. Missing parent directories are created.
        durability: What ``write`` waits for: ``Durability.OS_BUFFERED`` (the default, survives
            ``kill -9``), ``Durability.FSYNC`` (survives power loss) or ``Durability.PERIODIC``
            (survives it after at most 100 ms), or their names as text.
        max_bytes: Maximum size of the file.
        max_age: Maximum age of the file's first line, in seconds.
        at_midnight: Whether a new file begins each day, in local time.
        keep_files: Maximum number of rotated files.
        keep_bytes: Maximum total size of rotated files.
        keep_age: Maximum age of a rotated file since its rotation, in seconds.
        max_event_bytes: The size of an event above which only a stub is written and ``write``
            raises; else ``WAKELOG_MAX_EVENT_BYTES``, else 64 MiB.

    Raises:
        JournalError: If the file cannot be opened for writing.
        ConfigurationError: If an argument is invalid; the message names it.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        durability: Durability | str = Durability.OS_BUFFERED,
        *,
        max_bytes: int | None = None,
        max_age: float | None = None,
        at_midnight: bool = False,
        keep_files: int | None = None,
        keep_bytes: int | None = None,
        keep_age: float | None = None,
        max_event_bytes: int | None = None,
    ) -> None:
        a.check(
            path=(path, *a.PATH),
            durability=(durability, str),
            max_bytes=(max_bytes, *a.COUNT),
            max_age=(max_age, *a.NUMBER),
            at_midnight=(at_midnight, bool),
            keep_files=(keep_files, *a.COUNT),
            keep_bytes=(keep_bytes, *a.COUNT),
            keep_age=(keep_age, *a.NUMBER),
            max_event_bytes=(max_event_bytes, *a.COUNT),
        )
        self._max_event_bytes = most = a.max_event_bytes_of(max_event_bytes)
        # The largest middle part of a line, in a file that can have blobs and in any other.
        self._longest = min(MAX_LINE_BYTES - SEAL_BYTES, most), min(sys.maxsize - SEAL_BYTES, most)
        self.durability = Durability(durability)
        rotation = FileRotation(max_bytes, max_age, at_midnight, keep_files, keep_bytes, keep_age)
        self._file = SharedFile(path, rotation=rotation)
        compiled = compiled_writer(self._file, event_encoder, *self._longest)
        self._write: Callable[[AgentEvent, Durability], Receipt | None] | None = (
            None if compiled is None else compiled.write_event
        )
        self.path = self._file.path
        self.paths = [self.path]

    takes_threads = True
    """Whether ``write`` may be called in any thread, for events whose encoding takes long."""

    def write(self, event: AgentEvent) -> None:
        """Write an event and set its receipt.

        Raises:
            EventTooLargeError: If it is larger than ``max_event_bytes``; a stub was written.
            SinkError: If it was not written.
        """
        durability = self.durability
        if event.durability is not None:
            durability = durability.at_least(event.durability)
        if self._write is not None:
            if not noticed[0]:
                notice_fork()
            receipt = self._write(event, durability)
            if receipt is not None:
                if durability is _FSYNC or durability is _PERIODIC:
                    self._see_to_sync(event, receipt)
                event.receipt = receipt
                return
        try:
            content = self._encoded(event)
        except EventTooLargeError as error:
            if error.stub is not None:
                error.receipt = self._file.append(event.event_id, error.stub, durability)
            raise
        if event.deferred and durability is _FSYNC:
            receipt = self._file.write(event.event_id, content, durability)
            event.receipt, event.settling = receipt, partial(self._file.settle, receipt.seq)
        else:
            event.receipt = self._file.append(event.event_id, content, durability)

    def _see_to_sync(self, event: AgentEvent, receipt: Receipt) -> None:
        """Do for a written event what ``SharedFile.append`` and ``write`` do after writing it."""
        if receipt.durability is _FSYNC:
            if event.deferred:
                event.settling = partial(self._file.settle, receipt.seq)
            else:
                self._file.wait(receipt.seq)
        elif receipt.durability is _PERIODIC:
            self._file.sync_soon()

    def write_many(self, events: Sequence[AgentEvent]) -> Mapping[int, BaseException]:
        """Write events with few system calls, and set their receipts.

        Args:
            events: The events, in order. If one of them requires a sync, all are synced.

        Returns:
            The errors of events that were not written, by index; empty if all were written.
        """
        failed: dict[int, BaseException] = {}
        records: list[tuple[str, bytes]] = []
        written: list[int] = []
        durability = self.durability
        for number, event in enumerate(events):
            try:
                records.append((event.event_id, self._encoded(event)))
            except EventTooLargeError as error:
                failed[number] = error
                if error.stub is None:
                    continue
                records.append((event.event_id, error.stub))
            except Exception as error:  # noqa: BLE001 - one bad event must not cost the others
                failed[number] = error
                continue
            written.append(number)
            if event.durability is not None:
                durability = durability.at_least(event.durability)
        receipts, refusal = self._file.append_many(records, durability)
        for number, receipt in zip(written, receipts, strict=False):
            too_large = failed.get(number)
            if isinstance(too_large, EventTooLargeError):
                too_large.receipt = receipt
            else:
                events[number].receipt = receipt
        if refusal is not None:
            failed.update(dict.fromkeys(written[len(receipts) :], refusal))
        return failed

    def _encoded(self, event: AgentEvent) -> bytes:
        longest, longest_without_blobs = self._longest
        takes_blobs = self._file.takes_blobs
        plain = plain_content_of(event, longest if takes_blobs else longest_without_blobs)
        if plain is not None:
            return plain
        most = MAX_LINE_BYTES if takes_blobs else sys.maxsize
        return encode(
            fields_of(event), most, max_event_bytes=self._max_event_bytes, staying=IDENTITY
        )

    def flush(self) -> None:
        """Do nothing: no bytes are buffered."""

    def close(self) -> None:
        """Close the file. Idempotent."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        self.close()


class AsyncJSONLSink:
    """A ``JSONLSink`` for asyncio: waiting for the disk never blocks the event loop.

    The line is written in the event loop's thread, which takes less time than passing it to another
    thread. With ``FSYNC``, tasks that wait at the same moment share one sync. If writing may
    block for long (a network file system), put an ``AsyncBufferedSink`` in front of a
    ``JSONLSink``.

    If a task is cancelled, its event was written if, and only if, ``event.receipt`` is set; a note
    on the ``CancelledError`` says so.

    Args:
        path: The file, as for ``JSONLSink``.
        durability: What ``write`` waits for.
        max_bytes: This and the arguments below are those of ``JSONLSink``.
        max_age: In seconds.
        at_midnight: In local time.
        keep_files: Number of files.
        keep_bytes: In bytes.
        keep_age: In seconds.
        max_event_bytes: In bytes.

    Attributes:
        sink: The ``JSONLSink``.

    Raises:
        JournalError: If the file cannot be opened for writing.
        ConfigurationError: If an argument is invalid; the message names it.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        durability: Durability | str = Durability.OS_BUFFERED,
        *,
        max_bytes: int | None = None,
        max_age: float | None = None,
        at_midnight: bool = False,
        keep_files: int | None = None,
        keep_bytes: int | None = None,
        keep_age: float | None = None,
        max_event_bytes: int | None = None,
    ) -> None:
        self.sink = JSONLSink(
            path,
            durability,
            max_bytes=max_bytes,
            max_age=max_age,
            at_midnight=at_midnight,
            keep_files=keep_files,
            keep_bytes=keep_bytes,
            keep_age=keep_age,
            max_event_bytes=max_event_bytes,
        )

    @property
    def path(self) -> Path:
        """The file."""
        return self.sink.path

    async def write(self, event: AgentEvent) -> None:
        """Write an event and set its receipt.

        Raises:
            SinkError: If it was not written.
        """
        event.deferred = in_asyncio()
        self.sink.write(event)
        settling, event.settling = event.settling, None
        if settling is None:
            return
        try:
            await settling()
        except BaseException as error:
            if is_cancellation(error):
                error.add_note("wakelog: the event is in the file, and may not be on the disk yet")
            raise

    async def flush(self) -> None:
        """Do nothing: no bytes are buffered."""

    async def close(self) -> None:
        """Close the file. Idempotent."""
        from asyncio import to_thread

        await to_thread(self.sink.close)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the file."""
        await self.close()
