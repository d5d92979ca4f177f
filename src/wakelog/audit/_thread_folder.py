"""The folder of one thread: lines appended under a kernel lock, by any number of processes.

It has the form of a journal's writer: numbered segments with a header, lines chained by checksum, and
``seq`` for the ordinal. Unlike there, processes take turns: each appends under ``flock``, after it
has read what others have appended since its last turn.
"""

from __future__ import annotations

import errno
import fcntl
import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

from wakelog.audit._keys import ThreadKey
from wakelog.errors import CorruptLineError, JournalError, SessionLogBusyError
from wakelog.events import semconv as s
from wakelog.journal import Cursor, Mark
from wakelog.journal._filesystem import SYSTEM
from wakelog.record import Header, Resource, read_header, seal, seal_header

_FLAGS = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
_DIRECTORY_MODE, _FILE_MODE = 0o700, 0o600
_TURN_SECONDS = 0.0005
_NO_BYTES_LIMIT = 1 << 62
_UNKNOWN = "The events were written, and nobody knows whether the disk has them"
_HINT = "Check that the directory exists, is writable and has space"


class Sealable(NamedTuple):
    """A record that has no place yet: its id, and its content from ``wakelog.record.encode``."""

    id: str
    content: bytes


class ThreadFolder:
    """Appends to the folder of one thread.

    ``_lock`` and, between processes, the lock file guard the end of the last segment. Under them a
    line is sealed and written; nothing is encoded, and synced only what a new name needs. The first
    may be taken twice by a thread, so that a signal handler learns that it has to come later.

    Args:
        path: The folder; it is made at the first append.
        key: The thread.
        segment_bytes: The size at which a segment is ended and the next begun.
        synced: Whether names of new files shall be durable at once.
    """

    def __init__(self, path: Path, key: ThreadKey, *, segment_bytes: int, synced: bool) -> None:
        self.path = path
        self._key = key
        self._segment_bytes = segment_bytes
        self._synced = synced
        self._lock = threading.RLock()
        self._taken = False
        self._lock_fd = self._fd = -1
        self._size, self._seq, self._crc = 0, 0, 0
        self._note_segment(0)
        # One syncs at a time. Ended segments are kept open until they are synced.
        self._syncing = threading.Lock()
        self._ended: list[int] = []
        self._ticket = self._synced_ticket = 0
        self._distrusted = 0
        # What failed syncs have left out: after one ticket, up to another.
        self._failed: list[tuple[int, int]] = []

    def append(self, records: Sequence[Sealable], timeout: float | None) -> tuple[int, int]:
        """Write records, in one ``write``.

        Args:
            records: What to write.
            timeout: How long to wait for a turn, in seconds; None for as long as it takes.

        Returns:
            The highest ordinal, and a ticket for ``sync``.

        Raises:
            SessionLogBusyError: When no turn came in time.
            JournalError: When the operating system refused.
        """
        with self.turn(timeout):
            if self._size >= self._segment_bytes:
                self.begin_segment()
            lines, seq, crc = [], self._seq, self._crc
            for record in records:
                seq += 1
                line, crc = seal(record.id, seq, record.content, crc)
                lines.append(line)
            data = b"".join(lines)
            self._ticket += 1
            try:
                _write(self._fd, data)
            except OSError as error:
                self._forget()
                raise self._refused("write to", error) from error
            self._size, self._seq, self._crc = self._size + len(data), seq, crc
            return seq, self._ticket

    def sync(self, ticket: int) -> None:
        """Make durable what was appended up to a ticket; one syncs for all who wait.

        Args:
            ticket: What ``append`` returned.

        Raises:
            JournalError: When the disk refused.
        """
        with self._syncing:
            if any(after < ticket <= up_to for after, up_to in self._failed):
                raise JournalError("sync", self.path, "an earlier sync failed", _UNKNOWN)
            if ticket <= self._synced_ticket:
                return
            with self._lock:
                reached = self._ticket
                ended, self._ended = self._ended, []
                fds = [*ended, os.dup(self._fd)] if self._fd >= 0 else ended
            try:
                for fd in fds:
                    SYSTEM.fdatasync(fd)
            except OSError as error:
                # A later sync may claim success for pages that the kernel has dropped, those among
                # them that were written during this one.
                with self._lock:
                    self._distrusted, reached = self._segment, self._ticket
                    self._end_segment()
                    fds, self._ended = fds + self._ended, []
                self._failed = [one for one in self._failed if one[0] != self._synced_ticket]
                self._failed.append((self._synced_ticket, reached))
                cause = error.strerror or error
                raise JournalError("sync", self.path, cause, _UNKNOWN) from error
            finally:
                for fd in fds:
                    os.close(fd)
            self._synced_ticket = reached

    def last_ordinal(self) -> int:
        """Return the highest ordinal, 0 when there is none."""
        if not self.path.is_dir():
            return 0
        with self.turn(None):
            return self._seq

    @property
    def seq(self) -> int:
        """The highest ordinal, for the one whose turn it is."""
        return self._seq

    @contextmanager
    def turn(self, timeout: float | None) -> Iterator[None]:
        """Be the only one who appends, knowing where the log ends.

        Raises:
            SessionLogBusyError: When no turn came in time.
            JournalError: When the operating system refused.
        """
        until = None if timeout is None else time.monotonic() + timeout
        if not self._lock.acquire(timeout=-1 if timeout is None else timeout):
            raise self._busy()
        if self._taken:
            # A signal handler, which has interrupted its own thread in the middle of a turn.
            self._lock.release()
            raise self._busy()
        self._taken = True
        try:
            try:
                self._take_file_lock(until)
            except OSError as error:
                raise self._refused("lock", error) from error
            try:
                self._catch_up()
                yield
            finally:
                # close() in between has given the lock up already.
                if self._lock_fd >= 0:
                    fcntl.flock(self._lock_fd, fcntl.LOCK_UN)
        finally:
            self._taken = False
            self._lock.release()

    def begin_segment(self) -> None:
        """End the current segment and begin the next, when it is one's turn."""
        index = self._segment + 1
        resource = Resource(
            {s.TENANT_ID: self._key.tenant_id, s.CONVERSATION_ID: self._key.thread_id}
        )
        line, header = seal_header(self.path.name, index, self._seq, self._crc, resource)
        path = self.path / segment_name(index)
        try:
            fd = SYSTEM.open(path, _FLAGS, _FILE_MODE)
            try:
                _write(fd, line)
                if self._synced:
                    SYSTEM.sync_directory(self.path)
            except OSError:
                os.close(fd)
                SYSTEM.unlink(path)
                raise
        except OSError as error:
            self._forget()
            raise self._refused("begin a segment in", error) from error
        self._end_segment()
        self._fd, self._size, self._crc = fd, len(line), header.crc
        self._note_segment(index)

    def _end_segment(self) -> None:
        """Write to the open segment no more; the next sync has to cover it all the same."""
        if self._fd >= 0 and self._synced:
            self._ended.append(self._fd)
        elif self._fd >= 0:
            os.close(self._fd)
        self._fd = -1

    def _note_segment(self, index: int) -> None:
        self._segment = index
        self._next_path = str(self.path / segment_name(index + 1))

    def close(self) -> bool:
        """Close the files, unless somebody is using them; they are opened again when needed.

        Returns:
            Whether they are closed.
        """
        if not self._lock.acquire(blocking=False):
            return False
        try:
            if not self._ended and not self._taken:
                self._forget()
            return self._fd < 0
        finally:
            self._lock.release()

    def abandon(self) -> None:
        """Close the files in a forked child. The kernel's lock stays the parent's."""
        self._synced = False
        self.__del__()

    def __del__(self) -> None:
        """Close the files."""
        self._forget()
        for fd in self._ended:
            os.close(fd)
        self._ended = []

    def _forget(self) -> None:
        """Know nothing of the files any more; they are opened again in the next turn."""
        self._end_segment()
        if self._lock_fd >= 0:
            os.close(self._lock_fd)
        self._lock_fd = -1

    def _take_file_lock(self, until: float | None) -> None:
        while True:
            if self._lock_fd < 0:
                self._make_folder()
                path = self.path / "lock"
                flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
                self._lock_fd = SYSTEM.open(path, flags, _FILE_MODE)
            try:
                fcntl.flock(self._lock_fd, fcntl.LOCK_EX | (0 if until is None else fcntl.LOCK_NB))
            except BlockingIOError:
                if until is None or time.monotonic() >= until:
                    raise self._busy() from None
                time.sleep(_TURN_SECONDS)
                continue
            if os.fstat(self._lock_fd).st_nlink:
                return
            self._forget()  # the folder was deleted, and whoever comes next makes another

    def _make_folder(self) -> None:
        if self.path.is_dir():
            return
        tenant = self.path.parent
        tenant.parent.mkdir(mode=_DIRECTORY_MODE, parents=True, exist_ok=True)
        tenant.mkdir(mode=_DIRECTORY_MODE, exist_ok=True)
        self.path.mkdir(mode=_DIRECTORY_MODE, exist_ok=True)
        if self._synced:
            SYSTEM.sync_directory(tenant)
            SYSTEM.sync_directory(tenant.parent)

    def _catch_up(self) -> None:
        """Learn what has been appended since this process's last turn."""
        try:
            if self._fd >= 0 and not os.access(self._next_path, os.F_OK):
                status = os.fstat(self._fd)
                if status.st_size == self._size and status.st_nlink:
                    return
                if status.st_size > self._size and status.st_nlink:
                    mark = Mark(self._segment, self._size, self._seq, self._crc)
                    self._go_to_the_end(self._segment, mark)
                    return
            self._find_the_end()
        except OSError as error:
            raise self._refused("read", error) from error

    def _find_the_end(self) -> None:
        self._end_segment()
        indices = segments(self.path)
        if not indices:
            # Nothing yet, or only archived segments are left: numbers are not used again.
            archived = segments(self.path / "archive", ".jsonl.gz")
            self._note_segment(archived[-1] if archived else 0)
            self._crc = 0
            self._seq = read_watermark(self.path) or 0
            self.begin_segment()
            return
        last = indices[-1]
        whole = header_in(self.path / segment_name(last)) is not None
        # Without its header, what is in the last segment counts on from those before it.
        self._go_to_the_end(last, Mark(segment=last if whole else 0), whole=whole)

    def _go_to_the_end(self, last: int, mark: Mark, *, whole: bool = True) -> None:
        cursor = Cursor(self.path, mark)
        try:
            while True:
                # One by one, so that the last chunk has what is damaged after the last record.
                chunk = cursor.read(1, _NO_BYTES_LIMIT)
                if not chunk.entries:
                    break
        finally:
            cursor.close()
        mark = chunk.mark
        self._note_segment(last)
        self._size = mark.offset
        self._seq, self._crc = mark.seq + len(chunk.damaged), mark.crc or 0
        if self._fd < 0:
            flags = os.O_RDWR | os.O_APPEND | os.O_CLOEXEC
            self._fd = SYSTEM.open(self.path / segment_name(last), flags)
        torn = mark.segment != last or os.fstat(self._fd).st_size != mark.offset
        doubtful = chunk.damaged or not whole or mark.crc is None or last == self._distrusted
        if torn or doubtful:
            # A line after half a line would be lost with it, and damage may be more than it seems.
            self.begin_segment()

    def _busy(self) -> SessionLogBusyError:
        return SessionLogBusyError(f"cannot append to {self.path} yet: others are appending to it")

    def _refused(self, operation: str, error: OSError) -> JournalError:
        return JournalError(operation, self.path, error.strerror or error, _HINT)


