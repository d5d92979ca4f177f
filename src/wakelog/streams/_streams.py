"""``SessionStreams``: write a session's stream, and let any number of readers follow it."""

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
# What the journal's hints say, in the words of those who record.
_NAMED_BY_JOURNAL = "directory= or WAKELOG_DIR"
_EVENT_OF = {
    "start": "stream_start",
    "end": "stream_end",
    "reasoning_start": "reasoning_start",
    "reasoning_stop": "reasoning_stop",
}


def open_journal(directory: Path, durability: Durability) -> Journal:
    """Open the journal of a streams directory; how its segments end and are deleted is said here."""
    return Journal(
        directory, durability=durability, rotate_at_midnight=True, observer=METRICS.observer
    )


class SessionStreams:
    """The streams of sessions, in a journal directory of their own.

    What is written is a line of the journal when the call returns, and wakes every reader of the
    session, in whatever event loop or thread it waits. A reader is never handed a queue: it reads
    from the last chunks in memory, and what is older than they are from the journal, so that the
    slowest costs neither memory nor the writer's time.

    Nothing is made on the disk before the first use. Threads may share it; a forked child begins
    anew in the same directory.

    Args:
        directory: Where the journal is. It must not be one that delivery exports.
        log: Where the joined message of each stream goes when it ends, as a ``stream_end`` event.
        join: Journal the chunks of a stream joined, when it ends, and not as they come. Readers in
            this process see them as they come all the same; those elsewhere at the end, and a
            crash loses what has come so far.
        export_chunks: Hand each chunk to ``log`` too, as an event of its own.
        durability: What a write waits for.
        watch_interval: How often to look what other processes write to the directory, while there
            are readers, in seconds. None does not look.
        max_idle_sessions: For how many sessions without readers to remember where their chunks are;
            for others that is looked up on the disk.
        max_readers: How many readers there may be at once in this process.
        max_scans: How many of them may look through files at once; the others wait for their turn.
        clock: Says the time, in nanoseconds since 1970.

    Raises:
        ConfigurationError: When a limit is no number from 1 on.
        JournalError: At the first use, when the directory cannot be used.
    """

    directory_named = "directory="
    """How errors call the directory; whoever makes the streams for somebody else says it anew."""

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
        """The service whose streams are written here, which alone exports what it has left."""
        return resource_of(self.log)

    @property
    def open_streams(self) -> int:
        """How many streams have begun here and not ended."""
        return len(self._open)

    @property
    def read_sessions(self) -> int:
        """How many sessions somebody reads here."""
        return len(self.lanes.watches)

    @property
    def journal(self) -> Journal | None:
        """The journal of the streams, once there is one."""
        return self._journal

    # Writing

    def stream(self, session_id: str) -> Stream:
        """Begin a message of a session.

        Args:
            session_id: The session.

        Returns:
            The stream to write to, for ``with`` or to be ended with ``end``.

        Raises:
            SinkError: When its beginning was not recorded.
        """
        notice_fork()
        stream = Stream(self, normal(session_id), uuid7())
        self._write_event(stream, "start", "started")
        self._open[stream.stream_id] = stream
        return stream

    def write(self, session_id: str, text: str) -> None:
        """Write something that belongs to no message.

        Raises:
            SinkError: When it was not recorded.
        """
        notice_fork()
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
        """Follow a session, from now on unless something else is said.

        Args:
            session_id: The session.
            after: The position from which to go on, from this process or any other.
            from_start: Begin with the oldest that is kept.
            until_end: End after the next end of a stream.
            idle_timeout: End when nothing has come for so long, in seconds.
            timeout: End when so long has passed since this call, in seconds.

        Returns:
            The reader. It sees everything from this call on, whenever it is first asked.

        Raises:
            ConfigurationError: When ``after`` is no position.
            TooManyReadersError: When there are ``max_readers`` that have not ended.
            JournalError: When the directory cannot be used.
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
        """Return the position of now, from which any session can be read on later.

        Raises:
            JournalError: When the directory cannot be used.
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
        """Return the sessions that this process has written lately, in the order of their begin."""
        with self.lanes.lock:
            own = self.lanes.own
            return [] if own is None else list(own.sessions)

    # Housekeeping

    def adopt(self) -> list[str]:
        """Close the streams that processes have left open which are gone.

        Each gets a ``stream_end`` with the status ``interrupted``, once, whoever comes first. It
        happens by itself at the first use, and while somebody reads.

        Returns:
            The ids of the streams that were closed here.

        Raises:
            JournalError: When the directory cannot be used.
        """
        notice_fork()
        self._begin()
        return adopt(self)

    def close(self) -> None:
        """End the streams that are open, as interrupted, the readers and the journal."""
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
        """Write the end of a stream that somebody else has left open."""
        shown = {name: payload[name] for name in ("stream_id", "chunks")}
        stream_id = str(payload["stream_id"])
        event = AgentEvent(
            "stream_end",
            payload={**shown, "reason": "crash"},
            status="interrupted",
            session_id=session_id,
            time_unix_nano=self._clock(),
        )
        self._append_event(event, "end", stream_id)
        self._export("stream_end", {**payload, "reason": "crash"}, session_id, "interrupted")

    # Inner parts

    def _write_text(self, session_id: str, text: str, stream: Stream | None) -> None:
        if not isinstance(text, str):
            raise ConfigurationError(f"text={text!r:.80} is no text: pass a str")
        notice_fork()
        now = self._clock()
        stream_id = None if stream is None else stream.stream_id
        pieces = [text[at : at + LONGEST_TEXT] for at in range(0, len(text) or 1, LONGEST_TEXT)]
        # What a forked child writes to a stream of its parent is not kept: it has no writer yet.
        if self._join and stream is not None and self.lanes.own is not None:
            for piece in pieces:
                self._keep_loose(session_id, piece, now, stream_id)
        elif len(pieces) == 1:
            self._flush(session_id)
            line = text_line(session_id, text, now, stream_id)
            self._commit(self._append(uuid7(), line, now, session_id, "chunk", text, stream_id))
        else:
            with self.lanes.lock:  # so that nothing else of this writer comes in between
                self._flush(session_id)
                for part, piece in enumerate(pieces, 1):
                    of = (part, len(pieces))
                    line = text_line(session_id, piece, now, stream_id, *of)
                    receipt = self._append(
                        uuid7(), line, now, session_id, "chunk", piece, stream_id, of=of
                    )
            self._commit(receipt)
        if self._export_chunks:
            fields: dict[str, object] = {"stream_id": stream_id, "message": text}
            self._export("stream_chunk", fields, session_id, None)

    def _write_event(
        self, stream: Stream, kind: str, status: str | None = None, **payload: object
    ) -> None:
        notice_fork()
        self._flush(stream.session_id)
        event = AgentEvent(
            _EVENT_OF[kind],
            payload={"stream_id": stream.stream_id, **payload},
            status=status,
            session_id=stream.session_id,
            time_unix_nano=self._clock(),
        )
        self._append_event(event, kind, stream.stream_id)

    def _ended(self, stream: Stream, status: str, reason: str | None) -> None:
        self._open.pop(stream.stream_id, None)
        payload = {**stream.joined(), "reason": reason}
        self._export("stream_end", payload, stream.session_id, status)

    def _export(
        self, event_type: str, payload: dict[str, object], session_id: str, status: str | None
    ) -> None:
        if self.log is not None:
            self.log.emit(event_type, payload, session_id=session_id, status=status)

    def _append_event(self, event: AgentEvent, kind: str, stream_id: str) -> None:
        session_id = event.session_id or ""
        time_ = event.time_unix_nano
        line = event_line(event)
        self._commit(
            self._append(event.event_id, line, time_, session_id, kind, "", stream_id, event.status)
        )

    def _append(
        self,
        record_id: str,
        line: bytes,
        time_: int,
        session_id: str,
        kind: str,
        text: str,
        stream_id: str | None,
        status: str | None = None,
        of: tuple[int, int] = (1, 1),
    ) -> Receipt:
        """Journal a line, note where it stands, and wake the readers of its session."""
        notice_fork()
        lanes = self.lanes
        with lanes.lock:
            journal = self._begin()
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
            place = Place(end, receipt.seq)
            chunk = Chunk(session_id, text, kind, time_, stream_id, status, own.writer, place, *of)
            own.recent(session_id).note(begin, chunk)
            if len(own.sessions) > 2 * self._max_idle:
                self._forget_idle(own)
            lanes.wake(session_id)
        return receipt

    def _acknowledge(self, own: WriterLines, segment: int | None = None, seq: int = 0) -> None:
        try:
            acknowledge(own.folder, segment, seq)
        except JournalError:
            # It is a hint: without it, retention keeps more than it would have to, and whoever
            # comes next looks for streams to close where there are none.
            return

    def _commit(self, receipt: Receipt | None) -> None:
        """Wait for the disk, where that was asked for."""
        if receipt is None or receipt.durability is not Durability.FSYNC:
            return
        writer = None if self._journal is None else self._journal.writer
        if writer is not None and writer.id == receipt.writer:
            writer.commit(receipt.seq)

    def _keep_loose(self, session_id: str, text: str, now: int, stream_id: str | None) -> None:
        """Keep a chunk in memory until its stream ends or something else comes in the session."""
        with self.lanes.lock:
            own = self.lanes.own
            assert own is not None  # noqa: S101 - the stream's start has been written
            loose = own.recent(session_id).loose
            if loose and loose[-1].stream_id != stream_id:
                self._flush(session_id)
                loose = own.recent(session_id).loose
            last = loose[-1].place if loose else Place(own.end)
            place = last._replace(chars=last.chars + len(text))
            loose.append(Chunk(session_id, text, "chunk", now, stream_id, None, own.writer, place))
            self.lanes.wake(session_id)

    def _flush(self, session_id: str) -> Receipt | None:
        """Journal what has been kept in memory, joined; whoever calls writes on, and commits."""
        own = self.lanes.own
        if not self._join or own is None:
            return None
        receipt = None
        with self.lanes.lock:
            recent = own.sessions.get(session_id)
            if recent is None or not recent.loose:
                return None
            loose, recent.loose = recent.loose, []
            first, text = loose[0], "".join(chunk.text for chunk in loose)
            for at in range(0, len(text), LONGEST_TEXT):
                piece = text[at : at + LONGEST_TEXT]
                line = text_line(session_id, piece, first.timestamp, first.stream_id)
                try:
                    receipt = self._append(
                        uuid7(), line, first.timestamp, session_id, "chunk", piece, first.stream_id
                    )
                except JournalError:
                    recent.loose = loose if at == 0 else []
                    raise
        return receipt

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
        """Have a hint of the journal's name the argument of the class that was called."""
        if _NAMED_BY_JOURNAL not in error.hint or type(error).__init__ is not JournalError.__init__:
            return error
        hint = error.hint.replace(_NAMED_BY_JOURNAL, self.directory_named)
        return type(error)(error.operation, error.path, error.cause, hint)

    def _forget_idle(self, own: WriterLines) -> None:
        """Give back the memory of the sessions that were idle for longest."""
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
            if self._watcher is None or self._watcher.ended or not self._watcher.is_alive():
                self._watcher = Watcher(self, self._watch_interval)
                self._watcher.start()

    def _after_fork(self) -> None:
        self._watcher = None
        self._open = {}
        self.lanes.forget_in_child()
