"""The sessions' files: created when needed, with a limited number of them open."""

from __future__ import annotations

import errno
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from wakelog.errors import JournalError
from wakelog.gateway._events import ForwardedEvent
from wakelog.gateway._formats import Format
from wakelog.gateway._names import DirectoryPattern, FilePattern
from wakelog.journal import Durability
from wakelog.record import Content
from wakelog.runtime import SYSTEM, FileSystem, check_directory, is_directory, make_directories
from wakelog.storage import (
    AppendFile,
    File,
    Unsynced,
    Written,
    put_blobs,
    sync_made,
    write_whole_lines,
)

_FLAGS = os.O_RDWR
# Enum members as module globals: attribute access on the enum takes four times as long.
_FSYNC, _PERIODIC = Durability.FSYNC, Durability.PERIODIC
_LOOK_SECONDS = 1.0
_MOST_SESSIONS = 100_000
_MOST_PROMISED = 10_000


class WrittenEvent(NamedTuple):
    """The place where an event was written.

    Attributes:
        file: The session's files.
        ticket: The argument for ``SessionFile.wait``.
        paths: The file, and the next one if a failed sync caused the event to be written again.
    """

    file: SessionFile
    ticket: int
    paths: list[Path]


class SessionFile(AppendFile):
    """A session's current file and its successors, each of which is a writer of its own.

    Attributes:
        session_id: The session.
        directory: The session's directory, relative to the base directory.
        path: The current file, or the last one.
        begun: Whether there is a current file.
        writer: The id of the logger's run with the number of the file in it.
        seq: The number of events in the current file.
        crc: The checksum of the last event.
        end: The offset after the last event, at which a reader continues.
        check_at: When to check the next time whether the file was deleted.
    """

    def __init__(self, files: SessionFiles, session_id: str, directory: str) -> None:
        super().__init__(files.fs, files.lock)
        self._files = files
        self.session_id, self.directory = session_id, directory
        self.path = files.base / directory
        self.writer = ""
        self.begun = False
        self.seq = self.crc = self.end = 0
        self.check_at = 0.0
        # The file offset of the descriptor; -1 if unknown.
        self._position = 0

    @property
    def fd(self) -> int:
        """The descriptor of the current file; -1 while it is closed."""
        return self._fd

    def begin(self, path: Path, writer: str, fd: int) -> None:
        """Continue in a new file."""
        self._go_on_in(fd, self._segment + 1)
        self.path, self.writer, self.begun = path, writer, True
        self.seq = self.crc = self.end = self._position = 0

    def reopened(self, fd: int) -> None:
        """Use a new descriptor of the current file."""
        self._fd, self._position = fd, -1

    def suspend(self) -> None:
        """Close the current file until it is needed again."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def leave(self) -> None:
        """Stop writing to the current file."""
        if self._fd < 0 and self._sync_wanted:
            with suppress(OSError):
                self._files.reopen(self)
        self._go_on_in(-1, self._segment)
        self.begun = False

    def write(self, data: bytes, at: int) -> None:
        """Write at an offset of the current file.

        Raises:
            OSError: If not all bytes were written.
        """
        if at != self._position:
            os.lseek(self._fd, at, os.SEEK_SET)
        self._position = -1
        if (written := self._fs.write(self._fd, data)) != len(data):
            write_whole_lines(self._fs, self._fd, data[written:])
        self._position = at + len(data)

    def put(
        self,
        record_id: str,
        content: bytes,
        event: Callable[[], ForwardedEvent],
        durability: Durability,
    ) -> WrittenEvent | None:
        """Write one event to the current file; return None if the file has been deleted.

        Raises:
            OSError: If not all bytes were written.
        """
        synced = durability is _FSYNC or durability is _PERIODIC
        if type(content) is Content:
            self._put_beside(content, synced=synced)
        self._files.format.put(self, record_id, content, event)
        if not os.fstat(self._fd).st_nlink:
            return None
        self._seq = seq = self._seq + 1
        logged = WrittenEvent(self, seq, [self.path])
        if synced:
            self._sync_wanted = True
        if durability is _FSYNC:
            self._unsynced.append(Unsynced(record_id, self._seq, content, (event, logged.paths)))
        return logged

    def _put_beside(self, content: Content, *, synced: bool) -> None:
        if self._files.format.readable:
            put_blobs(self.path, content.blobs, self._fs, synced=synced)

    def _write_again(self, lines: list[Unsynced], error: OSError) -> None:
        del error
        for line in lines:
            event, paths = line.context
            try:
                if not self.begun:
                    self._files.begin(self)
                if type(line.content) is Content:
                    self._put_beside(line.content, synced=True)
                self._files.format.put(self, line.id, line.content, event)
            except OSError as second:
                raise self._refused("write to", second) from second
            paths.append(self.path)

    def _distrust(self) -> None:
        self._close_files()
        self.begun = False
        self._files.forget(self)

    def _get_written(self) -> Written:
        if self._fd < 0 and self._sync_wanted:
            try:
                self._files.reopen(self)
            except OSError as error:
                raise self._refused("sync", error) from error
        return super()._get_written()

    def _sync_names(self) -> None:
        folder = self.path.parent
        self._fs.sync_directory(folder)
        while folder not in (self._files.base.parent, folder.parent):
            folder = folder.parent
            self._fs.sync_directory(folder)
        self._files.sync_made()

    def _is_lost(self, file: File) -> bool:
        return os.fstat(file.descriptor).st_nlink == 0

    def _refused(self, operation: str, error: OSError | str) -> JournalError:
        hint = "The event was not recorded"
        if operation == "sync":
            hint = "The event is not known to be on the disk; the next one goes into a new file"
        return JournalError(operation, self.path, error, hint)


class SessionFiles:
    """Writes each event to its session's file.

    ``lock`` guards the files and the order of their lines; nothing is encoded or synced under it.

    Args:
        base: The base directory.
        run: The id of this lifetime of the logger.
        directories: The pattern of the sessions' directories.
        names: The pattern of file names.
        format_: The format of the files.
        max_open: The maximum number of open descriptors.
        max_bytes: The size after which a session continues in another file; 0 for never.
        wall: A clock in seconds since 1970.
        fs: The system calls, which tests replace.
    """

    def __init__(
        self,
        base: Path,
        run: str,
        directories: DirectoryPattern,
        names: FilePattern,
        format_: Format,
        *,
        max_open: int,
        max_bytes: int,
        wall: Callable[[], float] = time.time,
        fs: FileSystem = SYSTEM,
    ) -> None:
        self.base, self.run, self.format, self.fs = base, run, format_, fs
        self.lock = threading.RLock()
        self._directories, self._names = directories, names
        self._max_open, self._max_bytes = max_open, max_bytes
        self._wall = wall
        # Created directories above the base directory; None before the base directory is created.
        self._made_above: list[Path] | None = None
        self._made = 0
        # By session: its files, least recently used first.
        self._files: OrderedDict[str, SessionFile] = OrderedDict()
        self._open: OrderedDict[str, SessionFile] = OrderedDict()
        # By session: a path that path_of() has returned and the next event has to use.
        self._promised: OrderedDict[str, Path] = OrderedDict()

    @property
    def open_files(self) -> int:
        """How many descriptors are open."""
        return len(self._open)

    def directory_of(self, session_id: str) -> Path:
        """Return a session's directory, which may not exist yet."""
        return self.base / self._directories.path_of(session_id)

    def path_of(self, session_id: str) -> Path:
        """Return the path of a session's current file, or else its newest, or else its next one."""
        with self.lock:
            file = self._files.get(session_id)
            if file is not None and file.begun:
                return file.path
            if (path := self._promised.get(session_id)) is not None:
                return path
        folder = self.directory_of(session_id)
        if (newest := _newest(folder, self.format.extension)) is not None:
            return newest
        name = self._names.name_at(self._wall())
        with self.lock:
            path = folder / f"{name}{self.format.extension}"
            path = self._promised.setdefault(session_id, path)
            if len(self._promised) > _MOST_PROMISED:
                self._promised.popitem(last=False)
            return path

    def append(
        self,
        session_id: str,
        record_id: str,
        content: bytes,
        event: Callable[[], ForwardedEvent],
        durability: Durability = Durability.OS_BUFFERED,
    ) -> WrittenEvent:
        """Write one event.

        Args:
            session_id: The session.
            record_id: The event's id.
            content: The middle part of the event's line.
            event: Returns the event for a formatter.
            durability: The durability that the caller will wait for.

        Returns:
            The place of the event.

        Raises:
            JournalError: If writing failed.
        """
        with self.lock:
            while True:
                file = self._file_for(session_id)
                try:
                    if (logged := file.put(record_id, content, event, durability)) is not None:
                        return logged
                    file.leave()  # the file was deleted: write the event to a new one
                except OSError as error:
                    # A part of the event may be in the file, so nothing is written after it.
                    file.leave()
                    raise _refused("write to", file.path, error) from error
                except BaseException as error:
                    # For example KeyboardInterrupt. An Exception is the formatter's, raised before
                    # writing.
                    if not isinstance(error, Exception):
                        file.leave()
                    raise

    def close(self) -> None:
        """Complete and close all files. A later event begins new ones.

        Raises:
            JournalError: If completing one failed; all are closed nevertheless.
        """
        failure: JournalError | None = None
        with self.lock:
            files, self._files = list(self._files.values()), OrderedDict()
            for file in files:
                try:
                    self._complete(file)
                except OSError as error:
                    failure = _refused("complete", file.path, error)
                self._close(file)
        if failure is not None:
            raise failure

    def abandon(self, run: str) -> None:
        """Close the parent's files in a forked child, and begin another run."""
        self.lock = threading.RLock()
        for file in list(self._open.values()):
            self._close(file)
        self._files.clear()
        self._promised.clear()
        self.run, self._made = run, 0

    def forget(self, file: SessionFile) -> None:
        """Remove a session's file from the open ones, because it is closed."""
        if self._open.get(file.session_id) is file:
            del self._open[file.session_id]

    def sync_made(self) -> None:
        """Sync the directories that were created above the base directory."""
        made, self._made_above = self._made_above or [], []
        sync_made(self.fs, made)

    def _file_for(self, session_id: str) -> SessionFile:
        file = self._files.get(session_id)
        if file is None:
            file = SessionFile(self, session_id, self._directories.path_of(session_id))
            self._files[session_id] = file
            if len(self._files) > _MOST_SESSIONS:
                _, oldest = self._files.popitem(last=False)
                self._finish(oldest)
        else:
            self._files.move_to_end(session_id)
            if file.begun and self._max_bytes and file.end >= self._max_bytes:
                self._finish(file)
            if file.begun and not self._is_usable(file):
                file.leave()
                self.forget(file)
        if file.begun:
            self._open.move_to_end(session_id)
        else:
            self.begin(file)
        while len(self._open) > self._max_open:
            self._close(next(iter(self._open.values())))
        return file

    def _is_usable(self, file: SessionFile) -> bool:
        """Tell whether a file is open, and once a second whether it still exists."""
        now = time.monotonic()
        try:
            if file.fd < 0:
                self.reopen(file)
            elif now >= file.check_at and os.fstat(file.fd).st_nlink == 0:
                return False
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):
                raise _refused("open", file.path, error) from error
            return False
        if now >= file.check_at:
            file.check_at = now + _LOOK_SECONDS
        return True

    def begin(self, file: SessionFile) -> None:
        """Create a session's next file.

        Raises:
            JournalError: If creating it failed.
        """
        if self._made_above is None:
            try:
                self._made_above = make_private(self.base)
            except OSError as error:
                raise _refused("make", self.base, error) from error
        folder = self.base / file.directory
        promised = self._promised.pop(file.session_id, None)
        name = self._names.name_at(self._wall()) if promised is None else promised.stem
        number = 1
        while True:
            ending = "" if number == 1 else f"-{number}"
            path = folder / f"{name}{ending}{self.format.extension}"
            try:
                fd = self.fs.open(path, _FLAGS | os.O_CREAT | os.O_EXCL, 0o600)
                break
            except FileExistsError:
                number += 1
            except FileNotFoundError as error:
                try:
                    make_private(folder)
                except FileExistsError:
                    if not is_directory(folder):
                        raise _refused("use", folder, error) from error
                except OSError as other:
                    raise _refused("make", folder, other) from other
            except OSError as error:
                raise _refused("make", path, error) from error
        self._made += 1
        file.begin(path, f"{self.run}.{self._made}", fd)
        file.check_at = time.monotonic() + _LOOK_SECONDS
        self._open[file.session_id] = file

    def reopen(self, file: SessionFile) -> None:
        """Open a session's current file, unless it is open.

        Raises:
            OSError: If opening it failed.
        """
        if file.fd < 0:
            file.reopened(self.fs.open(file.path, _FLAGS))
            self._open[file.session_id] = file

    def _complete(self, file: SessionFile) -> None:
        if file.begun:
            self.reopen(file)
            self.format.close(file)

    def _finish(self, file: SessionFile) -> None:
        """Complete and close a file that receives no more events."""
        with suppress(OSError):  # readers accept an incomplete file, as after a crash
            self._complete(file)
        file.leave()
        self.forget(file)

    def _close(self, file: SessionFile) -> None:
        self.forget(file)
        file.suspend()


def _newest(folder: Path, extension: str) -> Path | None:
    """Return the most recently modified file of a session's directory; None if there is none."""
    try:
        with os.scandir(folder) as entries:
            found = [
                (entry.stat(follow_symlinks=False).st_mtime_ns, entry.name)
                for entry in entries
                if entry.name.endswith(extension)
                and not entry.name.startswith(".")
                and entry.is_file(follow_symlinks=False)
            ]
    except OSError:
        return None
    return folder / max(found)[1] if found else None


def make_private(folder: Path) -> list[Path]:
    """Create a directory and its missing parents, accessible only by their owner.

    Returns:
        The directories that were missing.

    Raises:
        JournalError: If another user owns the directory or may write in it.
        OSError: If creating one failed.
    """
    made = make_directories(folder)
    check_directory(folder)
    return made


def _refused(operation: str, path: Path, error: OSError) -> JournalError:
    return JournalError(operation, path, error, "The event was not recorded")
