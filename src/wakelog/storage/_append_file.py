"""The append file: lines written to one file after another, and one answer to a disk that fails.

A file whose ``fdatasync`` has failed gets nothing more, because a later sync of it may claim success
for pages that the kernel has dropped. The lines that somebody waits for are written again, into a new
file, and synced there. What files are called, and how the next one begins, is said by each kind of
append file: a journal's segments, one named file, a conversation's folder, a session of the gateway.
"""

from __future__ import annotations

import errno
import os
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from wakelog.errors import JournalError
from wakelog.runtime import FileSystem, is_refusal

BETWEEN = "a signal's handler came in between, while lines were saved from a file that failed"


class File(NamedTuple):
    """A descriptor of a file that has to be synced, and its number among the files of its writer."""

    segment: int
    descriptor: int


class Written(NamedTuple):
    """What had been written at some moment, and has to be synced.

    Attributes:
        seq: The last record.
        segment: The number of its file.
        files: The files, with descriptors of their own.
        ended: How many of them are ended files.
        lines: How many lines somebody waits for.
    """

    seq: int
    segment: int
    files: list[File]
    ended: int
    lines: int


class Unsynced(NamedTuple):
    """A line that somebody waits to see on the disk, kept in case its file cannot be trusted.

    Attributes:
        id: The record's id.
        seq: Its number.
        content: What it is made of.
        context: What else its kind of append file needs to write it again.
    """

    id: str
    seq: int
    content: bytes
    context: Any


