"""What a session's file looks like: lines, one JSON document, or what the caller makes of it."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol

import orjson

from wakelog.gateway._events import ForwardedEvent
from wakelog.record import seal

Formatter = Callable[[ForwardedEvent], str | bytes]
_END = b"\n]}\n"


class Writing(Protocol):
    """What a format needs to know of the file that it writes to."""

    session_id: str
    writer: str
    seq: int
    crc: int
    end: int
    """The offset after what was written, of which a reader may read on from here."""

    @property
    def fd(self) -> int:
        """The descriptor."""
        ...

    def write(self, data: bytes, at: int) -> None:
        """Write at a place; ``OSError`` when not everything was written."""
        ...


class Format(Protocol):
    """How an event is put into a file."""

    extension: str
    readable: bool
    """Whether the events can be read back from the file."""

    def put(
        self, file: Writing, record_id: str, content: bytes, event: Callable[[], ForwardedEvent]
    ) -> None:
        """Write one event at the end of a file.

        Raises:
            OSError: When not all of it was written.
        """
        ...

    def close(self, file: Writing) -> None:
        """Write what makes a file complete."""
        ...


class Lines:
    """One sealed line for each event."""

    extension = ".jsonl"
    readable = True

    def put(
        self, file: Writing, record_id: str, content: bytes, event: Callable[[], ForwardedEvent]
    ) -> None:
        """Append one line."""
        del event
        line, crc = seal(record_id, file.seq + 1, content, file.crc, file.writer)
        file.write(line, file.end)
        file.seq, file.crc, file.end = file.seq + 1, crc, file.end + len(line)

    def close(self, file: Writing) -> None:
        """Do nothing: every line is complete."""


class Document:
    """One JSON document, which is whole after every event.

    ``{"writer": ..., "session_id": ..., "events": [`` stands on the first line, one sealed event
    on each line after it, and ``]}`` on the last. An event is written over the last line, with a
    new last line behind it, in one ``write``.
    """

    extension = ".json"
    readable = True

    def put(
        self, file: Writing, record_id: str, content: bytes, event: Callable[[], ForwardedEvent]
    ) -> None:
        """Write one event and the end of the document."""
        del event
        line, crc = seal(record_id, file.seq + 1, content, file.crc, file.writer)
        line = line[:-1]
        if file.seq == 0:
            head = orjson.dumps({"writer": file.writer, "session_id": _shown(file.session_id)})
            before, at = head[:-1] + b',"events":[\n', 0
        else:
            before, at = b",\n", file.end - 1  # the newline after the event before
        self._write(file, before + line + _END, at)
        file.seq, file.crc, file.end = file.seq + 1, crc, at + len(before) + len(line) + 1

    def close(self, file: Writing) -> None:
        """Note in the document that it has been closed."""
        if file.seq:
            self._write(file, b'\n],"closed":true}\n', file.end - 1)

    @staticmethod
    def _write(file: Writing, data: bytes, at: int) -> None:
        try:
            file.write(data, at)
        except OSError:
            if file.seq:  # the document is whole again as it was
                with suppress(OSError):
                    file.write(_END, at)
                    os.ftruncate(file.fd, at + len(_END))
            raise


class Custom:
    """What a callable of the caller's makes of each event, one line each."""

    extension = ".log"
    readable = False

    def __init__(self, formatter: Formatter) -> None:
        self._formatter = formatter

    def put(
        self, file: Writing, record_id: str, content: bytes, event: Callable[[], ForwardedEvent]
    ) -> None:
        """Append what the callable returns."""
        del record_id, content
        text: Any = self._formatter(event())
        if not isinstance(text, str | bytes):
            raise TypeError(f"the formatter returned {type(text).__name__}, not str or bytes")
        line = text.encode(errors="replace") if isinstance(text, str) else text
        line = line if line.endswith(b"\n") else line + b"\n"
        file.write(line, file.end)
        file.seq, file.end = file.seq + 1, file.end + len(line)

    def close(self, file: Writing) -> None:
        """Do nothing."""


def _shown(text: str) -> str:
    return text.encode(errors="replace").decode()
