"""Archiving a thread: writing the watermark, then compressing and verifying whole segments."""

from __future__ import annotations

import gzip
import os
from itertools import pairwise
from pathlib import Path

from wakelog.audit._thread_folder import ThreadFolder, header_in, watermark_line
from wakelog.audit._thread_reading import ARCHIVE, LONGEST_ARCHIVED, decompressed
from wakelog.audit._thread_reading import watermark as read_watermark
from wakelog.runtime import SYSTEM, JournalErrors, fcntl, is_directory, read_small, regular_file
from wakelog.storage import COMPRESSED, segment_name, segments

_HINT = "Nothing is lost. Archive again when the cause is gone"


def archive(folder: ThreadFolder, watermark: int) -> int:
    """Archive everything in a thread up to an ordinal.

    Appends wait only while the watermark is written; finished segments are compressed after that.
    After a crash at any time each record can be read, and the next call completes what was begun.

    Args:
        folder: The thread's folder.
        watermark: The ordinal.

    Returns:
        How many ordinals this call has archived.

    Raises:
        JournalError: If reading or writing fails.
    """
    path = folder.path
    if watermark < 1 or not is_directory(path):
        return 0
    with JournalErrors("archive", path, _HINT):
        # Only one call archives at a time; appends use another lock.
        guard = SYSTEM.open(path / "archiving", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(guard, fcntl.LOCK_EX)
            with folder.exclusive(None):
                before = read_watermark(path)
                reached = max(before, min(watermark, folder.seq))
                if reached > before:
                    SYSTEM.write_whole(path / "watermark", watermark_line(reached), synced=True)
                    SYSTEM.sync_directory(path)
                if reached == folder.seq:
                    _end_last_segment(folder)
            _compress(path, reached)
        finally:
            os.close(guard)
    return reached - before


def _end_last_segment(folder: ThreadFolder) -> None:
    """Begin a segment, so that the last one can be archived, unless that has no records."""
    last = segments(folder.path, missing_ok=True)[-1]
    header = header_in(folder.path / segment_name(last))
    if header is None or header.last_seq < folder.seq:
        folder.begin_segment()


def _compress(path: Path, watermark: int) -> None:
    indices = segments(path, missing_ok=True)
    for index, following in pairwise(indices):
        header = header_in(path / segment_name(following))
        if header is None or header.last_seq > watermark:
            return
        segment = path / segment_name(index)
        target = path / ARCHIVE / segment_name(index, COMPRESSED)
        data = read_small(segment, LONGEST_ARCHIVED)
        if regular_file(target) is None or decompressed(target) != data:
            if not is_directory(target.parent):
                SYSTEM.mkdir(target.parent, 0o700)
                SYSTEM.sync_directory(path)
            SYSTEM.write_whole(target, gzip.compress(data, mtime=0), synced=True)
            SYSTEM.sync_directory(target.parent)
        if decompressed(target) != data:
            raise OSError(0, f"{target} does not read back as it was written")
        SYSTEM.unlink(segment)