class AppendFile(ABC):
    """What is known of the file that is written, and of ended ones that have to be synced.

    ``_lock`` guards it. Its holder may be interrupted at any call, by a signal's handler or a
    finalizer that records, which changes ``_epoch``: what was prepared meanwhile is prepared anew. Or
    the handler raises: what belongs together is changed without a call in between, because CPython
    lets handlers run where a call returns, and where a function or another round of a loop begins.

    Args:
        fs: The file-system calls; a test may record them or make them fail.
        lock: The lock, where several append files share one.
    """

    def __init__(self, fs: FileSystem, lock: threading.RLock | None = None) -> None:
        self._fs = fs
        self._lock = threading.RLock() if lock is None else lock
        self._epoch = 0
        # The current file and its number; no descriptor between two of them.
        self._fd = -1
        self._segment = 0
        # The file beside it, whose bytes have to be on the disk before its own; mostly none.
        self._beside_fd = -1
        # The last record's number, and the last line's checksum.
        self._seq = 0
        self._crc = 0
        # Whether the current file holds a line that has to be synced, the ended files that do, and
        # the lines that threads are waiting for: never more than there are threads.
        self._sync_wanted = False
        self._unsynced_files: list[File] = []
        self._unsynced: list[Unsynced] = []
        # Whether a sync beside the others has failed, after which none of them says anything.
        self._distrusted = False
        # Whether lines are being written again, into a new file.
        self._saving = False
        # The file whose name the directory is known to keep through a power failure.
        self._named_segment = 0

    @property
    def sync_is_due(self) -> bool:
        """Whether lines have been written that ``PERIODIC`` or ``FSYNC`` wants on the disk."""
        return self._sync_wanted or bool(self._unsynced_files)

    @abstractmethod
    def _write_again(self, lines: list[Unsynced], error: OSError) -> None:
        """Write lines into a new file, under the numbers that they have. Under the lock.

        Args:
            lines: The lines.
            error: Why the file before them is not trusted any more.

        Raises:
            JournalError: When a system call fails.
        """

    @abstractmethod
    def _sync_names(self) -> None:
        """Have the directories keep the name of the current file through a power failure."""

    @abstractmethod
    def _refused(self, operation: str, error: OSError | str) -> JournalError:
        """Make the error that says what the operating system refused."""

    def _distrust(self) -> None:
        """Let go of files that cannot be trusted, so that nothing more is written there."""
        self._close_files()

    def _is_lost(self, file: File) -> bool:
        """Return whether a file was deleted by somebody, and its lines with it."""
        del file
        return False

    def _note_synced(self, seconds: float, reached: int) -> None:
        """Learn how long a sync has taken, and up to which record it reached."""
        del seconds, reached

    def _go_on_in(self, fd: int, segment: int) -> None:
        """Write to another file from now on; what the one before holds is synced all the same."""
        old, kept = self._fd, self._sync_wanted
        if kept and old >= 0:
            self._unsynced_files = [*self._unsynced_files, File(self._segment, old)]
        self._epoch += 1
        self._fd = fd
        self._segment = segment
        self._sync_wanted = False
        if old >= 0 and not kept:
            os.close(old)

    def _sync_written(self) -> int:
        """Make everything written so far durable, one thread at a time, and return how far.

        Raises:
            JournalError: When the disk refused, and the lines could not be saved.
        """
        with self._lock:
            written = self._get_written()
            self._sync_wanted = False
        began = time.perf_counter()
        reached, segment = written.seq, written.segment
        try:
            self._sync(written)
        except BaseException as error:
            if not is_refusal(error):
                self._sync_wanted = True
                raise
            # A later sync of the same file would claim success for pages that the kernel has
            # dropped, so the file is never used again and the lines go into a new one.
            self._distrusted = True
            reached, segment = self._save(error)
        else:
            self._let_go(written)
        self._named_segment = segment
        if written.files:
            self._note_synced(time.perf_counter() - began, reached)
        return reached

    def _sync_beside(self) -> None:
        """Make everything written so far durable, whatever else is under way.

        Raises:
            JournalError: When the disk refused.
        """
        with self._lock:
            written = self._get_written()
        try:
            self._sync(written)
        except OSError as error:
            if not is_refusal(error):
                raise
            self._distrusted = True
            raise self._refused("sync", error) from error

    def _get_written(self) -> Written:
        """Return what has to be synced; its files are the caller's to close. Under the lock."""
        while True:
            epoch = self._epoch
            ended, lines = self._unsynced_files, len(self._unsynced)
            files: list[File] = []
            try:
                beside = File(self._segment, self._beside_fd)
                for file in (*ended, beside, File(self._segment, self._fd)):
                    if file.descriptor >= 0:  # those that were made are closed
                        files.append(File(file.segment, os.dup(file.descriptor)))  # noqa: PERF401
                written = Written(self._seq, self._segment, files, len(ended), lines)
            except BaseException as error:
                close(files)
                if not is_refusal(error):
                    raise
                if epoch != self._epoch:
                    continue
                # Too many open files: all stays for the next sync.
                raise self._refused("sync", error) from error
            if epoch == self._epoch:
                return written
            close(files)

    def _sync(self, written: Written) -> None:
        try:
            for file in written.files:
                self._fs.fdatasync(file.descriptor)
                if self._is_lost(file):
                    raise FileNotFoundError(errno.ENOENT, "the file has been deleted")
            if self._named_segment != written.segment:
                self._sync_names()
            if self._distrusted:
                raise OSError(errno.EIO, "an earlier sync failed")
        finally:
            close(written.files)

    def _let_go(self, written: Written) -> None:
        """Close ended files that are on the disk, and forget the lines that are."""
        with self._lock:
            ended = self._unsynced_files[: written.ended]
            self._epoch += 1
            self._unsynced_files = self._unsynced_files[written.ended :]
            del self._unsynced[: written.lines]
            close(ended)

    def _save(self, error: OSError) -> tuple[int, int]:
        """Write the lines of a file whose sync failed into a new one, and sync that."""
        with self._lock:
            # What was written since the sync began is in the same file.
            lines, reached = self._unsynced, self._seq
            self._distrust()
            self._sync_wanted = False
            try:
                if not lines:
                    raise self._refused("sync", error) from error
                self._saving = True
                self._write_again(lines, error)
            except JournalError:
                self._give_up()
                raise
            finally:
                self._seq = max(reached, self._seq)
                self._saving = False
            written = self._get_written()
            self._distrusted = False
        try:
            self._sync(written)
        except OSError as second:
            if not is_refusal(second):
                raise
            with self._lock:
                self._give_up()
            raise self._refused("sync", second) from second
        self._let_go(written)
        return reached, written.segment

    def _give_up(self) -> None:
        """Leave lines out that could not be saved: those who wait for them are told."""
        self._distrust()
        self._unsynced, self._distrusted = [], False

    def _close_files(self) -> None:
        files = [File(self._segment, self._beside_fd), File(self._segment, self._fd)]
        files = [*self._unsynced_files, *files]
        none: list[File] = []
        self._epoch += 1
        self._fd = self._beside_fd = -1
        self._unsynced_files = none
        close(files)


def write_whole_lines(fs: FileSystem, fd: int, data: bytes) -> None:
    """Write lines with one call, and what a nearly full disk has not taken with further ones.

    Only where nobody else writes to the file, since their lines would come in between.

    Raises:
        OSError: When not everything was written.
    """
    written = fs.write(fd, data)
    while written < len(data):
        written += fs.write(fd, data[written:])


def sync_made(fs: FileSystem, made: Iterable[Path]) -> None:
    """Have directories that were just made keep their names through a power failure.

    Raises:
        OSError: When the disk refused.
    """
    for folder in made:
        fs.sync_directory(folder.parent)


def close(files: Iterable[File]) -> None:
    """Close descriptors, leaving out those that are none."""
    for file in files:
        if file.descriptor >= 0:
            os.close(file.descriptor)
