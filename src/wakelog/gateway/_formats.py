"""The formats of a session's file: JSON lines, one JSON document, or a formatter's output."""

from __future__ import annotations

import abc
import os
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import orjson

from wakelog.gateway._events import ForwardedEvent
from wakelog.record import seal

if TYPE_CHECKING:
    from wakelog.gateway._files import SessionFile

Formatter = Callable[[ForwardedEvent], str | bytes]
_END = b"\n]}\n"


class Format(abc.ABC):
    """A file format.

    Attributes:
        extension: The ending of the file's name.
        readable: Whether the events can be read back from the file.
    """

    extension: str
    readable = True

    @abc.abstractmethod
    def put(
        self, file: SessionFile, record_id: str, content: bytes, event: Callable[[], ForwardedEvent]
    ) -> None:
        """Write one event at the end of a file.

        Raises:
            OSError: If not all bytes were written.
        """

    def close(self, file: SessionFile) -> None:  # noqa: B027 - a file of lines is always complete
        """Complete a file."""


class Lines(Format):
    """One sealed line for each event."""

    extension = ".jsonl"

    def put(
        self, file: SessionFile, record_id: str, content: bytes, event: Callable[[], ForwardedEvent]
    ) -> None:
        """Append one line."""
        del event
        line, crc = seal(record_id, file.seq + 1, content, file.crc, file.writer)
        file.write(line, file.end)
        file.seq, file.crc, file.end = file.seq + 1, crc, file.end + len(line)


class Document(Format):
    """One JSON document, which is valid after every event.

    The first line is ``{"writer": ..., "session_id": ..., "events": [``, then follows one sealed
    event a line, and ``]}`` is the last line. One ``write`` replaces the last line by an event and
    a new last line.
    """

    extension = ".json"

    def put(
        self, file: SessionFile, record_id: str, content: bytes, event: Callable[[], ForwardedEvent]
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

    def close(self, file: SessionFile) -> None:
        """Mark the document as closed."""
        if file.seq:
            self._write(file, b'\n],"closed":true}\n', file.end - 1)

    @staticmethod
    def _write(file: SessionFile, data: bytes, at: int) -> None:
        try:
            file.write(data, at)
        except OSError:
            if file.seq:  # restore the end of the document
                with suppress(OSError):
                    file.write(_END, at)
                    os.ftruncate(file.fd, at + len(_END))
            raise


class Custom(Format):
    """The output of a caller's formatter, one line for each event."""

    extension = ".log"
    readable = False

    def __init__(self, formatter: Formatter) -> None:
        self._formatter = formatter

    def put(
        self, file: SessionFile, record_id: str, content: bytes, event: Callable[[], ForwardedEvent]
    ) -> None:
        """Append the formatter's output."""
        del record_id, content
        text: Any = self._formatter(event())
        if not isinstance(text, str | bytes):
            raise TypeError(f"the formatter returned {type(text).__name__}, not str or bytes")
        line = text.encode(errors="replace") if isinstance(text, str) else text
        line = line if line.endswith(b"\n") else line + b"\n"
        file.write(line, file.end)
        file.seq, file.end = file.seq + 1, file.end + len(line)


def _shown(text: str) -> str:
    return text.encode(errors="replace").decode()
