"""``JSONLSink``: events as lines of one named file."""

from __future__ import annotations

import os

from wakelog.events import AgentEvent, fields_of
from wakelog.journal import Durability
from wakelog.journal._shared_file import SharedFile
from wakelog.record import encode

MAX_LINE_BYTES = 1024 * 1024


class JSONLSink:
    """Writes each event as one line of exactly one file, before ``write`` returns.

    Threads and processes may share the file: lines stay whole. ``wakelog show FILE`` reads it.

    Args:
        path: The file. Missing parent directories are made.
        durability: What ``write`` waits for: ``Durability.OS_BUFFERED`` (the default, survives
            ``kill -9``), ``Durability.FSYNC`` (survives power loss) or ``Durability.PERIODIC``
            (does after 100 ms at the latest), or their names as text.

    Raises:
        JournalError: When the file cannot be opened for writing.
        ValueError: For a durability that does not exist.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        durability: Durability | str = Durability.OS_BUFFERED,
    ) -> None:
        self.durability = Durability(durability)
        self._file = SharedFile(path)
        self.path = self._file.path

    def write(self, event: AgentEvent) -> None:
        """Write an event and note the receipt on it.

        Raises:
            SinkError: When it was not written.
        """
        content = encode(fields_of(event), MAX_LINE_BYTES)
        durability = self.durability.at_least(event.durability)
        if event.deferred and durability is Durability.FSYNC:
            event.receipt = self._file.write(event.event_id, content, durability)
            event.settling = self._file.settle
        else:
            event.receipt = self._file.append(event.event_id, content, durability)

    def flush(self) -> None:
        """Do nothing: no bytes are held back."""

    def close(self) -> None:
        """Close the file."""
        self._file.close()
