"""Deleting segments and folders: recorded first, in an order in which a crash leaves no doubt.

Damaged lines are saved beside it before the segment that they stand in goes. Everything here is for whoever
owns the folder.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from wakelog.errors import CorruptLineError, JournalError
from wakelog.journal import _deletions as deletions
from wakelog.journal import _reserve as reserve
from wakelog.journal._cursor import Cursor, header_of, save_torn_tail
from wakelog.journal._folder import LOCK
from wakelog.journal._ledger import load
from wakelog.journal._listener import SegmentListener
from wakelog.journal._mark import Mark
from wakelog.record import stated_crc, verify
from wakelog.runtime import FileSystem, ForeignFileError, list_directory, open_to_read
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

_RETENTION = "retention"
_SEQ = re.compile(rb'\{"id":"[^"\\]*","seq":(\d+)')


@dataclass(slots=True)
class _Scan:
    """What a segment holds.

    Attributes:
        last_seq: The ``seq`` of its last record, 0 without records.
        wanted: How many of its records come after a given one.
        damaged: Its damaged lines.
    """

    last_seq: int
    wanted: int
    damaged: list[bytes]


def delete_segments(
    folder: Path,
    below: int,
    fs: FileSystem,
    reason: str | None = None,
    listener: SegmentListener | None = None,
) -> int:
    """Delete the segments below an index.

    Args:
        folder: The writer's folder, owned.
        below: The index of the first segment that stays.
        fs: The system calls.
        reason: Why undelivered records are deleted. Without one, nothing is where there are any.
        listener: Asked before anything is deleted.

    Returns:
        How many undelivered records were deleted.

    Raises:
        JournalError: When the file system refuses.
    """
    doomed = [index for index in segments(folder) if index < below]
    if not doomed:
        return 0
    try:
        if below > max(segments(folder)):
            save_torn_tail(folder, fs)
        deletion = deletions.load(folder)
        if deletion.segment < below:
            deletion, evicted = _next(folder, doomed, below, deletion, fs, reason)
            if evicted and reason is None:
                return 0  # they have come since somebody looked
            if listener is not None:
                allowed = listener.before_deletion(folder, below, reason or _RETENTION)
                if allowed < below:
                    return delete_segments(folder, allowed, fs, reason) if allowed else 0
            text = deletion.to_bytes(folder.name)
            reserve.write(folder.parent, folder / deletions.NAME, text, fs, synced=True)
        else:
            evicted = 0  # a crash came between the record and what it says
        _delete_blobs_below(folder, below, fs)
        *others, last = [folder / segment_name(index) for index in doomed]
        for path in others:
            fs.unlink(path)
        if reserve.keep(folder.parent, fs):
            fs.unlink(last)
        else:
            reserve.fill_with(folder.parent, last, fs)
    except OSError as error:
        raise JournalError("delete segments in", folder, error.strerror or error) from error
    return evicted


def _delete_blobs_below(folder: Path, below: int, fs: FileSystem) -> None:
    """Delete the blobs of segments that are deleted, before them, and what a crash left of them."""
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
    """Return the record of a deletion and how many records it evicts; save damaged lines."""
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
    # What a failed sync has had repeated stands in the next segment again, and can be read there.
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
    return replace(deletion, segment=below, seq=last_seq, mark=after), evicted


def _scan(folder: Path, index: int, mark: Mark) -> _Scan:
    """Look through a segment for damage, and count the records that come after a mark."""
    last_seq = wanted = 0
    for seq in _seqs(folder / segment_name(index)):
        if seq is None:
            return _careful_scan(folder, index, mark)
        if seq > max(last_seq, mark.seq):
            wanted += 1
        last_seq = max(last_seq, seq)
    return _Scan(last_seq, wanted, [])


def is_clean(folder: Path, index: int) -> bool:
    """Tell whether all that stands in a segment is good, to its last byte."""
    path = folder / segment_name(index)
    if any(seq is None for seq in _seqs(path)):
        return False
    with open_to_read(path) as file:
        return ends_with_a_line(file.fileno())


def _seqs(path: Path) -> Iterator[int | None]:
    """Yield the numbers of a segment's records by their checksums alone; None at the first damage.

    What stands after the last newline was never accepted.
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
            numbered = _SEQ.match(line)
            if crc is None or numbered is None:
                yield None
                return
            yield int(numbered[1])


def _careful_scan(folder: Path, index: int, mark: Mark) -> _Scan:
    """Look through a segment as a reader does, for one that is damaged somewhere."""
    cursor = Cursor(folder, Mark(segment=index), complete=True, whole=True, blobs=False)
    result = _Scan(0, 0, [])
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
    """Return what a segment's header says about the record before it."""
    path = folder / segment_name(index)
    try:
        with open_to_read(path) as file:
            return header_of(file.readline(LONGEST_LINE).removesuffix(b"\n"), path).last_seq
    except (CorruptLineError, FileNotFoundError, ForeignFileError):
        return default


def delete_folder(folder: Path, fs: FileSystem) -> None:
    """Delete a folder of ours, in which nothing is left that has to be kept.

    Its name goes first, so that nobody comes across half a folder.

    Raises:
        JournalError: When the file system refuses.
    """
    hidden = folder
    try:
        if not folder.name.startswith("."):
            hidden = folder.with_name(f".{folder.name}.gone")
            fs.rename(folder, hidden)
        # The lock last: until then, whoever finds the folder knows that somebody is at it.
        names = sorted(list_directory(hidden), key=lambda name: (name == LOCK, name))
        for name in names:
            if name.endswith(SUFFIX):
                delete_blob_folder(hidden / name, fs)
            else:
                fs.unlink(hidden / name)
        fs.rmdir(hidden)
    except OSError as error:
        raise JournalError("delete", hidden, error.strerror or error) from error
