"""Front doors of Wakelog, all used in the same way: record a text, and close.

They are imported by programs that patch the process first, so each imports Wakelog where it is made.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol


def says(text: str) -> None:
    """Print a line in one piece, whatever this process has inherited of `sys.stdout`."""
    os.write(1, f"{text}\n".encode())


class Door(Protocol):
    def record(self, text: str) -> None: ...
    def close(self) -> None: ...


class Processor:
    """A log processor in the program's own pipeline, with or without an exporter or a buffer."""

    def __init__(self, directory: Path, buffered: bool = False) -> None:
        from opentelemetry.sdk._logs import LoggerProvider

        import wakelog
        from wakelog.otel import DurableLogRecordProcessor
        from wakelog.otel._exporters import log_exporter

        self._processor = DurableLogRecordProcessor(
            log_exporter(),
            schedule_delay_millis=60_000,
            directory=directory,
            buffer=wakelog.Buffer(capacity=100) if buffered else None,
        )
        provider = LoggerProvider(shutdown_on_exit=False)
        provider.add_log_record_processor(self._processor)
        self._logger = provider.get_logger("forking")
        self._flushes = self._processor.delivers or buffered

    def record(self, text: str) -> None:
        self._logger.emit(body=text)

    def flush(self) -> None:
        if self._flushes:
            self._processor.force_flush(30_000)

    def close(self) -> None:
        self.flush()
        self._processor.shutdown(30_000)


class Configured:
    """`wakelog.configure()`, with spans and metrics where the environment says so."""

    def __init__(self, directory: Path) -> None:
        import wakelog

        self._log = wakelog.configure("forking", service_name="forking", directory=directory)

    def record(self, text: str) -> None:
        with self._log.run():
            self._log.user_message(text)

    def close(self) -> None:
        import wakelog

        wakelog.shutdown(30)


class Sink:
    """A sink that a logger of the program writes to."""

    def __init__(self, directory: Path, buffered: bool = False) -> None:
        import wakelog

        file = wakelog.JSONLSink(directory / "events.jsonl")
        self._sink: Any = wakelog.BufferedSink(file) if buffered else file
        self._log = wakelog.AgentLogger(sink=self._sink)

    def record(self, text: str) -> None:
        self._log.user_message(text)

    def close(self) -> None:
        self._sink.close()


class AsyncSink:
    """A buffer for asyncio, in an event loop of each process."""

    def __init__(self, directory: Path) -> None:
        import wakelog

        self._sink = wakelog.AsyncBufferedSink(wakelog.JSONLSink(directory / "events.jsonl"))
        self._log = wakelog.AsyncAgentLogger(sink=self._sink)

    def record(self, text: str) -> None:
        asyncio.run(self._record(text))

    async def _record(self, text: str) -> None:
        await self._log.user_message(text)

    def close(self) -> None:
        asyncio.run(self._sink.close())


class Gateway:
    """The gateway's logger, in an event loop of each process."""

    def __init__(self, directory: Path, forwards: bool = False) -> None:
        from wakelog.gateway import EventSessionLogger

        forwarded = directory / "forwarded.txt"

        def send(event: Any) -> None:
            with forwarded.open("a") as file:
                file.write(f"{event['text']}\n")

        self._logger = EventSessionLogger(
            directory / "sessions", send if forwards else None, redact_payloads=False
        )

    def record(self, text: str) -> None:
        self._run(self._logger({"session_id": "s", "text": text}))

    def _run(self, coroutine: Any) -> None:
        asyncio.run(coroutine)

    def close(self) -> None:
        self._run(self._logger.close())


class Audit:
    """An audit sink over one of the session logs."""

    def __init__(self, directory: Path, kind: str) -> None:
        from wakelog import audit

        log: Any
        if kind == "memory":
            log = audit.InMemorySessionLog()
        elif kind == "sqlite":
            log = audit.SQLiteSessionLog(directory / "audit.db")
        else:
            log = audit.JournalSessionLog(directory / "audit", kind)
        self._log, self._kind = log, kind
        self._sink = audit.SessionAuditSink(log, audit.ThreadKey("acme", "thread"))

    def record(self, text: str) -> None:
        self._sink.record_memory_recall(text, "ns", 1)

    def close(self) -> None:
        from wakelog import audit

        assert self._sink.flush(30), "the audit log did not take everything"
        counts = self._sink.counts()
        assert (counts.pending, counts.failed, counts.dropped) == (0, 0, 0), counts
        if self._kind == "memory":
            found = asyncio.run(self._log.load_since(audit.ThreadKey("acme", "thread")))
            for one in found:
                says(f"kept {os.getpid()} {one.event.payload['tier']}")


class Streams:
    """Session streams: each text is a message of its own."""

    def __init__(self, directory: Path) -> None:
        from wakelog.streams import SessionStreams

        self._streams = SessionStreams(directory / "streams")

    def record(self, text: str) -> None:
        with self._streams.stream("session") as stream:
            stream.write(text)

    def close(self) -> None:
        self._streams.close()


class StreamsLogger:
    """The logger of chunks, in an event loop of each process."""

    def __init__(self, directory: Path) -> None:
        from wakelog.streams import Logger

        self._logger = Logger(directory / "streams", stream_handler=lambda _: None)

    def record(self, text: str) -> None:
        asyncio.run(self._logger.log_chunk_to_queue(text, "session"))

    def close(self) -> None:
        self._logger.streams.close()


DOORS: dict[str, Callable[[Path], Door]] = {
    "processor": Processor,
    "processor with a buffer": lambda directory: Processor(directory, buffered=True),
    "configure": Configured,
    "JSONLSink": Sink,
    "BufferedSink": lambda directory: Sink(directory, buffered=True),
    "AsyncBufferedSink": AsyncSink,
    "gateway": Gateway,
    "forwarding gateway": lambda directory: Gateway(directory, forwards=True),
    "audit, journal": lambda directory: Audit(directory, "os_buffered"),
    "audit, periodic journal": lambda directory: Audit(directory, "periodic"),
    "audit, memory": lambda directory: Audit(directory, "memory"),
    "audit, SQLite": lambda directory: Audit(directory, "sqlite"),
    "streams": Streams,
    "streams.Logger": StreamsLogger,
}
# A thread has one event loop, and all greenlets are in the same thread.
IN_AN_EVENT_LOOP = {"AsyncBufferedSink", "gateway", "forwarding gateway", "streams.Logger"}
