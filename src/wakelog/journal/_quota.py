"""The quota: how much may be written, what happens when it is full, and when to clean."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from wakelog.errors import JournalError, QuotaExceededError
from wakelog.journal import _reserve as reserve
from wakelog.journal._awaiting import AwaitingSigner
from wakelog.journal._cleaning import Cleaned, Cleaner
from wakelog.journal._delivery_lock import is_kept_here
from wakelog.journal._folder import lock_root
from wakelog.journal._inventory import take_inventory
from wakelog.journal._ledger import load
from wakelog.journal._space import LARGEST_DEFAULT_QUOTA, QuotaPolicy, Space
from wakelog.journal._writer import Writer
from wakelog.runtime import Background, FileSystem, read_small, regular_file

if TYPE_CHECKING:
    from wakelog.journal._listener import SegmentListener

_log = logging.getLogger("wakelog")

SETTINGS = "space"
RETENTION = "retention"
# Fraction of the quota at which a warning says that records will be deleted.
_NEARLY = 0.8
_KEEP_MORE = (
    "Raise quota_bytes (WAKELOG_QUOTA_BYTES) to keep more, set OTEL_EXPORTER_OTLP_ENDPOINT to deliver "
    "them, or choose quota_policy='refuse'"
)
# Time limit for the first listing, in seconds. Cleaning soon counts what it missed.
_FIRST_LOOK_SECONDS = 0.1
# Seconds between attempts to make room, and between those while a call waits for room.
_FRESH_SECONDS = 0.2
_POLL_SECONDS = 0.05
_CLEAN_SECONDS, _CLEAN_AT_MOST_EVERY = 30.0, 1.0
_LOCK_SECONDS, _SHORT_WAIT_SECONDS = 5.0, 1.0
# Minimum grant in bytes, and maximum part of the rest to grant at once: other processes write too.
_LEAST_GRANT, _PART = 16 * 1024, 4
# The part of the quota that background cleaning keeps free.
_AHEAD = 16
_AHEAD_OF_SIGNER = 4
_ROOM_ON_A_FULL_DISK = 64 * 1024
_NEVER = -1e9


class Quota:
    """Keeps a journal's directory within its quota, for this process's writers.

    ``_lock`` guards the figures. Threads that wait for room wait for ``_changed``, which cleaning
    notifies. The lock is held while room is made, so that only one of several waiting threads
    cleans, but not during background cleaning. A thread that takes it holds no lock of a writer.

    Args:
        root: The journal's directory, which exists.
        space: The limits on disk space and age.
        fs: The file-system calls.
        clock: Returns the time in seconds since 1970.
        local: Whether this process delivers nothing from the directory. If no other process does
            either, and no policy was chosen, the oldest records are deleted for new ones.
        listener: Asked before segments are deleted; by default, deletions of sealed segments wait
            for the sealing process.
    """

    def __init__(
        self,
        root: Path,
        space: Space,
        fs: FileSystem,
        clock: Callable[[], float] = time.time,
        *,
        local: bool = False,
        listener: SegmentListener | None = None,
    ) -> None:
        self._local = local and space.quota_policy is None
        self._said_nearly_full = self._said_evicted = False
        self._root = root
        self._space = space
        self._fs = fs
        self.limit = space.limit(root)
        self.evicted: Counter[str] = Counter()
        self.evicted_from: Counter[tuple[Path, str]] = Counter()
        self._listener = listener or AwaitingSigner(always=False, fs=fs)
        self._cleaner = Cleaner(root, space, fs, clock, self._listener)
        self._writers: dict[Path, Writer] = {}
        # The size at the last listing, and the bytes that the writers had written by then.
        self._found, self._written_then = 0, 0
        self._pending = 0
        self._tried_at = self._cleaned_at = self._in_vain_at = _NEVER
        self._failing = False
        self.after_fork()

    def after_fork(self) -> None:
        """Reset threads and locks, as a forked child has to."""
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._writers = {}
        self._thread = Background(self._clean_in_background, "wakelog-cleaning")
        self._stopping = False
        # The parent counts its own evictions.
        self.evicted.clear()
        self.evicted_from.clear()

    @property
    def usage(self) -> int:
        """An estimate of the directory's size in bytes, without listing it."""
        return self._found + max(0, self._written() - self._written_then)

    def begin(self, writer: Writer) -> None:
        """Register a new writer of this process, and list the directory."""
        with self._lock:
            self._note(self.usage)
            self._writers = {**self._writers, writer.folder.path: writer}
            self._stopping = False
            reserve.keep(self._root, self._fs, make=True)
            self._say_settings()
            try:
                found = take_inventory(self._root, _FIRST_LOOK_SECONDS)
            except JournalError:
                return  # the write will report the error
            self._note(found.size if found.complete else max(found.size, self._found))
            # No thread is started at the first record, because a server that forks its workers in C
            # right afterwards would fork while the thread starts. There is little to clean yet.
            self._cleaned_at = time.monotonic()
        if len(found.folders) > 1 or found.leftovers or self.usage > self.limit:
            self._clean_soon()

    def end(self, writer: Writer) -> None:
        """Forget a writer; after the last one, stop background cleaning."""
        if self.forget(writer) and not self._writers:
            self._stopping = True
            self._thread.join()

    def forget(self, writer: Writer) -> bool:
        """Stop counting a writer's bytes; return whether they were counted."""
        with self._lock:
            if self._writers.get(writer.folder.path) is not writer:
                return False
            found = self.usage
            self._writers = {p: one for p, one in self._writers.items() if one is not writer}
            self._note(found)
            self._changed.notify_all()
            return True

    def tick(self, rotated: bool) -> None:  # noqa: FBT001 - a callback's signature
        """Start background cleaning when it is due, which is sooner after a new segment."""
        due = _CLEAN_AT_MOST_EVERY if rotated else _CLEAN_SECONDS
        if time.monotonic() - self._cleaned_at >= due:
            self._clean_soon()

    def grant(self, need: int) -> int:
        """Return how many bytes may be written, making room if necessary.

        Args:
            need: The minimum number of bytes.

        Returns:
            The number of bytes that may be written before the next call.

        Raises:
            QuotaExceededError: When there is no room and the policy refuses, or its time-out is
                over.
        """
        try:
            granted = self._grant(need)
        except QuotaExceededError:
            raise
        except JournalError:
            # The directory was deleted or cannot be listed: the write will report the error.
            return need
        if self._local:
            self._say_how_full()
        return granted

    def _say_how_full(self) -> None:
        """Log once that records will be deleted, and once that they are being deleted."""
        if self.evicted[RETENTION] and not self._said_evicted:
            self._said_evicted = self._said_nearly_full = True
            _log.warning(
                "%s is full (quota: %s bytes), and the oldest records in it are deleted for new ones, "
                "because no process delivers them. %s",
                self._root,
                f"{self.limit:,}",
                _KEEP_MORE,
            )
        elif self.usage >= self.limit * _NEARLY and not self._said_nearly_full:
            if not is_kept_here(self._root):
                return
            self._said_nearly_full = True
            _log.warning(
                "%s is %d%% full (quota: %s bytes), and no process delivers from it: at 100%% the oldest "
                "records are deleted for new ones. %s",
                self._root,
                100 * self.usage // self.limit,
                f"{self.limit:,}",
                _KEEP_MORE,
            )

    def _evicting(self) -> bool:
        """Return whether undelivered records may be deleted for new ones."""
        if self._local:
            return is_kept_here(self._root)
        return self._space.policy is QuotaPolicy.EVICT_OLDEST

    @property
    def _reason(self) -> str | None:
        """The reason for deleting undelivered records for new ones; None if they must stay."""
        return (RETENTION if self._local else "quota") if self._evicting() else None

    def _grant(self, need: int) -> int:
        deadline: float | None = None
        with self._lock:
            while True:
                now = time.monotonic()
                if now >= self._tried_at + self._pause:
                    # Other processes write too. Listing is rare unless there is no room.
                    self._note(take_inventory(self._root).size)
                if (room := self.limit - self.usage) < need and now >= self._tried_at + self._pause:
                    self._tried_at = now
                    self._make_room(max(0, self.limit - need), self._reason)
                    room = self.limit - self.usage
                if room >= need:
                    return min(room, max(room // _PART, _LEAST_GRANT, need))
                if self._space.policy is not QuotaPolicy.BLOCK:
                    raise self._exceeded()
                if deadline is None:
                    timeout = self._space.block_timeout
                    deadline = float("inf") if timeout is None else now + timeout
                if now >= deadline:
                    raise self._exceeded()
                self._changed.wait(min(_POLL_SECONDS, deadline - now))

    def room_on_disk(self) -> bool:
        """Make room on a full disk, whatever the quota.

        Returns:
            Whether anything was deleted, so that the write can be tried again.
        """
        with self._lock:
            now = time.monotonic()
            if now < self._in_vain_at + _FRESH_SECONDS:
                return False
            before = take_inventory(self._root).size
            evict = self._evicting()
            most = max(0, min(before, self.limit) - _ROOM_ON_A_FULL_DISK)
            self._make_room(most, "disk_full" if evict else None)
            if self._found >= before:
                self._in_vain_at = now
            return self._found < before

    def clean_up(self) -> None:
        """Delete segments past their retention, and finished ones while the quota is exceeded.

        Raises:
            JournalError: When a deletion fails. The others are still done.
        """
        cleaned = self._clean(self.limit, None, wait=_SHORT_WAIT_SECONDS)
        if cleaned is not None and cleaned.error is not None:
            raise cleaned.error

    @property
    def _pause(self) -> float:
        return _POLL_SECONDS if self._space.policy is QuotaPolicy.BLOCK else _FRESH_SECONDS

    def _note(self, size: int) -> None:
        self._found = size
        self._written_then = self._written()

    def _written(self) -> int:
        return sum(writer.bytes_written for writer in self._writers.values())

    def _make_room(self, most: int, evict: str | None) -> None:
        """Clean in steps that delete more and more, until there is enough room."""
        writers = list(self._writers.values())
        self._clean(most, None, wait=_LOCK_SECONDS)
        if self.usage > most:
            # Finished records may be in an open segment, which must end before it can be deleted.
            done = [one for one in writers if load(one.folder.path, one.id).seq >= one.seq]
            for writer in done:
                writer.end_segment()
            if done:
                self._clean(most, None, wait=_LOCK_SECONDS)
        if self.usage > most and evict is not None:
            self._clean(most, evict, wait=_LOCK_SECONDS)
        if self.usage > most and evict is not None and writers:
            for writer in writers:
                writer.end_segment()
            self._clean(most, evict, wait=_LOCK_SECONDS)

    def _clean(
        self,
        most: int,
        evict: str | None,
        *,
        wait: float,
        stopping: Callable[[], bool] = lambda: False,
    ) -> Cleaned | None:
        """Clean, or only list the directory if another process cleans for over ``wait`` seconds."""
        lock = lock_root(self._root, wait, purpose="clean up")
        if lock is None:
            with self._lock:
                self._note(take_inventory(self._root).size)
            return None
        try:
            cleaned = self._cleaner.clean(self._writers, most, evict=evict, stopping=stopping)
        finally:
            lock.release()
        with self._lock:
            self._cleaned_at = time.monotonic()
            self._note(cleaned.inventory.size)
            self._pending = cleaned.pending
            if evict is not None and (count := cleaned.evicted.total()):
                self.evicted[evict] += count
                for path, count in cleaned.evicted.items():
                    self.evicted_from[path, evict] += count
            for writer in self._writers.values():
                writer.ask_again()
            self._tried_at = _NEVER if self.usage < self.limit else self._tried_at
            self._changed.notify_all()
        return cleaned

    def _clean_soon(self) -> None:
        if not self._stopping:
            self._cleaned_at = time.monotonic()
            self._thread.start()  # if the interpreter is exiting, the next process cleans

    def _clean_in_background(self) -> None:
        """Clean in a background thread. The first of successive errors is logged."""
        try:
            # Some of the quota is kept free, so that recording calls rarely have to make room.
            most = self.limit - self.limit // _AHEAD
            evict = None
            if isinstance(self._listener, AwaitingSigner) and self._listener.always:
                # A signature takes time, so it is requested before the quota is full.
                most = self.limit - self.limit // _AHEAD_OF_SIGNER
                evict = self._reason
            cleaned = self._clean(most, evict, wait=0, stopping=lambda: self._stopping)
            if cleaned is not None and cleaned.error is not None:
                raise cleaned.error
            self._failing = False
        except JournalError as error:
            if not self._failing:
                _log.warning("the journal's directory could not be cleaned up: %s", error)
            self._failing = True

    def _say_settings(self) -> None:
        """Write the quota to a file for ``wakelog status``."""
        path = self._root / SETTINGS
        says = orjson.dumps(
            {
                "quota_bytes": self.limit,
                "quota_policy": "retention" if self._local else self._space.policy,
            },
            option=orjson.OPT_APPEND_NEWLINE,
        )
        try:
            if regular_file(path) is None or read_small(path) != says:
                self._fs.write_whole(path, says)
        except OSError:
            return  # only `wakelog status` reads it

    def _exceeded(self) -> QuotaExceededError:
        return QuotaExceededError(
            self._root,
            quota=self.limit,
            used=self.usage,
            pending=self._pending,
            hint=self._remedy(),
        )

    def _remedy(self) -> str:
        """Return a hint for an event that was refused because the quota is full."""
        if isinstance(self._listener, AwaitingSigner) and self._listener.waiting:
            return (
                "The event was not recorded. What could be deleted is sealed, or will be, and waits until "
                "the process that seals it has signed for that: see that wakelog ship --follow --seal-key, or "
                "wakelog seal, runs, with a --seal-keep or --keep that this quota can hold"
            )
        if self._space.policy is QuotaPolicy.EVICT_OLDEST and self._pending:
            return "Nothing could be evicted: other processes own what is there"
        if self._space.quota_bytes is not None:
            remedy = "Raise quota_bytes (WAKELOG_QUOTA_BYTES)"
        elif self.limit < LARGEST_DEFAULT_QUOTA:
            remedy = (
                "The quota is a tenth of this small disk, since none is set: set quota_bytes "
                "(WAKELOG_QUOTA_BYTES), or record to a larger disk"
            )
        else:
            remedy = "The quota is the default: set quota_bytes (WAKELOG_QUOTA_BYTES)"
        if self._pending:
            remedy += (
                ". Recording goes on by itself when delivery has made room: see whether the next "
                f"hop can be reached, or choose quota_policy={QuotaPolicy.EVICT_OLDEST.value!r}"
            )
        return f"The event was not recorded. {remedy}"


def is_full(error: BaseException) -> bool:
    """Return whether an error was caused by a full disk or a full disk quota of the user."""
    cause = error.__cause__
    return isinstance(cause, OSError) and cause.errno in reserve.FULL


def quota_of(root: Path) -> int | None:
    """Return the quota in bytes of the last program that used a directory; None if unknown."""
    try:
        return int(orjson.loads(read_small(root / SETTINGS))["quota_bytes"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
