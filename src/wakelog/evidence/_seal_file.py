"""The seal file of one folder: locking it, its last line, and appending to it."""

from __future__ import annotations

import errno
import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

from wakelog.errors import JournalError
from wakelog.evidence._keys import Signer
from wakelog.evidence._seal import FIRST, Seal, make_seal, parse_seal
from wakelog.record import rfc3339
from wakelog.runtime import SYSTEM, FileLock, FileSystem, contained, open_to_read, regular_file
from wakelog.storage import SEALS, end_of_lines, ends_with_a_line, line_before, lines

_LOCK_SECONDS = 10.0
_log = logging.getLogger("wakelog")


class SealFile:
    """The seal file of one folder, held under a kernel lock, because only one process may append.

    Args:
        folder: The writer's folder.
        fs: The system calls.

    Attributes:
        last: The last seal; None if there is none yet.
        cut: Whether the file has lost the last known seal.
    """

    def __init__(
        self, folder: Path, lock: FileLock, fs: FileSystem, known: Seal | None = None
    ) -> None:
        self.folder, self._lock, self._fs = folder, lock, fs
        self.path = folder / SEALS
        self.last = _last_seal(lock.descriptor)
        self.cut = known is not None and _has_lost(self.last, known)
        if known is not None and self.cut:
            # Continuing from the remaining seals would sign other lines in place of sealed ones.
            _log.error(
                "%s has lost seals: the seal %d of %s was its last one. What is sealed now follows on that, "
                "and wakelog verify --keys will name the gap",
                self.path,
                known.number,
                known.time,
            )
            self.last = known

    @classmethod
    def hold(
        cls,
        folder: Path,
        fs: FileSystem = SYSTEM,
        timeout: float = _LOCK_SECONDS,
        known: Seal | None = None,
    ) -> Self:
        """Lock the file, and create it if it is missing.

        Args:
            folder: The writer's folder.
            fs: The system calls.
            timeout: The longest wait for the lock, in seconds.
            known: The last seal that the caller knows. If the file has lost it, the next seal
                nevertheless follows on it.

        Raises:
            JournalError: If reading or writing fails, or the lock is not available in time.
        """
        path = folder / SEALS
        try:
            new = regular_file(path) is None
            lock = FileLock.take(path, create=True, timeout=timeout, fs=fs)
            if lock is None:
                raise OSError(errno.EAGAIN, "another process is sealing it")  # noqa: TRY301 - one way out
            if new:
                fs.sync_directory(folder)
            return cls(folder, lock, fs, known)
        except OSError as error:
            raise JournalError("seal", path, error.strerror or error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def append(
        self, kind: str, fields: dict[str, Any], signer: Signer, by: str, marks: bytes = b""
    ) -> Seal:
        """Sign a line, append it and sync the file.

        Raises:
            JournalError: If signing or writing fails. Then nothing was appended, or only an
                incomplete line, which readers ignore.
        """
        last = self.last
        head = {
            "kind": kind,
            "number": 1 if last is None else last.number + 1,
            "writer": self.folder.name,
            "previous": FIRST if last is None else last.digest,
            "time": rfc3339(time.time_ns()),
            "by": by,
        }
        seal = contained(lambda: make_seal({**head, **fields}, signer.id, signer.sign, marks))
        if isinstance(seal, BaseException):
            cause = f"the signer failed: {type(seal).__name__}: {seal}"
            raise JournalError("seal", self.path, cause) from seal
        line = seal.line()
        fd = self._lock.descriptor
        try:
            if not ends_with_a_line(fd):
                line = b"\n" + line  # the last line is incomplete after a crash
            os.lseek(fd, 0, os.SEEK_END)
            written = self._fs.write(fd, line)
            while written < len(line):
                written += self._fs.write(fd, line[written:])
            self._fs.fdatasync(fd)
        except OSError as error:
            raise JournalError("seal", self.path, error.strerror or error) from error
        self.last = seal
        return seal


def _has_lost(last: Seal | None, known: Seal) -> bool:
    if last is None or last.number < known.number:
        return True
    return last.number == known.number and last.digest != known.digest


def _last_seal(descriptor: int) -> Seal | None:
    end = end_of_lines(descriptor)
    while end:
        begin, line = line_before(descriptor, end)
        if (seal := parse_seal(line)) is not None:
            return seal
        end = begin
    return None


def read_seals(folder: Path) -> Iterator[tuple[int, bytes, Seal | None]]:
    """Read the seal file without locking it.

    Yields:
        Each complete line: its number from 1, the line, and the seal, or None.

    Raises:
        JournalError: If reading fails.
    """
    path = folder / SEALS
    try:
        with open_to_read(path) as file:
            for number, (_, line, _) in enumerate(lines(file), 1):
                if line.endswith(b"\n"):
                    yield number, line[:-1], parse_seal(line)
    except FileNotFoundError:
        return
    except OSError as error:
        raise JournalError("read", path, error.strerror or error) from error


def last_seal(folder: Path) -> Seal | None:
    """Return the last seal of a folder without locking its file; None if there is none.

    Raises:
        JournalError: If reading fails.
    """
    path = folder / SEALS
    try:
        with open_to_read(path) as file:
            return _last_seal(file.fileno())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise JournalError("read", path, error.strerror or error) from error
