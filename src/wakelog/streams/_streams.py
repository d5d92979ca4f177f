"""``SessionStreams``: writing a session's stream, which any number of readers can follow."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Self

from wakelog.errors import ConfigurationError, JournalError
from wakelog.events import AgentEvent
from wakelog.journal import Durability, Journal, Receipt
from wakelog.record import Resource, uuid7
from wakelog.runtime import ForkOrder, absolute, notice_fork, reset_in_child, resolved
from wakelog.streams._adopting import acknowledge, adopt
from wakelog.streams._lane import WriterLines
from wakelog.streams._lanes import Lanes, newest_of
from wakelog.streams._lines import (
    LONGEST_TEXT,
    Chunk,
    event_line,
    normal,
    text_line,
)
from wakelog.streams._metrics import METRICS
from wakelog.streams._places import Place, Position, read_position, write_position
from wakelog.streams._reader import Reader
from wakelog.streams._stream import Stream
from wakelog.streams._watching import Watcher
from wakelog.streams._whose import resource_of

if TYPE_CHECKING:
    from wakelog.logger import AgentLogger

MAX_READERS = 10_000
MAX_SCANS = 2
# The journal's name for the directory argument in hints, which is replaced by that of the called
# class.
_NAMED_BY_JOURNAL = "directory= or WAKELOG_DIR"
_EVENT_OF = {
    "start": "stream_start",
    "end": "stream_end",
    "reasoning_start": "reasoning_start",
    "reasoning_stop": "reasoning_stop",
}


def open_journal(directory: Path, durability: Durability) -> Journal:
    """Open the journal of a streams directory, with its settings of rotation and metrics."""
    return Journal(
        directory, durability=durability, rotate_at_midnight=True, observer=METRICS.observer
    )


class SessionStreams:
    """The streams of sessions, in a journal directory of their own.

    When a write returns, its line is in the journal, and all readers of the session have been
    woken, in any event loop or thread. Readers have no queues: they read the last chunks from
    memory and older ones from the journal, so a slow reader costs no memory and no writer's time.

    No file is created before the first use. Threads may share the object; a forked child begins
    again in the same directory.

    Args:
        directory: The journal's directory. It must not be one that delivery exports.
        log: A logger for the joined message of each stream when it ends, as a ``stream_end`` event.
        join: Write the chunks of a stream joined when it ends. Readers in this process nevertheless
            receive them as they come, readers elsewhere at the end, and a crash loses the rest.
        export_chunks: Pass each chunk to ``log``, too, as an event.
        durability: The durability of a write.
        watch_interval: The interval of reading what other processes write, while there are readers,
            in seconds; None to not read it.
        max_idle_sessions: For how many sessions without readers to remember where their chunks are;
            those of others are searched on disk.
        max_readers: The maximum number of readers in this process.
        max_scans: The maximum number of readers that search files at a time; others wait.
        clock: Returns the time in nanoseconds since 1970.

    Raises:
        ConfigurationError: If a limit is not a number of at least 1.
        JournalError: At the first use, if the directory cannot be used.
    """

    directory_named = "directory="
    """The directory's name in error messages; a class that creates the streams may replace it."""

    def __init__(
        self,
        directory: str | os.PathLike[str],
        *,
        log: AgentLogger | None = None,
        join: bool = False,
        export_chunks: bool = False,
        durability: Durability | str = Durability.OS_BUFFERED,
        watch_interval: float | None = 0.1,
        max_idle_sessions: int = 1024,
        max_readers: int = MAX_READERS,
        max_scans: int = MAX_SCANS,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self.directory = resolved(absolute(directory))
        self.log = log
        self.lanes = Lanes(self.directory, max_readers, max_scans)
        self._join = join
        self._export_chunks = export_chunks
        self._durability = Durability(durability)
        self._watch_interval = watch_interval
        self._max_idle = max_idle_sessions
        self._clock = clock
        self._journal: Journal | None = None
        self._open: dict[str, Stream] = {}
        self._watcher: Watcher | None = None
        reset_in_child(self._after_fork, ForkOrder.STORAGE)

    @cached_property
    def resource(self) -> Resource:
        """The service whose streams are written here; only this service exports them."""
        return resource_of(self.log)

    @property
    def open_streams(self) -> int:
        """How many streams have begun here and not ended."""
        return len(self._open)

    @property
    def read_sessions(self) -> int:
        """How many sessions have readers here."""
        return len(self.lanes.watches)

    @property
    def journal(self) -> Journal | None:
        """The journal of the streams, or None before it is opened."""
        return self._journal

    # Writing

    def stream(self, session_id: str) -> Stream:
        """Begin a message of a session.

        Args:
            session_id: The session.

        Returns:
            The stream, as a context manager or to be ended with ``end``.

        Raises:
            SinkError: If its beginning was not recorded.
        """
        notice_fork()
        stream = Stream(self, normal(session_id), uuid7())
        self._write_event("start", stream.session_id, stream.stream_id, "started")
        self._open[stream.stream_id] = stream
        return stream

    def write(self, session_id: str, text: str) -> None:
        """Write a text that belongs to no message.

        Raises:
            SinkError: If it was not recorded.
        """
        self._write_text(normal(session_id), text, None)

    # Reading

    def read(
        self,
        session_id: str,
        *,
        after: str | None = None,
        from_start: bool = False,
        until_end: bool = False,
        idle_timeout: float | None = None,
        timeout: float | None = None,
    ) -> Reader:
        """Follow a session; by default, from now on.

        Args:
            session_id: The session.
            after: A reader's position, from this or another process, from which to continue.
            from_start: Whether to begin with the oldest chunk in the journal.
            until_end: Whether to end after the next end of a stream.
            idle_timeout: End after this many seconds without a chunk.
            timeout: End this many seconds after this call.

        Returns:
            The reader. It receives everything after this call, even if it is read later.

        Raises:
            ConfigurationError: If ``after`` is not a position.
            TooManyReadersError: If there are ``max_readers`` readers.
            JournalError: If the directory cannot be used.
        """
        notice_fork()
        begin = Position({}) if from_start else None
        begin = begin if after is None else read_position(after)
        self._begin()
        session_id = normal(session_id)
        self.lanes.make_room()
        self.lanes.refresh(owners=False)
        reader = Reader(
            self,
            session_id,
            begin,
            until_end=until_end,
            idle_timeout=idle_timeout,
            timeout=timeout,
        )
        self.lanes.add_reader(reader)
        self._watch()
        return reader

    def position(self) -> str:
        """Return the present position, from which any session can be read later.

        Raises:
            JournalError: If the directory cannot be used.
        """
        self._begin()
        self.lanes.refresh(owners=False)
        with self.lanes.lock:
            lanes = self.lanes.by_writer
            newest = newest_of(lanes)
            marks = {
                name: Place(lane.end)
                for name, lane in lanes.items()
                if not (lane.complete and newest.is_past(name, lane.generation))
            }
            return write_position(newest._replace(marks=marks))

    def sessions(self) -> list[str]:
        """Return the sessions that this process wrote recently, ordered by their first lines."""
        with self.lanes.lock:
            own = self.lanes.own
            return [] if own is None else list(own.sessions)

    # Housekeeping

    def adopt(self) -> list[str]:
        """Close the streams that dead processes have left open.

        Each receives a ``stream_end`` with the status ``interrupted``, once, from one of the
        processes. This also happens at the first use, and while there are readers.

        Returns:
            The ids of the streams that this call closed.

        Raises:
            JournalError: If the directory cannot be used.
        """
        notice_fork()
        self._begin()
        return adopt(self)

    def close(self) -> None:
        """End open streams, as interrupted, and close the readers and the journal."""
        notice_fork()
        try:
            for stream in list(self._open.values()):
                stream.end("interrupted", "closed")
        finally:
            watcher, self._watcher = self._watcher, None
            if watcher is not None:
                watcher.stop()
            with self.lanes.lock:
                if self.lanes.own is not None:
                    self._acknowledge(self.lanes.own)
                self.lanes.close()
                journal, self._journal = self._journal, None
            if journal is not None:
                journal.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # For the other modules of this package

    def interrupt(self, session_id: str, payload: dict[str, object]) -> None:
        """Write the end of a stream that a dead process has left open."""
        stream_id, chunks = str(payload["stream_id"]), payload["chunks"]
        self._write_event(
            "end", session_id, stream_id, "interrupted", chunks=chunks, reason="crash"
        )
        self._export("stream_end", {**payload, "reason": "crash"}, session_id, "interrupted")

    # Inner parts

    def _write_text(self, session_id: str, text: str, stream: Stream | None) -> None:
        if not isinstance(text, str):
            raise ConfigurationError(f"text={text!r:.80} is not text: pass a str")
        stream_id, identity = (
            (None, None) if stream is None else (stream.stream_id, stream.identity)
        )
        chunk = Chunk(session_id, text, "chunk", self._clock(), stream_id)
        if not self._join and type(text) is str and len(text) <= LONGEST_TEXT:  # the usual case
            self._commit(self._append(uuid7(), text_line(chunk, identity), chunk))
        else:
            self._write_parts(chunk, joins=self._join and stream is not None)
        if self._export_chunks:
            fields: dict[str, object] = {"stream_id": stream_id, "message": text}
            self._export("stream_chunk", fields, session_id, None)

    def _write_parts(self, chunk: Chunk, *, joins: bool) -> None:
        """Write a text that may be too long for one line, or keep it until it is joined."""
        notice_fork()
        text = chunk.text
        starts = range(0, len(text) or 1, LONGEST_TEXT)
        pieces = [chunk._replace(text=text[at : at + LONGEST_TEXT]) for at in starts]
        # A forked child has no writer of its own yet, so its text for the parent's stream is not
        # joined.
        if joins and self.lanes.own is not None:
            for piece in pieces:
                self._keep_loose(piece)
            return
        parts = [
            piece._replace(part=part, parts=len(pieces)) for part, piece in enumerate(pieces, 1)
        ]
        lines = [(uuid7(), text_line(part), part) for part in parts]
        with self.lanes.lock:  # so that the parts are consecutive
            self._flush(chunk.session_id)
            for line in lines:
                receipt = self._append(*line)
        self._commit(receipt)

    def _write_event(
        self,
        kind: str,
        session_id: str,
        stream_id: str,
        status: str | None = None,
        **payload: object,
    ) -> None:
        notice_fork()
        self._flush(session_id)
        event = AgentEvent(
            _EVENT_OF[kind],
            payload={"stream_id": stream_id, **payload},
            status=status,
            session_id=session_id,
            time_unix_nano=self._clock(),
        )
        chunk = Chunk(session_id, "", kind, event.time_unix_nano, stream_id, event.status)
        self._commit(self._append(event.event_id, event_line(event), chunk))

    def _ended(self, stream: Stream, status: str, reason: str | None) -> None:
        self._open.pop(stream.stream_id, None)
        payload = {**stream.joined(), "reason": reason}
        self._export("stream_end", payload, stream.session_id, status)

    def _export(
        self, event_type: str, payload: dict[str, object], session_id: str, status: str | None
    ) -> None:
        if self.log is not None:
            self.log.emit(event_type, payload, session_id=session_id, status=status)

    def _append(self, record_id: str, line: bytes, chunk: Chunk) -> Receipt:
        """Append a line to the journal, note its position, and wake the session's readers."""
        notice_fork()
        lanes = self.lanes
        with lanes.lock:
            journal = self._begin() if self._journal is None else self._journal
            own = lanes.own
            try:
                receipt = journal.write(record_id, line, self.resource)
            except JournalError as error:
                if own is not None:
                    own.failed()
                METRICS.note_refused(error)
                raise self._in_callers_words(error) from error
            METRICS.note_written()
            rotated = own is not None and own.segment
            if own is None or own.writer != receipt.writer:
                assert journal.writer is not None  # noqa: S101 - it has just written
                own = lanes.begin_own(journal.writer.folder.path)
            begin, end = own.wrote()
            if rotated and rotated != own.segment:
                self._acknowledge(own, own.segment, receipt.seq - 1)
            chunk = chunk.at(own.writer, Place(end, receipt.seq))
            own.recent(chunk.session_id).note(begin, chunk)
            if len(own.sessions) > 2 * self._max_idle:
                self._forget_idle(own)
            lanes.wake(chunk.session_id)
        return receipt

    def _acknowledge(self, own: WriterLines, segment: int | None = None, seq: int = 0) -> None:
        try:
            acknowledge(own.folder, segment, seq)
        except JournalError:
            # The ledger is a hint: without it, retention keeps more than necessary, and the next
            # process searches for open streams in vain.
            return

    def _commit(self, receipt: Receipt) -> None:
        """Wait for the sync, if the durability is ``FSYNC``."""
        if receipt.durability is not Durability.FSYNC:
            return
        writer = None if self._journal is None else self._journal.writer
        if writer is not None and writer.id == receipt.writer:
            writer.commit(receipt.seq)

    def _keep_loose(self, chunk: Chunk) -> None:
        """Keep a chunk in memory until its stream ends or its session gets another line."""
        with self.lanes.lock:
            own = self.lanes.own
            assert own is not None  # noqa: S101 - the stream's start has been written
            loose = own.recent(chunk.session_id).loose
            if loose and loose[-1].stream_id != chunk.stream_id:
                self._flush(chunk.session_id)
                loose = own.recent(chunk.session_id).loose
            last = loose[-1].place if loose else Place(own.end)
            place = last._replace(chars=last.chars + len(chunk.text))
            loose.append(chunk._replace(writer=own.writer, place=place))
            self.lanes.wake(chunk.session_id)

    def _flush(self, session_id: str) -> None:
        """Write the chunks in memory, joined; the caller writes more, and commits."""
        own = self.lanes.own
        if not self._join or own is None:
            return
        with self.lanes.lock:
            recent = own.sessions.get(session_id)
            if recent is None or not recent.loose:
                return
            loose, recent.loose = recent.loose, []
            first, text = loose[0], "".join(chunk.text for chunk in loose)
            for at in range(0, len(text), LONGEST_TEXT):
                piece = first._replace(text=text[at : at + LONGEST_TEXT])
                try:
                    self._append(uuid7(), text_line(piece), piece)
                except JournalError:
                    recent.loose = loose if at == 0 else []
                    raise

    def _begin(self) -> Journal:
        notice_fork()
        if self._journal is None:
            with self.lanes.lock:
                if self._journal is None:
                    try:
                        self._journal = open_journal(self.directory, self._durability)
                    except JournalError as error:
                        raise self._in_callers_words(error) from error
                    METRICS.show(self)
            self.lanes.list()
            self._watch()
        return self._journal

    def _in_callers_words(self, error: JournalError) -> JournalError:
        """Return the error with the called class's name of the directory argument in its hint."""
        if _NAMED_BY_JOURNAL not in error.hint or type(error).__init__ is not JournalError.__init__:
            return error
        hint = error.hint.replace(_NAMED_BY_JOURNAL, self.directory_named)
        return type(error)(error.operation, error.path, error.cause, hint)

    def _forget_idle(self, own: WriterLines) -> None:
        """Free the memory of the sessions that have been idle the longest."""
        in_use = {stream.session_id for stream in list(self._open.values())}
        in_use |= set(self.lanes.watches)
        idle = [
            (recent.begins[-1], name)
            for name, recent in own.sessions.items()
            if name not in in_use and recent.begins
        ]
        for _, session_id in sorted(idle)[: -self._max_idle]:
            own.forget(session_id)

    def _watch(self) -> None:
        with self.lanes.lock:
            if self._watcher is None or self._watcher.ended or not self._watcher.thread.running:
                self._watcher = Watcher(self, self._watch_interval)
                self._watcher.thread.start()

    def _after_fork(self) -> None:
        self._watcher = None
        self._open = {}
        self.lanes.forget_in_child()
