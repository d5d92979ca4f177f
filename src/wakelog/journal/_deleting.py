"""Deleting segments and folders, after recording the deletion, so that a crash is harmless.

Damaged lines of a segment are saved in a file before the segment is deleted. The caller owns the
folder.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from wakelog.errors import CorruptLineError, JournalError
from wakelog.journal import _deletions as deletions
from wakelog.journal import _reserve as reserve
from wakelog.journal._cursor import Cursor, header_of, save_torn_tail
from wakelog.journal._folder import LOCK
from wakelog.journal._ledger import load
from wakelog.journal._mark import Mark
from wakelog.record import stated_crc, verify
from wakelog.runtime import (
    FileSystem,
    ForeignFileError,
    JournalErrors,
    list_directory,
    open_to_read,
)
from wakelog.storage import (
    LONGEST_LINE,
    SUFFIX,
    delete_blob_folder,
    ends_with_a_line,
    lines,
    segment_index,
    segment_name,
    segments,
)

if TYPE_CHECKING:
    from wakelog.journal._listener import SegmentListener

_RETENTION = "retention"


@cache
def _seq_of() -> re.Pattern[bytes]:
    return re.compile(rb'\{"id":"[^"\\]*","seq":(\d+)')


class _Scan:
    """The result of reading a segment.

    Attributes:
        last_seq: The ``seq`` of its last record, 0 without records.
        wanted: The number of its records after a given mark.
        damaged: Its damaged lines.
    """

    def __init__(self, last_seq: int = 0, wanted: int = 0) -> None:
        self.last_seq, self.wanted = last_seq, wanted
        self.damaged: list[bytes] = []


def delete_segments(
    folder: Path,
    below: int,
    fs: FileSystem,
    reason: str | None = None,
    listener: SegmentListener | None = None,
) -> int:
    """Delete the segments below an index.

    Args:
        folder: The writer's folder, which this process owns.
        below: The index of the first segment that stays.
        fs: The file-system calls.
        reason: The reason for deleting undelivered records. If None, and there are such
            records, nothing is deleted.
        listener: Asked before anything is deleted.

    Returns:
        The number of undelivered records that were deleted.

    Raises:
        JournalError: When a file operation fails.
    """
    doomed = [index for index in segments(folder) if index < below]
    if not doomed:
        return 0
    with JournalErrors("delete segments in", folder):
        if below > max(segments(folder)):
            save_torn_tail(folder, fs)
        deletion = deletions.load(folder)
        if deletion.segment < below:
            deletion, evicted = _next(folder, doomed, below, deletion, fs, reason)
            if evicted and reason is None:
                return 0  # they were written after the caller had checked
            if listener is not None:
                allowed = listener.before_deletion(folder, below, reason or _RETENTION)
                if allowed < below:
                    return delete_segments(folder, allowed, fs, reason) if allowed else 0
            text = deletion.to_bytes(folder.name)
            reserve.write(folder.parent, folder / deletions.NAME, text, fs, synced=True)
        else:
            evicted = 0  # a crash came between recording the deletion and deleting
        _delete_blobs_below(folder, below, fs)
        *others, last = [folder / segment_name(index) for index in doomed]
        for path in others:
            fs.unlink(path)
        if reserve.keep(folder.parent, fs):
            fs.unlink(last)
        else:
            reserve.fill_with(folder.parent, last, fs)
    return evicted


def _delete_blobs_below(folder: Path, below: int, fs: FileSystem) -> None:
    """Delete the blobs of the segments below an index, including those that a crash left."""
    for name in list_directory(folder):
        index = segment_index(name.removesuffix(SUFFIX)) if name.endswith(SUFFIX) else None
        if index is not None and index < below:
            delete_blob_folder(folder / name, fs)


def _next(
    folder: Path,
    doomed: list[int],
    below: int,
    before: deletions.Deletion,
    fs: FileSystem,
    reason: str | None,
) -> tuple[deletions.Deletion, int]:
    """Save damaged lines; return the record of a deletion and the number of evicted records."""
    mark = load(folder, folder.name)
    last_seq, evicted = before.seq, 0
    for index in doomed:
        scan = _scan(folder, index, mark)
        last_seq = max(last_seq, scan.last_seq)
        evicted += scan.wanted
        if scan.damaged:
            saved = folder / f"{segment_name(index).removesuffix('.jsonl')}.damaged"
            damaged = b"".join(line + b"\n" for line in scan.damaged)
            reserve.write(folder.parent, saved, damaged, fs, synced=True)
    # Records that a failed sync caused to be repeated are also in the next segment, and remain.
    last_seq = max(before.seq, min(last_seq, _seq_before(folder, below, last_seq)))
    after = mark
    if mark.segment < below:
        gap = max(0, last_seq - mark.seq)
        evicted = min(evicted, gap)
        after = Mark(
            segment=below,
            seq=max(mark.seq, last_seq),
            corrupt=mark.corrupt + gap - evicted,
            dead_lettered=mark.dead_lettered,
            evicted=mark.evicted + evicted,
        )
    else:
        evicted = 0
    deletion = before.with_evicted(mark.evicted)
    if evicted and reason is not None:
        stone = deletions.Tombstone(mark.seq + 1, last_seq, evicted, reason)
        deletion = deletion.with_tombstone(stone)
    return deletion._replace(segment=below, seq=last_seq, mark=after), evicted


def _scan(folder: Path, index: int, mark: Mark) -> _Scan:
    """Scan a segment for damage, and count the records after a mark."""
    last_seq = wanted = 0
    for seq in _seqs(folder / segment_name(index)):
        if seq is None:
            return _careful_scan(folder, index, mark)
        if seq > max(last_seq, mark.seq):
            wanted += 1
        last_seq = max(last_seq, seq)
    return _Scan(last_seq, wanted)


def is_clean(folder: Path, index: int) -> bool:
    """Return whether a segment has no damaged and no torn line."""
    path = folder / segment_name(index)
    if any(seq is None for seq in _seqs(path)):
        return False
    with open_to_read(path) as file:
        return ends_with_a_line(file.fileno())


def _seqs(path: Path) -> Iterator[int | None]:
    """Yield each record's ``seq`` after a check of its checksum only; None at the first damage.

    The bytes after the last newline were never accepted.
    """
    with open_to_read(path) as file:
        found = lines(file)
        header = next(found, (0, b"", 0))[1]
        crc = stated_crc(header.removesuffix(b"\n"))
        if header.endswith(b"\n"):
            try:
                header_of(header.removesuffix(b"\n"), path)
            except CorruptLineError:
                yield None
                return
        for offset, line, end in found:
            if not line.endswith(b"\n") and offset + len(line) == end:
                return
            crc = None if crc is None else verify(line[:-1], crc)
            numbered = _seq_of().match(line)
            if crc is None or numbered is None:
                yield None
                return
            yield int(numbered[1])


def _careful_scan(folder: Path, index: int, mark: Mark) -> _Scan:
    """Scan a damaged segment by a cursor, which skips damaged lines."""
    cursor = Cursor(folder, Mark(segment=index), complete=True, whole=True, blobs=False)
    result = _Scan()
    try:
        while True:
            chunk = cursor.read(1, 1)
            if chunk.mark.segment != index or not (chunk.entries or chunk.damaged):
                break
            result.damaged += chunk.damaged
            for entry in chunk.entries:
                result.last_seq = entry.record.seq
                result.wanted += entry.record.seq > mark.seq
    finally:
        cursor.close()
    return result


def _seq_before(folder: Path, index: int, default: int) -> int:
    """Return the number of the record before a segment, by the segment's header."""
    path = folder / segment_name(index)
    try:
        with open_to_read(path) as file:
            return header_of(file.readline(LONGEST_LINE).removesuffix(b"\n"), path).last_seq
    except (CorruptLineError, FileNotFoundError, ForeignFileError):
        return default


def delete_folder(folder: Path, fs: FileSystem) -> None:
    """Delete a writer's folder.

    It is renamed first, so that no other process finds an incomplete folder.

    Raises:
        JournalError: When a file operation fails.
    """
    hidden = folder
    try:
        if not folder.name.startswith("."):
            hidden = folder.with_name(f".{folder.name}.gone")
            fs.rename(folder, hidden)
        # The lock is deleted last: until then, it keeps other processes away from the folder.
        names = sorted(list_directory(hidden), key=lambda name: (name == LOCK, name))
        for name in names:
            if name.endswith(SUFFIX):
                delete_blob_folder(hidden / name, fs)
            else:
                fs.unlink(hidden / name)
        fs.rmdir(hidden)
    except OSError as error:
        raise JournalError("delete", hidden, error) from error
