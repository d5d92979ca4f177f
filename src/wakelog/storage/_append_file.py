"""The append file: lines are appended to one file after another, and survive a failed sync.

A file whose ``fdatasync`` has failed is not written again, because a later sync may report success
for pages that the kernel has dropped. Lines that wait for a sync are written again, to a new file,
and synced there. Subclasses define the names of files and how the next one begins: a journal's
segments, one named file, a conversation's folder, a session of the gateway.
"""

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
from wakelog.storage._group import GroupCommit

BETWEEN = "a signal handler recorded an event while lines of a failed file were being written again"
LEFT_BEHIND = "the sync of an event that a signal handler recorded meanwhile has failed"


class File(NamedTuple):
    """A descriptor of a file that has to be synced, and its number in its writer."""

    segment: int
    descriptor: int


class Written(NamedTuple):
    """A snapshot of what has to be synced.

    Attributes:
        seq: The number of the last record.
        segment: The number of its file.
        files: The files, with duplicated descriptors.
        ended: The number of ended files among them.
        lines: The number of lines that wait for this sync.
    """

    seq: int
    segment: int
    files: list[File]
    ended: int
    lines: int


class Unsynced(NamedTuple):
    """A line that waits for a sync, kept in case the sync fails.

    Attributes:
        id: The record's id.
        seq: Its number.
        content: The line, or the content from which it is made.
        context: Further data that the subclass needs to write it again.
    """

    id: str
    seq: int
    content: bytes
    context: Any