def _write(fd: int, data: bytes) -> None:
    if SYSTEM.write(fd, data) != len(data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def segment_name(index: int) -> str:
    """Return the file name of a segment."""
    return f"{index:08d}.jsonl"


def segments(folder: Path, ending: str = ".jsonl") -> list[int]:
    """Return the indices of the segments in a folder, ascending; none where there is no folder."""
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return []
    stems = (name.removesuffix(ending) for name in names if name.endswith(ending))
    return sorted(int(stem) for stem in stems if len(stem) == 8 and stem.isdecimal())  # noqa: PLR2004


def header_in(path: Path) -> Header | None:
    """Return a segment's header, None when it is damaged, not whole yet, or the file is gone."""
    try:
        with path.open("rb") as file:
            line = file.readline()
        return read_header(line.removesuffix(b"\n"), str(path)) if line.endswith(b"\n") else None
    except (FileNotFoundError, CorruptLineError):
        return None


def read_watermark(folder: Path) -> int | None:
    """Return up to which ordinal a thread is archived, None when its file is missing or damaged."""
    try:
        line = (folder / "watermark").read_bytes()
    except FileNotFoundError:
        return None
    number, _, _ = line.partition(b" ")
    return int(number) if number.isdigit() and line == watermark_line(int(number)) else None


def watermark_line(watermark: int) -> bytes:
    """Return what the watermark's file says: the number, and its checksum."""
    number = b"%d" % watermark
    return b"%b %08x\n" % (number, crc32(number))
