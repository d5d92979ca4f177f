"""The folder of one thread, to which any number of processes append under a kernel lock.

It has the form of a journal writer's folder: numbered segments with a header, lines chained by
checksum, and ``seq`` for the ordinal. Unlike there, several processes append in turn: each takes
the lock with ``flock``, and first reads what others have appended since its last turn.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple
from zlib import crc32

from wakelog.audit._keys import ThreadKey
from wakelog.errors import CorruptLineError, JournalError, SessionLogBusyError
from wakelog.events import semconv as s
from wakelog.journal import Cursor, Durability, Mark, dead_letter_line
from wakelog.record import Header, Resource, content_on, read_header, seal, seal_header
from wakelog.runtime import (
    SYSTEM,
    FileSystem,
    ForeignFileError,
    check_directory,
    fcntl,
    is_directory,
    make_directories,
    open_to_read,
    read_small,
)
from wakelog.storage import (
    COMPRESSED,
    LONGEST_LINE,
    AppendFile,
    Unsynced,
    segment_name,
    segments,
    sync_made,
    write_whole_lines,
)

_FLAGS = os.O_RDWR | os.O_APPEND
_FILE_MODE = 0o600
_TURN_SECONDS = 0.0005
_NO_BYTES_LIMIT = 1 << 62
_UNKNOWN = "The events were written, but it is unknown whether they are on disk"
_HINT = "Check that the directory exists, is writable and has space"


class Sealable(NamedTuple):
    """A record without a position: its id, and its content from ``wakelog.record.encode``."""

    id: str
    content: bytes


class ThreadFolder(AppendFile):
    """Appends to the folder of one thread.

    ``_lock`` and, between processes, the lock file guard the end of the last segment. Lines are
    sealed and written under them; nothing is encoded under them, and only new file names are
    synced. A thread may take ``_lock`` twice, so that a signal handler does not deadlock, but gets
    an error.

    Args:
        path: The folder, which is created by the first append.
        key: The thread.
        segment_bytes: The size at which the next segment begins.
        durability: The durability that callers wait for.
        fs: The system calls, which tests replace.
    """

    def __init__(
        self,
        path: Path,
        key: ThreadKey,
        *,
        segment_bytes: int,
        durability: Durability = Durability.OS_BUFFERED,
        fs: FileSystem = SYSTEM,
    ) -> None:
        super().__init__(fs)
        self.path = path
        self._key = key
        self._segment_bytes = segment_bytes
        self._synced = durability in (Durability.PERIODIC, Durability.FSYNC)
        self._kept = durability is Durability.FSYNC
        self._is_held = False
        self._lock_fd = -1
        self._size = 0
        self._go_on_in(-1, 0)
        # The segment whose last sync failed.
        self._failed_segment = 0

    def append(self, records: Sequence[Sealable], timeout: float | None) -> int:
        """Append records in one ``write``.

        Args:
            records: The records.
            timeout: The longest wait for the locks, in seconds; None for no limit.

        Returns:
            The highest ordinal.

        Raises:
            SessionLogBusyError: If the locks were not available in time.
            JournalError: If writing failed.
        """
        self._begin_turn(timeout)  # without `exclusive`, whose context manager takes longer
        try:
            self._catch_up()
            if self._size >= self._segment_bytes:
                self.begin_segment()
            before = self._seq
            lines, seq, crc = [], before, self._crc
            for record in records:
                seq += 1
                line, crc = seal(record.id, seq, record.content, crc)
                lines.append(line)
            data = b"".join(lines)
            try:
                write_whole_lines(self._fs, self._fd, data)
            except OSError as error:
                self._forget()
                raise self._refused("write to", error) from error
            self._size, self._seq, self._crc = self._size + len(data), seq, crc
            self._sync_wanted |= self._synced
            if self._kept:
                self._unsynced += [
                    Unsynced(record.id, seq, record.content, None)
                    for seq, record in enumerate(records, before + 1)
                ]
            return seq
        finally:
            self._end_turn()

    def _write_again(self, lines: list[Unsynced], error: OSError) -> None:
        """Write events to a new segment, including those of other processes."""
        del error
        first, again = lines[0].seq, {line.seq: Sealable(line.id, line.content) for line in lines}
        with self.exclusive(None):
            if max(self._seq, lines[-1].seq) >= first + len(lines):
                again = {**self._read_from(first), **again}
            self._seq = first - 1
            self.begin_segment(again)

    def _read_from(self, first: int) -> dict[int, Sealable]:
        """Return the records in the folder from an ordinal on."""
        cursor = Cursor(self.path, Mark(segment=segment_with(self.path, first - 1)))
        found: dict[int, Sealable] = {}
        try:
            while (chunk := cursor.read(512, LONGEST_LINE)).entries or chunk.damaged:
                for entry in chunk.entries:
                    if entry.record.seq >= first:
                        line = dead_letter_line(self.path, entry)
                        found[entry.record.seq] = Sealable(entry.record.id, content_on(line))
        finally:
            cursor.close()
        return found

    def _distrust(self) -> None:
        self._failed_segment = self._segment
        self._close_files()

    def _sync_names(self) -> None:
        for folder in (self.path, self.path.parent, self.path.parent.parent):
            self._fs.sync_directory(folder)

    def last_ordinal(self) -> int:
        """Return the highest ordinal; 0 if there is none."""
        if not is_directory(self.path):
            return 0
        with self.exclusive(None):
            return self._seq

    @property
    def seq(self) -> int:
        """The highest ordinal. The caller is inside ``exclusive``."""
        return self._seq

    @contextmanager
    def exclusive(self, timeout: float | None) -> Iterator[None]:
        """Hold the locks, and know the end of the log, inside the block.

        Raises:
            SessionLogBusyError: If the locks were not available in time.
            JournalError: If locking or reading failed.
        """
        self._begin_turn(timeout)
        try:
            self._catch_up()
            yield
        finally:
            self._end_turn()

    def _begin_turn(self, timeout: float | None) -> None:
        """Take the locks; ``_end_turn`` has to follow, unless this raises."""
        until = None if timeout is None else time.monotonic() + timeout
        if not self._lock.acquire(timeout=-1 if timeout is None else timeout):
            raise self._busy()
        if self._is_held:
            # A signal handler interrupted its own thread, which holds the locks.
            self._lock.release()
            raise self._busy()
        self._is_held = True
        try:
            self._take_file_lock(until)
        except BaseException as error:
            self._is_held = False
            self._lock.release()
            if isinstance(error, OSError):
                raise self._refused("lock", error) from error
            raise

    def _end_turn(self) -> None:
        try:
            # close() may have released the lock already.
            if self._lock_fd >= 0:
                fcntl.flock(self._lock_fd, fcntl.LOCK_UN)
        finally:
            self._is_held = False
            self._lock.release()

    def begin_segment(self, events: Mapping[int, Sealable] = MappingProxyType({})) -> None:
        """End the current segment and begin the next one. The caller is inside ``exclusive``.

        The file is written atomically, because its header states that everything up to a number is
        before it.

        Args:
            events: The first records of the segment, by ordinal.

        Raises:
            JournalError: If writing failed.
        """
        index, seq = self._segment + 1, self._seq
        path = self.path / segment_name(index)
        resource = Resource(
            {s.TENANT_ID: self._key.tenant_id, s.CONVERSATION_ID: self._key.thread_id}
        )
        data, header = seal_header(self.path.name, index, seq, self._crc, resource)
        crc = header.crc
        for seq in sorted(events):
            line, crc = seal(events[seq].id, seq, events[seq].content, crc)
            data += line
        try:
            self._fs.write_whole(path, data, synced=bool(events))
            fd = self._fs.open(path, _FLAGS)
        except OSError as error:
            self._forget()
            raise self._refused("begin a segment in", error) from error
        self._go_on_in(fd, index)
        self._size, self._seq, self._crc = len(data), seq, crc

    def _go_on_in(self, fd: int, segment: int) -> None:
        super()._go_on_in(fd, segment)
        self._next_path = str(self.path / segment_name(segment + 1))

    def close(self) -> bool:
        """Close the files, unless they are in use; they are opened again when needed.

        Returns:
            Whether they are closed.
        """
        if not self._lock.acquire(blocking=False):
            return False
        try:
            if not self.sync_is_due and not self._is_held:
                self._forget()
            return self._fd < 0
        finally:
            self._lock.release()

    def abandon(self) -> None:
        """Close the files in a forked child. The parent keeps the kernel's lock."""
        self.__del__()

    def __del__(self) -> None:
        """Close the files."""
        self._close_files()
        self._forget()

    def _forget(self) -> None:
        """Close the files; they are opened again by the next append."""
        self._go_on_in(-1, self._segment)
        if self._lock_fd >= 0:
            os.close(self._lock_fd)
        self._lock_fd = -1

    def _take_file_lock(self, until: float | None) -> None:
        while True:
            if self._lock_fd < 0:
                self._make_folder()
                path = self.path / "lock"
                flags = os.O_RDWR | os.O_CREAT
                self._lock_fd = self._fs.open(path, flags, _FILE_MODE)
            try:
                fcntl.flock(self._lock_fd, fcntl.LOCK_EX | (0 if until is None else fcntl.LOCK_NB))
            except BlockingIOError:
                if until is None or time.monotonic() >= until:
                    raise self._busy() from None
                time.sleep(_TURN_SECONDS)
                continue
            if os.fstat(self._lock_fd).st_nlink:
                return
            self._forget()  # the folder was deleted; create it again

    def _make_folder(self) -> None:
        tenant = self.path.parent
        made = []
        for directory in (tenant.parent, tenant, self.path):  # checked one by one
            made += make_directories(directory)
            check_directory(directory)
        if made and self._synced:
            sync_made(self._fs, made)

    def _catch_up(self) -> None:
        """Read what has been appended since this process's last append."""
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
        self._go_on_in(-1, self._segment)
        indices = segments(self.path, missing_ok=True)
        if not indices:
            # The thread is new, or has only archived segments, whose numbers are not reused.
            archived = segments(self.path / "archive", COMPRESSED, missing_ok=True)
            self._go_on_in(-1, archived[-1] if archived else 0)
            self._crc = 0
            self._seq = read_watermark(self.path) or 0
            self.begin_segment()
            return
        last = indices[-1]
        whole = header_in(self.path / segment_name(last)) is not None
        # If its header is damaged, the last segment's numbers continue from the segments before it.
        self._go_to_the_end(last, Mark(segment=last if whole else 0), whole=whole)

    def _go_to_the_end(self, last: int, mark: Mark, *, whole: bool = True) -> None:
        cursor = Cursor(self.path, mark)
        try:
            while True:
                # Read one at a time, so that the last chunk has the damaged lines after the last
                # record.
                chunk = cursor.read(1, _NO_BYTES_LIMIT)
                if not chunk.entries:
                    break
        finally:
            cursor.close()
        mark = chunk.mark
        if self._fd < 0:
            self._go_on_in(self._fs.open(self.path / segment_name(last), _FLAGS), last)
        self._size = mark.offset
        self._seq, self._crc = mark.seq + len(chunk.damaged), mark.crc or 0
        torn = mark.segment != last or os.fstat(self._fd).st_size != mark.offset
        doubtful = chunk.damaged or not whole or mark.crc is None
        doubtful = doubtful or (last == self._failed_segment and not self._saving)
        if torn or doubtful:
            # Do not append after half a line, and treat a damaged segment as unreliable: begin a
            # new one.
            self.begin_segment()

    def _busy(self) -> SessionLogBusyError:
        return SessionLogBusyError(f"cannot append to {self.path} yet: others are appending to it")

    def _refused(self, operation: str, error: OSError | str) -> JournalError:
        hint = _UNKNOWN if operation == "sync" else _HINT
        return JournalError(operation, self.path, error, hint)


def segment_with(path: Path, after: int) -> int:
    """Return the segment at which to begin reading, so that no ordinal above one is left out."""
    for index in reversed(segments(path, missing_ok=True)):
        header = header_in(path / segment_name(index))
        if header is not None and header.last_seq <= after:
            return index
    return 0


def header_in(path: Path) -> Header | None:
    """Return a segment's header; None if it is damaged or incomplete, or there is no file."""
    try:
        with open_to_read(path) as file:
            line = file.readline(LONGEST_LINE)
        return read_header(line.removesuffix(b"\n"), str(path)) if line.endswith(b"\n") else None
    except (FileNotFoundError, ForeignFileError, CorruptLineError):
        return None


def read_watermark(folder: Path) -> int | None:
    """Return up to which ordinal a thread is archived; None if its file is missing or damaged."""
    try:
        line = read_small(folder / "watermark")
    except (FileNotFoundError, ForeignFileError):
        return None
    number, _, _ = line.partition(b" ")
    return int(number) if number.isdigit() and line == watermark_line(int(number)) else None


def watermark_line(watermark: int) -> bytes:
    """Return the content of the watermark's file: the number and its checksum."""
    number = b"%d" % watermark
    return b"%b %08x\n" % (number, crc32(number))
