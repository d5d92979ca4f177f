"""The sessions' files: made when they are first needed, and few of them open at a time."""

from __future__ import annotations

import errno
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

from wakelog.errors import JournalError
from wakelog.gateway._events import ForwardedEvent
from wakelog.gateway._formats import Format
from wakelog.gateway._names import DirectoryPattern, FilePattern

_FLAGS = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
_LOOK_SECONDS = 1.0
_MOST_SESSIONS = 100_000


class SessionFile:
    """One file, which one process writes from its beginning to its end: a writer of its own.

    Attributes:
        path: Where it is.
        directory: Its directory, relative to the base directory.
        writer: The id of the run of the logger, and the number of the file in it.
        end: The offset after the last event, from which a reader reads on.
    """

    __slots__ = (
        "crc", "directory", "end", "fd", "look_at", "number", "path", "seq", "session_id", "writer",
    )  # fmt: skip

    def __init__(self, session_id: str, directory: str, path: Path, writer: str, fd: int) -> None:
        self.session_id, self.directory, self.path, self.writer = (
            session_id,
            directory,
            path,
            writer,
        )
        self.fd = fd
        self.seq = self.crc = self.end = 0
        self.look_at = 0.0


class SessionFiles:
    """Writes each event into its session's file.

    ``_lock`` guards the files and the order of their lines; nothing is encoded or synced under it.

    Args:
        base: The base directory.
        run: The id of this life of the logger.
        directories: Where sessions' directories are.
        names: How files are named.
        format_: What files look like.
        max_open: The most descriptors that are held open.
        max_bytes: The size after which a session goes on in another file; 0 for never.
        wall: Seconds since 1970.
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
    ) -> None:
        self.base, self.run, self.format = base, run, format_
        self._directories, self._names = directories, names
        self._max_open, self._max_bytes = max_open, max_bytes
        self._wall = wall
        self._lock = threading.Lock()
        self._made = 0
        # By session: the file that its next event goes to, least recently used first.
        self._files: OrderedDict[str, SessionFile] = OrderedDict()
        self._open: OrderedDict[str, SessionFile] = OrderedDict()

    @property
    def open_files(self) -> int:
        """How many descriptors are open."""
        return len(self._open)

    def directory_of(self, session_id: str) -> Path:
        """Return a session's directory, whether or not it exists."""
        return self.base / self._directories.path_of(session_id)

    def path_of(self, session_id: str) -> Path | None:
        """Return the file that a session's last event went to, None without one."""
        file = self._files.get(session_id)
        return None if file is None else file.path

    def append(
        self,
        session_id: str,
        record_id: str,
        content: bytes,
        event: Callable[[], ForwardedEvent],
    ) -> tuple[SessionFile, int]:
        """Write one event.

        Returns:
            The file, and the offset after the event.

        Raises:
            JournalError: When the operating system refused.
        """
        with self._lock:
            file = self._file_for(session_id)
            try:
                self.format.put(file, record_id, content, event)
            except OSError as error:
                # A part of the event may stand there, so nothing is written behind it.
                self._retire(file)
                raise _refused("write to", file.path, error) from error
            except BaseException as error:
                if not isinstance(
                    error, Exception
                ):  # as Ctrl-C is; a formatter's is the event's own
                    self._retire(file)
                raise
            return file, file.end

    def retire(self, file: SessionFile) -> None:
        """Write nothing more to a file, because a sync of it has failed."""
        with self._lock:
            self._retire(file)

    def duplicate(self, file: SessionFile) -> int:
        """Return a descriptor of a file for syncing it; whoever takes it closes it.

        Raises:
            OSError: When the file cannot be opened.
        """
        with self._lock:
            if file.fd >= 0:
                return os.dup(file.fd)
            return os.open(file.path, _FLAGS)

    def close(self) -> None:
        """Complete and close all files. A later event begins new ones.

        Raises:
            JournalError: When the operating system refused to complete one; all are closed.
        """
        failure: JournalError | None = None
        with self._lock:
            files, self._files = list(self._files.values()), OrderedDict()
            for file in files:
                try:
                    self._reopen(file)
                    self.format.close(file)
                except OSError as error:
                    failure = _refused("complete", file.path, error)
                self._close(file)
        if failure is not None:
            raise failure

    def abandon(self, run: str) -> None:
        """Let go of the parent's files in a forked child, and begin another run."""
        self._lock = threading.Lock()
        for file in list(self._open.values()):
            self._close(file)
        self._files.clear()
        self.run, self._made = run, 0

    def _file_for(self, session_id: str) -> SessionFile:
        file = self._files.get(session_id)
        if file is not None and self._max_bytes and file.end >= self._max_bytes:
            self._finish(file)
            file = None
        if file is not None and not self._is_usable(file):
            self._retire(file)
            file = None
        if file is None:
            file = self._begin(session_id)
            self._files[session_id] = file
            if len(self._files) > _MOST_SESSIONS:
                self._finish(next(iter(self._files.values())))
        else:
            self._files.move_to_end(session_id)
            self._open.move_to_end(session_id)
        while len(self._open) > self._max_open:
            self._close(next(iter(self._open.values())))
        return file

    def _is_usable(self, file: SessionFile) -> bool:
        """Tell whether a file is there and open, and once a second whether it has its name still."""
        now = time.monotonic()
        try:
            if file.fd < 0:
                self._reopen(file)
            elif now >= file.look_at and os.fstat(file.fd).st_nlink == 0:
                return False
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):
                raise _refused("open", file.path, error) from error
            return False
        if now >= file.look_at:
            file.look_at = now + _LOOK_SECONDS
        return True

    def _begin(self, session_id: str) -> SessionFile:
        directory = self._directories.path_of(session_id)
        folder = self.base / directory
        name = self._names.name_at(self._wall())
        number = 1
        while True:
            ending = "" if number == 1 else f"-{number}"
            path = folder / f"{name}{ending}{self.format.extension}"
            try:
                fd = os.open(path, _FLAGS | os.O_CREAT | os.O_EXCL, 0o600)
                break
            except FileExistsError:
                number += 1
            except FileNotFoundError as error:
                try:
                    make_private(folder)
                except FileExistsError:
                    if not folder.is_dir():
                        raise _refused("use", folder, error) from error
                except OSError as other:
                    raise _refused("make", folder, other) from other
            except OSError as error:
                raise _refused("make", path, error) from error
        self._made += 1
        file = SessionFile(session_id, directory, path, f"{self.run}.{self._made}", fd)
        file.look_at = time.monotonic() + _LOOK_SECONDS
        self._open[session_id] = file
        return file

    def _reopen(self, file: SessionFile) -> None:
        if file.fd < 0:
            file.fd = os.open(file.path, _FLAGS)
            self._open[file.session_id] = file

    def _finish(self, file: SessionFile) -> None:
        """Complete a file to which nothing more will be written."""
        try:
            self._reopen(file)
            self.format.close(file)
        except OSError:
            pass  # it ends like the file of a process that was killed
        self._retire(file)

    def _retire(self, file: SessionFile) -> None:
        self._close(file)
        if self._files.get(file.session_id) is file:
            del self._files[file.session_id]

    def _close(self, file: SessionFile) -> None:
        if self._open.get(file.session_id) is file:
            del self._open[file.session_id]
        if file.fd >= 0:
            os.close(file.fd)
            file.fd = -1


def make_private(folder: Path) -> None:
    """Make a directory, and those above it that are missing, for their owner only.

    Raises:
        OSError: When the operating system refuses.
    """
    for path in (*reversed(folder.parents), folder):
        if not path.exists():
            path.mkdir(mode=0o700, exist_ok=True)


def _refused(operation: str, path: Path, error: OSError) -> JournalError:
    return JournalError(operation, path, error.strerror or error, "The event was not recorded")
