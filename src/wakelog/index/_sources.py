"""The sources of an index: a journal's segments, or single files of lines."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from wakelog.errors import JournalError
from wakelog.journal import folders, signal_of
from wakelog.record import LOGS
from wakelog.storage import segment_index, segment_name

_MARKER = "wakelog.json"


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file of lines, as it was listed.

    Attributes:
        path: The file.
        folder: The writer's folder that contains the segment; None for a single file.
        number: The segment's number.
        size: The size in bytes.
        inode: The inode number, which distinguishes it from another file with the same name.
    """

    path: Path
    folder: Path | None
    number: int
    size: int
    inode: int


@dataclass(frozen=True, slots=True)
class Held:
    """The content of a path.

    Attributes:
        root: The journal's directory, or the file or directory of files.
        writers: The writers' folders, oldest first; empty for files.
        only: The writer if the path is a writer's folder; None for all writers.
        is_journal: Whether it is a journal, whose index is kept.
    """

    root: Path
    writers: list[Path]
    only: str | None
    is_journal: bool


def held_at(path: Path) -> Held:
    """Determine the content of a path.

    Raises:
        JournalError: If there is nothing to read, or reading fails.
    """
    path = path.absolute()
    if not path.is_dir():
        return Held(path, [], None, is_journal=False)
    if writers := list(folders(path)):
        return Held(path, writers, None, is_journal=True)
    if (path / _MARKER).is_file():
        return Held(path, [], None, is_journal=True)
    if path in folders(path.parent):
        return Held(path.parent, list(folders(path.parent)), path.name, is_journal=True)
    return Held(path, [], None, is_journal=False)


def sources_of(held: Held) -> list[SourceFile]:
    """List the files of a path, writer by writer.

    Raises:
        JournalError: If there is nothing to read, or reading fails.
    """
    if held.is_journal:
        events = (folder for folder in held.writers if signal_of(folder) == LOGS)
        return [source for folder in events for source in _segments(folder)]
    path = held.root
    if not path.is_dir():
        return [_file(path, 1)]
    # A directory of a sink's files, or of a gateway's with one subdirectory for each session.
    files = sorted(path.glob("*.jsonl")) or sorted(path.glob("*/*.jsonl"))
    if not files:
        hint = "Name a journal directory or a JSONL file"
        raise JournalError("read", path, "there is no journal in it", hint)
    return [_file(file, number) for number, file in enumerate(files, 1)]


def _segments(folder: Path) -> list[SourceFile]:
    found = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                number = segment_index(entry.name)
                if number is None:
                    continue
                try:
                    status = entry.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue
                path = folder / segment_name(number)
                found.append(SourceFile(path, folder, number, status.st_size, status.st_ino))
    except FileNotFoundError:
        return []  # it has just been deleted
    except OSError as error:
        raise JournalError("list", folder, error.strerror or error) from error
    return sorted(found, key=lambda source: source.number)


def _file(path: Path, number: int) -> SourceFile:
    try:
        status = path.stat()
    except OSError as error:
        raise JournalError("read", path, error.strerror or error) from error
    return SourceFile(path, None, number, status.st_size, status.st_ino)
