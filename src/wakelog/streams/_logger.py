"""``Logger``: the calls of the known session logger, on ``SessionStreams``."""

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
    """How many messages of a session were taken in this process, and the position after them."""

    messages: int
    position: str


class _Following:
    """One reader of a session, and whether it still wants what comes."""

    def __init__(self, reader: Reader, start: _Reached) -> None:
        self.reader = reader
        self.start = start
        self.count = start.messages
        self.waits = True
        self.at_end = False
        self._parts = Parts()
        # Where a long message begins of which not all has come: whoever goes on begins there.
        self._amid: _Reached | None = None

    @property
    def reached(self) -> _Reached:
        return self._amid or _Reached(self.count, self.reader.position)

    async def next(self) -> str | None:
        """Return the next whole message, or None at the end."""
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
        """Whether it has taken the end of a stream and not asked for more."""
        return self.at_end and not self.waits


class _SessionReaders:
    """Up to where a session has been read, and who is reading it."""

    def __init__(self, reached: _Reached) -> None:
        self.reached = reached
        self.touched = 0
        self.following: weakref.WeakSet[_Following] = weakref.WeakSet()

    def start(self) -> _Reached:
        """Return where the next reader begins: beside the others, else after them."""
        beside = [reader.start for reader in self.following if not reader.is_done]
        done = [reader.reached for reader in self.following if reader.is_done]
        return min(beside) if beside else max([self.reached, *done])

    def end(self, following: _Following) -> None:
        """Take note that a reader has ended."""
        self.following.discard(following)
        self.reached = max(self.reached, following.reached)


class Logger:
    """Writes the messages of sessions to a journal, prints them, and serves them to readers live.

    ``<start>`` and ``</end>`` begin and end a stream, ``<think>`` and ``</think>`` what the model
    reasons; readers are given them as messages, as they were logged.

    Args:
        logs_dir: Where the journal is; ``LOGS_PATH`` or ``logs`` by default. Nothing is made
            there before the first message.
        log: Where the joined message of each stream goes.
        stream_handler: Called with each message; prints it by default.
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
        # For forgetting: the sessions since the last time, how often it was done, and from where
        # on those begin that are forgotten the next time.
        self._new = self._age = 0
        self._next_origin = self._origin

    def _reset(self) -> None:
        """Begin with nothing open: at first, and in a forked child."""
        self._lock = threading.Lock()
        self._open: dict[str, Stream] = {}
        self._readers: dict[tuple[str, str], _SessionReaders] = {}

    @property
    def logs_dir(self) -> Path:
        """Where the journal is."""
        return absolute(self._logs_dir or os.environ.get("LOGS_PATH") or DEFAULT_LOGS_DIR)

    @property
    def logger(self) -> logging.Logger:
        """A logger of the standard library, ``wakelog.streams``, for what is no session's message.

        Nothing is added to it, so the program's own set-up says where that goes.
        """
        return logging.getLogger("wakelog.streams")

    @property
    def streams(self) -> SessionStreams:
        """The engine below, which can do more."""
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

        When it returns, the message is in the journal and its readers are awake.

        Args:
            message: The text, or one of ``SPECIAL_TOKENS``.
            session_id: The session.

        Raises:
            ConfigurationError: When one of them is no text.
            SinkError: When the message was not recorded.
        """
        entry = LogEntry(session_id=session_id, message=message)
        self._write(entry.message, normal(entry.session_id))
        self._handle(message)
        await asyncio.sleep(0)  # whoever logs in a loop would keep the readers from running

    def get_all_logs_in_queue(self) -> list[LogEntry]:
        """Return all messages that this logger has logged and that are kept, from the journal."""
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
        """The sessions of all messages that are kept, sorted."""
        return sorted({entry.session_id for entry in self.get_all_logs_in_queue()})

    @property
    def all_sessions_in_queues(self) -> list[str]:
        """The sessions that were logged lately, in the order of their begin."""
        return self.streams.sessions()

    async def distribute(self, finite: bool = False) -> None:  # noqa: FBT001, FBT002 - its known form
        """Do nothing, for as long as is asked: a message is with its readers when it is logged.

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

        Readers at the same time each see everything, from where the first of them began. One that
        begins later goes on after what was read.

        Args:
            session_id: The session.
            timeout: When to end, in seconds from now; never by default.
            from_start: Begin with the oldest message that is kept.

        Returns:
            An async generator of the messages.

        Raises:
            JournalError: When the directory cannot be used.
        """
        return self._follow("logs", session_id, timeout, from_start=from_start, until=None)

    def pop(self, session_id: str, poll_interval: float = 0.1) -> AsyncGenerator[str, None]:  # noqa: ARG002
        """Follow a session up to the message with which ``</think>`` has come.

        It may stand anywhere in a message of any length, or be cut in two by messages.
        Where to begin is decided as for ``get_session_logs``, among those who pop.

        Args:
            session_id: The session.
            poll_interval: Not used, as nothing is polled.

        Returns:
            An async generator of the messages.

        Raises:
            JournalError: When the directory cannot be used.
        """
        return self._follow("pop", session_id, None, from_start=False, until=REASONING_STOP_TOKEN)

    def close(self) -> None:
        """End what is open: streams, as interrupted, readers and the journal."""
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
        """Forget who read up to where, where nobody has read for long.

        Those begin, when they are read again, with what came after the last time that this was
        done: later than what they had read, and earlier than what anybody has written lately.
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
        # Whoever was started together with this reader begins beside it, and not after it.
        await asyncio.sleep(0)
        tail = ""
        while (message := await following.next()) is not None:
            yield message
            following.waits = True
            if until is not None:
                # A model's chunks may cut the token in two.
                if until in tail + message:
                    return
                tail = (tail + message)[1 - len(until) :]
    finally:
        readers.end(following)


def _message_of(chunk: Chunk) -> str:
    return _TOKEN_OF.get(chunk.kind, chunk.text)


# Nothing is opened before its first use.
_logger = Logger()
