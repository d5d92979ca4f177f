"""``Logger``: the interface of an earlier session logger, based on ``SessionStreams``."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import weakref
from collections.abc import AsyncGenerator, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from wakelog.journal import read
from wakelog.runtime import ForkOrder, absolute, notice_fork, reset_in_child
from wakelog.streams._entry import LogEntry, text_of
from wakelog.streams._lines import Chunk, Line, chunk_of, normal
from wakelog.streams._parts import Parts
from wakelog.streams._reader import Reader
from wakelog.streams._stream import Stream
from wakelog.streams._streams import SessionStreams
from wakelog.streams._tokens import (
    REASONING_START_TOKEN,
    REASONING_STOP_TOKEN,
    STREAM_END_TOKEN,
    STREAM_START_TOKEN,
    default_stream_handler,
)

if TYPE_CHECKING:
    from wakelog.logger import AgentLogger

DEFAULT_LOGS_DIR = "logs"
_REMEMBERED = 1024
_TOKEN_OF = {
    "start": STREAM_START_TOKEN,
    "end": STREAM_END_TOKEN,
    "reasoning_start": REASONING_START_TOKEN,
    "reasoning_stop": REASONING_STOP_TOKEN,
}


class _Reached(NamedTuple):
    """The number of a session's messages read in this process, and the position after them."""

    messages: int
    position: str


class _Following:
    """One reader of a session, and whether it wants more messages."""

    def __init__(self, reader: Reader, start: _Reached) -> None:
        self.reader = reader
        self.start = start
        self.count = start.messages
        self.waits = True
        self.at_end = False
        self._parts = Parts()
        # The beginning of a long message that is incomplete: the next reader begins there.
        self._amid: _Reached | None = None

    @property
    def reached(self) -> _Reached:
        return self._amid or _Reached(self.count, self.reader.position)

    async def next(self) -> str | None:
        """Return the next complete message, or None at the end."""
        while True:
            chunk = await anext(self.reader, None)
            if chunk is None:
                return None
            whole = self._parts.add(chunk)
            if not self._parts.is_amid:
                self._amid = None
            elif self._amid is None:
                self._amid = _Reached(self.count, self.reader.position_before_last)
            if whole is not None:
                self.count += 1
                self.waits, self.at_end = False, whole.kind == "end"
                return _message_of(whole)

    @property
    def is_done(self) -> bool:
        """Whether it has received the end of a stream and not asked for more."""
        return self.at_end and not self.waits


class _SessionReaders:
    """The readers of a session, and the position up to which it has been read."""

    def __init__(self, reached: _Reached) -> None:
        self.reached = reached
        self.touched = 0
        self.following: weakref.WeakSet[_Following] = weakref.WeakSet()

    def start(self) -> _Reached:
        """Return where the next reader begins: where active readers began, or else after all."""
        beside = [reader.start for reader in self.following if not reader.is_done]
        done = [reader.reached for reader in self.following if reader.is_done]
        return min(beside) if beside else max([self.reached, *done])

    def end(self, following: _Following) -> None:
        """Note that a reader has ended."""
        self.following.discard(following)
        self.reached = max(self.reached, following.reached)


