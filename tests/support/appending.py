"""Everything that appends to files, each behind the same three calls, so that one test tries all of them."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from wakelog.audit import JournalSessionLog, ThreadKey
from wakelog.events import AgentEvent
from wakelog.gateway import EventSessionLogger
from wakelog.journal import DeadLetter, Durability, Journal, add_dead_letter, dead_letters, read
from wakelog.journal import _shared_file as shared_file
from wakelog.record import Resource, encode, seal
from wakelog.runtime._filesystem import SYSTEM, FileSystem
from wakelog.streams import SessionStreams
from wakelog.streams._lines import _NAMES

RESOURCE = Resource({})
KEY = ThreadKey("acme", "t")
LONG = "x" * 300


@contextmanager
def in_place_of_the_system(fs: FileSystem) -> Iterator[None]:
    """Have everything in this process that changes files use another file system."""
    before = {name: getattr(SYSTEM, name) for name in FileSystem.__annotations__}
    try:
        for name in before:
            setattr(SYSTEM, name, getattr(fs, name))
        yield
    finally:
        for name, call in before.items():
            setattr(SYSTEM, name, call)


class Appender(ABC):
    """Something that appends to files below a directory.

    Args:
        root: The directory.
        durability: What an append waits for.
    """

    makes_root = True
    """Whether its directory is made with the first append."""

    def __init__(self, root: Path, durability: Durability) -> None:
        self.root, self.durability = root, durability

    @abstractmethod
    def append(self, name: str) -> None:
        """Append something of that name; raise when it is not accepted."""

    @classmethod
    @abstractmethod
    def found(cls, root: Path) -> list[str]:
        """Return the names of what can be read back, in order."""

    def close(self) -> None:
        """Close the files."""
        return


class NamedFile(Appender):
    """The file of a ``JSONLSink``."""

    _file: shared_file.SharedFile | None = None

    def append(self, name: str) -> None:
        self._file = self._file or shared_file.SharedFile(self.root / "events.jsonl")
        self._file.append(name, encode({"body": "x" * 20}, 1 << 20), self.durability)

    @classmethod
    def found(cls, root: Path) -> list[str]:
        # One that was set aside is older than the one that has the name.
        files = sorted(root.glob("events*.jsonl"), key=lambda path: (len(path.name) == 12, path))
        return [entry.record.id for path in files for entry in read(path)]

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


class SessionLines(Appender):
    """The files of the gateway, one line for each event."""

    log_format = "jsonl"
    _logger: EventSessionLogger | None = None
    _loop: asyncio.AbstractEventLoop | None = None

    def append(self, name: str) -> None:
        if self._logger is None or self._loop is None:
            self._loop = asyncio.new_event_loop()
            self._logger = EventSessionLogger(
                self.root, durability=self.durability, log_format=self.log_format
            )
        self._loop.run_until_complete(self._logger({"session_id": "s", "n": name}))

    @classmethod
    def found(cls, root: Path) -> list[str]:
        files = [path for path in (root / "s").glob(f"*.{cls.log_format}") if path.name[0] != "."]
        entries = [entry for path in files for entry in read(path)]
        entries.sort(key=lambda entry: (writer_order(entry.writer), entry.record.seq))
        return [entry.record.body["n"] for entry in entries if isinstance(entry.record.body, dict)]

    def close(self) -> None:
        if self._logger is not None and self._loop is not None:
            try:
                self._loop.run_until_complete(self._logger.close())
                self._loop.run_until_complete(self._loop.shutdown_default_executor())
            finally:
                self._loop.close()


def writer_order(writer: str) -> tuple[str, int]:
    run, _, number = writer.partition(".")
    return run, int(number or 0)


class SessionDocument(SessionLines):
    """The files of the gateway, one JSON document each."""

    log_format = "json"

    @classmethod
    def found(cls, root: Path) -> list[str]:
        return super().found(root)


class Thread(Appender):
    """The folder of a conversation."""

    _log: JournalSessionLog | None = None
    _loop: asyncio.AbstractEventLoop | None = None

    def append(self, name: str) -> None:
        if self._log is None or self._loop is None:
            self._loop = asyncio.new_event_loop()
            self._log = JournalSessionLog(self.root, self.durability, segment_bytes=900)
        self._loop.run_until_complete(self._log.append(KEY, [said(name)]))

    @classmethod
    def found(cls, root: Path) -> list[str]:
        log = JournalSessionLog(root)
        found = asyncio.run(log.load_since(KEY))
        ordinals = [one.ordinal for one in found]
        assert ordinals == sorted(set(ordinals))
        return [str(one.event.payload["message"]) for one in found]

    def close(self) -> None:
        if self._log is not None and self._loop is not None:
            self._log.close()
            self._loop.run_until_complete(self._loop.shutdown_default_executor())
            self._loop.close()


def said(text: str) -> AgentEvent:
    return AgentEvent("user_message", payload={"message": text})


class DeadLetters(Appender):
    """The file of dead letters, which is always synced."""

    makes_root = False

    def append(self, name: str) -> None:
        line = seal(name, 1, encode({"body": "x"}, 1 << 20), 0)[0].decode()
        add_dead_letter(
            self.root,
            DeadLetter(name, "w", 1, 1, 9, 9, None, None, "refused", "no", "t", RESOURCE, line),
        )

    @classmethod
    def found(cls, root: Path) -> list[str]:
        return [letter.id for letter in dead_letters(root)]


class Blobs(Appender):
    """The large values beside the segments of a journal."""

    _journal: Journal | None = None

    def append(self, name: str) -> None:
        self._journal = self._journal or Journal(
            self.root, durability=self.durability, segment_bytes=900
        )
        content = encode({"body": {"name": name, "text": name + LONG}}, 250)
        self._journal.append(name, content, RESOURCE)

    @classmethod
    def found(cls, root: Path) -> list[str]:
        bodies = [entry.record.body for entry in read(root)]
        whole = [b for b in bodies if isinstance(b, dict) and b["text"] == b["name"] + LONG]
        return [str(body["name"]) for body in whole]

    def close(self) -> None:
        if self._journal is not None:
            self._journal.close()


class Erasable(Blobs):
    """The lines of a journal whose content can be erased."""

    def append(self, name: str) -> None:
        self._journal = self._journal or Journal(
            self.root, durability=self.durability, segment_bytes=900
        )
        body = {"name": name, "text": name + LONG}
        content = encode({"body": body}, 1 << 20, apart=frozenset({"none"}))
        self._journal.append(name, content, RESOURCE)


class Streams(Appender):
    """The journal of session streams."""

    _streams: SessionStreams | None = None

    def append(self, name: str) -> None:
        self._streams = self._streams or SessionStreams(self.root, durability=self.durability)
        self._streams.write("s", name)

    @classmethod
    def found(cls, root: Path) -> list[str]:
        chunks = [
            entry.record for entry in read(root) if entry.record.event_name == _NAMES["chunk"]
        ]
        return [str(record.body) for record in chunks]

    def close(self) -> None:
        if self._streams is not None:
            self._streams.close()


APPENDERS: dict[str, type[Appender]] = {
    "named file": NamedFile,
    "gateway, lines": SessionLines,
    "gateway, document": SessionDocument,
    "audit": Thread,
    "dead letters": DeadLetters,
    "blobs": Blobs,
    "erasable content": Erasable,
    "streams": Streams,
}
