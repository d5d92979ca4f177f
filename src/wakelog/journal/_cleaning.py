"""Cleaning: deletes the oldest segments, and keeps dead letters, seals and damaged lines."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from wakelog.errors import JournalError
from wakelog.journal import _deletions as deletions
from wakelog.journal import _reserve as reserve
from wakelog.journal import _retired_totals as retired
from wakelog.journal._awaiting import AwaitingSigner, is_sealed
from wakelog.journal._counts import RecordCounts
from wakelog.journal._deleting import delete_folder, delete_segments, is_clean
from wakelog.journal._ends import last_mark
from wakelog.journal._folder import Folder, are_inherited
from wakelog.journal._inventory import FolderContents, Inventory, Segment, take_inventory
from wakelog.journal._ledger import load
from wakelog.journal._space import Space
from wakelog.journal._writer import Writer
from wakelog.runtime import UNFINISHED, FileSystem, is_directory, list_directory, regular_file

if TYPE_CHECKING:
    from wakelog.journal._listener import SegmentListener

# A hidden entry that is older was left by a start that crashed.
_LEFT_BEHIND_SECONDS = 60.0
_RETENTION = "retention"
# Fraction of the quota to request at once when a deletion needs another process's signature.
_PART_ASKED_FOR = 4
# How many folders are deleted for each update of the retired totals.
_BATCH = 32


class Cleaned:
    """The result of cleaning.

    Attributes:
        inventory: The directory's contents afterwards.
        evicted: The number of undelivered records that were deleted, by writer's folder.
        pending: Bytes in segments with undelivered records.
        error: The first error. Cleaning continues after an error.
        kept_from: For each folder, the index of the first segment that is kept for delivery.
    """

    def __init__(self, inventory: Inventory) -> None:
        self.inventory = inventory
        self.evicted: Counter[Path] = Counter()
        self.pending = 0
        self.error: JournalError | None = None
        self.kept_from: dict[Path, int] = {}

    @contextmanager
    def noting(self, path: Path) -> Iterator[None]:
        """Keep the first error, so that cleaning continues with the other folders."""
        try:
            yield
        except OSError as error:
            cause = JournalError("clean up", path, error)
            self.error = self.error or cause
        except JournalError as error:
            self.error = self.error or error

    @contextmanager
    def working_on(self, found: FolderContents) -> Iterator[None]:
        """Keep the first error, and list the folder again afterwards."""
        with self.noting(found.path):
            yield
        found.refresh()


class Cleaner:
    """Deletes the segments and folders that a journal need not keep.

    The caller holds the directory's lock, so that only one process cleans at a time.

    Args:
        root: The directory.
        space: The limits on space and age.
        fs: The file-system calls.
        clock: The time of day, in seconds since 1970.
        listener: Asked before segments are deleted; by default ``AwaitingSigner``.
    """

    def __init__(
        self,
        root: Path,
        space: Space,
        fs: FileSystem,
        clock: Callable[[], float] = time.time,
        listener: SegmentListener | None = None,
    ) -> None:
        self._root = root
        self._space = space
        self._fs = fs
        self._clock = clock
        self._listener = listener or AwaitingSigner(always=False, fs=fs)
        # Deletions that await a signature: the first segment that stays, and the reason of an
        # eviction.
        self._asked: dict[Path, tuple[int, str | None]] = {}

    def clean(
        self,
        own: Mapping[Path, Writer],
        most: int,
        *,
        evict: str | None = None,
        stopping: Callable[[], bool] = lambda: False,
    ) -> Cleaned:
        """Delete segments past their retention, then the oldest ones down to a given size.

        Args:
            own: This process's writers, by their folders.
            most: The maximum size of the directory afterwards, in bytes.
            evict: The reason for deleting undelivered segments; None if they must stay.
            stopping: Called now and then; cleaning ends early once it returns True.

        Returns:
            The result.

        Raises:
            JournalError: When the directory cannot be listed.
        """
        result = Cleaned(take_inventory(self._root))
        self._clear_leftovers(result)
        self._find_kept(result, own)
        self._ask_again(result, own, evict)
        self._delete(result, own, self._past_their_time(result, own), stopping)
        stuck: set[Path] = set()
        while self._size_left(result) > most and not stopping():
            below = self._oldest(result, most, stuck)
            if not below:
                break
            self._delete(result, own, below, stopping)
            # A segment that is still there belongs to a live process or cannot be deleted.
            stuck |= below.keys()
        if evict is not None:
            self._evict(result, own, most, evict)
        reserve.keep(self._root, self._fs)
        return result

    def _find_kept(self, result: Cleaned, own: Mapping[Path, Writer]) -> None:
        """Find each folder's first segment that is kept for delivery or is still open."""
        for found in result.inventory.folders:
            if not found.segments:
                continue
            mark = load(found.path, found.path.name)
            index, open_segment = mark.segment, _open_segment(found, own)
            with result.working_on(found):
                if index != open_segment and not found.has_pending(index, mark.offset):
                    index = max(index, found.segments[-1].index) + 1
                    if found.inherited and are_inherited(found.path):
                        # Their starts are in the last two, in case that nobody ends them.
                        index = found.segments[-2:][0].index
                result.kept_from[found.path] = index
                result.pending += found.size - found.others - found.size_below(index)

    def _past_their_time(self, result: Cleaned, own: Mapping[Path, Writer]) -> dict[Path, int]:
        """Return, for each folder, the index below which its segments are past their retention."""
        acknowledged = _oldest_first(
            result, lambda found, s: s.index < result.kept_from[found.path]
        )
        kept = sum(segment.size for _, segment in acknowledged)
        now, space = self._clock(), self._space
        crowd = self._crowd(result, own)
        below: dict[Path, int] = {}
        for found, segment in acknowledged:
            age = now - segment.changed
            if (
                (space.retention_age is not None and age > space.retention_age)
                or (space.retention_bytes is not None and kept > space.retention_bytes)
                or found.path in crowd
            ):
                below[found.path] = max(segment.index + 1, below.get(found.path, 0))
                kept -= segment.size
        for found in result.inventory.folders:
            if not found.segments:
                below[found.path] = 1  # it has no segments any more, or never had one
                continue
            # A crash may have come between the record of a deletion and the deletion.
            recorded = deletions.load(found.path).segment
            if recorded > found.segments[0].index:
                below[found.path] = max(recorded, below.get(found.path, 0))
        return below

    def _crowd(self, result: Cleaned, own: Mapping[Path, Writer]) -> set[Path]:
        """Return the oldest folders beyond ``retention_writers`` that have nothing pending."""
        if self._space.retention_writers is None:
            return set()
        done = [
            found
            for found in result.inventory.folders
            if found.segments
            and result.kept_from[found.path] > found.segments[-1].index
            and found.path not in own
        ]
        done.sort(key=lambda found: found.changed)
        return {found.path for found in done[: max(0, len(done) - self._space.retention_writers)]}

    def _oldest(self, result: Cleaned, most: int, stuck: set[Path]) -> dict[Path, int]:
        """Return the oldest finished segments, enough to come down to ``most`` bytes."""
        size = self._size_left(result)
        below: dict[Path, int] = {}
        for found, segment in _oldest_first(
            result, lambda found, s: s.index < result.kept_from[found.path]
        ):
            if size <= most:
                break
            if found.path not in stuck:
                below[found.path] = max(segment.index + 1, below.get(found.path, 0))
                size -= segment.size
        return below

    def _delete(
        self,
        result: Cleaned,
        own: Mapping[Path, Writer],
        below: dict[Path, int],
        stopping: Callable[[], bool],
    ) -> None:
        whole: list[FolderContents] = []
        for found in result.inventory.folders:
            if found.path not in below:
                continue
            if found.path not in own and found.ends_before(below[found.path]):
                whole.append(found)
            elif found.segments:
                with result.working_on(found):
                    self._delete_segments(found, below[found.path], own)
            if stopping():
                break
        for begin in range(0, len(whole), _BATCH):
            if begin and stopping():
                break
            self._sweep(result, whole[begin : begin + _BATCH])
        result.inventory.forget_gone()

    def _delete_segments(
        self,
        found: FolderContents,
        below: int,
        own: Mapping[Path, Writer],
        reason: str | None = None,
    ) -> int:
        """Delete the first segments of a folder of this process or of an ended one."""
        folder = None
        if (writer := own.get(found.path)) is not None:
            writer.deleting_below(below)
        elif (folder := Folder.adopt(found.path)) is None:
            return 0
        try:
            return delete_segments(found.path, below, self._fs, reason, self._listener)
        finally:
            if isinstance(self._listener, AwaitingSigner) and found.path in self._listener.waiting:
                self._asked[found.path] = (below, reason)
            else:
                self._asked.pop(found.path, None)
            if folder is not None:
                folder.release()

    def _ask_again(self, result: Cleaned, own: Mapping[Path, Writer], evict: str | None) -> None:
        """Delete the segments whose requested deletion has been signed for since."""
        for found in result.inventory.folders:
            below, reason = self._asked.get(found.path, (0, None))
            if below and (reason is None or evict is not None):
                with result.working_on(found):
                    count = self._delete_segments(found, below, own, reason)
                    result.evicted[found.path] += count

    def _size_left(self, result: Cleaned) -> int:
        """Return the directory's size without the segments whose deletion is already requested."""
        waiting = (
            found.size_below(self._asked[found.path][0])
            for found in result.inventory.folders
            if found.path in self._asked
        )
        return result.inventory.size - sum(waiting)

    def _evict(self, result: Cleaned, own: Mapping[Path, Writer], most: int, reason: str) -> None:
        """Delete undelivered segments, oldest first, until the directory is small enough."""
        pending = _oldest_first(
            result,
            lambda found, s: (
                s.index >= result.kept_from[found.path] and s.index != _open_segment(found, own)
            ),
        )
        for found, segment in pending:
            # A signature takes time, so more is requested at once.
            part = most // _PART_ASKED_FOR if self._asked else 0
            if self._size_left(result) <= most - part:
                return
            with result.working_on(found):
                count = self._delete_segments(found, segment.index + 1, own, reason)
                result.evicted[found.path] += count

    def _clear_leftovers(self, result: Cleaned) -> None:
        """Delete hidden entries that a crash during a start or during cleaning has left."""
        for path in result.inventory.leftovers:
            with result.noting(path):
                self._clear(path)

    def _clear(self, path: Path) -> None:
        try:
            old = self._clock() - path.lstat().st_mtime > _LEFT_BEHIND_SECONDS
            unfinished = path.name.endswith(UNFINISHED) or path.name.startswith(".wakelog.json.")
            if unfinished and old and regular_file(path):
                self._fs.unlink(path)
            elif not is_directory(path):
                return  # not made by Wakelog
            elif path.name.endswith(".gone"):
                delete_folder(path, self._fs)
            elif path.name.endswith(UNFINISHED) and old:
                lock = Folder.adopt(path)
                if lock is not None or not list_directory(path):
                    delete_folder(path, self._fs)
                if lock is not None:
                    lock.release()
        except FileNotFoundError:
            return  # its process has renamed it to its final name

    def _sweep(self, result: Cleaned, batch: list[FolderContents]) -> None:
        """Delete folders of ended writers, after adding their books to the retired totals."""
        owned: list[Folder] = []
        ready: list[FolderContents] = []
        before = total = retired.load(self._root)
        try:
            for found in batch:
                if (folder := Folder.adopt(found.path)) is None:
                    continue
                owned.append(folder)
                with result.working_on(found):
                    # A crash may have come between writing the totals and deleting the folder.
                    if found.path.name in before.going:
                        ready.append(found)
                    elif self._may_go(found):
                        if (counts := _counts_of(found)) is not None:
                            total = total.plus(found.path.name, counts)
                        ready.append(found)
            if ready:
                going = [name for name in total.going if is_directory(self._root / name)]
                total = total._replace(going=tuple(going))
                path = self._root / retired.NAME
                with result.noting(path):
                    if total != before:
                        text = total.to_bytes()
                        reserve.write(self._root, path, text, self._fs, synced=True)
                    for found in ready:
                        with result.working_on(found):
                            delete_folder(found.path, self._fs)
        finally:
            for folder in owned:
                folder.release()

    def _may_go(self, found: FolderContents) -> bool:
        """Return whether a whole folder may go; otherwise delete the segments that may go."""
        found.refresh()
        mark = load(found.path, found.path.name)
        if found.segments and found.has_pending(mark.segment, mark.offset):
            return False
        if not found.segments and not found.keeps_files:
            return True
        below = found.segments[-1].index + 1 if found.segments else 1
        clean = all(is_clean(found.path, s.index) for s in found.segments)
        if not found.keeps_files and clean:
            # The sealing process may seal the folder right now, and then the seals stay.
            allowed = self._listener.before_deletion(found.path, below, _RETENTION)
            if allowed >= below and not is_sealed(found.path):
                return True
        if found.segments:
            delete_segments(found.path, below, self._fs, None, self._listener)
        return False


def _open_segment(found: FolderContents, own: Mapping[Path, Writer]) -> int | None:
    writer = own.get(found.path)
    return None if writer is None else writer.open_segment


def _oldest_first(
    result: Cleaned, wanted: Callable[[FolderContents, Segment], bool]
) -> list[tuple[FolderContents, Segment]]:
    chosen = [
        (found, segment)
        for found in result.inventory.folders
        for segment in found.segments
        if found.path in result.kept_from and wanted(found, segment)
    ]
    return sorted(chosen, key=lambda pair: (pair[1].changed, pair[0].path, pair[1].index))


def _counts_of(found: FolderContents) -> RecordCounts | None:
    """Return the books of a folder with nothing pending, or None if its writer never wrote."""
    if not found.segments and not found.books:
        return None
    end = last_mark(found.path, load(found.path, found.path.name))
    return RecordCounts(
        accepted=end.seq,
        delivered=end.delivered,
        dead_lettered=end.dead_lettered,
        evicted=end.evicted,
        corrupt=end.corrupt,
    )
