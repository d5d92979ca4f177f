"""``Logger``: the calls of the known session logger, on ``SessionStreams``."""

from __future__ import annotations

import asyncio
import os
import threading
import weakref
from collections.abc import AsyncGenerator, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from wakelog.journal import read
from wakelog.streams._lines import Chunk, Line, chunk_of, normal
from wakelog.streams._reader import Reader
from wakelog.streams._stream import Stream
from wakelog.streams._streams import SessionStreams
from wakelog.streams._tokens import (
    REASONING_START_TOKEN,
    REASONING_STOP_TOKEN,
    STREAM_END_TOKEN,
    STREAM_START_TOKEN,
    LogEntry,
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

    @property
    def reached(self) -> _Reached:
        return _Reached(self.count, self.reader.position)

    @property
    def is_done(self) -> bool:
        """Whether it has taken the end of a stream and not asked for more."""
        return self.at_end and not self.waits


class _Turns:
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
    """Writes what sessions say into a journal, prints it, and lets it be read while it comes.

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
        self._logs_dir = logs_dir
        self._log = log
        self._handle = stream_handler
        self._lock = threading.Lock()
        self._streams: SessionStreams | None = None
        self._origin = _Reached(0, "0")
        self._open: dict[str, Stream] = {}
        self._turns: dict[tuple[str, str], _Turns] = {}
        # For forgetting: the sessions since the last time, how often it was done, and from where
        # on those begin that are forgotten the next time.
        self._new = self._age = 0
        self._next_origin = self._origin

    @property
    def logs_dir(self) -> Path:
        """Where the journal is."""
        return Path(self._logs_dir or os.environ.get("LOGS_PATH") or DEFAULT_LOGS_DIR)

    @property
    def streams(self) -> SessionStreams:
        """The engine below, which can do more."""
        if self._streams is None:
            with self._lock:
                if self._streams is None:
                    streams = SessionStreams(self.logs_dir, log=self._log)
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
            for record in read(streams.directory, writer=writer):
                chunk = chunk_of(Line(record.record, 0, 0), writer)
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
        """Follow a session up to a message in which ``</think>`` stands.

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
        with self._lock:
            streams, self._streams = self._streams, None
            self._open.clear()
            self._turns.clear()
        if streams is not None:
            streams.close()

    def _write(self, message: str, session_id: str) -> None:
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
        session_id = normal(session_id)
        with self._lock:
            turns = self._turns.get((kind, session_id))
            if turns is None:
                self._forget_some(streams)
                turns = self._turns[kind, session_id] = _Turns(self._origin)
            turns.touched = self._age
            start = turns.start()
            reader = streams.read(
                session_id,
                after=None if from_start else start.position,
                from_start=from_start,
                timeout=timeout,
            )
            following = _Following(reader, start)
            turns.following.add(following)
        return _messages(following, turns, until)

    def _forget_some(self, streams: SessionStreams) -> None:
        """Forget who read up to where, where nobody has read for long.

        Those begin, when they are read again, with what came after the last time that this was
        done: later than what they had read, and earlier than what anybody has written lately.
        """
        self._new += 1
        if self._new < _REMEMBERED:
            return
        for key, turns in list(self._turns.items()):
            if turns.following:
                turns.touched = self._age + 1
            elif turns.touched < self._age:
                del self._turns[key]
        self._origin, self._next_origin = self._next_origin, _Reached(0, streams.position())
        self._new, self._age = 0, self._age + 1


async def _messages(
    following: _Following, turns: _Turns, until: str | None
) -> AsyncGenerator[str, None]:
    try:
        # Whoever was started together with this reader begins beside it, and not after it.
        await asyncio.sleep(0)
        async for chunk in following.reader:
            message = _message_of(chunk)
            following.count += 1
            following.waits, following.at_end = False, chunk.kind == "end"
            yield message
            following.waits = True
            if until is not None and until in message:
                return
    finally:
        turns.end(following)


def _message_of(chunk: Chunk) -> str:
    return _TOKEN_OF.get(chunk.kind, chunk.text)


# Nothing is opened before its first use.
_logger = Logger()
