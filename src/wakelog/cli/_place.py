"""What a path names, and the error messages of all commands for a path that they cannot use."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

from wakelog.errors import CorruptLineError, JournalError
from wakelog.journal import folders
from wakelog.record import decode_loose
from wakelog.runtime import open_to_read

_MARKER, _LOCK, _SEGMENTS = "wakelog.json", "lock", "[0-9]*.jsonl"
_JOURNAL_ONLY: Final = "Name a directory that a program records into, or one writer's folder in it"
_FILES_TOO: Final = "Name a journal directory, one writer's folder in it, or a JSONL file"
_MISSING: Final = "there is no such file or directory"
_EMPTY: Final = "it is an empty file"
_NO_JOURNAL: Final = "there is no journal in it"
_SPECIAL: Final = (
    (stat.S_ISFIFO, "it is a FIFO (a named pipe)"),
    (stat.S_ISSOCK, "it is a socket"),
    (stat.S_ISCHR, "it is a device"),
    (stat.S_ISBLK, "it is a device"),
)
# The first bytes of formats that are often beside logs.
_FORMATS: Final = (
    (b"SQLite format 3\0", "it is a SQLite database"),
    (b"\x1f\x8b", "it is compressed with gzip"),
    (b"\x28\xb5\x2f\xfd", "it is compressed with zstd"),
    (b"PK\x03\x04", "it is a ZIP archive"),
)
# The beginnings of Wakelog's lines, by which damaged and incomplete ones are recognized, too.
_OUR_BEGINNINGS: Final = (b'{"writer":', b'{"id":"')
_LOOK_BYTES: Final = 64 * 1024


def check_journal(path: Path) -> None:
    """Check that a path names a journal directory or the folder of one writer.

    Raises:
        JournalError: If it does not; the message says what it names.
    """
    if _is_directory(path, _JOURNAL_ONLY):
        if not has_journal(path):
            more = ", but files of lines, which have no books and no seals"
            raise _refused(path, _NO_JOURNAL + more * _has_lines(path), _JOURNAL_ONLY)
        return
    what = _foreign(path)
    if what is None:
        what = (
            "it is a single file, which has no books and no seals"
            if path.stat().st_size
            else _EMPTY
        )
    raise _refused(path, what, f"{_JOURNAL_ONLY}; 'wakelog show' reads single files")


def check_source(path: Path, *, grows: bool = False) -> None:
    """Check that a path names a journal, a writer's folder or a file that may hold records.

    Args:
        path: The path.
        grows: Whether the command follows the path: then a directory must be a journal, and a file
            that is not empty must hold a record.

    Raises:
        JournalError: If it does not; the message says what it names.
    """
    if _is_directory(path, _FILES_TOO):
        if not has_journal(path) and (grows or not _has_lines(path)):
            raise _refused(path, _NO_JOURNAL, _FILES_TOO)
    elif grows:
        check_found_nothing(path)


def check_found_nothing(path: Path) -> None:
    """Check that a path in which no record was found is nevertheless a journal or a file of lines.

    Raises:
        JournalError: If it is not; the message says what it is.
    """
    if not path.is_dir():
        what = _foreign(path)
    else:
        what = None if has_journal(path) else "there is no journal and no record in it"
    if what is not None:
        raise _refused(path, what, _FILES_TOO)


def is_empty_file(path: Path) -> bool:
    """Tell whether a path names an empty file."""
    return path.is_file() and not path.stat().st_size


def journal_at(path: Path) -> tuple[Path, str | None]:
    """Return the journal's directory, and the writer's id if the path is a writer's folder."""
    path = path.absolute()
    return (path.parent, path.name) if _is_writer(path) else (path, None)


def _is_directory(path: Path, hint: str) -> bool:
    """Tell whether a readable path is a directory or a regular file.

    Raises:
        JournalError: If it is neither, or cannot be read.
    """
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            os.scandir(path).close()
            os.stat(path / ".")  # checks search permission, which opening the files needs
            return True
        for is_one, what in _SPECIAL:
            if is_one(mode):
                raise _refused(path, what, hint)
        open_to_read(os.path.realpath(path)).close()
    except FileNotFoundError:
        raise _refused(path, _MISSING, hint) from None
    except OSError as error:
        raise _refused_by_system(path, error, hint) from error
    return False


def has_journal(path: Path) -> bool:
    """Tell whether a directory is a journal or the folder of one writer."""
    path = path.absolute()
    return (
        (path / _MARKER).is_file()
        or _is_writer(path)
        or any(_is_writer(folder) for folder in folders(path))
    )


def _is_writer(folder: Path) -> bool:
    """Tell whether a folder is a writer's, and not another one that has a file named "lock"."""
    try:
        if not (folder / _LOCK).is_file():
            return False
        return (folder.parent / _MARKER).is_file() or any(folder.glob(_SEGMENTS))
    except OSError:
        return False  # a folder of another user, which is not readable


def _has_lines(path: Path) -> bool:
    """Tell whether a directory or its subdirectories have files of lines, as sinks write them."""
    return any(file.is_file() for name in ("*.jsonl", "*/*.jsonl") for file in path.glob(name))


def _foreign(path: Path) -> str | None:
    """Return what a file is if it has no record near its beginning or end.

    Returns:
        A description; None for a file that has records, or is empty.

    Raises:
        JournalError: If it cannot be read.
    """
    try:
        with open_to_read(os.path.realpath(path)) as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(0)
            head = file.read(_LOOK_BYTES)
            file.seek(max(0, size - _LOOK_BYTES))
            tail = file.read(_LOOK_BYTES)
    except OSError as error:
        raise _refused_by_system(path, error, _FILES_TOO) from error
    if not size or any(_is_ours(line) for line in (*head.splitlines(), *tail.splitlines())):
        return None
    for beginning, what in _FORMATS:
        if head.startswith(beginning):
            return f"{what}, not a file of JSON lines"
    if b"\0" in head:
        return "it is a binary file, not a file of JSON lines"
    if head.lstrip().startswith((b"{", b"[")):
        return "it is JSON, but no line of it is a record"
    return "it is a text file, and no line of it is a record"


def _is_ours(line: bytes) -> bool:
    if line.startswith(_OUR_BEGINNINGS):
        return True
    try:
        decode_loose(line, "")
    except CorruptLineError:
        return False
    return True


def _refused_by_system(path: Path, error: OSError, hint: str) -> JournalError:
    if isinstance(error, PermissionError):
        hint = "Run this as the user whose program records there"
    return _refused(path, error.strerror or error, hint)


def _refused(path: Path, cause: object, hint: str) -> JournalError:
    return JournalError("read", path, cause, hint)