class AppendFile(ABC):
    """The current file, and the ended ones that have to be synced.

    ``_lock`` guards this state. At any call its holder may be interrupted by a signal handler or a
    finalizer that records, which changes ``_epoch``: then prepared data is prepared again. A
    handler may also raise, so related fields are assigned without a call in between: CPython runs
    handlers where a call returns, and at the beginning of a function or of a loop's next round.

    Args:
        fs: The file-system calls; a test may record them or make them fail.
        lock: The lock, if several append files share one.
    """

    def __init__(self, fs: FileSystem, lock: "threading.RLock | None" = None) -> None:
        self._fs = fs
        self._lock = threading.RLock() if lock is None else lock
        self._epoch = 0
        # The current file, -1 between two files, and its number.
        self._fd = -1
        self._segment = 0
        # The last record's number, and the last line's checksum.
        self._seq = 0
        self._crc = 0
        # Whether the current file has a line to sync, the ended files that have one, and the lines
        # that threads are waiting for, at most one for each thread.
        self._sync_wanted = False
        self._unsynced_files: list[File] = []
        self._unsynced: list[Unsynced] = []
        # Whether a concurrent sync has failed, after which the success of others proves nothing.
        self._distrusted = False
        # Whether lines are being written again, to a new file, and how many times they were.
        self._saving = False
        self._saves = 0
        # The number of the file whose directory is synced.
        self._named_segment = 0
        # Created by the first call that waits for a sync.
        self._group: GroupCommit | None = None

    @property
    def sync_is_due(self) -> bool:
        """Whether there are lines that ``PERIODIC`` or ``FSYNC`` requires to be synced."""
        return self._sync_wanted or bool(self._unsynced_files)

    def wait(self, seq: int) -> None:
        """Wait until a line and all lines before it are synced. Threads that wait share the sync.

        Args:
            seq: The line's number.

        Raises:
            JournalError: When the sync failed, and the lines could not be written again.
        """
        group = self._group
        if group is None:
            with self._lock:
                if self._group is None:
                    self._group = GroupCommit(
                        self._sync_written, self._sync_beside, lambda: self._seq
                    )
                group = self._group
        group.wait(seq)

    def _keep_until_synced(self, line: Unsynced, saves: int) -> None:
        """Keep a line that was written, to write it again if its sync fails. The caller holds the lock.

        Args:
            line: The line.
            saves: ``_saves`` before it was written.

        Raises:
            JournalError: When a signal handler or a finalizer recorded in between, and its sync
                failed: the lines that were kept then are in a new file, and this one is not.
        """
        if saves != self._saves:
            raise self._refused("sync", LEFT_BEHIND)
        self._unsynced.append(line)

    @abstractmethod
    def _write_again(self, lines: list[Unsynced], error: OSError) -> None:
        """Write lines to a new file, with unchanged numbers. The caller holds the lock.

        Args:
            lines: The lines.
            error: The error of the sync.

        Raises:
            JournalError: When a system call fails.
        """

    @abstractmethod
    def _sync_names(self) -> None:
        """Sync the directories of the current file."""

    @abstractmethod
    def _refused(self, operation: str, error: OSError | str) -> JournalError:
        """Return the error for a failed operation."""

    def _distrust(self) -> None:
        """Close the files after a failed sync, so that they are not written again."""
        self._close_files()

    def _is_lost(self, file: File) -> bool:
        """Return whether a file was deleted together with lines that are needed."""
        del file
        return False

    def _note_synced(self, seconds: float, reached: int) -> None:
        """Handle a sync, with its duration and the number of the last synced record."""
        del seconds, reached

    def _go_on_in(self, fd: int, segment: int) -> None:
        """Switch to another file. The former one is still synced if necessary."""
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
        """Sync everything written so far, one thread at a time, and return the last number.

        Raises:
            JournalError: When the sync fails and the lines cannot be written again.
        """
        with self._lock:
            epoch = self._epoch  # before the files, so that a handler's line in between counts
            written = self._get_written()
        began = time.perf_counter()
        reached, segment = written.seq, written.segment
        try:
            self._sync(written)
        except BaseException as error:
            if not is_refusal(error):
                raise
            # A later sync of the file would report success for pages that the kernel has dropped,
            # so the file is never used again and the lines go to a new one.
            self._distrusted = True
            reached, segment = self._save(error)
        else:
            self._let_go(written, epoch)
        self._named_segment = segment
        if written.files:
            self._note_synced(time.perf_counter() - began, reached)
        return reached

    def _sync_beside(self) -> None:
        """Sync everything written so far, even during another sync.

        Raises:
            JournalError: When the sync fails.
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
        """Return what has to be synced. The caller holds the lock, and closes the files."""
        while True:
            epoch = self._epoch
            ended, lines = self._unsynced_files, len(self._unsynced)
            files: list[File] = []
            try:
                for file in (*ended, File(self._segment, self._fd)):
                    if file.descriptor >= 0:  # on an error, the duplicates so far are closed
                        files.append(File(file.segment, os.dup(file.descriptor)))  # noqa: PERF401
                written = Written(self._seq, self._segment, files, len(ended), lines)
            except BaseException as error:
                close(files)
                if not is_refusal(error):
                    raise
                if epoch != self._epoch:
                    continue
                # Too many open files: everything is left to the next sync.
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

    def _let_go(self, written: Written, epoch: int) -> None:
        """Close synced ended files, and forget synced lines."""
        with self._lock:
            ended = self._unsynced_files[: written.ended]
            if epoch == self._epoch and written.seq == self._seq:
                # Only when nothing was written meanwhile, and not before the sync has ended: it may
                # be interrupted, and a file that ends meanwhile would be closed unsynced.
                self._sync_wanted = False
            self._epoch += 1
            self._unsynced_files = self._unsynced_files[written.ended :]
            del self._unsynced[: written.lines]
            close(ended)

    def _save(self, error: OSError) -> tuple[int, int]:
        """Write the lines of a file whose sync failed to a new one, and sync that."""
        with self._lock:
            # Lines that were written since the sync began are in the same file.
            lines, reached = self._unsynced, self._seq
            self._saves += 1
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
            epoch, written = self._epoch, self._get_written()
            self._distrusted = False
        try:
            self._sync(written)
        except OSError as second:
            if not is_refusal(second):
                raise
            with self._lock:
                self._give_up()
            raise self._refused("sync", second) from second
        self._let_go(written, epoch)
        return reached, written.segment

    def _give_up(self) -> None:
        """Forget lines that could not be written again; their callers get an error."""
        self._distrust()
        self._unsynced, self._distrusted = [], False

    def _close_files(self) -> None:
        files = [*self._unsynced_files, File(self._segment, self._fd)]
        none: list[File] = []
        self._epoch += 1
        self._fd = -1
        self._unsynced_files = none
        close(files)


def write_whole_lines(fs: FileSystem, fd: int, data: bytes) -> None:
    """Write lines with one call, and after a short write the rest with further calls.

    No other process may write to the file, because its lines could come in between.

    Raises:
        OSError: When a write fails.
    """
    written = fs.write(fd, data)
    while written < len(data):
        written += fs.write(fd, data[written:])


def sync_made(fs: FileSystem, made: Iterable[Path]) -> None:
    """Sync the parents of new directories.

    Raises:
        OSError: When a sync fails.
    """
    for folder in made:
        fs.sync_directory(folder.parent)


def close(files: Iterable[File]) -> None:
    """Close the descriptors that are open."""
    for file in files:
        if file.descriptor >= 0:
            os.close(file.descriptor)
