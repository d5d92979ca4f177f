"""A journal directory, and this process's writer in it."""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import orjson

from wakelog.errors import JournalError, JournalFormatError
from wakelog.journal._committer import Committer
from wakelog.journal._durability import Durability, Receipt
from wakelog.journal._filesystem import SYSTEM, FileSystem
from wakelog.journal._folder import Folder, folders
from wakelog.journal._ledger import load
from wakelog.journal._observer import Observer
from wakelog.journal._quota import Quota, is_full
from wakelog.journal._rotation import Rotation
from wakelog.journal._space import Space
from wakelog.journal._survey import look_into
from wakelog.journal._writer import Writer
from wakelog.record import FORMAT, Resource, uuid7

DEFAULT_SEGMENT_BYTES = 16 * 1024 * 1024
_DEFAULT_SPACE = Space()
_MARKER = "wakelog.json"
_HINT = "Choose another directory with directory= or WAKELOG_DIR"


class Journal:
    """A directory of writers' folders, with at most one writer of this process in it.

    The writer is made by the first append, so that a program that records nothing leaves nothing.
    A forked child makes a writer of its own.

    ``_lock`` guards which writer is the current one; nothing is written under it except a new
    writer's folder.

    Args:
        root: The directory. It is made when it is missing, for its owner only.
        durability: What an append waits for unless it says otherwise.
        sync_interval: How long ``PERIODIC`` may leave lines unsynced, in seconds.
        segment_bytes: The size at which a segment is ended and the next begun, at most an eighth of
            the quota.
        segment_age: The seconds after which a segment is ended by the next record.
        rotate_at_midnight: Whether a segment is ended by the first record of a new day in the local
            time zone.
        space: How much of the disk the directory may take, and for how long.
        clock: The time of day, in seconds since 1970.
        new_id: Makes writers' ids, in the order of time.
        fs: The system calls; a test's own to record or fail them.
        observer: Told how long writing and syncing take.

    Raises:
        JournalError: When the directory cannot be made or written.
        JournalFormatError: When a newer Wakelog has written there.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        *,
        durability: Durability = Durability.OS_BUFFERED,
        sync_interval: float = 0.1,
        segment_bytes: int = DEFAULT_SEGMENT_BYTES,
        segment_age: float | None = None,
        rotate_at_midnight: bool = False,
        space: Space = _DEFAULT_SPACE,
        clock: Callable[[], float] = time.time,
        new_id: Callable[[], str] = uuid7,
        fs: FileSystem = SYSTEM,
        observer: Observer | None = None,
    ) -> None:
        self.root = Path(root)
        self.durability = durability
        self._rotation = Rotation(segment_bytes, segment_age, rotate_at_midnight)
        self._clock = clock
        self._new_id = new_id
        self._fs = fs
        self._observer = observer
        self._sync_interval = sync_interval
        self._lock = threading.RLock()
        self._writer: Writer | None = None
        self.writers: list[Writer] = []
        """Every writer of this process in the directory, oldest first; the last may be ended too."""
        self._committer: Committer | None = None
        _prepare(self.root, fs)
        self._quota = Quota(self.root, space, fs, clock)
        after_fork = weakref.WeakMethod(self._after_fork)
        os.register_at_fork(after_in_child=lambda: (method := after_fork()) and method())

    @property
    def writer(self) -> Writer | None:
        """This process's writer, or None before the first append."""
        return self._writer

    @property
    def disk_usage(self) -> int:
        """The bytes in the directory, as far as it is known without looking there again."""
        return self._quota.usage

    @property
    def disk_limit(self) -> int:
        """The most bytes that the directory may hold."""
        return self._quota.limit

    @property
    def evicted(self) -> Counter[str]:
        """How many undelivered records this process has deleted since it began, by reason."""
        return self._quota.evicted

    @property
    def evicted_from(self) -> Counter[tuple[Path, str]]:
        """The same by the writer's folder and the reason."""
        return self._quota.evicted_from

    def append(
        self,
        record_id: str,
        content: bytes,
        resource: Resource,
        durability: Durability | None = None,
    ) -> Receipt:
        """Write one record.

        Args:
            record_id: The record's id.
            content: What ``wakelog.record.encode`` returned.
            resource: The record's resource; the same object for the same resource is fastest.
            durability: What has to be done before this returns, when it is more than the
                journal's own.

        Returns:
            The receipt.

        Raises:
            JournalError: When the operating system refused. The record is not accepted then.
        """
        level = self.durability if durability is None else self.durability.at_least(durability)
        writer, seq = self._write(record_id, content, resource, level)
        if level is Durability.FSYNC:
            writer.commit(seq)
        return Receipt(record_id, writer.id, seq, level)

    def write(
        self,
        record_id: str,
        content: bytes,
        resource: Resource,
        durability: Durability | None = None,
    ) -> Receipt:
        """Write one record and leave waiting for the disk to ``settle``.

        Args:
            record_id: The record's id.
            content: What ``wakelog.record.encode`` returned.
            resource: The record's resource.
            durability: What has to be done in the end, when it is more than the journal's own.

        Returns:
            The receipt; its durability is what has to be done in the end.

        Raises:
            JournalError: When the operating system refused. The record is not accepted then.
        """
        level = self.durability if durability is None else self.durability.at_least(durability)
        writer, seq = self._write(record_id, content, resource, level)
        return Receipt(record_id, writer.id, seq, level)

    async def settle(self, receipt: Receipt) -> None:
        """Wait until what a receipt of ``write`` promises is so, without blocking the event loop.

        Tasks that wait at the same time share one sync.

        Raises:
            JournalError: When the disk refused. The record is not accepted then.
        """
        writer, committer = self._writer, self._committer
        if receipt.durability is not Durability.FSYNC or committer is None:
            return
        # A writer that has been closed since has synced everything that was waited for.
        if writer is not None and writer.id == receipt.writer:
            await committer.synced()
            writer.commit(receipt.seq)  # it is synced, or its sync has failed before

    def orphans(self) -> Iterator[Folder]:
        """Adopt, one by one, the folders of writers that are gone and left something to deal with.

        Yields:
            Folders that this process now owns; whoever takes one has to release it.

        Raises:
            JournalError: When the directory cannot be listed.
        """
        for path in folders(self.root):
            if (folder := Folder.adopt(path)) is not None:
                if _has_pending(path):
                    yield folder
                else:
                    folder.release()

    def clean_up(self) -> None:
        """Delete what need not be kept any more; called by itself now and then while recording.

        Segments that have been dealt with go when they are past their time or more than may be kept,
        and when the directory is over its quota; then folders of writers that are gone and that
        hold nothing else. Undelivered records are never deleted by this.

        Raises:
            JournalError: When something could not be deleted. The rest is cleaned all the same.
        """
        self._quota.clean_up()

    def close(self) -> None:
        """End this process's writer. A later append begins another."""
        with self._lock:
            writer, self._writer = self._writer, None
            committer, self._committer = self._committer, None
        if writer is not None:
            writer.close()
        if committer is not None:
            committer.stop()
        if writer is not None:
            self._quota.end(writer)

    def _write(
        self, record_id: str, content: bytes, resource: Resource, level: Durability
    ) -> tuple[Writer, int]:
        tried_again = False
        while True:
            writer = self._writer or self._begin()
            try:
                seq = writer.write(record_id, content, resource, level)
            except JournalError as error:
                if tried_again or not is_full(error) or not self._quota.room_on_disk():
                    raise
                tried_again = True
                continue
            if seq:
                break
            self._forget(writer)  # it was closed in between, or its folder is gone
        if level is Durability.PERIODIC and self._committer is not None:
            self._committer.sync_soon()
        return writer, seq

    def _forget(self, writer: Writer) -> None:
        with self._lock:
            if self._writer is not writer:
                return
            self._writer, committer, self._committer = None, self._committer, None
        writer.folder.release()
        if committer is not None:
            committer.stop()

    def _begin(self) -> Writer:
        with self._lock:
            if self._writer is None:
                if not self.root.is_dir():
                    _prepare(self.root, self._fs)  # somebody has deleted it
                folder = Folder.create(self.root, self._new_id(), self._fs)
                writer = Writer(
                    folder,
                    segment_bytes=self._segment_bytes(),
                    rotation=self._rotation,
                    grant=self._quota.grant,
                    look=self._quota.look,
                    clock=self._clock,
                    fs=self._fs,
                    observer=self._observer,
                )
                committer = Committer(writer.commit_written, self._sync_interval)
                if self._writer is not None:  # a signal's handler was faster
                    folder.release()
                    return self._writer
                self._writer = writer
                self._committer = committer
                self.writers.append(writer)
                self._quota.begin(writer)
            return self._writer

    def _segment_bytes(self) -> int:
        """Return the size of a segment: small enough that the quota can be kept by deleting some."""
        return min(
            self._rotation.max_bytes or DEFAULT_SEGMENT_BYTES, max(1, self._quota.limit // 8)
        )

    def _after_fork(self) -> None:
        self._lock = threading.RLock()
        writer, self._writer, self._committer = self._writer, None, None
        self.writers = []
        self._quota.after_fork()
        if writer is not None:
            writer.abandon()


def default_root(service_name: str) -> Path:
    """Return where journals go when nobody says: the user's state directory, never a temporary one.

    Args:
        service_name: The service's name; characters that a file name cannot have become ``_``. What
            OpenTelemetry appends to ``unknown_service`` is left out, so that a nameless program and
            the command line find the same place.

    Returns:
        ``$XDG_STATE_HOME/wakelog/<service>``, with ``~/.local/state`` where that is unset (XDG
        Base Directory specification).
    """
    state = os.environ.get("XDG_STATE_HOME") or ""
    base = Path(state) if Path(state).is_absolute() else Path.home() / ".local" / "state"
    if service_name.startswith("unknown_service:"):
        service_name = "unknown_service"
    name = "".join(c if c.isalnum() or c in "-_." else "_" for c in service_name).lstrip(".")
    return base / "wakelog" / (name or "unknown_service")


def _has_pending(folder: Path) -> bool:
    """Tell whether there is anything to deliver in a folder, or a cut-off line to set aside."""
    found = look_into(folder)
    mark = load(folder, folder.name)
    return bool(found.segments) and not (
        mark.segment == found.segments[-1].index and mark.offset == found.segments[-1].size
    )


def _prepare(root: Path, fs: FileSystem) -> None:
    """Make sure that a directory can hold a journal of this format."""
    marker = root / _MARKER
    try:
        made = [path for path in (root, *root.parents) if not path.exists()]
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not marker.exists():
            # The marker is the same for everyone, so whoever comes second may write it again;
            # only not into the same temporary file.
            mine = root / f".{_MARKER}.{os.getpid()}"
            says = orjson.dumps({"wakelog": "journal", "format": FORMAT})
            fs.write_whole(mine, says, synced=True)
            fs.rename(mine, marker)
            for directory in (root, root.parent, *(path.parent for path in made[1:])):
                fs.sync_directory(directory)
        version = orjson.loads(marker.read_bytes())["format"]
    except FileExistsError as error:
        raise JournalError("use", root, "it is a file and not a directory", _HINT) from error
    except NotADirectoryError as error:
        raise JournalError("use", root, "a part of the path is a file", _HINT) from error
    except OSError as error:
        raise JournalError("write to", root, error.strerror or error, _HINT) from error
    except (ValueError, KeyError, TypeError) as error:
        raise JournalFormatError(
            "use", marker, "it does not say a journal's format", f"Remove the file, or: {_HINT}"
        ) from error
    if not isinstance(version, int) or version > FORMAT:
        raise JournalFormatError(
            "use",
            root,
            f"its format is {version}, and this Wakelog knows {FORMAT}",
            f"Install the newer Wakelog, or: {_HINT}",
        )
    if not os.access(root, os.W_OK | os.X_OK):
        raise JournalError("write to", root, "permission denied", _HINT)
