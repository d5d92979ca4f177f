"""The sessions' files: made when they are first needed, and few of them open at a time."""

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
    GroupCommit,
    Unsynced,
    Written,
    put_blobs,
    sync_made,
    write_whole_lines,
)

_FLAGS = os.O_RDWR
# A look into an enumeration takes four times what one at a module does.
_FSYNC, _PERIODIC = Durability.FSYNC, Durability.PERIODIC
_LOOK_SECONDS = 1.0
_MOST_SESSIONS = 100_000
_MOST_PROMISED = 10_000


class WrittenEvent(NamedTuple):
    """Where an event was written.

    Attributes:
        file: The session's files.
        ticket: What ``SessionFile.wait`` takes.
        paths: The file, and the one into which it was written again where the sync of the first failed.
    """

    file: SessionFile
    ticket: int
    paths: list[Path]


class SessionFile(AppendFile):
    """The file that a session is written to, and the next one after it; each is a writer of its own.

    Attributes:
        session_id: The session.
        directory: Its directory, relative to the base directory.
        path: Where the current file is, else where the last one was.
        begun: Whether there is a current file.
        writer: The id of the run of the logger, and the number of the file in it.
        seq: How many events are in the current file.
        crc: The checksum of the last one.
        end: The offset after it, from which a reader reads on.
        check_at: When to look again whether the file has its name still.
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
        # Where the next byte goes by itself, -1 where that is not known.
        self._position = 0
        # Made when somebody waits for the disk.
        self._group: GroupCommit | None = None

    @property
    def fd(self) -> int:
        """The descriptor of the current file, -1 while it is closed."""
        return self._fd

    def begin(self, path: Path, writer: str, fd: int) -> None:
        """Go on in a new file."""
        self._go_on_in(fd, self._segment + 1)
        self.path, self.writer, self.begun = path, writer, True
        self.seq = self.crc = self.end = self._position = 0

    def reopened(self, fd: int) -> None:
        """Learn that the current file is open again."""
        self._fd, self._position = fd, -1

    def suspend(self) -> None:
        """Close the current file, which is opened again when it is needed."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def leave(self) -> None:
        """Write nothing more to the current file."""
        if self._fd < 0 and self._sync_wanted:
            with suppress(OSError):
                self._files.reopen(self)
        self._go_on_in(-1, self._segment)
        self.begun = False

    def write(self, data: bytes, at: int) -> None:
        """Write at a place in the current file.

        Raises:
            OSError: When not everything was written.
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
        """Write one event into the current file; return None when that was deleted, and it with it.

        Raises:
            OSError: When not everything was written.
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

    def wait(self, ticket: int) -> None:
        """Return when an event is on the disk, with all that came before it.

        Raises:
            JournalError: When the disk refused, and the event could not be written into a new file.
        """
        with self._lock:
            if self._group is None:
                self._group = GroupCommit(self._sync_written, self._sync_beside, lambda: self._seq)
        self._group.wait(ticket)

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
        cause = getattr(error, "strerror", None) or error
        return JournalError(operation, self.path, cause, hint)


class SessionFiles:
    """Writes each event into its session's file.

    ``lock`` guards the files and the order of their lines; nothing is encoded or synced under it.

    Args:
        base: The base directory.
        run: The id of this life of the logger.
        directories: Where sessions' directories are.
        names: How files are named.
        format_: What files look like.
        max_open: The most descriptors that are held open.
        max_bytes: The size after which a session goes on in another file; 0 for never.
        wall: Seconds since 1970.
        fs: The system calls; a test's own to record or fail them.
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
        # Directories that were made above the base directory; None before they are looked for.
        self._made_above: list[Path] | None = None
        self._made = 0
        # By session: where its next event goes to, least recently used first.
        self._files: OrderedDict[str, SessionFile] = OrderedDict()
        self._open: OrderedDict[str, SessionFile] = OrderedDict()
        # By session: the file that somebody was told will be written.
        self._promised: OrderedDict[str, Path] = OrderedDict()

    @property
    def open_files(self) -> int:
        """How many descriptors are open."""
        return len(self._open)

    def directory_of(self, session_id: str) -> Path:
        """Return a session's directory, whether or not it exists."""
        return self.base / self._directories.path_of(session_id)

    def path_of(self, session_id: str) -> Path:
        """Return a session's file: that of its last event, else the newest there, else the next one."""
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
            session_id: Its session.
            record_id: Its id.
            content: The middle part of its line.
            event: Makes the event for a formatter.
            durability: What somebody will wait for.

        Returns:
            Where it is.

        Raises:
            JournalError: When the operating system refused.
        """
        with self.lock:
            while True:
                file = self._file_for(session_id)
                try:
                    if (logged := file.put(record_id, content, event, durability)) is not None:
                        return logged
                    file.leave()  # it was deleted, and the event with it: write it again
                except OSError as error:
                    # A part of the event may stand there, so nothing is written behind it.
                    file.leave()
                    raise _refused("write to", file.path, error) from error
                except BaseException as error:
                    # As Ctrl-C is; a formatter's is the event's own.
                    if not isinstance(error, Exception):
                        file.leave()
                    raise

    def close(self) -> None:
        """Complete and close all files. A later event begins new ones.

        Raises:
            JournalError: When the operating system refused to complete one; all are closed.
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
        """Let go of the parent's files in a forked child, and begin another run."""
        self.lock = threading.RLock()
        for file in list(self._open.values()):
            self._close(file)
        self._files.clear()
        self._promised.clear()
        self.run, self._made = run, 0

    def forget(self, file: SessionFile) -> None:
        """Learn that a session's current file is closed."""
        if self._open.get(file.session_id) is file:
            del self._open[file.session_id]

    def sync_made(self) -> None:
        """Have the directories that were made above the base directory keep their names."""
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
        """Tell whether a file is there and open, and once a second whether it has its name still."""
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
        """Make a session's next file.

        Raises:
            JournalError: When the operating system refused.
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
            OSError: When the operating system refuses.
        """
        if file.fd < 0:
            file.reopened(self.fs.open(file.path, _FLAGS))
            self._open[file.session_id] = file

    def _complete(self, file: SessionFile) -> None:
        if file.begun:
            self.reopen(file)
            self.format.close(file)

    def _finish(self, file: SessionFile) -> None:
        """Complete a file to which nothing more will be written."""
        with suppress(OSError):  # it ends like the file of a process that was killed
            self._complete(file)
        file.leave()
        self.forget(file)

    def _close(self, file: SessionFile) -> None:
        self.forget(file)
        file.suspend()


def _newest(folder: Path, extension: str) -> Path | None:
    """Return the file of a session's directory that was begun last, None without one."""
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
    """Make a directory, and those above it that are missing, for their owner only.

    Returns:
        Those that were missing.

    Raises:
        JournalError: When others own it or may write in it.
        OSError: When the operating system refuses.
    """
    made = make_directories(folder)
    check_directory(folder)
    return made


def _refused(operation: str, path: Path, error: OSError) -> JournalError:
    return JournalError(operation, path, error.strerror or error, "The event was not recorded")
