"""Following a journal's folders, or one file, while other processes write them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO, NamedTuple

from wakelog.errors import CorruptLineError, JournalError
from wakelog.index import held_at
from wakelog.journal import Cursor, Mark, folders
from wakelog.record import SPAN_START, Record, decode_loose
from wakelog.runtime import is_directory, open_to_read
from wakelog.storage import LONGEST_BLOCK, Blobs, end_of_lines, next_newline, segment_name, segments

_MOST_RECORDS = 512
_MOST_BYTES = 1 << 20


class Followed(NamedTuple):
    """A record, and the id of the writer that wrote it."""

    record: Record
    writer: str | None


def follow(path: Path, *, from_start: bool) -> FollowedDirectory | FollowedFile:
    """Begin to follow a journal directory, a writer's folder or a file.

    Args:
        path: What to follow.
        from_start: Whether to begin with the existing records.

    Returns:
        The source to read from.

    Raises:
        JournalError: If the path does not exist.
    """
    path = Path(os.path.realpath(path))
    if path.is_file():
        return FollowedFile(path, from_start=from_start)
    if not path.is_dir():
        hint = "Name a journal directory or a JSONL file"
        raise JournalError("follow", path, "there is no such file or directory", hint)
    return FollowedDirectory(path, from_start=from_start)


class FollowedDirectory:
    """All writers of a journal, or one writer if the path is its folder."""

    def __init__(self, path: Path, *, from_start: bool) -> None:
        self._path = path
        self._alone = held_at(path).only is not None
        self._writers = {
            folder: _FollowedWriter(folder, Mark() if from_start else _end_of(folder))
            for folder in self._folders()
        }

    def read(self) -> list[Followed]:
        """Return what all writers have written since the last call, ordered by time."""
        for folder in self._folders():
            if folder not in self._writers:
                self._writers[folder] = _FollowedWriter(folder, Mark())
        found: list[Followed] = []
        for folder, writer in list(self._writers.items()):
            try:
                found += writer.read()
            except (JournalError, FileNotFoundError):
                if is_directory(folder):
                    raise
                del self._writers[folder]  # everything was delivered, and the folder was deleted
                writer.close()
        return sorted(found, key=lambda one: one.record.timestamp or 0)

    def _folders(self) -> list[Path]:
        return [self._path] if self._alone else list(folders(self._path))


class _FollowedWriter:
    """One writer's folder. A file is open only while it grows, since there may be thousands."""

    def __init__(self, folder: Path, mark: Mark) -> None:
        self._folder = folder
        self._cursor = Cursor(folder, mark)
        self._size = -1

    def close(self) -> None:
        self._cursor.close()

    def read(self) -> list[Followed]:
        size = _size_of(self._folder)
        if size == self._size:
            self._cursor.close()
            return []
        chunk = self._cursor.read(_MOST_RECORDS, _MOST_BYTES)
        if not chunk.entries and not chunk.damaged:
            self._size = size
        return [Followed(entry.record, self._folder.name) for entry in chunk.entries]


class FollowedFile:
    """One file, by name: after a rotation, reading continues in the new file of that name."""

    def __init__(self, path: Path, *, from_start: bool) -> None:
        self._path = path
        self._file: BinaryIO | None = _open(path)
        if self._file is not None and not from_start:
            self._file.seek(end_of_lines(self._file.fileno()))

    def read(self) -> list[Followed]:
        """Return the complete lines written since the last call."""
        found = self._read_lines()
        if not found and self._was_replaced():
            while more := self._read_lines():  # written just before the rotation
                found += more
            if self._file is not None:
                self._file.close()
            self._file = _open(self._path)
        return found

    def _read_lines(self) -> list[Followed]:
        found: list[Followed] = []
        while self._file is not None and len(found) < _MOST_RECORDS:
            start = self._file.tell()
            line = self._file.readline(LONGEST_BLOCK)
            if len(line) == LONGEST_BLOCK and not line.endswith(b"\n"):
                end = next_newline(self._file.fileno(), start + len(line))
                self._file.seek(start if end < 0 else end + 1)
                if end < 0:
                    break
                continue  # a line of this length is not a record
            if not line.endswith(b"\n"):
                self._file.seek(start)
                break
            if line.startswith(b'{"writer":'):
                continue  # a segment's header
            try:
                record_id = f"{self._path.name}:{start + len(line)}"
                record = decode_loose(line, record_id, Blobs(self._path))
            except CorruptLineError:
                continue
            if record.signal != SPAN_START:
                found.append(Followed(record, record.writer))
        return found

    def _was_replaced(self) -> bool:
        try:
            now = self._path.stat()
        except OSError:
            return False  # a rotation is in progress: the name is not taken again yet
        if self._file is None:
            return True
        known = os.fstat(self._file.fileno())
        same = (now.st_ino, now.st_dev) == (known.st_ino, known.st_dev)
        return not same or now.st_size < self._file.tell()


def _open(path: Path) -> BinaryIO | None:
    try:
        return open_to_read(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise JournalError("follow", path, error.strerror or error) from error


def _end_of(folder: Path) -> Mark:
    """Return the mark after the last complete line of a writer."""
    last = max(segments(folder, missing_ok=True), default=None)
    if last is None:
        return Mark()
    with open_to_read(folder / segment_name(last)) as file:
        return Mark(segment=last, offset=end_of_lines(file.fileno()))


def _size_of(folder: Path) -> int:
    try:
        with os.scandir(folder) as entries:
            return sum(
                entry.stat(follow_symlinks=False).st_size
                for entry in entries
                if entry.name.endswith(".jsonl")
            )
    except OSError:
        return -1