class Logger:
    """Writes the messages of sessions to a journal, prints them, and serves them to readers.

    ``<start>`` and ``</end>`` begin and end a stream, ``<think>`` and ``</think>`` the model's
    reasoning; readers receive them as messages.

    Args:
        logs_dir: The journal's directory; default: ``LOGS_PATH`` or ``logs``. Nothing is created
            there before the first message.
        log: A logger for the joined message of each stream.
        stream_handler: Called with each message; default: prints it.
    """

    def __init__(
        self,
        logs_dir: str | os.PathLike[str] | None = None,
        *,
        log: AgentLogger | None = None,
        stream_handler: Callable[[str], object] = default_stream_handler,
    ) -> None:
        self._logs_dir = None if logs_dir is None else absolute(logs_dir)
        self._log = log
        self._handle = stream_handler
        self._streams: SessionStreams | None = None
        self._origin = _Reached(0, "0")
        self._reset()
        reset_in_child(self._reset, ForkOrder.STORAGE)
        # For _forget_some(): the number of sessions since its last run, the number of runs, and the
        # position at which sessions that the next run forgets will begin.
        self._new = self._age = 0
        self._next_origin = self._origin

    def _reset(self) -> None:
        """Reset to nothing open, at the start and in a forked child."""
        self._lock = threading.Lock()
        self._open: dict[str, Stream] = {}
        self._readers: dict[tuple[str, str], _SessionReaders] = {}

    @property
    def logs_dir(self) -> Path:
        """The journal's directory."""
        return absolute(self._logs_dir or os.environ.get("LOGS_PATH") or DEFAULT_LOGS_DIR)

    @property
    def logger(self) -> logging.Logger:
        """A standard library logger, ``wakelog.streams``, for what is not a session's message.

        It has no handlers, so the program's own logging configuration applies.
        """
        return logging.getLogger("wakelog.streams")

    @property
    def streams(self) -> SessionStreams:
        """The underlying streams, which have more functions."""
        notice_fork()
        if self._streams is None:
            with self._lock:
                if self._streams is None:
                    streams = SessionStreams(self.logs_dir, log=self._log)
                    streams.directory_named = "logs_dir= or LOGS_PATH"
                    self._origin = self._next_origin = _Reached(0, streams.position())
                    self._streams = streams
        return self._streams

    async def log_chunk_to_queue(self, message: str, session_id: str) -> None:
        """Log a message of a session, and print it.

        When it returns, the message is in the journal and readers have been woken.

        Args:
            message: The text, or one of ``SPECIAL_TOKENS``.
            session_id: The session.

        Raises:
            ConfigurationError: If one of them is not text.
            SinkError: If the message was not recorded.
        """
        entry = LogEntry(session_id=session_id, message=message)
        self._write(entry.message, normal(entry.session_id))
        self._handle(message)
        await asyncio.sleep(0)  # lets readers run while the caller logs in a loop

    def get_all_logs_in_queue(self) -> list[LogEntry]:
        """Return all messages of this logger that are still in the journal."""
        streams = self.streams
        entries = []
        for writer in [lane.writer for lane in streams.lanes.by_writer.values() if lane.own]:
            parts = Parts()
            for record in read(streams.directory, writer=writer):
                part = chunk_of(Line(record.record, 0, 0), writer)
                chunk = None if part is None else parts.add(part)
                if chunk is not None:
                    time = datetime.fromtimestamp(chunk.timestamp / 1e9, UTC).isoformat()
                    message = _message_of(chunk)
                    entries.append(
                        LogEntry(session_id=chunk.session_id, message=message, timestamp=time)
                    )
        return entries

    @property
    def all_sessions_in_queue(self) -> list[str]:
        """The sessions of all messages that are still in the journal, sorted."""
        return sorted({entry.session_id for entry in self.get_all_logs_in_queue()})

    @property
    def all_sessions_in_queues(self) -> list[str]:
        """The sessions that were logged recently, in the order of their first messages."""
        return self.streams.sessions()

    async def distribute(self, finite: bool = False) -> None:  # noqa: FBT001, FBT002 - its known form
        """Do nothing, because readers receive a message when it is logged.

        Args:
            finite: Return at once. Otherwise it waits until it is cancelled.
        """
        await asyncio.sleep(0)
        if not finite:
            await asyncio.get_running_loop().create_future()

    def get_session_logs(
        self,
        session_id: str,
        timeout: float | None = None,
        *,
        from_start: bool = False,
    ) -> AsyncGenerator[str, None]:
        """Follow a session.

        Concurrent readers each receive everything from where the first of them began. A later
        reader continues after what was read.

        Args:
            session_id: The session.
            timeout: When to end, in seconds from now; default: never.
            from_start: Begin with the oldest message in the journal.

        Returns:
            An async generator of the messages.

        Raises:
            JournalError: If the directory cannot be used.
        """
        return self._follow("logs", session_id, timeout, from_start=from_start, until=None)

    def pop(self, session_id: str, poll_interval: float = 0.1) -> AsyncGenerator[str, None]:  # noqa: ARG002
        """Follow a session up to the message that completes ``</think>``.

        The token may be anywhere in a message, or be divided between messages. The beginning is
        determined as in ``get_session_logs``, among calls of ``pop``.

        Args:
            session_id: The session.
            poll_interval: Has no effect, because there is no polling.

        Returns:
            An async generator of the messages.

        Raises:
            JournalError: If the directory cannot be used.
        """
        return self._follow("pop", session_id, None, from_start=False, until=REASONING_STOP_TOKEN)

    def close(self) -> None:
        """Close open streams, as interrupted, the readers and the journal."""
        notice_fork()
        with self._lock:
            streams, self._streams = self._streams, None
            self._open.clear()
            self._readers.clear()
        if streams is not None:
            streams.close()

    def _write(self, message: str, session_id: str) -> None:
        notice_fork()
        stream = self._open.get(session_id)
        if message == STREAM_START_TOKEN:
            if stream is not None:
                stream.end("interrupted", "restarted")
            self._open[session_id] = self.streams.stream(session_id)
        elif stream is None:
            self.streams.write(session_id, message)
        elif message == STREAM_END_TOKEN:
            stream.end()
            del self._open[session_id]
        elif message in (REASONING_START_TOKEN, REASONING_STOP_TOKEN):
            stream.reasoning(begins=message == REASONING_START_TOKEN)
        else:
            stream.write(message)

    def _follow(
        self,
        kind: str,
        session_id: str,
        timeout: float | None,
        *,
        from_start: bool,
        until: str | None,
    ) -> AsyncGenerator[str, None]:
        streams = self.streams
        session_id = normal(text_of("session_id", session_id))
        with self._lock:
            readers = self._readers.get((kind, session_id))
            if readers is None:
                self._forget_some(streams)
                readers = self._readers[kind, session_id] = _SessionReaders(self._origin)
            readers.touched = self._age
            start = readers.start()
            reader = streams.read(
                session_id,
                after=None if from_start else start.position,
                from_start=from_start,
                timeout=timeout,
            )
            following = _Following(reader, start)
            readers.following.add(following)
        return _messages(following, readers, until)

    def _forget_some(self, streams: SessionStreams) -> None:
        """Remove the positions of sessions that have had no reader for a long time.

        If such a session is read again, the reader begins at the position of the previous run of
        this method, which is later than what was read and earlier than recent messages.
        """
        self._new += 1
        if self._new < _REMEMBERED:
            return
        for key, readers in list(self._readers.items()):
            if readers.following:
                readers.touched = self._age + 1
            elif readers.touched < self._age:
                del self._readers[key]
        self._origin, self._next_origin = self._next_origin, _Reached(0, streams.position())
        self._new, self._age = 0, self._age + 1


async def _messages(
    following: _Following, readers: _SessionReaders, until: str | None
) -> AsyncGenerator[str, None]:
    try:
        # Readers that are created together must begin at the same position.
        await asyncio.sleep(0)
        tail = ""
        while (message := await following.next()) is not None:
            yield message
            following.waits = True
            if until is not None:
                # The token may be divided between two chunks.
                if until in tail + message:
                    return
                tail = (tail + message)[1 - len(until) :]
    finally:
        readers.end(following)


def _message_of(chunk: Chunk) -> str:
    return _TOKEN_OF.get(chunk.kind, chunk.text)


# Creating it opens no file.
_logger = Logger()
